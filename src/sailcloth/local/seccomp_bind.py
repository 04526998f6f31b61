"""Replaces a process's sockets where it binds them or listens on them, as reported by seccomp. Needs Linux 5.9 or newer, on
x86_64 or aarch64.

At bind(2), a socket is replaced by a listening socket of the host's network: so a pod's port is published without a relay. Of
the container's memory only the address is read; its port selects one of the sockets for this pod. At listen(2), a proxy's socket
is noted, and the proxy's next process gets it again (`ListeningSockets`).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import platform
import select
import socket
import struct
from collections.abc import Iterable

from sailcloth.lib import namespaces as ns

_MACHINES = {"x86_64": (0xC000003E, 49, 50, 317), "aarch64": (0xC00000B7, 200, 201, 277)}
_PIDFD_GETFD = 438
_RECV, _SEND, _ADDFD = 0xC0502100, 0xC0182101, 0x40182103


class _Instruction(ctypes.Structure):
    _fields_ = [("code", ctypes.c_ushort), ("jt", ctypes.c_ubyte), ("jf", ctypes.c_ubyte), ("k", ctypes.c_uint32)]


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.POINTER(_Instruction))]


def install_filter(listen: bool = False) -> int:
    """Install the filter for bind(2), or for listen(2); call it in the child before exec. Returns the notification descriptor
    for the supervisor."""
    arch, nr_bind, nr_listen, nr_seccomp = _MACHINES[platform.machine()]
    steps = [
        (0x20, 0, 0, 4),
        (0x15, 0, 3, arch),
        (0x20, 0, 0, 0),
        (0x15, 0, 1, nr_listen if listen else nr_bind),
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


class ListeningSockets:
    """Listening sockets of a proxy that outlive its process: whoever connects meanwhile waits until the next one accepts.

    They are those of a few ports that every process of the proxy listens on, `count` sockets each. As long as they are held,
    nobody is refused; `release` when the proxy is to end, or does not come back.
    """

    def __init__(self, ports: Iterable[int], count: int) -> None:
        self._ports, self._count = frozenset(ports), count
        self._held: dict[int, list[int]] = {}
        self._used: dict[int, int] = {}  # by the current process
        self.released = False

    def restart(self) -> None:
        """A new process of the proxy starts."""
        self._used.clear()

    def release(self) -> None:
        """Close all sockets. Those of a running process are its own as before."""
        for fds in self._held.values():
            for fd in fds:
                os.close(fd)
        self._held.clear()
        self.released = True

    def listen(self, fd: int) -> int:
        """For a socket that the process is about to listen on: the one to take instead, or -1. Takes over `fd`."""
        try:
            with socket.socket(fileno=os.dup(fd)) as known:
                port = known.getsockname()[1] if known.family in (socket.AF_INET, socket.AF_INET6) else 0
        except OSError:
            port = 0
        held = self._held.setdefault(port, [])
        # A listener was updated and keeps its socket
        again = any(os.fstat(h).st_ino == os.fstat(fd).st_ino for h in held)
        if port not in self._ports or self.released or again:
            os.close(fd)
            return -1
        used = self._used[port] = self._used.get(port, 0) + 1
        if used > self._count:  # it replaces its listener, whose old socket nobody will accept on any more
            os.close(fd)
            self.release()
            return -1
        if used <= len(held):
            os.close(fd)
            return held[used - 1]
        held.append(fd)
        return -1


def handle_notification(fd: int, sockets: dict[int, int] | ListeningSockets) -> None:
    """Handle one notification: of bind for a mapping of ports to listening sockets, of listen for `ListeningSockets`.
    Raises OSError when the filter is gone."""
    notification = bytearray(80)
    try:
        fcntl.ioctl(fd, _RECV, notification)
    except OSError as error:
        if error.errno == errno.EINTR or (error.errno == errno.ENOENT and not _hung_up(fd)):
            return  # the process that made the call is gone, others may make it
        raise
    ident, pid, _, _, _, _, first, second, third = struct.unpack_from("=QIIiIQQQQ", notification)
    number = first & 0xFFFFFFFF
    if isinstance(sockets, ListeningSockets):
        swap = _listening(sockets, pid, number)
    else:
        swap = _bound(sockets, pid, second, third)
    listens = isinstance(sockets, ListeningSockets)
    try:
        if swap >= 0:
            with contextlib.suppress(OSError) if listens else contextlib.nullcontext():  # then it listens on its own
                fcntl.ioctl(fd, _ADDFD, struct.pack("=QIIII", ident, 1, swap, number, os.O_CLOEXEC))
        # A replaced socket is bound already; listening again on one that listens does no harm.
        proceed = 0 if swap >= 0 and not listens else 1
        fcntl.ioctl(fd, _SEND, bytearray(struct.pack("=QqiI", ident, 0, 0, proceed)))
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise


def _bound(sockets: dict[int, int], pid: int, address_at: int, length: int) -> int:
    """The socket for the address that a process binds; -1 for none."""
    try:
        with open(f"/proc/{pid}/mem", "rb", 0) as memory:
            memory.seek(address_at)
            address = memory.read(min(length, 128))
        if struct.unpack_from("=H", address)[0] in (2, 10):
            return sockets.get(struct.unpack_from(">H", address, 2)[0], -1)
    except (OSError, struct.error):
        pass
    return -1


def _listening(sockets: ListeningSockets, pid: int, number: int) -> int:
    """The socket for the one that a process listens on; -1 for its own."""
    try:
        process = os.pidfd_open(pid)
        try:
            fd = int(ctypes.CDLL(None, use_errno=True).syscall(_PIDFD_GETFD, process, number, 0))
        finally:
            os.close(process)
    except OSError:
        return -1
    return sockets.listen(fd) if fd >= 0 else -1
