"""Connections that are not HTTP: shifted by weight at the gateway, and ports of services on the host."""

from __future__ import annotations

import ipaddress
import json
import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from .bookinfo import Cluster

SAMPLES = Path(__file__).parents[2] / "samples" / "tcp-echo"


Place = tuple[str, int]


def say(place: Place, text: str = "a line", seconds: float = 2) -> str:
    """The answer of an echo at a place on the host; empty if nobody answers."""
    try:
        with socket.create_connection(place, seconds) as connection:
            connection.sendall(text.encode() + b"\n")
            return connection.makefile().readline().strip()
    except OSError:
        return ""


@pytest.fixture(scope="module")
def echo(cluster: Cluster) -> Iterator[Cluster]:
    cluster.kubectl("create", "namespace", "echo")
    cluster.kubectl("label", "namespace", "echo", "istio-injection=enabled")
    cluster.kubectl("apply", "-n", "echo", "-f", str(SAMPLES / "tcp-echo-versions.yaml"))
    cluster.kubectl("wait", "-n", "echo", "--for=condition=Available", "deployment", "--all", "--timeout=60s")
    yield cluster
    cluster.kubectl("delete", "namespace", "echo")


def balancer(echo: Cluster, name: str, namespace: str, port: int) -> Place:
    """Where a load balancer's port is, once it has an address."""
    path = "{.status.loadBalancer.ingress[0].ip}"
    echo.eventually(lambda: bool(echo.kubectl("get", "svc", name, "-n", namespace, "-o", f"jsonpath={path}")))
    return echo.kubectl("get", "svc", name, "-n", namespace, "-o", f"jsonpath={path}"), port


def test_connections_are_shifted_by_weight(echo: Cluster) -> None:
    echo.kubectl("apply", "-n", "echo", "-f", str(SAMPLES / "networking" / "all-v1.yaml"))
    gateway = balancer(echo, "istio-ingressgateway", "istio-system", 31400)
    echo.eventually(lambda: say(gateway) == "one a line")
    assert Counter(say(gateway) for _ in range(30)) == {"one a line": 30}
    echo.kubectl("apply", "-n", "echo", "-f", str(SAMPLES / "networking" / "20-v2.yaml"))
    echo.eventually(lambda: "two a line" in {say(gateway) for _ in range(10)})
    found = Counter(say(gateway) for _ in range(400))
    assert set(found) == {"one a line", "two a line"}
    assert 35 < found["two a line"] < 130  # 80 is expected, 5.6 standard deviations either way


def test_load_balancers_have_addresses_of_their_own_and_the_ports_they_ask_for(echo: Cluster) -> None:
    """Two with one port, and each port only as long as it is wanted."""
    places = {}
    for version in ("v1", "v2"):
        echo.kubectl("create", "service", "loadbalancer", version, "-n", "echo", "--tcp=9090:9000")
        patch = json.dumps({"spec": {"selector": {"app": "tcp-echo", "version": version}}})
        echo.kubectl("patch", "service", version, "-n", "echo", "--type=merge", "-p", patch)
        places[version] = balancer(echo, version, "echo", 9090)
    assert places["v1"] != places["v2"]
    echo.eventually(lambda: say(places["v1"]) == "one a line" and say(places["v2"]) == "two a line")
    port = echo.kubectl("get", "svc", "v2", "-n", "echo", "-o", "jsonpath={.spec.ports[0].nodePort}")
    assert say(("127.0.0.1", int(port))) == "two a line"
    echo.kubectl("delete", "service", "v1", "v2", "-n", "echo")
    echo.eventually(lambda: say(places["v1"]) == "" and say(("127.0.0.1", int(port))) == "")


def test_who_says_little_or_waits_for_the_server_is_not_kept_waiting_for_ever(echo: Cluster) -> None:
    """Five bytes would tell TLS from plain text; after the bounded wait less has to do."""
    echo.kubectl("create", "service", "loadbalancer", "tcp-echo-v1", "-n", "echo", "--tcp=9000:9000")
    patch = json.dumps({"spec": {"selector": {"app": "tcp-echo", "version": "v1"}}})
    echo.kubectl("patch", "service", "tcp-echo-v1", "-n", "echo", "--type=merge", "-p", patch)
    place = balancer(echo, "tcp-echo-v1", "echo", 9000)
    echo.eventually(lambda: say(place, "at once") == "one at once")
    assert say(place, "x", 10) == "one x"
    echo.kubectl("delete", "service", "tcp-echo-v1", "-n", "echo")


def test_a_port_in_use_is_told_by_an_event(echo: Cluster) -> None:
    gateway, _ = balancer(echo, "istio-ingressgateway", "istio-system", 80)
    address = str(ipaddress.ip_address(gateway) + 200)
    with socket.create_server((address, 0)) as taken:
        port = taken.getsockname()[1]
        clash = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "clash", "namespace": "echo"},
            "spec": {"type": "LoadBalancer", "loadBalancerIP": address, "ports": [{"port": port}]},
        }
        echo.kubectl("apply", "-f", "-", stdin=json.dumps(clash))
        path = "jsonpath={.items[*].message}"
        events = ("get", "events", "-n", "echo", "--field-selector", "reason=PortNotPublished", "-o", path)
        echo.eventually(lambda: f"{address}:{port} cannot be published" in echo.kubectl(*events))
    echo.kubectl("delete", "service", "clash", "-n", "echo")
