"""Connections that are not HTTP: shifted by weight at the gateway, and ports of services on the host."""

from __future__ import annotations

import json
import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from bookinfo import Cluster

SAMPLES = Path(__file__).parents[2] / "samples" / "tcp-echo"


def say(port: int, text: str = "a line", seconds: float = 2) -> str:
    """The answer of an echo on the host's port; empty if nobody answers."""
    try:
        with socket.create_connection(("127.0.0.1", port), seconds) as connection:
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


def test_connections_are_shifted_by_weight(echo: Cluster) -> None:
    echo.kubectl("apply", "-n", "echo", "-f", str(SAMPLES / "networking" / "all-v1.yaml"))
    echo.eventually(lambda: say(31400) == "one a line")
    assert Counter(say(31400) for _ in range(30)) == {"one a line": 30}
    echo.kubectl("apply", "-n", "echo", "-f", str(SAMPLES / "networking" / "20-v2.yaml"))
    echo.eventually(lambda: "two a line" in {say(31400) for _ in range(10)})
    found = Counter(say(31400) for _ in range(400))
    assert set(found) == {"one a line", "two a line"}
    assert 35 < found["two a line"] < 130  # 80 is expected, 5.6 standard deviations either way


def test_a_load_balancers_port_is_on_the_host_as_long_as_it_is_wanted(echo: Cluster) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "outside", "namespace": "echo"},
        "spec": {
            "type": "LoadBalancer",
            "selector": {"app": "tcp-echo"},
            "ports": [{"name": "tcp", "port": port, "targetPort": 9000}],
        },
    }
    echo.kubectl("apply", "-f", "-", stdin=json.dumps(service))
    echo.eventually(lambda: {say(port) for _ in range(4)} == {"one a line", "two a line"})
    assert json.loads(echo.kubectl("get", "svc", "outside", "-n", "echo", "-o", "json"))["status"]["loadBalancer"][
        "ingress"
    ]
    echo.kubectl("delete", "service", "outside", "-n", "echo")
    echo.eventually(lambda: say(port) == "")


def test_who_says_little_or_waits_for_the_server_is_not_kept_waiting_for_ever(echo: Cluster) -> None:
    """Five bytes would tell TLS from plain text; after the bounded wait less has to do."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    echo.kubectl("create", "service", "loadbalancer", "tcp-echo-v1", "-n", "echo", f"--tcp={port}:9000")
    patch = json.dumps({"spec": {"selector": {"app": "tcp-echo", "version": "v1"}}})
    echo.kubectl("patch", "service", "tcp-echo-v1", "-n", "echo", "--type=merge", "-p", patch)
    echo.eventually(lambda: say(port, "at once") == "one at once")
    assert say(port, "x", 10) == "one x"
    echo.kubectl("delete", "service", "tcp-echo-v1", "-n", "echo")


def test_a_port_in_use_is_told_by_an_event(echo: Cluster) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        echo.kubectl("create", "service", "loadbalancer", "clash", "-n", "echo", f"--tcp={port}:9000")
        path = "jsonpath={.items[*].message}"
        events = ("get", "events", "-n", "echo", "--field-selector", "reason=PortNotPublished", "-o", path)
        echo.eventually(lambda: f"port {port} of the host cannot be published" in echo.kubectl(*events))
    echo.kubectl("delete", "service", "clash", "-n", "echo")
