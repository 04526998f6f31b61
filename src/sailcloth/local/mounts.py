"""The mounts of pods and of containers that run programs of the host.

Such a container sees the host's system directories. /tmp, /run, home directories and others are masked by empty directories
of its own (`masked_paths`); what programs need inside them (a checkout, a virtual environment) and volumes are bind-mounted.
A mount point that the host lacks is created without touching the host: in this mount namespace only, the nearest existing
directory is replaced by a tmpfs with bind mounts of its entries.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from typing import Any

import sailcloth_samples
from sailcloth.lib import namespaces as ns

_SYSTEM = frozenset(
    ("/", "/bin", "/boot", "/dev", "/etc", "/lib", "/lib64", "/opt", "/proc", "/sbin", "/srv", "/sys", "/usr", "/var")
)
_SHARED = ("/tmp", "/var/tmp", "/run", "/home")
_ON_DISK = ("/tmp", "/var/tmp")  # what programs write there may be large
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_LINKS = {"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2"}
_LINKS |= {"ptmx": "pts/ptmx"}
_ETC = ("resolv.conf", "hosts", "hostname", "nsswitch.conf")


def masked_paths(*more: str) -> list[str]:
    """Directories of the host to mask in containers: the shared ones, and `more` (a home directory, a state directory)."""
    real = {os.path.realpath(p) for p in (*_SHARED, *more) if p}
    folders = sorted(p for p in real if os.path.isdir(p) and p not in _SYSTEM)
    return [p for p in folders if not any(below(p, q) for q in folders)]


def pod() -> None:
    """Mount what all containers of a pod share: /proc, /sys, /dev/shm."""
    ns.mount("none", "/", None, ns.MS_REC | ns.MS_PRIVATE)
    with contextlib.suppress(OSError):  # not allowed inside some containers: then the host's stays
        ns.mount("proc", "/proc", "proc", ns.MS_NOSUID | ns.MS_NODEV | ns.MS_NOEXEC)
    with contextlib.suppress(OSError):  # without it /sys/class/net shows the host's interfaces
        ns.mount("sysfs", "/sys", "sysfs", ns.MS_RDONLY | ns.MS_NOSUID | ns.MS_NODEV | ns.MS_NOEXEC)
    with contextlib.suppress(OSError):  # no such folder: programs do without
        ns.mount("tmpfs", "/dev/shm", "tmpfs", ns.MS_NOSUID | ns.MS_NODEV, "mode=1777,size=64m")


def container(request: dict[str, Any]) -> None:
    """Set up the mounts of one container in a new mount namespace.

    `mounts`: [source, target, "ro" or "rw"], mounted in order; `hide`: the result of `masked_paths`; `needed`: paths in masked
    directories that stay visible; `etc`: directory with resolv.conf, hosts and hostname; `scratch`: an empty directory of the
    container; `terminal`: the pseudo-terminal to mount at /dev/console; `read_only`: readOnlyRootFilesystem.
    """
    ns.unshare(ns.NEWNS)
    ns.mount("none", "/", None, ns.MS_REC | ns.MS_PRIVATE)
    hide, scratch = list(request.get("hide", ())), request["scratch"]
    if any(_nearest(os.path.realpath(m[1])) == "/" for m in request.get("mounts", ())):
        _mirror_root(f"{scratch}/root")  # before anything is opened, which it would detach
    needed = _needed(request.get("needed", ()))
    # Open everything before it is masked.
    sources = [(open_path(source), target, mode) for source, target, mode in request.get("mounts", ())]
    etc = [(open_path(f"{request['etc']}/{name}"), f"/etc/{name}") for name in _ETC] if request.get("etc") else []
    view = ContainerMounts(open_path(scratch), [*hide, "/dev"], needed)
    devices("/dev", request.get("terminal", ""))
    for number, folder in enumerate(hide):
        view.hide(folder, f"own-{number}" if folder in _ON_DISK else "")
    for fd, target in etc:
        view.file_over(fd, target)
    for fd, target, mode in sources:
        view.bind(fd, target, mode)
    if request.get("read_only"):
        view.seal()


def devices(folder: str, terminal: str = "") -> None:
    """Mount a container's /dev over a directory: the default devices of the OCI runtime specification, and a new devpts."""
    sources = {name: open_path(f"/dev/{name}") for name in _DEVICES}
    shared = open_path("/dev/shm") if os.path.isdir("/dev/shm") else -1
    console = open_path(terminal) if terminal else -1
    hosts = open_path("/dev/pts") if os.path.isdir("/dev/pts") else -1
    ns.mount("tmpfs", folder, "tmpfs", ns.MS_NOSUID, "mode=755,size=64k")
    files = {**sources, **({"console": console} if terminal else {})}
    for name, fd in files.items():
        with open(f"{folder}/{name}", "w"):
            pass
        ns.mount(f"/proc/self/fd/{fd}", f"{folder}/{name}", None, ns.MS_BIND)
    for name, target in _LINKS.items():
        os.symlink(target, f"{folder}/{name}")
    for name in ("pts", "shm"):
        os.mkdir(f"{folder}/{name}")
    if shared >= 0:
        ns.mount(f"/proc/self/fd/{shared}", f"{folder}/shm", None, ns.MS_BIND)
    try:
        ns.mount(
            "devpts", f"{folder}/pts", "devpts", ns.MS_NOSUID | ns.MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620"
        )
    except OSError:  # not everywhere inside a container of another runtime: the host's serves
        if hosts >= 0:
            ns.mount(f"/proc/self/fd/{hosts}", f"{folder}/pts", None, ns.MS_BIND)


class ContainerMounts:
    """Builds the mounts of one container."""

    def __init__(self, scratch: int, own: list[str], needed: list[tuple[int, str]]) -> None:
        self._scratch, self._needed = scratch, needed
        self._own = set(own)  # folders that are this container's: only there may mount points be made; "/" means all
        self._mirrors = 0
        self._writable: list[str] = []  # volumes

    def hide(self, folder: str, on_disk: str) -> None:
        """Mask a directory by an empty one, with its needed paths bound in."""
        if on_disk:
            place = f"/proc/self/fd/{self._scratch}/{on_disk}"
            shutil.rmtree(place, ignore_errors=True)
            os.mkdir(place)
            os.chmod(place, 0o1777)
            ns.mount(place, folder, None, ns.MS_BIND)
        else:
            ns.mount("tmpfs", folder, "tmpfs", ns.MS_NOSUID | ns.MS_NODEV, "mode=755,size=16m")
        self._bring_back(folder)

    def _bring_back(self, folder: str) -> None:
        for fd, path in self._needed:
            if below(path, folder):
                self._make_point(fd, path)
                ns.mount(f"/proc/self/fd/{fd}", path, None, ns.MS_BIND | ns.MS_REC)

    @staticmethod
    def _make_point(fd: int, path: str) -> None:
        if os.path.isdir(f"/proc/self/fd/{fd}"):
            os.makedirs(path, exist_ok=True)
        elif not os.path.exists(path):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "a"):
                pass

    def file_over(self, fd: int, target: str) -> None:
        """Bind a file over one of the host. Skipped if the host lacks it and it cannot be created in this namespace only."""
        real = os.path.realpath(target)
        if not os.path.exists(real):
            if not self._is_own(os.path.dirname(real)):
                return  # programs go by their defaults
            self._make_point(fd, real)
        ns.mount(f"/proc/self/fd/{fd}", real, None, ns.MS_BIND)

    def bind(self, fd: int, target: str, mode: str) -> None:
        """Bind a volume."""
        real = os.path.realpath(target)
        if not os.path.exists(real):
            existing = _nearest(real)
            if existing != "/" and not self._is_own(existing):
                self._mirrors += 1
                _mirror(existing, f"/proc/self/fd/{self._scratch}/{self._mirrors}")
                self._own.add(existing)
            self._make_point(fd, real)
        ns.mount(f"/proc/self/fd/{fd}", real, None, ns.MS_BIND | ns.MS_REC)
        self._bring_back(real)
        if mode == "ro":
            ns.set_read_only(real)
        else:
            self._own.add(real)
            self._writable.append(real)

    def seal(self) -> None:
        """Remount everything read-only but /proc, /dev/shm and writable volumes."""
        ns.set_read_only("/", recursive=True)
        for place in ("/proc", "/dev/shm", *self._writable):
            if os.path.ismount(place) or place in self._writable:
                ns.set_read_only(place, False)

    def _is_own(self, path: str) -> bool:
        return any(path == o or below(path, o) for o in self._own)


def open_path(path: str) -> int:
    try:
        return os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError as error:
        raise OSError(error.errno, f"{path}: {error.strerror}") from None


def below(path: str, folder: str) -> bool:
    return path != folder and path.startswith(folder.rstrip("/") + "/")


def _needed(more: list[str]) -> list[tuple[int, str]]:
    """What every container needs, opened: Python, its environment, this package, the samples; and what the image adds."""
    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    named = {os.path.abspath(p) for p in (sys.prefix, sys.base_prefix, package, str(sailcloth_samples.ROOT), *more)}
    paths = sorted(named | {os.path.realpath(p) for p in named})
    outer = [p for p in paths if not any(below(p, q) for q in paths)]
    return [(open_path(p), p) for p in outer if os.path.exists(p)]


def _nearest(path: str) -> str:
    """The nearest existing folder above a path that does not exist; the path itself if it does."""
    while not os.path.exists(path):
        path = os.path.dirname(path)
    return path


def _mirror_root(scratch: str) -> None:
    """Move into a temporary root with the same entries, because nothing can be mounted over the root."""
    os.makedirs(scratch, exist_ok=True)
    ns.mount("tmpfs", scratch, "tmpfs", ns.MS_NOSUID | ns.MS_NODEV, "mode=755,size=1m")
    fill("", scratch)
    ns.pivot_root(scratch)


def _mirror(folder: str, scratch: str) -> None:
    """Replace a folder by a temporary one with the same entries."""
    os.makedirs(scratch, exist_ok=True)
    ns.mount(folder, scratch, None, ns.MS_BIND | ns.MS_REC)
    ns.mount("tmpfs", folder, "tmpfs", ns.MS_NOSUID | ns.MS_NODEV, "mode=755,size=1m")
    fill(scratch, folder)


def fill(origin: str, folder: str) -> None:
    """Give an empty folder the entries of another."""
    for entry in os.listdir(origin or "/"):
        source, target = f"{origin}/{entry}", f"{folder}/{entry}"
        if os.path.islink(source):
            os.symlink(os.readlink(source), target)
            continue
        if os.path.isdir(source):
            os.mkdir(target)
        else:
            with open(target, "a"):
                pass
        with contextlib.suppress(OSError):
            ns.mount(source, target, None, ns.MS_BIND | ns.MS_REC)
