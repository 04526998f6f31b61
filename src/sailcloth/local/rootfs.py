"""Containers whose image is a root file system: they see it as theirs, may write to it, and never change it.

A layer of the container's own lies over the image's folder (overlay). A kernel that does not allow that in a user namespace
gives a root that is read-only but for the folders that programs usually write to.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from typing import Any

from sailcloth.lib import namespaces as ns

from . import mounts

_ETC = ("resolv.conf", "hosts", "hostname")
_WRITABLE = ("tmp", "run", "var/tmp", "var/run", "var/log", "var/cache", "root", "home")


def container(request: dict[str, Any]) -> None:
    """As `mounts.container`, with `root`: the folder that is to be the root. Raises OSError."""
    ns.unshare(ns.NEWNS)
    ns.mount("none", "/", None, ns.MS_REC | ns.MS_PRIVATE)
    scratch = mounts.open_path(request["scratch"])
    sources = [(mounts.open_path(source), target, mode) for source, target, mode in request.get("mounts", ())]
    etc = [(mounts.open_path(f"{request['etc']}/{name}"), name) for name in _ETC] if request.get("etc") else []
    root, whole = _layered(request["root"], request["scratch"])
    _kernel_folders(root, request.get("terminal", ""))

    def fill() -> None:
        view = mounts.ContainerMounts(scratch, ["/"] if whole else ["/dev", *(f"/{w}" for w in _WRITABLE)], [])
        for fd, name in etc:
            view.bind(fd, f"/etc/{name}", "rw")
        for fd, target, mode in sources:
            view.bind(fd, target, mode)
        folder = request.get("cwd") or "/"
        if whole and not os.path.exists(folder):
            os.makedirs(folder)
        if request.get("read_only"):
            view.seal()

    ns.pivot_root(root, fill)


def _layered(image: str, scratch: str) -> tuple[str, bool]:
    """Where the new root is mounted, and whether all of it can be written to."""
    root = f"{scratch}/root"
    os.makedirs(root, exist_ok=True)
    for place in (f"{scratch}/layer", f"{scratch}/memory"):
        shutil.rmtree(place, ignore_errors=True)
        if place.endswith("memory"):  # upper folders cannot lie on every file system: on overlay itself, for one
            os.makedirs(place)
            ns.mount("tmpfs", place, "tmpfs", ns.MS_NOSUID | ns.MS_NODEV, "mode=755")
        upper, work = f"{place}/upper", f"{place}/work"
        os.makedirs(upper)
        os.makedirs(work)
        os.chmod(upper, 0o755)
        if any(c in image + place for c in ":,\\"):  # the characters that separate its options
            continue
        for more in ("userxattr,", ""):
            with contextlib.suppress(OSError):
                options = f"{more}lowerdir={image},upperdir={upper},workdir={work}"
                ns.mount("overlay", root, "overlay", ns.MS_NOSUID | ns.MS_NODEV, options)
                with contextlib.suppress(OSError):
                    os.chmod(f"{work}/work", 0o700)  # made without rights, so that its owner could not remove it
                return root, True
    ns.mount("tmpfs", root, "tmpfs", ns.MS_NOSUID | ns.MS_NODEV, "mode=755,size=1m")
    mounts.fill(image, root)
    for entry in os.listdir(root):
        place = f"{root}/{entry}"
        if not os.path.islink(place):
            ns.set_read_only(place)
    for name in _WRITABLE:
        place = f"{root}/{name}"
        if os.path.isdir(place) and not os.path.islink(place):
            ns.mount("tmpfs", place, "tmpfs", ns.MS_NOSUID | ns.MS_NODEV, "mode=1777")
    return root, False


def _kernel_folders(root: str, terminal: str) -> None:
    """/proc, /sys and /dev. Only what is a folder of the image itself is mounted over: a link could lead out."""
    for name in ("proc", "sys", "dev"):
        place = f"{root}/{name}"
        if not os.path.lexists(place):
            os.mkdir(place)
        elif os.path.islink(place) or not os.path.isdir(place):
            raise OSError(f"the image's /{name} is no folder")
    for name in ("proc", "sys"):  # the pod's
        ns.mount(f"/{name}", f"{root}/{name}", None, ns.MS_BIND | ns.MS_REC)
    mounts.devices(f"{root}/dev", terminal)
