"""A UDPRoute at a Gateway with pods of its own: datagrams of the host and of pods reach the backends by weight, a client keeps its backend,
and the share of a backend of another namespace is lost until that one grants it."""

from __future__ import annotations

import contextlib
import json
import socket
from collections import Counter
from collections.abc import Iterator

import pytest

from .bookinfo import Cluster, Object

GROUP = "gateway.networking.k8s.io"
PORT = 5353
ASK = f"""
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
    client.settimeout(1)
    client.connect((sys.argv[1], {PORT}))
    client.send(b"hello")
    print(client.recv(65535).decode())
"""


def echo(namespace: str) -> list[Object]:
    """A server that answers datagrams with their text and its own pod and namespace."""
    container = {
        "name": "echo",
        "image": "registry.k8s.io/gateway-api/echo-basic:v1.6.0",
        "env": [
            {"name": "UDP_ECHO_SERVER", "value": "1"},
            {"name": "NAMESPACE", "value": namespace},
            {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        ],
    }
    labels = {"app": "datagrams"}
    pod = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    bodies: dict[tuple[str, str], Object] = {
        ("apps/v1", "Deployment"): {"replicas": 2, "selector": {"matchLabels": labels}, "template": pod},
        ("v1", "Service"): {"selector": labels, "ports": [{"port": 53, "targetPort": 8080, "protocol": "UDP"}]},
    }
    metadata = {"name": "datagrams", "namespace": namespace}
    return [{"apiVersion": v, "kind": k, "metadata": metadata, "spec": s} for (v, k), s in bodies.items()]


def gateway_and_route() -> list[Object]:
    """A Gateway that has the port for connections and for datagrams, and a route that gives another namespace a quarter."""
    listeners = [{"name": p, "port": PORT, "protocol": p.upper()} for p in ("tcp", "udp")]
    backends = [
        {"name": "datagrams", "port": 53, "weight": 3},
        {"name": "datagrams", "namespace": "far", "port": 53, "weight": 1},
    ]
    bodies: dict[str, Object] = {
        "Gateway": {"gatewayClassName": "sailcloth", "listeners": listeners},
        "UDPRoute": {"parentRefs": [{"name": "datagrams"}], "rules": [{"backendRefs": backends}]},
    }
    metadata = {"name": "datagrams"}
    return [{"apiVersion": f"{GROUP}/v1", "kind": k, "metadata": metadata, "spec": s} for k, s in bodies.items()]


def grant() -> Object:
    spec = {
        "from": [{"group": GROUP, "kind": "UDPRoute", "namespace": "default"}],
        "to": [{"group": "", "kind": "Service"}],
    }
    metadata = {"name": "datagrams", "namespace": "far"}
    return {"apiVersion": f"{GROUP}/v1beta1", "kind": "ReferenceGrant", "metadata": metadata, "spec": spec}


@pytest.fixture
def address(mesh: Cluster) -> Iterator[str]:
    """The address of a Gateway with echoes behind it."""
    mesh.kubectl("create", "namespace", "far")
    try:
        for obj in (*echo("default"), *echo("far"), *gateway_and_route()):
            mesh.kubectl("apply", "-f", "-", stdin=json.dumps(obj))
        for namespace in ("default", "far"):
            mesh.kubectl("rollout", "status", "deployment/datagrams", "-n", namespace, "--timeout=60s")
        mesh.kubectl("wait", "gtw/datagrams", "--for=condition=Programmed", "--timeout=30s")
        yield mesh.kubectl("get", "gtw", "datagrams", "-o", "jsonpath={.status.addresses[0].value}")
    finally:
        kinds = f"gateways.{GROUP},udproutes,deployments,services"
        mesh.kubectl("delete", kinds, "datagrams", "--ignore-not-found")
        mesh.kubectl("delete", "namespace", "far")
        mesh.eventually(lambda: "datagrams" not in mesh.kubectl("get", "deployments,services,pods", "-o", "name"), 40)


def asked(client: socket.socket, text: str = "hello") -> Object:
    """The answer to one datagram; empty if there is none."""
    client.send(text.encode())
    with contextlib.suppress(OSError):
        answer: Object = json.loads(client.recv(65_535))
        return answer
    return {}


@contextlib.contextmanager
def new_client(address: str, wait_s: float = 0.3) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(wait_s)
        client.connect((address, PORT))
        yield client


def who(address: str) -> str:
    """The namespace of the server that answers a new client; empty if none does."""
    with new_client(address) as client:
        return str(asked(client).get("namespace", ""))


def condition(mesh: Cluster, name: str) -> str:
    path = f'{{.status.parents[0].conditions[?(@.type=="{name}")].reason}}'
    return mesh.kubectl("get", "udproute", "datagrams", "-o", f"jsonpath={path}")


def test_datagrams_through_a_gateway(mesh: Cluster, address: str) -> None:
    mesh.eventually(lambda: who(address) == "default")
    shares = Counter(who(address) for _ in range(24))
    assert set(shares) == {"default", ""}
    assert abs(shares[""] - 6) <= 2
    assert [condition(mesh, name) for name in ("Accepted", "ResolvedRefs")] == ["Accepted", "RefNotPermitted"]

    mesh.kubectl("apply", "-f", "-", stdin=json.dumps(grant()))
    mesh.eventually(lambda: condition(mesh, "ResolvedRefs") == "ResolvedRefs")
    mesh.eventually(lambda: who(address) == "far")
    shares = Counter(who(address) for _ in range(48))
    assert set(shares) == {"default", "far"}
    assert abs(shares["far"] - 12) <= 4

    with new_client(address, 5) as client:  # all its datagrams are one session
        assert len({asked(client)["pod"] for _ in range(10)}) == 1
        large = "-" * 8_000  # bytes: several fragments
        assert asked(client, large)["request"] == large
        left = asked(client)
        mesh.kubectl("delete", "pod", left["pod"], "-n", left["namespace"], "--wait=false")
        mesh.eventually(lambda: asked(client).get("pod", left["pod"]) != left["pod"])

    for name in ("datagrams-sailcloth", address):
        answer = mesh.kubectl("exec", "deploy/productpage-v1", "--", "python3", "-c", ASK, name)
        assert json.loads(answer)["request"] == "hello"


def test_statuses_and_descriptions_of_a_route(mesh: Cluster, address: str) -> None:
    status = json.loads(mesh.kubectl("get", "gtw", "datagrams", "-o", "json"))["status"]
    shown = {n["name"]: ([k["kind"] for k in n["supportedKinds"]], n["attachedRoutes"]) for n in status["listeners"]}
    assert shown == {"tcp": (["TCPRoute"], 0), "udp": (["UDPRoute"], 1)}
    described = mesh.sailctl("x", "describe", "gateway", "datagrams")
    assert f"Addresses: {address}" in described
    assert "Listener tcp: TCP port 5353, routes of its own namespace\n   no routes\n" in described
    assert "Listener udp: UDP port 5353, routes of its own namespace\n   UDPRoute datagrams.default\n" in described
    described = mesh.sailctl("x", "describe", "route", "udproute/datagrams")
    assert "Rule 1: everything to datagrams.default:53 75 %, datagrams.far:53 25 %" in described
    assert "references: RefNotPermitted: no ReferenceGrant in far" in described
    ports = mesh.kubectl("get", "service", "datagrams-sailcloth", "-o", "jsonpath={.spec.ports[*].protocol}")
    assert sorted(ports.split()) == ["TCP", "TCP", "UDP"]
