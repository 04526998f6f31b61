"""Publishes a pod's port on the host without a relay: seccomp reports the pod's bind(2), and its socket is replaced by a
listening socket of the host's network. Needs Linux 5.9 or newer, on x86_64 or aarch64.

Of the container's memory only the address argument of bind is read; its port selects one of the sockets for this pod.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import platform
import select
import struct

from sailcloth.lib import namespaces as ns

_MACHINES = {"x86_64": (0xC000003E, 49, 317), "aarch64": (0xC00000B7, 200, 277)}
_RECV, _SEND, _ADDFD = 0xC0502100, 0xC0182101, 0x40182103


class _Instruction(ctypes.Structure):
    _fields_ = [("code", ctypes.c_ushort), ("jt", ctypes.c_ubyte), ("jf", ctypes.c_ubyte), ("k", ctypes.c_uint32)]


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.POINTER(_Instruction))]


def install_filter() -> int:
    """Install the filter; call it in the child before exec. Returns the notification descriptor for the supervisor."""
    arch, nr_bind, nr_seccomp = _MACHINES[platform.machine()]
    steps = [
        (0x20, 0, 0, 4),
        (0x15, 0, 3, arch),
        (0x20, 0, 0, 0),
        (0x15, 0, 1, nr_bind),
        (0x06, 0, 0, 0x7FC00000),  # notify
        (0x06, 0, 0, 0x7FFF0000),  # allow
    ]
    array = (_Instruction * len(steps))(*[_Instruction(*s) for s in steps])
    ns.prctl(ns.PR_SET_NO_NEW_PRIVS, 1)
    libc = ctypes.CDLL(None, use_errno=True)
    fd = int(libc.syscall(nr_seccomp, 1, 8, ctypes.byref(_Program(len(steps), array))))
    if fd < 0:
        raise OSError(ctypes.get_errno(), "seccomp")
    return fd


def _hung_up(fd: int) -> bool:
    """Whether no process is left that the filter holds for: the descriptor stays readable for ever then."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return any(events & select.POLLHUP for _, events in poll.poll(0))


def handle_notification(fd: int, sockets: dict[int, int]) -> None:
    """Handle one bind notification. `sockets` maps ports to listening sockets. Raises OSError when the filter is gone."""
    notification = bytearray(80)
    try:
        fcntl.ioctl(fd, _RECV, notification)
    except OSError as error:
        if error.errno == errno.EINTR or (error.errno == errno.ENOENT and not _hung_up(fd)):
            return  # the process that called bind is gone, others may call it
        raise
    ident, pid, _, _, _, _, first, second, third = struct.unpack_from("=QIIiIQQQQ", notification)
    swap = None
    try:
        with open(f"/proc/{pid}/mem", "rb", 0) as memory:
            memory.seek(second)
            address = memory.read(min(third, 128))
        if struct.unpack_from("=H", address)[0] in (2, 10):
            swap = sockets.get(struct.unpack_from(">H", address, 2)[0])
    except (OSError, struct.error):
        pass
    try:
        if swap is not None:
            fcntl.ioctl(fd, _ADDFD, struct.pack("=QIIII", ident, 1, swap, first & 0xFFFFFFFF, os.O_CLOEXEC))
            fcntl.ioctl(fd, _SEND, bytearray(struct.pack("=QqiI", ident, 0, 0, 0)))
        else:
            fcntl.ioctl(fd, _SEND, bytearray(struct.pack("=QqiI", ident, 0, 0, 1)))
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise
