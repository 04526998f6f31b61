"""Where a Sidecar puts listeners and what it limits, seen at a real Envoy: each test fails if its field is ignored."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from .loopback import Backend, backend, configuration, envoy, eventually, fetch, free_port

PLAIN = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: default}
spec: {mtls: {mode: DISABLE}}
---
"""
PROXY = {"ip": "127.0.0.1", "labels": {"app": "app"}}


def entry(name: str, port: int, target: int, protocol: str = "HTTP") -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}, namespace: default}}
spec:
  hosts: [{name}.example.com]
  addresses: [10.9.9.9]
  resolution: STATIC
  endpoints: [{{address: 127.0.0.1}}]
  ports: [{{number: {port}, name: port, protocol: {protocol}, targetPort: {target}}}]
---
"""


def ingress(body: str, shared: str = "") -> str:
    return f"{PLAIN}\napiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {{name: s, namespace: default}}\nspec:\n{shared}  ingress:\n{body}"


def overloaded(port: int, behind: Backend) -> list[int]:
    """Statuses of four requests: one that the application holds, and three that come meanwhile, of which those that are over
    the limit are answered at once."""
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(fetch(("127.0.0.1", port), "/slow")[0])) for _ in range(4)]
    threads[0].start()  # alone: while a connection is made, the request that it is for counts as waiting
    eventually("a request at the application", lambda: behind.seen)
    for thread in threads[1:]:
        thread.start()
    eventually("answers to those over the limit", lambda: len(found) >= 2)
    behind.go.set()
    for thread in threads:
        thread.join()
    return sorted(found)


def test_a_port_is_dialled_itself_and_leads_to_the_application() -> None:
    with backend("application") as behind:
        port = free_port()
        text = ingress(
            f"  - {{port: {{number: {port}, protocol: HTTP, name: http}}, captureMode: NONE, bind: 127.0.0.1,"
            f" defaultEndpoint: '127.0.0.1:{behind.port}'}}\n"
        )
        with envoy(configuration(text, PROXY, (f"127.0.0.1_{port}",))):
            assert fetch(("127.0.0.1", port)) == (200, "application")


def test_without_capture_a_port_is_dialled_itself_although_its_listener_says_nothing() -> None:
    with backend("application") as behind:
        port = free_port()
        text = ingress(
            f"  - {{port: {{number: {port}, protocol: HTTP, name: http}}, defaultEndpoint: '127.0.0.1:{behind.port}'}}\n"
        )
        proxy = {**PROXY, "metadata": {"INTERCEPTION_MODE": "NONE"}}
        with envoy(configuration(text, proxy, (f"127.0.0.1_{port}",))):
            assert fetch(("127.0.0.1", port)) == (200, "application")


@pytest.mark.parametrize("where", ["port", "sidecar"])
def test_connections_to_the_application_are_limited(where: str) -> None:
    """`connectionPool` of a port, and `inboundConnectionPool` of all: one connection, and one request that waits for it."""
    pool = "{tcp: {maxConnections: 1}, http: {http1MaxPendingRequests: 1}}"
    with backend("application") as behind:
        port = free_port()
        own = f", connectionPool: {pool}" if where == "port" else ""
        text = ingress(
            f"  - {{port: {{number: {port}, protocol: HTTP, name: http}}, captureMode: NONE, bind: 127.0.0.1,"
            f" defaultEndpoint: '127.0.0.1:{behind.port}'{own}}}\n",
            f"  inboundConnectionPool: {pool}\n" if where == "sidecar" else "",
        )
        with envoy(configuration(text, PROXY, (f"127.0.0.1_{port}",))):
            assert overloaded(port, behind) == [200, 200, 503, 503]


def test_requests_of_a_connection_to_the_application_are_counted() -> None:
    with backend("application") as behind:
        port = free_port()
        text = ingress(
            f"  - {{port: {{number: {port}, protocol: HTTP, name: http}}, captureMode: NONE, bind: 127.0.0.1,"
            f" defaultEndpoint: '127.0.0.1:{behind.port}', connectionPool: {{http: {{maxRequestsPerConnection: 2}}}}}}\n"
        )
        with envoy(configuration(text, PROXY, (f"127.0.0.1_{port}",))):
            assert [fetch(("127.0.0.1", port))[0] for _ in range(6)] == [200] * 6
            assert len(behind.connections) == 3


def test_requests_go_in_by_a_unix_socket_and_to_one(tmp_path: Path) -> None:
    """Egress bound to a socket: which host and port is meant, the request says."""
    with backend("one") as one, backend("other") as other:
        path = tmp_path / "egress.sock"
        text = (
            entry("one", 80, one.port)
            + entry("other", 8080, other.port)
            + f"""
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: s, namespace: default}}
spec:
  outboundTrafficPolicy: {{mode: REGISTRY_ONLY}}
  egress:
  - port: {{number: 0, protocol: HTTP, name: http}}
    bind: unix://{path}
    hosts: ["./one.example.com", "./other.example.com"]
"""
        )
        with envoy(configuration(text, PROXY, (f"unix://{path}",))):
            assert fetch(str(path), host="one.example.com") == (200, "one")
            assert fetch(str(path), host="other.example.com:8080") == (200, "other")
            assert fetch(str(path), host="other.example.com:80")[0] == 502
            assert fetch(str(path), host="unknown.example.com")[0] == 502


def test_an_egress_listener_is_dialled_at_the_address_that_it_is_bound_to() -> None:
    with backend("one") as one, backend("other") as other:
        http, tcp = free_port(), free_port()
        text = (
            entry("one", http, one.port)
            + entry("other", tcp, other.port, "TCP")
            + f"""
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: s, namespace: default}}
spec:
  egress:
  - {{port: {{number: {http}, protocol: HTTP, name: http}}, bind: 127.0.0.2, captureMode: NONE, hosts: ["./*"]}}
  - {{port: {{number: {tcp}, protocol: TCP, name: tcp}}, captureMode: NONE, hosts: ["./*"]}}
"""
        )
        with envoy(configuration(text, PROXY, (f"127.0.0.2_{http}", f"127.0.0.1_{tcp}"))):
            assert fetch(("127.0.0.2", http), host="one.example.com") == (200, "one")
            assert fetch(("127.0.0.1", tcp), host="whatever") == (200, "other")
            with pytest.raises(OSError, match="refused"):
                fetch(("127.0.0.1", http))


def test_an_http_proxy_sends_requests_to_the_host_and_port_that_they_name() -> None:
    with backend("one") as one, backend("other") as other:
        port = free_port()
        text = (
            entry("one", 80, one.port)
            + entry("other", 8080, other.port)
            + f"""
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: s, namespace: default}}
spec:
  outboundTrafficPolicy: {{mode: REGISTRY_ONLY}}
  egress:
  - {{port: {{number: {port}, protocol: HTTP_PROXY, name: proxy}}, bind: 127.0.0.1, captureMode: NONE, hosts: ["./*"]}}
"""
        )
        where = ("127.0.0.1", port)
        with envoy(configuration(text, PROXY, (f"127.0.0.1_{port}",))):
            assert fetch(where, "http://one.example.com/") == (200, "one")
            assert fetch(where, "http://other.example.com:8080/") == (200, "other")
            assert fetch(where, "http://other.example.com/")[0] == 502
