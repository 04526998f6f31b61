"""Opens sockets in another network namespace: a socket stays in the namespace that it was created in."""

from __future__ import annotations

import asyncio
import ctypes
import os
import socket
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")
_CLONE_NEWNET = 0x40000000


def run_in(netns_fd: int, make: Callable[[], T]) -> T:
    """Run `make` in a short-lived thread that has joined the namespace (setns is per thread). A negative fd is the current one."""
    if netns_fd < 0:
        return make()
    result: list[Any] = []

    def run() -> None:
        try:
            libc = ctypes.CDLL(None, use_errno=True)
            if libc.setns(netns_fd, _CLONE_NEWNET) != 0:
                number = ctypes.get_errno()
                raise OSError(number, f"setns: {os.strerror(number)}")
            result.append((make(), None))
        except BaseException as error:
            result.append((None, error))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    value, error = result[0]
    if error is not None:
        raise error
    return value  # type: ignore[no-any-return]


async def socket_in(netns_fd: int, host: str, port: int, source: str = "") -> socket.socket:
    """A connected TCP socket in the namespace, from the address `source` if there is one."""

    def make() -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setblocking(False)
        if source:
            try:
                sock.bind((source, 0))
            except OSError:
                sock.close()
                raise
        return sock

    sock = run_in(netns_fd, make)
    try:
        await asyncio.get_running_loop().sock_connect(sock, (host, port))
    except BaseException:  # a time limit, too
        sock.close()
        raise
    return sock


class PodSockets:
    """Makes the sockets that the agent serves a pod on, in the pod's network namespace.

    They end with this process. A node whose pods outlive it keeps them elsewhere, by overriding `adopt` and `keep`.
    """

    def __init__(self, netns_fd: int) -> None:
        self.netns_fd = netns_fd

    @property
    def reachable(self) -> bool:
        """Whether there is a network of the pod's to serve it in."""
        return self.netns_fd >= 0

    def adopt(self, name: str) -> socket.socket | None:
        """A socket that an earlier process kept by that name."""
        return None

    def keep(self, name: str, sock: socket.socket) -> None:
        """Let a socket outlive this process."""

    @property
    def adopted(self) -> bool:
        """Whether an earlier process served the pod."""
        return False

    def bound(self, kind: socket.SocketKind, address: str, port: int, backlog: int = 128) -> socket.socket:
        """A socket that is bound, and that listens if it is a stream's. Raises OSError if the port is taken."""
        name = f"{kind.name}:{port}"
        adopted = self.adopt(name)
        if adopted is not None:
            return adopted

        def make() -> socket.socket:
            sock = socket.socket(socket.AF_INET, kind)
            try:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.bind((address, port))
                if kind == socket.SOCK_STREAM:
                    sock.listen(backlog)
                sock.setblocking(False)
            except OSError:
                sock.close()
                raise
            return sock

        sock = run_in(self.netns_fd, make)
        self.keep(name, sock)
        return sock


class OwnSockets(PodSockets):
    """For an agent inside the pod."""

    def __init__(self) -> None:
        super().__init__(-1)

    @property
    def reachable(self) -> bool:
        return True
