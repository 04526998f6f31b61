"""HTTP/2 without TLS, by prior knowledge, for sample servers: pages as `web` has them, a thread for each connection."""

from __future__ import annotations

import socket
import socketserver
from collections.abc import Callable
from email.message import Message

from web import Request, Response

from sailcloth.lib import http2

Page = Callable[[Request], Response]


class _Requests:
    """The requests of one connection. What a page answers is sent at once."""

    def __init__(self, page: Page, peer: str) -> None:
        self._page, self._peer = page, peer
        self.connection = http2.ServerConnection(self)

    def on_request(self, stream: http2.Stream, headers: http2.Headers) -> None:
        stream.owner = [list(headers), b""]

    def on_data(self, stream: http2.Stream, data: bytes) -> None:
        stream.owner[1] += data  # type: ignore[index]

    def on_end(self, stream: http2.Stream) -> None:
        found, body = stream.owner  # type: ignore[misc]
        pseudo, fields = {}, Message()
        for name, value in ((_text(n), _text(v)) for n, v in found):
            if name.startswith(":"):
                pseudo[name] = value
            else:
                fields[name] = value
        fields["host"] = pseudo.get(":authority", "")
        request = Request(pseudo.get(":method", "GET"), pseudo.get(":path", "/"), fields, body, self._peer)
        request.proto = "HTTP/2.0"
        response = self._page(request)
        entries = [("content-type", response.kind), ("content-length", str(len(response.body))), *response.fields]
        block = b"".join(http2.literal(n.lower().encode(), v.encode()) for n, v in entries)
        self.connection.send_headers(stream, http2.status(response.status) + block, end=not response.body)
        if response.body:
            self.connection.send_data(stream, b"", response.body)
            self.connection.end(stream, b"")

    def on_reset(self, stream: http2.Stream) -> None:
        """Nothing waits."""

    def on_sent(self, stream: http2.Stream) -> None:
        """Nothing waits."""


def _text(value: bytes | str) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def server(page: Page, port: int) -> socketserver.ThreadingTCPServer:
    """A server at a port; `serve_forever` runs it."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            link: socket.socket = self.request
            requests = _Requests(page, f"{self.client_address[0]}:{self.client_address[1]}")
            while not requests.connection.ended:
                while data := requests.connection.outgoing(1 << 16):
                    link.sendall(data)
                received = link.recv(1 << 16)
                if not received:
                    return
                requests.connection.receive(received)

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = daemon_threads = True

    return Server(("0.0.0.0", port), Handler)
