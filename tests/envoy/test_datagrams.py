"""A gateway's UDP port at a real Envoy: datagrams reach the backends by their weights, and the share of a missing one is lost."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections import Counter
from collections.abc import Iterator

import pytest

from .loopback import configuration, envoy, eventually

SERVICE = """
---
{{apiVersion: v1, kind: Service, metadata: {{name: {name}, namespace: default}}, spec: {{clusterIP: {ip}, ports: [{{name: udp, port: 53, protocol: UDP}}]}}}}
"""
SLICE = """
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {name}-1, namespace: default, labels: {{kubernetes.io/service-name: {name}}}}}
addressType: IPv4
ports: [{{name: udp, port: {port}, protocol: UDP}}]
endpoints: [{{addresses: [127.0.0.1], conditions: {{ready: true}}}}]
"""
WORLD = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: edge, namespace: default}}
spec:
  servers: [{{port: {{number: {port}, name: udp, protocol: UDP}}, bind: 127.0.0.1, hosts: ["*"]}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: names, namespace: default}}
spec:
  hosts: ["*"]
  gateways: [edge]
  tcp: [{{route: [{route}]}}]
"""


@contextlib.contextmanager
def named(name: str) -> Iterator[int]:
    """A UDP server that answers with its name instead of the first three bytes, and its port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        port = int(server.getsockname()[1])

        def serve() -> None:
            while (received := server.recvfrom(65_535))[0] != b"end":
                server.sendto(name.encode() + received[0][3:], received[1])

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield port
        finally:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
                last.sendto(b"end", ("127.0.0.1", port))
            thread.join()


def free_udp_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def asked(port: int, wait_s: float = 0.3, more: str = "") -> str:
    """The answer to one datagram of a new client; empty if there is none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(wait_s)
        client.sendto(f"who{more}".encode(), ("127.0.0.1", port))
        with contextlib.suppress(OSError):
            return client.recv(65_535).decode()
        return ""


@pytest.mark.parametrize(
    ("weights", "answers"),
    [({"one": 3, "two": 1}, {"one": 30, "two": 10}), ({"one": 3, "empty": 1}, {"one": 30, "": 10})],
)
def test_clients_are_shared_by_weight(weights: dict[str, int], answers: dict[str, int]) -> None:
    port = free_udp_port()
    route = ", ".join(
        f"{{destination: {{host: {name}, port: {{number: 53}}}}, weight: {w}}}" for name, w in weights.items()
    )
    text = WORLD.format(port=port, route=route)
    with named("one") as one, named("two") as two:
        text += "".join(SERVICE.format(name=n, ip=f"10.0.0.{i}") for i, n in enumerate(("one", "two", "empty"), 1))
        text += SLICE.format(name="one", port=one) + SLICE.format(name="two", port=two)
        config = configuration(text, {"type": "router", "ip": "127.0.0.1"}, (f"127.0.0.1_{port}_udp",))
        with envoy(config):
            eventually("an answer", lambda: asked(port))
            counted = Counter(asked(port) for _ in range(40))
    assert set(counted) == set(answers)
    for name, count in answers.items():
        assert abs(counted[name] - count) <= 1


def test_datagrams_may_be_as_large_as_udp_allows() -> None:
    port = free_udp_port()
    with named("one") as one:
        text = WORLD.format(port=port, route="{destination: {host: one, port: {number: 53}}}")
        text += SERVICE.format(name="one", ip="10.0.0.1") + SLICE.format(name="one", port=one)
        config = configuration(text, {"type": "router", "ip": "127.0.0.1"}, (f"127.0.0.1_{port}_udp",))
        with envoy(config):
            eventually("an answer", lambda: asked(port))
            for size in (1_600, 65_507):  # bytes: more than an Ethernet frame holds, and the most
                more = "-" * (size - 3)
                assert asked(port, 5, more) == "one" + more


def test_a_port_is_translated_by_its_own_protocol() -> None:
    ports = "[{name: tcp, port: 53, targetPort: 8053}, {name: udp, port: 53, targetPort: 5353, protocol: UDP}]"
    spec = f"{{clusterIP: 10.0.0.9, selector: {{app: edge}}, ports: {ports}}}"
    text = WORLD.format(port=53, route="{destination: {host: one, port: {number: 53}}}").replace(
        "bind: 127.0.0.1, ", ""
    )
    text += f"---\n{{apiVersion: v1, kind: Service, metadata: {{name: edge, namespace: default}}, spec: {spec}}}\n"
    made = configuration(
        text, {"type": "router", "namespace": "default", "labels": {"app": "edge"}}, ("0.0.0.0_5353_udp",)
    )
    assert [each["address"]["socket_address"]["port_value"] for each in made["static_resources"]["listeners"]] == [5353]
