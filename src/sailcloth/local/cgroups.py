"""Enforces memory and CPU limits of containers with control groups, where this user may create them.

Outside the cluster's namespaces, `prepare` creates the cluster's group and `remove` deletes it; inside, `Groups` creates one for
each container with limits. Version 1 has a hierarchy per controller, version 2 a single one, which is used only where it is
delegated (systemd-run --user --scope -p Delegate=yes). Without control groups a cluster works, and limits are not enforced.
Source: the kernel's documents on cgroup-v1 and cgroup-v2.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from pathlib import Path

CONTROLLERS = ("memory", "cpu")
_PERIOD_US = 100_000
_MIN_QUOTA_US = 1_000
_BUSY_S = 1.0  # how long a group may still be busy after its last process was told to end


def usable() -> list[str]:
    """The controllers that a cluster of this user would have."""
    folders = prepare(f"sailcloth-{os.getpid()}")
    remove(folders)
    return sorted(folders)


def prepare(name: str) -> dict[str, str]:
    """Create a cluster's group, replacing an old one. Returns its directory by usable controller."""
    out: dict[str, str] = {}
    for controller, above in _current_groups().items():
        folder = above / name
        try:
            _clear(folder)
            folder.mkdir()
            if not (folder / _file(folder, controller)).exists() or not _can_join(folder):
                raise OSError(errno.EPERM, "not for this user")
        except OSError:
            with contextlib.suppress(OSError):
                folder.rmdir()
        else:
            out[controller] = str(folder)
    return out


def remove(folders: dict[str, str]) -> None:
    """Delete a cluster's group after its processes have exited."""
    for folder in set(folders.values()):
        with contextlib.suppress(OSError):
            _clear(Path(folder))


class Groups:
    """The groups of one cluster's containers."""

    def __init__(self, folders: dict[str, str]) -> None:
        self._folders = {controller: Path(folder) for controller, folder in folders.items()}
        self._busy: set[Path] = set()  # to be removed, and not free yet

    def make(self, pod: str, container: str, memory: int, cpu: float) -> list[int]:
        """A group for one run of a container, of at most `memory` bytes and `cpu` processors; 0 is without limit.

        Returns a descriptor for each folder: a process that writes 0 to it is in the group. Raises OSError.
        """
        wanted = {"memory": memory, "cpu": cpu}
        out: dict[Path, int] = {}
        try:
            for controller, above in self._folders.items():
                if not wanted[controller]:
                    continue
                folder = above / pod / container
                if folder not in out:
                    folder.mkdir(parents=True, exist_ok=True)
                    if _unified(above):
                        for each in (above, above / pod):
                            _delegate(each)
                    out[folder] = os.open(folder / "cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)
                limit = _memory if controller == "memory" else _cpu
                limit(folder, wanted[controller])
        except OSError:
            for fd in out.values():
                os.close(fd)
            raise
        return list(out.values())

    def oom_killed(self, pod: str, container: str) -> bool:
        """Whether the kernel killed a process of the container for lack of memory."""
        if "memory" not in self._folders:
            return False
        folder = self._folders["memory"] / pod / container
        words = _read(folder / ("memory.events" if _unified(folder) else "memory.oom_control")).split()
        return "oom_kill" in words and int(words[words.index("oom_kill") + 1]) > 0

    def remove(self, pod: str, container: str = "") -> None:
        """Delete the group of a container's run, or all groups of a pod. Busy ones are deleted at the next call."""
        self._busy |= {above / pod / container for above in self._folders.values()}
        for folder in list(self._busy):
            with contextlib.suppress(OSError):
                _clear(folder, 0)
                self._busy.discard(folder)


def _memory(folder: Path, limit: float) -> None:
    size = str(int(limit))
    (folder / _file(folder, "memory")).write_text(size)
    if _unified(folder):
        _try(folder / "memory.swap.max", "0")
        _try(folder / "memory.oom.group", "1")
    else:
        _try(folder / "memory.memsw.limit_in_bytes", size)


def _cpu(folder: Path, limit: float) -> None:
    quota = max(_MIN_QUOTA_US, int(limit * _PERIOD_US))
    if _unified(folder):
        (folder / "cpu.max").write_text(f"{quota} {_PERIOD_US}")
    else:
        (folder / "cpu.cfs_period_us").write_text(str(_PERIOD_US))
        (folder / "cpu.cfs_quota_us").write_text(str(quota))


def _file(folder: Path, controller: str) -> str:
    """The file that shows that a folder has a controller's limits."""
    if controller == "memory":
        return "memory.max" if _unified(folder) else "memory.limit_in_bytes"
    return "cpu.max" if _unified(folder) else "cpu.cfs_quota_us"


def _current_groups() -> dict[str, Path]:
    """Where groups can be made below this process's own, for each controller."""
    own: dict[str, str] = {}
    for line in _read("/proc/self/cgroup").splitlines():
        _, names, path = line.split(":", 2)
        own.update(dict.fromkeys(names.split(","), path))
    out: dict[str, Path] = {}
    unified: Path | None = None
    for line in _read("/proc/self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        root, point = before.split()[3:5]
        kind, _, options = after.split()[:3]
        if kind == "cgroup":
            for controller in set(options.split(",")) & set(CONTROLLERS):
                out[controller] = _below(point, root, own.get(controller, "/"))
        elif kind == "cgroup2":
            unified = _below(point, root, own.get("", "/"))
    if not out and unified is not None and _delegated(unified, own.get("", "/")):
        with contextlib.suppress(OSError):
            _delegate(unified)
            out = {c: unified for c in CONTROLLERS if c in _read(unified / "cgroup.subtree_control").split()}
    return {c: folder for c, folder in out.items() if os.access(folder, os.W_OK)}


def _below(point: str, root: str, path: str) -> Path:
    """A group's folder, where the mount may show only a part of the hierarchy."""
    if root != "/" and (path == root or path.startswith(root + "/")):
        path = path[len(root) :]
    return Path(point + path) if path != "/" else Path(point)


def _delegated(folder: Path, path: str) -> bool:
    if not all(os.access(folder / name, os.W_OK) for name in ("cgroup.procs", "cgroup.subtree_control")):
        return False
    for name in ("user.delegate", "trusted.delegate"):
        with contextlib.suppress(OSError):
            if os.getxattr(folder, name) == b"1":
                return True
    return path == "/"  # the whole of a container's, or a host without systemd


def _delegate(folder: Path) -> None:
    """Let a folder's groups have its controllers; its own processes move to one of them, since it may have none then."""
    control = folder / "cgroup.subtree_control"
    missing = (set(CONTROLLERS) & set(_read(folder / "cgroup.controllers").split())) - set(_read(control).split())
    if not missing:
        return
    wanted = " ".join(f"+{c}" for c in sorted(missing))
    try:
        control.write_text(wanted)
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        beside = folder / "init"
        beside.mkdir(exist_ok=True)
        for pid in _read(folder / "cgroup.procs").split():
            _try(beside / "cgroup.procs", pid)
        control.write_text(wanted)


def _can_join(folder: Path) -> bool:
    """Whether a process may enter: permissions do not tell."""
    pid = os.fork()
    if pid == 0:
        try:
            (folder / "cgroup.procs").write_text("0")
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitpid(pid, 0)[1] == 0


def _clear(folder: Path, wait_s: float = _BUSY_S) -> None:
    """Remove a group and those in it. Raises OSError if one stays busy."""
    if not folder.is_dir():
        return
    for each in folder.iterdir():
        if each.is_dir():
            _clear(each, wait_s)
    end = time.monotonic() + wait_s
    while True:
        try:
            folder.rmdir()
            return
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() >= end:
                raise
        time.sleep(0.01)


def _unified(folder: Path) -> bool:
    return (folder / "cgroup.controllers").exists()


def _read(path: str | Path) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def _try(path: Path, text: str) -> None:
    with contextlib.suppress(OSError):
        path.write_text(text)
