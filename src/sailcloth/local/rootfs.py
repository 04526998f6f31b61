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
from .pod_users import PodUsers

_WRITABLE = ("tmp", "run", "var/tmp", "var/run", "var/log", "var/cache", "root", "home")


def container(request: dict[str, Any], users: PodUsers) -> None:
    """As `mounts.container`, with `root`: the folder that is to be the root. Raises OSError."""
    mounts.set_up(request, users, lambda scratch: _layered(request["root"], scratch, users))


def _layered(image: str, scratch: str, users: PodUsers) -> tuple[str, list[str]]:
    """Where the new root is mounted, and the folders in it that cannot be written to."""
    root, lower = f"{scratch}/root", f"{scratch}/image"
    os.makedirs(root, exist_ok=True)
    os.makedirs(lower, exist_ok=True)
    _bind(image, lower, users)
    for place in (f"{scratch}/layer", f"{scratch}/memory"):
        shutil.rmtree(place, ignore_errors=True)
        os.makedirs(place)
        if place.endswith("memory"):  # upper folders cannot lie on every file system: on overlay itself, for one
            ns.mount("tmpfs", place, "tmpfs", ns.MS_NOSUID | ns.MS_NODEV, "mode=755")
        _bind(place, place, users)
        upper, work = f"{place}/upper", f"{place}/work"
        os.makedirs(upper)
        os.makedirs(work)
        os.chmod(upper, 0o755)  # noqa: S103  it becomes the container's `/`
        users.chown(upper)
        if any(c in lower + place for c in ":,\\"):  # the characters that separate its options
            continue
        for more in ("userxattr,", ""):
            with contextlib.suppress(OSError):
                options = f"{more}lowerdir={lower},upperdir={upper},workdir={work}"
                ns.mount("overlay", root, "overlay", ns.MS_NOSUID | ns.MS_NODEV, options)
                with contextlib.suppress(OSError):
                    os.chmod(f"{work}/work", 0o700)  # made without rights, so that its owner could not remove it
                return root, []
    ns.mount("tmpfs", root, "tmpfs", ns.MS_NOSUID | ns.MS_NODEV, users.options("mode=755,size=1m"))
    mounts.fill(lower, root)
    foreign = []
    for entry in os.listdir(root):
        place = f"{root}/{entry}"
        if not os.path.islink(place):
            ns.set_read_only(place)
            foreign.append(f"/{entry}")
    for name in _WRITABLE:
        place = f"{root}/{name}"
        if os.path.isdir(place) and not os.path.islink(place):
            ns.mount("tmpfs", place, "tmpfs", ns.MS_NOSUID | ns.MS_NODEV, users.options("mode=1777"))
            foreign = [f for f in foreign if f != f"/{name}"]
    return root, foreign


def _bind(source: str, target: str, users: PodUsers) -> None:
    fd = mounts.open_path(source)
    try:
        ns.bind(fd, target, users=users.owners)
    finally:
        os.close(fd)
