"""The mounts of pods and of containers that run programs of the host.

Such a container has a root of its own: the host's system folders, read-only, and empty folders such as /tmp, /run, /var and /home.
What its image needs beside them (a virtual environment) is bound read-only, volumes as they are asked for. Nothing else of the
host has a name there. A mount point that a system folder lacks is created without touching the host: in this mount namespace only,
the nearest existing directory is replaced by a tmpfs with bind mounts of its entries.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Callable
from typing import Any

from sailcloth.lib import namespaces as ns

from .pod_users import PodUsers

_SYSTEM = ("bin", "etc", "gnu", "lib", "lib32", "lib64", "libx32", "nix", "opt", "sbin", "usr")
_WHOLE = (*_SYSTEM, "", "boot", "dev", "proc", "srv", "sys", "var")  # never a user's own
_EMPTY = ("home", "media", "mnt", "root", "run", "srv", "var", "var/cache", "var/lib", "var/log", "var/spool")
_HIDDEN = ("/tmp", "/var/tmp", "/run", "/home")
_ON_DISK = ("tmp", "var/tmp")  # what programs write there may be large
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_LINKS = {"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2"}
_LINKS |= {"ptmx": "pts/ptmx"}
_ETC = ("resolv.conf", "hosts", "hostname")
# Of the OCI runtime specification, as container runtimes fill it in.
_MASKED = (
    "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
    "/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/devices/virtual/powercap",
    "/sys/firmware",
)  # fmt: skip
_READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


def masked_paths(*more: str) -> list[str]:
    """Directories of the host to mask in containers: the shared ones, and `more` (a home directory, a state directory)."""
    real = {os.path.realpath(p) for p in (*_HIDDEN, *more) if p}
    folders = sorted(p for p in real if os.path.isdir(p) and p.strip("/") not in _WHOLE)
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


def container(request: dict[str, Any], users: PodUsers) -> None:
    """Set up the mounts of one container in a new mount namespace. Raises OSError.

    `mounts`: [source, target, "ro" or "rw", path inside the source], mounted in order; `hide`: the result of `masked_paths`;
    `needed`: paths outside the system folders that the image needs; `etc`: directory with resolv.conf, hosts and hostname;
    `scratch`: an empty directory of the container; `terminal`: the pseudo-terminal to mount at /dev/console; `read_only`:
    readOnlyRootFilesystem; `privileged`.
    """

    def root(scratch: str) -> tuple[str, list[str]]:
        return _host_root(scratch, request.get("hide", ()), users)

    set_up(request, users, root)


def set_up(
    request: dict[str, Any],
    users: PodUsers,
    make_root: Callable[[str], tuple[str, list[str]]],
) -> None:
    """Mount a container's root, which `make_root` makes below a scratch directory, with all that lies in it. `make_root` returns
    where it is, and the folders in it in which no mount points can be made."""
    ns.unshare(ns.NEWNS)
    ns.mount("none", "/", None, ns.MS_REC | ns.MS_PRIVATE)
    scratch = open_path(request["scratch"])
    needed = [(open_path(p), p) for p in _outermost(request.get("needed", ()))]
    sources = [(_source(*mount), mount[1], mount[2]) for mount in request.get("mounts", ())]
    names = _ETC if request.get("etc") else ()
    etc = [(open_path(f"{request['etc']}/{name}"), f"/etc/{name}") for name in names]
    if names and not request.get("root") and os.path.exists("/etc/nsswitch.conf"):
        etc.append((open_path(f"{request['etc']}/nsswitch.conf"), "/etc/nsswitch.conf"))
    root, foreign = make_root(request["scratch"])
    _kernel_folders(root, request, users)

    def fill() -> None:
        view = ContainerMounts(scratch, foreign, users, needed)
        for fd, target in etc:
            view.bind(fd, target, "rw")
        for fd, target, mode in sources:
            view.bind(fd, target, mode)
        if not request.get("privileged"):
            _protect_kernel_folders()
        folder = resolved(request.get("cwd") or "/")
        if view.is_own(folder) and not os.path.exists(folder):
            os.makedirs(folder)
            users.chown(folder)
        if request.get("read_only"):
            view.seal()

    ns.pivot_root(root, fill)


def _source(path: str, _target: str, _mode: str, inside: str = "") -> int:
    fd = open_path(path)
    return ns.open_beneath(fd, inside) if inside else fd


def _host_root(scratch: str, hide: list[str], users: PodUsers) -> tuple[str, list[str]]:
    """A root of the host's system folders and empty ones."""
    root = f"{scratch}/root"
    os.makedirs(root, exist_ok=True)
    flags = ns.MS_NOSUID | ns.MS_NODEV
    ns.mount("tmpfs", root, "tmpfs", flags, users.options("mode=755,size=64m"))
    foreign = []
    for name in _SYSTEM:
        if os.path.islink(f"/{name}"):
            os.symlink(os.readlink(f"/{name}"), f"{root}/{name}")
        elif os.path.isdir(f"/{name}"):
            os.mkdir(f"{root}/{name}")
            fd = open_path(f"/{name}")
            ns.bind(fd, f"{root}/{name}", read_only=True)
            os.close(fd)
            foreign.append(f"/{name}")
    for name in (*_EMPTY, *_ON_DISK):
        os.mkdir(f"{root}/{name}")
        users.chown(f"{root}/{name}")
    os.symlink("../run", f"{root}/var/run")
    for number, name in enumerate(_ON_DISK):
        place = f"{scratch}/own-{number}"
        shutil.rmtree(place, ignore_errors=True)
        os.mkdir(place)
        os.chmod(place, 0o1777)  # noqa: S103  the container's /tmp, of all its users as everywhere
        fd = open_path(place)
        ns.bind(fd, f"{root}/{name}", users=users.owners)
        os.close(fd)
    for folder in hide:
        if any(below(folder, f) for f in foreign) and os.path.isdir(root + folder):
            ns.mount("tmpfs", root + folder, "tmpfs", flags, users.options("mode=755,size=16m"))
    return root, foreign


def _kernel_folders(root: str, request: dict[str, Any], users: PodUsers) -> None:
    """/proc, /sys and /dev. Only what is a folder of the image itself is mounted over: a link could lead out."""
    for name in ("proc", "sys", "dev"):
        place = f"{root}/{name}"
        if not os.path.lexists(place):
            os.mkdir(place)
        elif os.path.islink(place) or not os.path.isdir(place):
            raise OSError(f"the image's /{name} is no folder")
    try:  # of the container's PID namespace, in which there are no proxies
        ns.mount("proc", f"{root}/proc", "proc", ns.MS_NOSUID | ns.MS_NODEV | ns.MS_NOEXEC)
    except OSError:  # not allowed inside some containers: then the pod's
        ns.mount("/proc", f"{root}/proc", None, ns.MS_BIND | ns.MS_REC)
    ns.mount("/sys", f"{root}/sys", None, ns.MS_BIND | ns.MS_REC)
    devices(f"{root}/dev", users, request.get("terminal", ""))


def _protect_kernel_folders() -> None:
    for path in _READ_ONLY:
        if os.path.exists(path):
            ns.mount(path, path, None, ns.MS_BIND | ns.MS_REC)
            ns.set_read_only(path, recursive=True)
    for path in _MASKED:
        if os.path.isdir(path):
            flags = ns.MS_RDONLY | ns.MS_NOSUID | ns.MS_NODEV | ns.MS_NOEXEC
            ns.mount("tmpfs", path, "tmpfs", flags, "mode=755,size=0k,nr_inodes=2")
        elif os.path.exists(path):
            ns.mount("/dev/null", path, None, ns.MS_BIND)


def devices(folder: str, users: PodUsers, terminal: str = "") -> None:
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
    """Binds files and volumes in a container's root, which is the root of this process. `foreign`: folders that belong to the
    host or the image, in which nothing is created; `needed`: (descriptor, path) of what is there read-only, also below volumes.

    The old root still lies over this one, so that a link to `/..` leads to it: paths are `resolved` before anything is done with
    them.
    """

    def __init__(
        self, scratch: int, foreign: list[str], users: PodUsers, needed: list[tuple[int, str]] | None = None
    ) -> None:
        self._scratch, self._foreign, self._users, self._needed = scratch, foreign, users, needed or []
        self._own: set[str] = set()  # below foreign folders, and the container's nevertheless
        self._mirrors = 0
        self._writable: list[str] = []  # volumes
        self._bind_needed("/")

    def _bind_needed(self, folder: str) -> None:
        """Bind what is needed below a folder that was just mounted."""
        for fd, path in self._needed:
            if below(path, folder):
                real = resolved(path)
                self._make_point(fd, real)
                ns.bind(fd, real, read_only=True, users=self._users.owners)

    def _make_point(self, fd: int, path: str) -> None:
        is_folder = os.path.isdir(f"/proc/self/fd/{fd}")
        missing = [path] if is_folder and not os.path.exists(path) else []
        above = os.path.dirname(path)
        while not os.path.exists(above):
            missing.append(above)
            above = os.path.dirname(above)
        for folder in reversed(missing):
            os.mkdir(folder)
            self._users.chown(folder)
        if not is_folder and not os.path.exists(path):
            with open(path, "a"):
                pass

    def bind(self, fd: int, target: str, mode: str) -> None:
        """Bind a volume, with its files' owners as the pod's users. Raises OSError for the root itself and for what lies in /proc."""
        real = resolved(target)
        if real == "/" or real == "/proc" or below(real, "/proc"):
            raise OSError(errno.EINVAL, f"nothing can be mounted at {target}: it leads to {real}")
        if not os.path.exists(real):
            existing = _nearest(real)
            if not self.is_own(existing):
                self._mirrors += 1
                _mirror(existing, f"/proc/self/fd/{self._scratch}/{self._mirrors}")
                self._own.add(existing)
            self._make_point(fd, real)
        ns.bind(fd, real, users=self._users.owners)
        self._bind_needed(real)
        if mode == "ro":
            ns.set_read_only(real)
        if mode != "ro":
            self._own.add(real)
            self._writable.append(real)

    def seal(self) -> None:
        """Remount everything read-only but /proc, /dev/shm and writable volumes."""
        ns.set_read_only("/", recursive=True)
        for place in ("/proc", "/dev/shm", *self._writable):
            if os.path.ismount(place) or place in self._writable:
                ns.set_read_only(place, False)

    def is_own(self, path: str) -> bool:
        """Whether files can be created below a path without touching the host or the image."""
        own = any(path == o or below(path, o) for o in self._own)
        return own or not any(path == f or below(path, f) for f in self._foreign)


def resolved(path: str) -> str:
    """A path without links, for which the root is its own parent. Raises OSError for links that go in circles."""
    real = os.path.realpath(path)
    parts = real.split("/")
    if any(os.path.islink("/".join(parts[:end])) for end in range(2, len(parts) + 1)):
        raise OSError(errno.ELOOP, f"{path} is a circle of links")
    return real


def open_path(path: str) -> int:
    try:
        return os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError as error:
        raise OSError(error.errno, f"{path}: {error.strerror}") from None


def below(path: str, folder: str) -> bool:
    return path != folder and path.startswith(folder.rstrip("/") + "/")


def _outermost(paths: list[str]) -> list[str]:
    """Existing paths and what they lead to, without those that lie in others or in system folders."""
    named = {os.path.abspath(p) for p in paths}
    found = sorted(p for p in named | {os.path.realpath(p) for p in named} if os.path.exists(p))
    found = [p for p in found if p != "/" and p.split("/")[1] not in _SYSTEM]
    return [p for p in found if not any(below(p, q) for q in found)]


def _nearest(path: str) -> str:
    """The nearest existing folder above a path that does not exist; the path itself if it does."""
    while not os.path.exists(path):
        path = os.path.dirname(path)
    return path


def _mirror(folder: str, scratch: str) -> None:
    """Replace a folder by a temporary one with the same entries."""
    os.makedirs(scratch, exist_ok=True)
    ns.mount(folder, scratch, None, ns.MS_BIND | ns.MS_REC)
    ns.mount("tmpfs", folder, "tmpfs", ns.MS_NOSUID | ns.MS_NODEV, "mode=755,size=1m")
    fill(scratch, folder)


def fill(origin: str, folder: str) -> None:
    """Give an empty folder the entries of another."""
    for entry in os.listdir(origin):
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
