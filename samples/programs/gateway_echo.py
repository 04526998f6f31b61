"""The echo of the Gateway API's conformance tests: says in JSON what it was asked. Set up by the environment.

HTTP on HTTP_PORT (3000), HTTP/2 without TLS on H2C_PORT (3001), TLS on HTTPS_PORT (8443) with TLS_SERVER_CERT and TLS_SERVER_PRIVKEY, a WebSocket echo at /ws. Instead of
HTTP: GRPC_ECHO_SERVER=1 the gRPC service GrpcEcho, TCP_ECHO_SERVER=1 lines of TCP, UDP_ECHO_SERVER=1 datagrams.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import socketserver
import ssl
import struct
import sys
import threading
import time
import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from typing import Any, BinaryIO

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import h2c
import socket_servers
import websocket
from web import Request, Response, Site, Upgraded, serve_all

ENV = os.environ
CONTEXT = {
    "namespace": ENV.get("NAMESPACE", ""),
    "ingress": ENV.get("INGRESS_NAME", ""),
    "service": ENV.get("SERVICE_NAME", ""),
    "pod": ENV.get("POD_NAME", ENV.get("HOSTNAME", "")),
}
SERVICE = "gateway_api_conformance.echo_basic.grpcecho.GrpcEcho"
FAILED: dict[str, int] = {}
LOCK = threading.Lock()


def port(name: str, default: int) -> int:
    return int(ENV.get(name) or default)


def duration(given: str) -> float:
    """Seconds of `1s`, `200ms`. Raises ValueError."""
    found = re.fullmatch(r"([0-9.]+)(ms|s)", given)
    if not found:
        raise ValueError(f"not a duration: {given}")
    return min(float(found[1]) * (0.001 if found[2] == "ms" else 1), 60.0)


def tls_told(link: ssl.SSLSocket) -> dict[str, Any]:
    chain = link.getpeercert(binary_form=True)
    cipher = link.cipher() or ("", "", 0)
    return {
        "version": link.version() or "",
        "peerCertificates": [ssl.DER_cert_to_PEM_cert(chain)] if chain else [],
        "serverName": getattr(link, "sni", ""),
        "negotiatedProtocol": link.selected_alpn_protocol() or "",
        "cipherSuite": cipher[0],
    }


def told(request: Request, number: int) -> dict[str, Any]:
    headers: dict[str, list[str]] = {}
    for key, value in request.headers.items():
        if key.lower() != "host":
            headers.setdefault("-".join(w.capitalize() for w in key.split("-")), []).append(value)
    out = {
        "path": request.target,
        "host": request.headers.get("host", ""),
        "method": request.method,
        "proto": request.proto,
        "headers": headers,
        "httpPort": str(number),
        **CONTEXT,
    }
    return {**out, "tls": tls_told(request.tls)} if request.tls is not None else out


def reset(reader: BinaryIO, _: BinaryIO) -> None:
    """End the connection with a reset, as a crashed server would."""
    raw = getattr(getattr(reader, "raw", None), "_sock", None)
    if isinstance(raw, socket.socket):
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raw.close()


class _Reset(Upgraded):
    """Nothing is answered but a reset."""

    def __init__(self) -> None:
        super().__init__(reset)
        self.status = 0


def retried(query: dict[str, str]) -> Response | None:
    """What a request under /retry/ gets while it is to fail; None afterwards. Raises ValueError."""
    with LOCK:
        count = FAILED[query["uuid"]] = FAILED.get(query["uuid"], 0) + 1
    if count > int(query.get("succeedAfter", "0")):
        return None
    time.sleep(duration(query.get("delayRetry", "0s")))
    code = query.get("responseCode")
    return Response("", int(code)) if code else _Reset()


def page(request: Request, number: int) -> Response:
    path = re.sub(r"/+", "/", request.path)
    query = {k: v[-1] for k, v in urllib.parse.parse_qs(request.query).items()}
    print(f"Echoing back request made to {request.target} to client ({request.peer})", flush=True)
    try:
        if "delay" in query:
            time.sleep(duration(query["delay"]))
        if path == "/health":
            return Response("OK")
        if path == "/ws":
            return websocket.upgrade(request, echo_frames)
        if path.startswith("/status/"):
            code = path.rpartition("/")[2]
            if not re.fullmatch(r"[2-5]\d\d", code):
                raise ValueError("bad status")
            return Response("", int(code))
        if path.startswith("/retry/") and query.get("uuid"):
            made = retried(query)
            if made is not None:
                return made
    except ValueError as error:
        return Response(f"{error}\n", 400)
    pairs = [p.partition(":") for h in request.headers.get_all("x-echo-set-header") or () for p in h.split(",")]
    fields = [(name.strip(), value.strip()) for name, colon, value in pairs if colon]
    fields.append(("X-Content-Type-Options", "nosniff"))
    return Response(json.dumps(told(request, number), indent=1), kind="application/json", fields=fields)


def echo_frames(link: websocket.Socket) -> None:
    for opcode, data in link.messages():
        link.send(data, opcode)


def context_of(cert: str, key: str, ca: str) -> ssl.SSLContext | None:
    if not cert or not key:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    if ca:
        context.load_verify_locations(ca)
        context.verify_mode = ssl.CERT_OPTIONAL
    context.set_alpn_protocols(["http/1.1"])

    def named(link: Any, name: str, _: ssl.SSLContext) -> None:
        link.sni = name or ""

    context.sni_callback = named
    return context


def serve_http() -> None:
    plain, secure = port("HTTP_PORT", 3000), port("HTTPS_PORT", 8443)
    sites = [Site(lambda r: page(r, plain), plain)]
    cert, key = ENV.get("TLS_SERVER_CERT", ""), ENV.get("TLS_SERVER_PRIVKEY", "")
    context = context_of(cert, key, ENV.get("TLS_CLIENT_CACERTS", ""))
    if context is not None:
        sites.append(Site(lambda r: page(r, secure), secure, tls=context))
    prior = port("H2C_PORT", 3001)
    threading.Thread(target=h2c.server(lambda r: page(r, prior), prior).serve_forever, daemon=True).start()
    serve_all(sites)


# -- gRPC: the messages are a few strings, written by hand (protobuf wire format) -------------------------------------------


def field(number: int, value: bytes | str) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    size, out = len(data), bytes((number << 3 | 2,))
    while size > 0x7F:
        out += bytes((size & 0x7F | 0x80,))
        size >>= 7
    return out + bytes((size,)) + data


def assertions(method: str, context: Any) -> bytes:
    """An EchoResponse."""
    details = getattr(
        getattr(context, "_rpc_event", None), "call_details", None
    )  # grpcio shows :authority nowhere else
    authority = getattr(details, "host", b"") or b""
    inner = field(1, f"/{SERVICE}/{method}")
    for key, value in context.invocation_metadata():
        inner += field(2, field(1, key) + field(2, value))
    own = (CONTEXT["namespace"], CONTEXT["ingress"], CONTEXT["service"], CONTEXT["pod"])
    inner += field(3, authority) + field(4, b"".join(field(n, v) for n, v in enumerate(own, 1)))
    return field(1, inner) + field(2, b"")


def serve_grpc() -> None:
    import grpc

    def handler(method: str) -> Any:
        return grpc.unary_unary_rpc_method_handler(lambda _, context: assertions(method, context))

    methods = {name: handler(name) for name in ("Echo", "EchoTwo")}
    server = grpc.server(ThreadPoolExecutor(8))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
    server.add_insecure_port(f"0.0.0.0:{port('HTTP_PORT', 3000)}")
    cert, key = ENV.get("TLS_SERVER_CERT", ""), ENV.get("TLS_SERVER_PRIVKEY", "")
    if cert and key:
        with open(key, "rb") as k, open(cert, "rb") as c:
            credentials = grpc.ssl_server_credentials([(k.read(), c.read())])
        server.add_secure_port(f"0.0.0.0:{port('HTTPS_PORT', 8443)}", credentials)
    server.start()
    socket_servers.run([])
    server.stop(1).wait(2)


# -- TCP and UDP ------------------------------------------------------------------------------------------------------------


class Lines(socketserver.StreamRequestHandler):
    """A greeting, then answers to TEST, IS_TLS and PING; other lines have none."""

    disable_nagle_algorithm = True
    context: ssl.SSLContext | None = None
    ports: dict[str, str] = {}

    def setup(self) -> None:
        if self.context is not None:
            self.request.settimeout(10)
            self.request = self.context.wrap_socket(self.request, server_side=True)
            self.request.settimeout(None)
        super().setup()

    def handle(self) -> None:
        secure = isinstance(self.connection, ssl.SSLSocket)
        told: dict[str, Any] = {**CONTEXT, **self.ports, "isTLS": secure}
        if isinstance(self.connection, ssl.SSLSocket):
            told["tls"] = {k: v for k, v in tls_told(self.connection).items() if k != "peerCertificates"}
        answers = {b"TEST": json.dumps(told), b"IS_TLS": str(secure).lower(), b"PING": "PONG"}
        with contextlib.suppress(OSError):
            self.wfile.write(b"Gateway API Test TCP Server\n")
            for line in self.rfile:
                if line.strip() in answers:
                    self.wfile.write(answers[line.strip()].encode() + b"\n")


class TcpServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


class Datagrams(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        data, link = self.request
        answer = {"request": data.decode(errors="replace"), **CONTEXT}
        link.sendto(json.dumps(answer).encode(), self.client_address)


def serve_tcp() -> None:
    plain, secure = port("TCP_PORT", 3000), port("TLS_PORT", 8443)
    Lines.ports = {"tcpport": str(plain), "tlsport": str(secure)}
    servers: list[socketserver.BaseServer] = [TcpServer(("0.0.0.0", plain), Lines)]
    context = context_of(ENV.get("TLS_SERVER_CERT", ""), ENV.get("TLS_SERVER_PRIV_KEY", ""), "")
    if context is not None:
        servers.append(TcpServer(("0.0.0.0", secure), type("SecureLines", (Lines,), {"context": context})))
    socket_servers.run(servers)


def main() -> None:
    if ENV.get("GRPC_ECHO_SERVER"):
        serve_grpc()
    elif ENV.get("TCP_ECHO_SERVER"):
        serve_tcp()
    elif ENV.get("UDP_ECHO_SERVER"):
        socket_servers.run([socketserver.ThreadingUDPServer(("0.0.0.0", port("UDP_PORT", 8080)), Datagrams)])
    else:
        serve_http()


if __name__ == "__main__":
    main()
