"""What a real Envoy does with requests by fields of rules that no other test sends a request for."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from .loopback import configuration, envoy, eventually, free_port

OPTIONS = "enableAutoMtls: false"  # nothing here has a certificate
PROXY = {"ip": "127.0.0.1", "labels": {"app": "app"}}


def service(port: int, target: int) -> str:
    return f"""
apiVersion: v1
kind: Service
metadata: {{name: store, namespace: default}}
spec:
  clusterIP: 10.96.0.10
  ports: [{{name: http, port: {port}}}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: store-1, namespace: default, labels: {{kubernetes.io/service-name: store}}}}
addressType: IPv4
ports: [{{name: http, port: {target}, protocol: TCP}}]
endpoints: [{{addresses: [127.0.0.1], conditions: {{ready: true}}}}]
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: s, namespace: default}}
spec: {{egress: [{{hosts: ["*/*"], port: {{number: {port}, protocol: HTTP, name: http}}, captureMode: NONE}}]}}
---
"""


def rule(actions: str) -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: store, namespace: default}}
spec:
  hosts: [store]
  http: [{actions}]
"""


def route(port: int, filters: str) -> str:
    return f"""
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: store, namespace: default}}
spec:
  parentRefs: [{{group: "", kind: Service, name: store, port: {port}}}]
  rules: [{{matches: [{{path: {{type: PathPrefix, value: /old}}}}], filters: [{{type: RequestRedirect, requestRedirect: {filters}}}]}}]
"""


@pytest.mark.parametrize(
    ("kind", "redirect", "host", "location"),
    [
        ("HTTPRoute", "{scheme: https}", "store:PORT", "https://store/old/x?q=1"),
        ("HTTPRoute", "{scheme: https, port: 443}", "store:PORT", "https://store/old/x?q=1"),
        ("HTTPRoute", "{scheme: https, port: 8443}", "store:PORT", "https://store:8443/old/x?q=1"),
        ("HTTPRoute", "{hostname: other}", "store:PORT", "http://other:PORT/old/x?q=1"),
        ("HTTPRoute", "{scheme: https, hostname: other}", "store:PORT", "https://other/old/x?q=1"),
        (
            "HTTPRoute",
            "{path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}",
            "store:PORT",
            "http://store:PORT/x?q=1",
        ),
        (
            "HTTPRoute",
            "{path: {type: ReplacePrefixMatch, replacePrefixMatch: /n/}}",
            "store:PORT",
            "http://store:PORT/n/x?q=1",
        ),
        ("VirtualService", "{scheme: https, port: 443}", "store:PORT", "https://store/old/x?q=1"),
        (
            "VirtualService",
            "{scheme: https, derivePort: FROM_PROTOCOL_DEFAULT}",
            "store:PORT",
            "https://store/old/x?q=1",
        ),
        (
            "VirtualService",
            "{derivePort: FROM_PROTOCOL_DEFAULT, uri: /:8080/a}",
            "store:PORT",
            "http://store/:8080/a?q=1",
        ),
        ("VirtualService", "{scheme: https}", "store:PORT", "https://store:PORT/old/x?q=1"),
        ("VirtualService", "{authority: other, prefixRewrite: /n}", "store:PORT", "http://other/n/x?q=1"),
        ("VirtualService", "{prefixRewrite: /n}", "store.default:PORT", "http://store.default:PORT/n/x?q=1"),
    ],
)
def test_where_a_redirect_leads(kind: str, redirect: str, host: str, location: str) -> None:
    port = free_port()
    text = (
        route(port, redirect)
        if kind == "HTTPRoute"
        else rule(f"{{match: [{{uri: {{prefix: /old}}}}], redirect: {redirect}}}")
    )
    with envoy(configuration(service(port, 1) + text, PROXY, (f"127.0.0.1_{port}",), OPTIONS)):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", "/old/x?q=1", headers={"Host": host.replace("PORT", str(port))})
        assert connection.getresponse().getheader("Location") == location.replace("PORT", str(port))
        connection.close()


@contextmanager
def answering(status: int, headers: dict[str, str]) -> Iterator[tuple[int, list[bytes]]]:
    """A server that answers every POST with a status and some headers, and keeps the bodies: (port, bodies)."""
    bodies: list[bytes] = []

    class Answer(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(status)
            for name, value in {**headers, "Content-Length": "0"}.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield int(server.server_address[1]), bodies
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize("status", ["1", "14"])
@pytest.mark.parametrize(
    ("retries", "times"), [("", 1), (", retries: {attempts: 2, retryOn: 'cancelled,unavailable'}", 3)]
)
def test_a_request_that_reached_the_application_is_not_sent_twice(status: str, retries: str, times: int) -> None:
    """Unless the rule says so: gRPC's CANCELLED and UNAVAILABLE may come after the application has done its work."""
    port = free_port()
    with answering(200, {"grpc-status": status}) as (target, bodies):
        text = service(port, target) + rule(f"{{route: [{{destination: {{host: store}}}}]{retries}}}")
        with envoy(configuration(text, PROXY, (f"127.0.0.1_{port}",), OPTIONS)):
            assert post(port) == 200
    assert bodies == [b"once"] * times


@contextmanager
def tls_names(name: str) -> Iterator[tuple[int, list[str]]]:
    """A server that reads the TLS hello of each connection, and says its own name in plain text: (port, hellos)."""
    seen: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        ended = threading.Event()

        def serve() -> None:
            while not ended.is_set():
                connection, _ = server.accept()
                with connection:
                    if connection.recv(65536):
                        seen.append(name)
                        connection.sendall(name.encode())

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield int(server.getsockname()[1]), seen
        finally:
            ended.set()
            socket.create_connection(server.getsockname()).close()
            thread.join()


def hello(name: str) -> bytes:
    """The first bytes of a TLS connection to a server name."""
    out = ssl.MemoryBIO()
    tls = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), out, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return out.read()


def ranged(name: str, cidr: str, port: int, target: int) -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}, namespace: default}}
spec:
  hosts: [{name}.example]
  addresses: [{cidr}]
  resolution: STATIC
  endpoints: [{{address: 127.0.0.1, ports: {{tls: {target}}}}}]
  ports: [{{number: {port}, name: tls, protocol: TLS}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}, namespace: default}}
spec:
  hosts: [{name}.example]
  tls: [{{match: [{{sniHosts: [{name}.example]}}], route: [{{destination: {{host: {name}.example}}}}]}}]
---
"""


def test_a_name_is_reached_in_a_narrower_range_of_another_entry() -> None:
    port = free_port()
    with tls_names("wide") as (wide, _), tls_names("narrow") as (narrow, _):
        text = ranged("a", "127.9.0.0/24", port, wide) + ranged("b", "127.9.0.0/28", port, narrow)
        made = configuration(text, PROXY, (f"0.0.0.0_{port}",), "outboundTrafficPolicy: {mode: REGISTRY_ONLY}")
        made["static_resources"]["listeners"][0].pop("bind_to_port")
        with envoy(made):

            def answer(address: str, name: str) -> str:
                with socket.create_connection((address, port), timeout=10) as connection:
                    connection.sendall(hello(name))
                    try:
                        return connection.recv(100).decode()
                    except ConnectionResetError:
                        return ""

            assert eventually("the wide range", lambda: answer("127.9.0.1", "a.example")) == "wide"
            assert answer("127.9.0.200", "a.example") == "wide"
            assert answer("127.9.0.1", "b.example") == "narrow"
            assert answer("127.9.0.200", "b.example") == ""


@pytest.mark.parametrize(("codes", "answers"), [("[409]", 503), ("[429, 409]", 503), ("[429]", 409), ("[]", 409)])
def test_chosen_statuses_count_as_errors(codes: str, answers: int) -> None:
    """`outlierDetectionHttpErrorCodes`: a status ejects although it is no 5xx."""
    port = free_port()
    with answering(409, {}) as (target, _):
        policy = f"""
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: store, namespace: default}}
spec:
  host: store
  trafficPolicy: {{outlierDetection: {{consecutive5xxErrors: 2, maxEjectionPercent: 100, outlierDetectionHttpErrorCodes: {codes}}}}}
"""
        with envoy(configuration(service(port, target) + policy, PROXY, (f"127.0.0.1_{port}",), OPTIONS)):
            assert [post(port), post(port)] == [409, 409]
            seen = [post(port) for _ in range(20)]  # the main thread ejects, perhaps a request later
            assert seen[-1] == answers


def post(port: int) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("POST", "/", b"once", headers={"Host": f"store:{port}"})
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()
