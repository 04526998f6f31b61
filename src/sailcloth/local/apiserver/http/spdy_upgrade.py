"""Takes a connection from the HTTP server for SPDY/3.1, as port-forward, exec and attach ask for it."""

from __future__ import annotations

import asyncio

from aiohttp import web


def upgrade(request: web.Request, protocol: str) -> tuple[asyncio.Transport, asyncio.Queue[bytes | None]]:
    """Answer 101 with the chosen stream protocol (may be empty); the transport, and what arrives: bytes, then None at the end.

    The caller closes the transport. What the handler returns afterwards reaches nobody.
    """
    transport = request.transport
    assert transport is not None
    received: asyncio.Queue[bytes | None] = asyncio.Queue()

    class Raw(asyncio.Protocol):
        def data_received(self, data: bytes) -> None:
            received.put_nowait(data)

        def connection_lost(self, error: Exception | None) -> None:
            received.put_nowait(None)

    transport.set_protocol(Raw())
    chosen = f"X-Stream-Protocol-Version: {protocol}\r\n" if protocol else ""
    head = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n" + chosen + "\r\n"
    transport.write(head.encode())
    return transport, received
