"""Connections to ports of pods through the API server, as in `kubectl port-forward`."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from sailcloth.lib import spdy

from .client import Client

_ERRORS, _DATA = 1, 3  # SPDY stream ids; each tunnel carries one connection


class Tunnel:
    """One connection to a port of a pod. `connect` creates it."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket

    async def send(self, body: bytes) -> None:
        """Send bytes to the pod."""
        for at in range(0, len(body), 1 << 15):
            await self._socket.send_bytes(spdy.data_frame(_DATA, body[at : at + (1 << 15)]))

    async def end(self) -> None:
        """Close the sending direction; data may still arrive."""
        await self._socket.send_bytes(spdy.data_frame(_DATA, b"", end=True))

    async def receive(self) -> AsyncIterator[bytes]:
        """Yield what the pod sends until it closes. Raises OSError with the server's message if the port cannot be reached."""
        buffer, problem = bytearray(), b""
        async for message in self._socket:
            if not isinstance(message.data, bytes):
                continue
            buffer += message.data
            for stream, flags, body in spdy.frames(buffer):
                if stream == _ERRORS:
                    problem += body
                elif stream == _DATA:
                    if body:
                        yield body
                    if flags & 1:
                        if problem:
                            raise OSError(problem.decode(errors="replace"))
                        return


@contextlib.asynccontextmanager
async def connect(api: Client, pod: str, namespace: str, port: int) -> AsyncIterator[Tunnel]:
    """Open a connection to a port of a pod. Raises ApiError if the pod does not exist, OSError if the server is unreachable."""
    path = f"/api/v1/namespaces/{namespace}/pods/{pod}"
    await api.call("GET", path)  # a clear 404 if the pod does not exist
    url = api.endpoint.server.replace("http", "ws", 1) + path + "/portforward"
    packer = spdy.compressor()
    async with api.websocket(url, "SPDY/3.1+portforward.k8s.io") as socket:
        for stream, kind in ((_ERRORS, "error"), (_DATA, "data")):
            headers = {"streamtype": kind, "port": str(port), "requestid": "0"}
            await socket.send_bytes(spdy.opening(stream, headers, packer))
        yield Tunnel(socket)
