"""Linux namespaces, mounts and capabilities through libc. Must not know what they are used for."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import signal
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

NEWNS, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET = 0x20000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = (
    1,
    2,
    4,
    8,
    32,
    4096,
    16384,
    1 << 18,
)
_PR_SET_PDEATHSIG, _PR_CAPBSET_DROP, _PR_SET_SECUREBITS, PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT = 1, 24, 28, 38, 47
_PR_SET_DUMPABLE = 4
CAP_NET_BIND_SERVICE, CAP_NET_ADMIN, CAP_NET_RAW = 10, 12, 13
_OPEN_TREE, _MOVE_MOUNT, _OPENAT2, _MOUNT_SETATTR = 428, 429, 437, 442  # the same on every processor
_AT_EMPTY_PATH, _AT_RECURSIVE = 0x1000, 0x8000
_OPEN_TREE_CLONE, _OPEN_TREE_CLOEXEC, _MOVE_MOUNT_FROM_EMPTY_PATH = 1, 0x80000, 4
_ATTR_RDONLY, _ATTR_NOSUID, _ATTR_NODEV, _ATTR_IDMAP = 1, 2, 4, 0x100000
_RESOLVE_BENEATH = 0x08

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def unshare(flags: int) -> None:
    """Move to new namespaces. NEWNET is per thread; the others need a single-threaded process."""
    _check(_libc.unshare(flags), f"unshare({flags:#x})")


def setns(fd: int, flags: int = 0) -> None:
    _check(_libc.setns(fd, flags), "setns")


def prctl(operation: int, a: int = 0, b: int = 0, c: int = 0, d: int = 0) -> int:
    longs = (ctypes.c_ulong(x) for x in (a, b, c, d))
    return _check(_libc.prctl(operation, *longs), f"prctl({operation})")


def die_with_parent(number: int = signal.SIGKILL) -> None:
    """Make the kernel signal this process when its parent ends. Call after unshare(NEWUSER), which clears the setting."""
    prctl(_PR_SET_PDEATHSIG, int(number))


def sethostname(name: str) -> None:
    raw = name.encode()
    _check(_libc.sethostname(raw, len(raw)), "sethostname")


def mount(source: str, target: str, kind: str | None = None, flags: int = 0, data: str | None = None) -> None:
    def encoded(text: str | None) -> bytes | None:
        return None if text is None else os.fsencode(text)

    result = _libc.mount(encoded(source), encoded(target), encoded(kind), ctypes.c_ulong(flags), encoded(data))
    _check(result, f"mount({source}, {target})")


def pivot_root(new: str, before_old_goes: Callable[[], None] | None = None) -> None:
    """Make the mount point `new` the root of this mount namespace, and unmount the old root.

    While `before_old_goes` runs, paths are those of the new root, and descriptors of the old one can still be bound. What it mounts
    over the new root itself would be unmounted in the old one's place: that raises OSError, and so does an old root that stays.
    """
    os.chdir(new)
    _check(_libc.pivot_root(b".", b"."), f"pivot_root({new})")
    if before_old_goes is not None:
        before_old_goes()
    _check(_libc.umount2(b".", 2), "umount of the old root")  # MNT_DETACH
    os.chdir("/")
    if not os.path.samestat(os.stat("/"), os.stat("/..")):  # above the root is what is mounted over it
        raise OSError(errno.EBUSY, "something is mounted over the new root")


class _MountAttributes(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("set", "clear", "propagation", "user_namespace")]


def _set_attributes(fd: int, path: str, wanted: _MountAttributes, flags: int) -> None:
    result = _libc.syscall(_MOUNT_SETATTR, fd, os.fsencode(path), flags, ctypes.byref(wanted), ctypes.sizeof(wanted))
    _check(result, f"mount_setattr({path})")


def set_read_only(path: str, read_only: bool = True, recursive: bool = False) -> None:
    """Change the read-only flag of a mount (not of its file system); keep its other flags."""
    wanted = _MountAttributes(set=_ATTR_RDONLY if read_only else 0, clear=0 if read_only else _ATTR_RDONLY)
    _set_attributes(-100, path, wanted, _AT_RECURSIVE if recursive else 0)


def bind(fd: int, target: str, *, read_only: bool = False, users: int = -1) -> None:
    """Bind what `fd` refers to, with the mounts below it, without set-user-ID programs and devices.

    `users`: a user namespace; its user N then appears as the owner of what user N owns on disk (an idmapped mount). A kernel or
    file system that has no such mounts shows the owners as they are.
    """
    tree = _clone(fd)
    try:
        if users >= 0:
            try:
                wanted = _MountAttributes(set=_ATTR_IDMAP, user_namespace=users)
                _set_attributes(tree, "", wanted, _AT_EMPTY_PATH | _AT_RECURSIVE)
            except OSError:
                os.close(tree)
                tree = _clone(fd)
        more = _MountAttributes(set=_ATTR_NOSUID | _ATTR_NODEV | (_ATTR_RDONLY if read_only else 0))
        _set_attributes(tree, "", more, _AT_EMPTY_PATH | _AT_RECURSIVE)
        result = _libc.syscall(_MOVE_MOUNT, tree, b"", -100, os.fsencode(target), _MOVE_MOUNT_FROM_EMPTY_PATH)
        _check(result, f"move_mount({target})")
    finally:
        os.close(tree)


def _clone(fd: int) -> int:
    flags = _AT_EMPTY_PATH | _AT_RECURSIVE | _OPEN_TREE_CLONE | _OPEN_TREE_CLOEXEC
    return _check(_libc.syscall(_OPEN_TREE, fd, b"", flags), "open_tree")


class _OpenHow(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("flags", "mode", "resolve")]


def open_beneath(folder: int, path: str, flags: int = os.O_PATH) -> int:
    """Open a path inside a folder. Raises OSError with EXDEV if it, or a symbolic link on its way, leads out of the folder."""
    how = _OpenHow(flags=flags | os.O_CLOEXEC, resolve=_RESOLVE_BENEATH)
    result = _libc.syscall(_OPENAT2, folder, os.fsencode(path or "."), ctypes.byref(how), ctypes.sizeof(how))
    return _check(result, path)


def new_user_namespace(ranges: list[tuple[int, int, int]], more: int = 0) -> list[int]:
    """A user namespace with these ranges of users and groups: (first inside, first of this one's, number).

    Returns its descriptor, and that of a network namespace that belongs to it if `more` is NEWNET. Needs one thread.
    """
    ready, is_ready = os.pipe2(os.O_CLOEXEC)
    end, is_end = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        try:
            os.close(is_end)
            os.close(ready)
            unshare(NEWUSER | more)
            os.write(is_ready, b"x")
            os.read(end, 1)
        finally:
            os._exit(0)
    os.close(is_ready)
    os.close(end)
    try:
        if not os.read(ready, 1):
            raise OSError(errno.EPERM, "unshare(NEWUSER): not permitted")
        text = "".join(f"{inside} {outside} {number}\n" for inside, outside, number in ranges)
        for name in ("uid_map", "gid_map"):
            with open(f"/proc/{pid}/{name}", "w") as file:
                file.write(text)
        kinds = ["user", *(["net"] if more & NEWNET else [])]
        return [os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC) for kind in kinds]
    finally:
        os.close(ready)
        os.close(is_end)
        os.waitpid(pid, 0)


def set_dumpable(dumpable: bool) -> None:
    """Whether processes of the same user may trace this one and read its memory; exec makes it so again."""
    prctl(_PR_SET_DUMPABLE, int(dumpable))


def become(uid: int, gid: int, groups: list[int]) -> None:
    """Be this user, and keep the capabilities that this process has."""
    prctl(_PR_SET_SECUREBITS, 0x4)  # NO_SETUID_FIXUP
    with contextlib.suppress(PermissionError):  # denied where only one group of the host has a number
        os.setgroups(groups)
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)


def show_as(uid: int, gid: int) -> None:
    """Move to a new user namespace in which this process and its children have these ids. Other processes see no change."""
    outer_uid, outer_gid = os.geteuid(), os.getegid()
    unshare(NEWUSER)
    for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {outer_uid} 1"), ("gid_map", f"{gid} {outer_gid} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def one_user() -> bool:
    """Whether this process's user namespace maps only one user of the host."""
    with open("/proc/self/uid_map") as ranges:
        return sum(int(line.split()[2]) for line in ranges) == 1


def in_netns(fd: int, make: Callable[[], T]) -> T:
    """Run a function in a temporary thread inside a network namespace; returns its result."""

    def joined() -> T:
        setns(fd, NEWNET)
        return make()

    return _in_thread(joined)


def new_netns() -> int:
    """A new network namespace; it exists while the returned file descriptor is open."""

    def make() -> int:
        unshare(NEWNET)
        return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    return _in_thread(make)


def _in_thread(make: Callable[[], T]) -> T:
    result: dict[str, Any] = {}

    def run() -> None:
        try:
            result["value"] = make()
        except BaseException as error:
            result["error"] = error

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if "error" in result:
        raise result["error"]
    return result["value"]  # type: ignore[no-any-return]


class _Header(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class _Data(ctypes.Structure):
    _fields_ = [("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32)]


def keep_capabilities(keep: tuple[int, ...] = ()) -> None:
    """Drop all other capabilities for ever: bounding set, securebits without root privileges, no_new_privs."""
    with open("/proc/sys/kernel/cap_last_cap") as file:
        last = int(file.read())
    for capability in range(last + 1):
        if capability not in keep:
            prctl(_PR_CAPBSET_DROP, capability)
    prctl(_PR_SET_SECUREBITS, 0x2F)
    mask = sum(1 << c for c in keep)
    low, high = mask & 0xFFFFFFFF, mask >> 32
    data = (_Data * 2)(_Data(low, low, low), _Data(high, high, high))
    header = _Header(0x20080522, 0)
    _check(_libc.capset(ctypes.byref(header), data), "capset")
    for capability in keep:
        prctl(_PR_CAP_AMBIENT, 2, capability)
    prctl(PR_SET_NO_NEW_PRIVS, 1)
