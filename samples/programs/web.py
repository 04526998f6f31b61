"""What the sample programs share: a small HTTP/1.1 server and client. Standard library only; they start with `-I -S`."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import socketserver
import ssl
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from email.message import Message
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, BinaryIO

# Headers that an application passes on, so that traces stay whole and users stay known.
FORWARDED = [
    "x-request-id",
    "x-ot-span-context",
    "x-datadog-trace-id",
    "x-datadog-parent-id",
    "x-datadog-sampling-priority",
    "traceparent",
    "tracestate",
    "baggage",
    "x-cloud-trace-context",
    "grpc-trace-bin",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-parentspanid",
    "x-b3-sampled",
    "x-b3-flags",
    "sw8",
    "end-user",
    "user-agent",
    "cookie",
    "authorization",
    "jwt",
]

GRACE_S = 10.0  # how long requests under way may take after SIGTERM


class Request:
    """One request as a page sees it."""

    def __init__(
        self, method: str, target: str, headers: Message, body: bytes, peer: str, tls: ssl.SSLSocket | None = None
    ) -> None:
        self.method, self.target, self.headers, self.body, self.peer = method, target, headers, body, peer
        self.tls = tls
        self.proto = "HTTP/1.1"
        self.path, _, self.query = target.partition("?")


class Response:
    """One answer. Header fields are given by name (`set_cookie=…`) or, where one may repeat, in `fields`."""

    def __init__(
        self,
        body: bytes | str,
        status: int = 200,
        kind: str = "text/plain",
        fields: Sequence[tuple[str, str]] = (),
        **headers: str,
    ) -> None:
        self.body = body.encode() if isinstance(body, str) else body
        self.status, self.kind = status, kind
        self.fields = [*fields, *((k.replace("_", "-"), v) for k, v in headers.items())]


class Upgraded(Response):
    """101: `run` has the connection's two sides from then on. With status 0 nothing is sent before."""

    def __init__(self, run: Callable[[BinaryIO, BinaryIO], None], **headers: str) -> None:
        super().__init__("", 101, **headers)
        self.run = run


def as_json(value: Any, status: int = 200) -> Response:
    return Response(json.dumps(value), status, "application/json")


@dataclass(frozen=True)
class Site:
    """What is served on one port; TLS where there is a context."""

    page: Callable[[Request], Response]
    port: int
    host: str = "0.0.0.0"
    tls: ssl.SSLContext | None = None


class _Server(socketserver.ThreadingMixIn, HTTPServer):
    daemon_threads = True
    request_queue_size = 1024
    allow_reuse_address = True

    def __init__(self, site: Site, handler: Any) -> None:
        self.site = site
        super().__init__((site.host, site.port), handler)

    def finish_request(self, request: Any, client_address: Any) -> None:
        if self.site.tls is not None:  # in the connection's own thread: a slow handshake holds up nobody
            request.settimeout(10)
            request = self.site.tls.wrap_socket(request, server_side=True)
            request.settimeout(None)
        super().finish_request(request, client_address)
        if self.site.tls is not None:
            request.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        print(f"{client_address[0]}: {sys.exc_info()[1]!r}", file=sys.stderr, flush=True)


def serve(page: Callable[[Request], Response], port: int) -> None:
    """Serve until SIGTERM; requests under way are finished first."""
    serve_all([Site(page, port)])


def serve_all(sites: Sequence[Site]) -> None:
    """Like `serve`, on several ports."""
    idle = threading.Condition()
    active = 0

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def _answer(self) -> None:
            nonlocal active
            with idle:
                active += 1
            made: Response | None = None
            try:
                try:
                    body = self._body()
                except ValueError as error:
                    self.close_connection = True
                    self._send(Response(f"bad request: {error}\n", 400))
                    return
                tls = self.connection if isinstance(self.connection, ssl.SSLSocket) else None
                request = Request(self.command, self.path, self.headers, body, self.client_address[0], tls)
                try:
                    made = self.server.site.page(request)  # type: ignore[attr-defined]
                except Exception as error:
                    print(f"{self.command} {self.path}: {error!r}", file=sys.stderr, flush=True)
                    made = Response(f"internal error: {error}", 500)
                if made.status:
                    self._send(made)
            finally:
                with idle:
                    active -= 1
                    idle.notify_all()
            if isinstance(made, Upgraded):
                self.close_connection = True
                made.run(self.rfile, self.wfile)  # type: ignore[arg-type]

        def _body(self) -> bytes:
            """The whole body. Raises ValueError if its framing is broken."""
            if "chunked" not in self.headers.get("transfer-encoding", "").lower():
                length = int(self.headers.get("content-length") or 0)
                if length < 0:
                    raise ValueError("negative content-length")
                return self.rfile.read(length)
            parts: list[bytes] = []
            while size := int(self.rfile.readline(1024).split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline(1024)
            while self.rfile.readline(65536) not in (b"\r\n", b"\n", b""):
                pass  # trailers
            return b"".join(parts)

        def _send(self, made: Response) -> None:
            text = HTTPStatus(made.status).phrase if made.status in HTTPStatus._value2member_map_ else "Status"
            lines = [f"HTTP/1.1 {made.status} {text}"]
            if made.status not in (101, 204, 304):  # these have no body by definition (RFC 9110, 6.4.1)
                lines += [f"content-type: {made.kind}", f"content-length: {len(made.body)}"]
            lines += [f"{name}: {value}" for name, value in made.fields]
            if stopping.is_set():
                self.close_connection = True
            if self.close_connection and made.status != 101:
                lines.append("connection: close")
            bare = self.command == "HEAD" or made.status in (101, 204, 304)
            self.wfile.write("\r\n".join([*lines, "", ""]).encode() + (b"" if bare else made.body))

        do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = do_OPTIONS = _answer

        def log_message(self, *_: Any) -> None:
            pass

    stopping, done = threading.Event(), threading.Event()
    servers = [_Server(site, Handler) for site in sites]

    def stop(*_: Any) -> None:
        stopping.set()
        done.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    for server in servers:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    print(f"listening on port {', '.join(str(site.port) for site in sites)}", flush=True)
    done.wait()
    for server in servers:
        server.shutdown()
    with idle:
        idle.wait_for(lambda: not active, timeout=GRACE_S)
    for server in servers:
        server.server_close()


def call(
    url: str, headers: Mapping[str, str] | None = None, timeout: float = 3.0, method: str = "GET", body: bytes = b""
) -> tuple[int, bytes]:
    """(status, body) of a request. Raises OSError or http.client.HTTPException."""
    rest = url.split("://", 1)[1]
    authority, _, path = rest.partition("/")
    host, _, port = authority.partition(":")
    link = http.client.HTTPConnection(host, int(port or 80), timeout=timeout)
    try:
        link.request(method, "/" + path, body or None, dict(headers or {}))
        if link.sock is not None:
            link.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        answer = link.getresponse()
        return answer.status, answer.read()
    finally:
        link.close()


def forward(headers: Message) -> dict[str, str]:
    """The headers of a request that its own calls carry on."""
    return {name: str(headers[name]) for name in FORWARDED if headers.get(name)}
