"""Publishes host ports by relaying connections, where the kernel cannot replace a pod's socket by one of the host.

Slower than a replaced socket, and the proxy sees the node as its peer.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import socket

from sailcloth.local import egress

_CONNECT_S = 5.0


class Relay:
    """Accepts on listening sockets of the host and connects to the same ports of a pod."""

    def __init__(self, address: str, sockets: dict[int, int]) -> None:
        self._address, self._sockets = address, sockets
        self._servers: list[asyncio.Server] = []
        self._open: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Start accepting. The caller keeps the descriptors."""
        for port, fd in self._sockets.items():
            listener = socket.socket(fileno=os.dup(fd))
            listener.setblocking(False)
            accept = functools.partial(self._accept, port)
            self._servers.append(await asyncio.start_server(accept, sock=listener))

    def close(self) -> None:
        """Stop accepting, and close open connections."""
        for server in self._servers:
            server.close()
        self._servers.clear()
        for task in self._open:
            task.cancel()

    async def _accept(self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        other = None
        try:
            connection = asyncio.open_connection(self._address, port)
            other_reader, other = await asyncio.wait_for(connection, _CONNECT_S)
            await asyncio.gather(egress.pump(reader, other), egress.pump(other_reader, writer))
        except (OSError, TimeoutError):
            pass  # nothing listens in the pod: close the caller's connection
        finally:
            self._open.discard(task)
            for each in (writer, other):
                if each is not None:
                    with contextlib.suppress(OSError):
                        each.transport.abort()
