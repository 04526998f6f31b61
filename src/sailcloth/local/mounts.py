"""Mounts of pods and containers. Mount points that the host does not have are made without touching the host: the nearest
existing folder is replaced, in this mount namespace only, by a temporary one that mirrors it."""

from __future__ import annotations

import contextlib
import os
import sys

from sailcloth.lib import namespaces as ns

_KEPT = "/run/.sailcloth"


def pod(directory: str) -> None:
    """A pod's own view: /proc, an empty /run, its own name resolution files."""
    ns.mount("none", "/", None, ns.MS_REC | ns.MS_PRIVATE)
    with contextlib.suppress(OSError):  # not allowed inside some containers: then the host's stays
        ns.mount("proc", "/proc", "proc", ns.MS_NOSUID | ns.MS_NODEV | ns.MS_NOEXEC)
    with contextlib.suppress(OSError):  # without it /sys/class/net shows the host's interfaces
        ns.mount("sysfs", "/sys", "sysfs", ns.MS_RDONLY | ns.MS_NOSUID | ns.MS_NODEV | ns.MS_NOEXEC)
    ns.mount("tmpfs", "/run", "tmpfs", ns.MS_NOSUID | ns.MS_NODEV, "mode=755,size=16m")
    for name in ("resolv.conf", "hosts", "hostname", "nsswitch.conf"):
        _over(f"{directory}/etc/{name}", f"/etc/{name}")


def _over(source: str, target: str) -> None:
    real = os.path.realpath(target)
    if not os.path.exists(real):
        if not os.access(os.path.dirname(real), os.W_OK):
            return  # the host has no such file and its folder is not ours: programs go by their defaults
        os.makedirs(os.path.dirname(real), exist_ok=True)
        with open(real, "a"):
            pass
    ns.mount(source, real, None, ns.MS_BIND)


def apply(wanted: list[list[str]], scratch: str) -> None:
    """Bind [source, target, "ro" or "rw"] in order. `scratch` is an empty folder of the pod's own.

    Images are programs of the host here, so a volume over a parent folder of theirs (an emptyDir at /tmp, say) must not
    hide them: they are bound again inside it.
    """
    ns.mount("none", "/", None, ns.MS_REC | ns.MS_PRIVATE)
    counter = 0
    ours: set[str] = set()  # folders that are temporary and this container's own by now
    needed = _needed(os.path.dirname(os.path.dirname(scratch)))
    for source, target, mode in wanted:
        real = os.path.realpath(target)
        if not os.path.exists(real):
            existing = os.path.dirname(real)
            while not os.path.isdir(existing):
                existing = os.path.dirname(existing)
            if not _writable(existing) and not any(
                existing == o or existing.startswith(o.rstrip("/") + "/") for o in ours
            ):
                counter += 1
                _mirror(existing, f"{scratch}/{counter}")
                ours.add(existing)
            if os.path.isdir(source):
                os.makedirs(real, exist_ok=True)
            else:
                os.makedirs(os.path.dirname(real), exist_ok=True)
                with open(real, "a"):
                    pass
        hidden = [p for p in needed if p.startswith(real.rstrip("/") + "/")]
        for number, path in enumerate(hidden):
            os.makedirs(f"{_KEPT}/{number}", exist_ok=True)
            ns.mount(path, f"{_KEPT}/{number}", None, ns.MS_BIND | ns.MS_REC)
        ns.mount(source, real, None, ns.MS_BIND | ns.MS_REC)
        for number, path in enumerate(hidden):
            os.makedirs(path, exist_ok=True)
            ns.mount(f"{_KEPT}/{number}", path, None, ns.MS_BIND | ns.MS_REC)
        if mode == "ro":
            with contextlib.suppress(OSError):
                ns.mount("none", real, None, 32 | ns.MS_BIND | ns.MS_RDONLY)


def _needed(own: str) -> list[str]:
    """Folders that a container cannot do without: Python, this package, its environment, and the pod's own folder."""
    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    paths = sorted({os.path.realpath(p) for p in (sys.prefix, sys.base_prefix, package, own)})
    return [p for p in paths if not any(p.startswith(q + "/") for q in paths)]


def _writable(path: str) -> bool:
    """Whether it is a temporary file system of this pod: only there may folders be made."""
    return path == "/run" or path.startswith("/run/")


def _mirror(folder: str, scratch: str) -> None:
    """Replace a folder by a temporary one with the same entries."""
    os.makedirs(scratch, exist_ok=True)
    if folder == "/":  # nothing can be mounted over the root: a new one is made and moved into
        ns.mount("tmpfs", scratch, "tmpfs", ns.MS_NOSUID | ns.MS_NODEV, "mode=755,size=1m")
        _fill("", scratch)
        ns.pivot_root(scratch)
        return
    ns.mount(folder, scratch, None, ns.MS_BIND | ns.MS_REC)
    ns.mount("tmpfs", folder, "tmpfs", ns.MS_NOSUID | ns.MS_NODEV, "mode=755,size=1m")
    _fill(scratch, folder)


def _fill(origin: str, folder: str) -> None:
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
