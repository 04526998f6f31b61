"""Takes a connection from the HTTP server for SPDY/3.1, as port-forward, exec and attach ask for it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from aiohttp import web

_HELD = 1 << 20  # bytes of the connection that wait; more stay with the client
_LAST_S = 10.0  # for what a client that has gone has sent


class Connection(asyncio.Protocol):
    """A connection's bytes, in both directions. Neither holds more than is allowed: readers and writers wait."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._parts: deque[bytes] = deque()
        self._held = 0
        self._changed = asyncio.Event()
        self.lost = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        self._parts.append(data)
        self._held += len(data)
        if self._held > _HELD:
            self._transport.pause_reading()
        self._changed.set()

    def connection_lost(self, error: Exception | None) -> None:
        self.lost.set()
        self._changed.set()
        self._writable.set()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    async def write(self, data: bytes) -> None:
        """Send bytes. Raises ConnectionResetError if the client has gone."""
        if self._transport.is_closing():
            raise ConnectionResetError
        self._transport.write(data)
        await self._writable.wait()

    def close(self) -> None:
        """Close it, when all is sent."""
        self._transport.close()

    async def get(self) -> bytes | None:
        """The next bytes; None when the client has gone."""
        while not self._parts:
            if self.lost.is_set():
                return None
            self._changed.clear()
            await self._changed.wait()
        data = self._parts.popleft()
        self._held -= len(data)
        if self._held <= _HELD // 2 and not self.lost.is_set():
            self._transport.resume_reading()
        return data

    async def pump(self, feed: Callable[[bytes], Awaitable[None]]) -> None:
        """Give everything to `feed`, until the client has gone; that takes at most `_LAST_S` then. Raises what `feed` raises."""

        async def all_of_it() -> None:
            while (data := await self.get()) is not None:
                await feed(data)

        feeding = asyncio.create_task(all_of_it())
        gone = asyncio.create_task(self.lost.wait())
        try:
            await asyncio.wait({feeding, gone}, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait({feeding}, timeout=_LAST_S)
            if feeding.done():
                await feeding
        finally:
            for task in (feeding, gone):
                task.cancel()
            await asyncio.gather(feeding, gone, return_exceptions=True)


def upgrade(request: web.Request, protocol: str) -> Connection:
    """Answer 101 with the chosen stream protocol (may be empty).

    The caller closes the connection. What the handler returns afterwards reaches nobody.
    """
    transport = request.transport
    assert transport is not None
    connection = Connection(transport)
    transport.set_protocol(connection)
    chosen = f"X-Stream-Protocol-Version: {protocol}\r\n" if protocol else ""
    head = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n" + chosen + "\r\n"
    transport.write(head.encode())
    return connection
