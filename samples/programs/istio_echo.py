"""Istio's echo application: a server on many ports that says what it was asked, and a `client` that asks and says what came.

    istio_echo server [--port N]… [--grpc N]… [--tcp N]… [--udp N]… [--tls N]… [--mtls N]… [--server-first N]… [--bind-ip N]…
                      [--bind-localhost N]… [--xds-grpc-server N]… [--metrics N] [--version V] [--cluster C]
                      [--istio-version V] [--crt FILE] [--key FILE] [--ca FILE]
    istio_echo client [--count N] [--qps N] [--timeout D] [-H K:V]… [--method M] [--msg TEXT] [-L] [-k] [--server-name NAME]
                      [--ca FILE] [--client-cert FILE --client-key FILE] URL

Answers are lines of `Key=Value`; the client puts `[N]` before them, `[N body]` before those of the body. URLs are of http,
https, grpc, tcp, udp and ws. Served are HTTP/1.1, WebSocket, TCP, UDP and, where gRPC for Python is installed, gRPC; HTTP/2 and
HTTP/3 without gRPC are not. Where a certificate that is named does not exist, one is made for the run.
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import functools
import http.client
import os
import re
import shutil
import socket
import socketserver
import ssl
import sys
import tempfile
import threading
import time
import urllib.parse
import uuid
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from operator import itemgetter
from typing import Any

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import websocket
from web import Request, Response, Site, serve_all

SERVICE = "proto.EchoTestService"
POD = os.environ.get("HOSTNAME", "")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0}


def seconds(text: str) -> float:
    found = re.fullmatch(r"([0-9.]+)(ms|s|m)?", text)
    if not found:
        raise argparse.ArgumentTypeError(f"not a duration: {text}")
    return float(found[1]) * _UNITS[found[2] or "s"]


# -- what both sides know: EchoRequest and EchoResponse have one field, a string with number 1 ------------------------------


def encode(text: str) -> bytes:
    data, size, head = text.encode(), len(text.encode()), b"\x0a"
    while size > 0x7F:
        head += bytes((size & 0x7F | 0x80,))
        size >>= 7
    return head + bytes((size,)) + data


def decode(data: bytes) -> str:
    if not data or data[0] != 0x0A:
        return ""
    size = shift = 0
    for at, byte in enumerate(data[1:], 1):
        size |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return data[at + 1 : at + 1 + size].decode(errors="replace")
    return ""


# -- server -----------------------------------------------------------------------------------------------------------------


class Echo:
    """What this instance says of itself, and of a request."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.count = 0

    def own(self, port: int) -> list[tuple[str, str]]:
        self.count += 1
        out = [("ServiceVersion", self.options.version), ("ServicePort", str(port))]
        out += [("Cluster", self.options.cluster), ("IstioVersion", self.options.istio_version)]
        return [*out, ("Namespace", os.environ.get("NAMESPACE", ""))]

    def http(self, request: Request, port: int) -> Response:
        query = {k: v[-1] for k, v in urllib.parse.parse_qs(request.query).items()}
        if request.headers.get("upgrade", "").lower() == "websocket":
            return websocket.upgrade(request, lambda link: self._websocket(link, request, port))
        status = int(query["codes"].partition(":")[0]) if re.match(r"[2-5]\d\d", query.get("codes", "")) else 200
        with contextlib.suppress(argparse.ArgumentTypeError):
            time.sleep(min(seconds(query.get("delay", "0")), 60))
        fields = [
            (name.strip(), value.strip())
            for name, _, value in (p.partition(":") for p in query.get("headers", "").split(",") if p)
            if not re.search(r"[\r\n]", name + value)
        ]
        print(f"{request.method} {request.target} {status}", flush=True)
        return Response(text(self._described(request, port)), status, fields=fields)

    def _described(self, request: Request, port: int) -> list[tuple[str, str]]:
        lines = [*self.own(port), ("Host", request.headers.get("host", "")), ("URL", request.target)]
        lines += [("Method", request.method), ("Proto", "HTTP/1.1"), ("IP", request.peer)]
        if request.tls is not None:
            lines += [("Alpn", request.tls.selected_alpn_protocol() or ""), ("Sni", getattr(request.tls, "sni", ""))]
            certificate = request.tls.getpeercert() or {}
            if certificate:
                subject = ",".join(f"{k}={v}" for rdn in certificate["subject"] for k, v in rdn)
                lines += [("ClientCertSubject", subject)]
                lines += [("ClientCertSerialNumber", str(certificate.get("serialNumber", "")).lower())]
        headers = sorted(
            ((k.title(), v) for k, v in request.headers.items()), key=itemgetter(0)
        )  # values of one name in order
        lines += [("RequestHeader", f"{k}:{v}") for k, v in headers]
        if request.headers.get("x-request-id"):
            lines += [("X-Request-Id", str(request.headers["x-request-id"]))]
        body = request.body.decode(errors="replace")
        return [*lines, *([("Echo", body)] if body else []), ("Hostname", POD)]

    def _websocket(self, link: websocket.Socket, request: Request, port: int) -> None:
        for _, data in link.messages():
            lines = [*self._described(request, port), ("WebSocketUri", request.target)]
            link.send(text([*lines, ("StatusCode", "200"), ("Echo", data.decode(errors="replace"))]))

    def stream(self, peer: str, port: int) -> str:
        return text([*self.own(port), ("Proto", "TCP"), ("StatusCode", "200"), ("IP", peer), ("Hostname", POD)])

    def grpc(self, data: bytes, context: Any, port: int) -> bytes:
        headers = [(k, v) for k, v in context.invocation_metadata() if isinstance(v, str)]
        peer = re.sub(r"^ipv[46]:|:\d+$", "", context.peer())
        details = getattr(
            getattr(context, "_rpc_event", None), "call_details", None
        )  # grpcio has :authority nowhere else
        host = (getattr(details, "host", b"") or b"").decode()
        lines = [("StatusCode", "200"), *self.own(port), ("Host", host)]
        lines += [("Proto", "GRPC"), ("IP", peer), ("Echo", decode(data))]
        lines += [("RequestHeader", f"{k}:{v}") for k, v in headers]
        known = dict(headers).get("x-request-id")
        return encode(text([*lines, *([("X-Request-Id", known)] if known else []), ("Hostname", POD)]))

    def metrics(self, _: Request) -> Response:
        text = f"# TYPE istio_echo_http_requests_total counter\nistio_echo_http_requests_total {self.count}\n"
        return Response(text, kind="text/plain; version=0.0.4")


def text(lines: Iterable[tuple[str, str]]) -> str:
    return "".join(f"{key}={value}\n" for key, value in lines)


@functools.cache
def certificate(crt: str, key: str) -> tuple[str, str]:
    """Files of a certificate and its key: those named if they exist, else new ones. Raises ImportError."""
    if os.path.exists(crt) and os.path.exists(key):
        return crt, key
    import datetime as dt

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    private, now = ec.generate_private_key(ec.SECP256R1()), dt.datetime.now(dt.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "echo")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("echo"), x509.DNSName("localhost")]), critical=False)
        .sign(private, hashes.SHA256())
    )
    folder = tempfile.mkdtemp(prefix="echo-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    pem, none = serialization.Encoding.PEM, serialization.NoEncryption()
    files = (os.path.join(folder, "cert.crt"), os.path.join(folder, "cert.key"))
    for path, data in zip(
        files,
        (made.public_bytes(pem), private.private_bytes(pem, serialization.PrivateFormat.PKCS8, none)),
        strict=True,
    ):
        with open(path, "wb") as file:
            file.write(data)
    return files


def tls_context(options: argparse.Namespace, mutual: bool) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate(options.crt, options.key))
    context.set_alpn_protocols(["http/1.1"])
    if mutual:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(options.ca)

    def named(link: Any, name: str, _: ssl.SSLContext) -> None:
        link.sni = name or ""

    context.sni_callback = named
    return context


def tcp_server(echo: Echo, host: str, port: int, first: bool) -> socketserver.ThreadingTCPServer:
    class Handler(socketserver.StreamRequestHandler):
        disable_nagle_algorithm = True

        def handle(self) -> None:
            with contextlib.suppress(OSError):
                if first:
                    self.wfile.write(echo.stream(self.client_address[0], port).encode())
                while data := self.connection.recv(65536):
                    if not first:
                        self.wfile.write(echo.stream(self.client_address[0], port).encode())
                    self.wfile.write(b"Echo=" + data + (b"" if data.endswith(b"\n") else b"\n"))

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        allow_reuse_address = True
        request_queue_size = 256

    return Server((host, port), Handler)


def udp_server(echo: Echo, host: str, port: int) -> socketserver.ThreadingUDPServer:
    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            data, link = self.request
            answer = echo.stream(self.client_address[0], port).replace("Proto=TCP", "Proto=UDP")
            link.sendto(answer.encode() + b"Echo=" + data, self.client_address)

    return socketserver.ThreadingUDPServer((host, port), Handler)


def grpc_servers(echo: Echo, ports: Mapping[int, str], secure: set[int], xds: set[int]) -> list[Any]:
    """Started gRPC servers by port and host. Raises ImportError where gRPC for Python is not installed."""
    import grpc

    out = []
    for port, host in ports.items():

        def answer(data: bytes, context: Any, port: int = port) -> bytes:
            return echo.grpc(data, context, port)

        method = grpc.unary_unary_rpc_method_handler(answer)
        proxyless = port in xds and bool(os.environ.get("GRPC_XDS_BOOTSTRAP"))
        server = grpc.server(ThreadPoolExecutor(8), xds=proxyless)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"Echo": method}),))
        where = f"{host}:{port}"
        if proxyless:
            fallback = grpc.insecure_server_credentials()
            server.add_secure_port(where, grpc.xds_server_credentials(fallback))
        elif port in secure:
            crt, key = certificate(echo.options.crt, echo.options.key)
            with open(key, "rb") as k, open(crt, "rb") as c:
                server.add_secure_port(where, grpc.ssl_server_credentials([(k.read(), c.read())]))
        else:
            server.add_insecure_port(where)
        server.start()
        out.append(server)
    return out


def serve(options: argparse.Namespace) -> int:
    echo = Echo(options)
    own = os.environ.get("INSTANCE_IP", "").partition(",")[0] or "0.0.0.0"
    hosts = {**dict.fromkeys(options.bind_ip, own), **dict.fromkeys(options.bind_localhost, "127.0.0.1")}
    secure = {*options.tls, *options.mtls}
    contexts = {p: tls_context(options, p in options.mtls) for p in secure if p in options.port}
    sites = [
        Site(lambda r, p=port: echo.http(r, p), port, hosts.get(port, "0.0.0.0"), contexts.get(port))
        for port in options.port or ([] if options.grpc or options.tcp else [8080])
    ]
    sites += [Site(echo.metrics, options.metrics)] if options.metrics else []
    others: list[socketserver.BaseServer] = [
        tcp_server(echo, hosts.get(port, "0.0.0.0"), port, port in options.server_first) for port in options.tcp
    ]
    others += [udp_server(echo, hosts.get(port, "0.0.0.0"), port) for port in options.udp]
    for server in others:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    running = []
    wanted = {p: hosts.get(p, "0.0.0.0") for p in dict.fromkeys([*options.grpc, *options.xds_grpc_server])}
    if wanted:
        try:
            running = grpc_servers(echo, wanted, secure, set(options.xds_grpc_server))
        except ImportError as error:
            print(f"no gRPC: {error}", file=sys.stderr, flush=True)
    serve_all(sites)
    for server in running:
        server.stop(1)
    return 0


# -- client -----------------------------------------------------------------------------------------------------------------


def ask(options: argparse.Namespace, number: int) -> tuple[bool, str]:
    """One request: (whether it was answered, what to print)."""
    url = urllib.parse.urlsplit(options.url)
    lines = [("Url", options.url), *(("Header", f"{k}:{v}") for k, v in options.headers)]
    begin = time.monotonic()
    try:
        made = {"http": ask_http, "https": ask_http, "grpc": ask_grpc, "tcp": ask_stream, "udp": ask_stream, "ws": ask_websocket}[url.scheme]  # fmt: skip
        status, headers, body = made(options, url)
    except KeyError:
        return False, f"[{number}] Error=unsupported scheme {url.scheme!r}\n"
    except (OSError, http.client.HTTPException, ImportError) as error:
        return False, "".join(f"[{number}] {k}={v}\n" for k, v in [*lines, ("Error", str(error) or repr(error))])
    lines += [("Latency", f"{(time.monotonic() - begin) * 1000:.3f}ms"), ("ActiveRequests", "0")]
    if status:
        lines.append(("StatusCode", str(status)))
    lines += [("ResponseHeader", f"{k}:{v}") for k, v in headers]
    out = "".join(f"[{number}] {k}={v}\n" for k, v in lines)
    return True, out + "".join(f"[{number} body] {line}\n" for line in body.splitlines())


Found = tuple[int, list[tuple[str, str]], str]


def client_context(options: argparse.Namespace) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=options.ca or None)
    if options.insecure or not options.ca:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if options.client_cert:
        context.load_cert_chain(options.client_cert, options.client_key)
    return context


def ask_http(options: argparse.Namespace, url: urllib.parse.SplitResult) -> Found:
    for _ in range(10):
        secure = url.scheme == "https"
        link = http.client.HTTPConnection(
            url.hostname or "", url.port or (443 if secure else 80), timeout=options.timeout
        )
        try:
            if secure:
                link.connect()
                name = options.server_name or url.hostname
                link.sock = client_context(options).wrap_socket(link.sock, server_hostname=name)
            path = (url.path or "/") + (f"?{url.query}" if url.query else "")
            headers = {"User-Agent": "echo-client", "X-Request-Id": str(uuid.uuid4()), **dict(options.headers)}
            if options.msg:
                headers["Content-Length"] = str(len(options.msg.encode()))
            link.request(options.method, path, options.msg.encode() or None, headers)
            answer = link.getresponse()
            body = answer.read().decode(errors="replace")
        finally:
            link.close()
        where = answer.getheader("location")
        if not options.follow_redirects or not where or not 300 <= answer.status < 400:
            break
        url = urllib.parse.urlsplit(urllib.parse.urljoin(url.geturl(), where))
    return answer.status, [(k.title(), v) for k, v in answer.getheaders()], body


def ask_grpc(options: argparse.Namespace, url: urllib.parse.SplitResult) -> Found:
    import grpc

    target = f"{url.hostname}:{url.port or 7070}"
    with grpc.insecure_channel(target, options=[("grpc.enable_http_proxy", 0)]) as channel:
        call = channel.unary_unary(f"/{SERVICE}/Echo")
        metadata = [(k.lower(), v) for k, v in options.headers if k.lower() != "host"]
        try:
            answer, done = call.with_call(encode(options.msg), timeout=options.timeout, metadata=metadata)
        except grpc.RpcError as error:
            raise OSError(f"rpc error: code = {error.code().name} desc = {error.details()}") from None
        headers = [(k, v) for k, v in done.initial_metadata() or () if isinstance(v, str)]
        return 0, headers, decode(answer)


def ask_stream(options: argparse.Namespace, url: urllib.parse.SplitResult) -> Found:
    where, data = (url.hostname or "", url.port or 9090), (options.msg or "hello").encode() + b"\n"
    if url.scheme == "udp":
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as packets:
            packets.settimeout(options.timeout)
            packets.sendto(data, where)
            return 0, [], packets.recv(65536).decode(errors="replace")
    with socket.create_connection(where, timeout=options.timeout) as link:
        if not options.server_first:
            link.sendall(data)
        link.shutdown(socket.SHUT_WR)
        got = b""
        while part := link.recv(65536):
            got += part
    if not got:
        raise OSError("EOF")
    return 0, [], got.decode(errors="replace")


def ask_websocket(options: argparse.Namespace, url: urllib.parse.SplitResult) -> Found:
    with socket.create_connection((url.hostname or "", url.port or 80), timeout=options.timeout) as link:
        head = [f"GET {url.path or '/'} HTTP/1.1", f"Host: {url.netloc}", "Upgrade: websocket", "Connection: Upgrade"]
        head += ["Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: c2FpbGNsb3RoLWVjaG8tMQ=="]
        head += [f"{k}: {v}" for k, v in options.headers]
        link.sendall("\r\n".join([*head, "", ""]).encode())
        lines = link.makefile("rb")
        status = lines.readline().split()
        if len(status) < 2 or status[1] != b"101":
            raise OSError(f"bad handshake: {b' '.join(status).decode(errors='replace')}")
        while lines.readline() not in (b"\r\n", b""):
            pass
        data = (options.msg or "hello").encode()[:125]
        link.sendall(bytes((0x81, 0x80 | len(data), 0, 0, 0, 0)) + data)
        head_bytes = lines.read(2)
        size = head_bytes[1] & 0x7F
        if size > 125:
            size = int.from_bytes(lines.read(2 if size == 126 else 8), "big")
        return 0, [], lines.read(size).decode(errors="replace")


def client(options: argparse.Namespace) -> int:
    if options.http2 or options.http3:
        print("Error=HTTP/2 and HTTP/3 clients are not part of this echo; use grpc:// or HTTP/1.1", file=sys.stderr)
        return 1
    options.headers = [(k.strip(), v.strip()) for k, _, v in (h.partition(":") for h in options.header)]
    step = 1.0 / options.qps if options.qps > 0 else 0.0
    failed = 0
    with ThreadPoolExecutor(16 if not step else 1) as pool:

        def one(number: int) -> tuple[bool, str]:
            if step:
                time.sleep(step)
            return ask(options, number)

        for answered, told in pool.map(one, range(options.count)):
            failed += not answered
            print(told, flush=True)
    if failed:
        print(f"Error: {failed} of {options.count} requests had errors", file=sys.stderr, flush=True)
        return 1
    print("All requests succeeded", flush=True)
    return 0


# -- arguments --------------------------------------------------------------------------------------------------------------


def server_arguments() -> argparse.ArgumentParser:
    out = argparse.ArgumentParser("echo server", allow_abbrev=False)
    for name in ("port", "grpc", "tcp", "udp", "tls", "mtls", "server-first", "bind-ip", "bind-localhost", "xds-grpc-server", "hbone", "proxy-protocol", "endpoint-picker"):  # fmt: skip
        out.add_argument(f"--{name}", action="append", type=int, default=[])
    out.add_argument("--metrics", type=int, default=0)
    for name in ("version", "cluster", "istio-version", "uds", "disable-alpn"):
        out.add_argument(f"--{name}", default="")
    out.add_argument("--crt", default="")
    out.add_argument("--key", default="")
    out.add_argument("--ca", default="")
    return out


def client_arguments() -> argparse.ArgumentParser:
    out = argparse.ArgumentParser("client", allow_abbrev=False)
    out.add_argument("url")
    out.add_argument("--count", type=int, default=1)
    out.add_argument("--qps", type=float, default=0)
    out.add_argument("--timeout", type=seconds, default=30.0)
    out.add_argument("-H", "--header", action="append", default=[])
    out.add_argument("--method", default="GET")
    out.add_argument("--msg", default="")
    out.add_argument("-L", "--follow-redirects", action="store_true")
    out.add_argument("-k", "--insecure-skip-verify", dest="insecure", action="store_true")
    out.add_argument("--server-first", action="store_true")
    out.add_argument("--new-connection-per-request", nargs="?", default="true")
    for name in ("http2", "http3", "forceDNSLookup", "-4", "-6"):
        out.add_argument(f"--{name}" if not name.startswith("-") else name, action="store_true")
    for name in ("server-name", "ca", "client-cert", "client-key", "alpn", "uds"):
        out.add_argument(f"--{name}", default="")
    return out


def main() -> int:
    command, *rest = sys.argv[1:] or ["server"]
    if command == "client":
        return client(client_arguments().parse_args(rest))
    return serve(server_arguments().parse_args(rest if command == "server" else [command, *rest]))


if __name__ == "__main__":
    sys.exit(main())
