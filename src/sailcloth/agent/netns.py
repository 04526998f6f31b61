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


async def socket_in(netns_fd: int, host: str, port: int) -> socket.socket:
    """A connected TCP socket in the namespace."""

    def make() -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setblocking(False)
        return sock

    sock = run_in(netns_fd, make)
    try:
        await asyncio.get_running_loop().sock_connect(sock, (host, port))
    except OSError:
        sock.close()
        raise
    return sock


def listening(netns_fd: int, port: int) -> socket.socket:
    """A listening TCP socket in the namespace, on all addresses."""

    def make() -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("0.0.0.0", port))
        sock.listen(128)
        sock.setblocking(False)
        return sock

    return run_in(netns_fd, make)
