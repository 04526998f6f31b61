"""Telemetry and console on a real node: what sidecars count and trace is found at the Services that Istio's add-ons have."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any
from urllib.parse import quote

import pytest
import yaml

from . import conftest
from .node import Node
from .test_mesh import fetch

SYSTEM = ("-n", "istio-system")


def answer(mesh: Node, service: str, port: int, path: str, *headers: str) -> Any:
    """What a Service of the installation answers, as JSON; None without an answer."""
    address = mesh.control_plane.get(*SYSTEM, f"service/{service}")["spec"]["clusterIP"]
    text = mesh.answer(f"http://{address}:{port}{path}", *headers)
    return json.loads(text) if text else None


def graph(mesh: Node, token: str) -> Any:
    return answer(mesh, "kiali", 20001, "/api/graph?type=workload&window=1m", f"Authorization: Bearer {token}")


@pytest.fixture
def traffic(mesh: Node, namespace: str) -> str:
    """The namespace, whose client has asked its server a few times."""
    for _ in range(5):
        fetch(mesh, namespace, "http://server/")
    return namespace


def test_requests_are_counted(mesh: Node, traffic: str) -> None:
    labels = f'source_workload="client",destination_workload="server",destination_workload_namespace="{traffic}"'
    query = f'sum(istio_requests_total{{{labels},reporter="destination",connection_security_policy="mutual_tls"}})'

    def counted() -> bool:
        found = answer(mesh, "prometheus", 9090, f"/api/v1/query?query={quote(query)}")["data"]["result"]
        return bool(found) and float(found[0]["value"][1]) >= 5

    mesh.processes.wait("metrics of both proxies", counted)


def test_the_control_plane_is_scraped(mesh: Node) -> None:
    def scraped() -> bool:
        found = answer(mesh, "prometheus", 9090, "/api/v1/query?query=" + quote('up{job="istiod"} == 1'))
        return bool(found["data"]["result"])

    mesh.processes.wait("metrics of the control plane", scraped)


def test_a_request_is_one_trace_of_both_proxies(mesh: Node, traffic: str) -> None:
    def traced() -> bool:
        found = answer(mesh, "tracing", 80, f"/api/traces?service=server.{traffic}&limit=20")
        names = [{p["serviceName"] for p in t["processes"].values()} for t in (found or {}).get("data") or ()]
        return {f"client.{traffic}", f"server.{traffic}"} in names

    mesh.processes.wait("a trace", traced)


def test_the_console_refuses_who_does_not_log_in(mesh: Node) -> None:
    address = mesh.control_plane.get(*SYSTEM, "service/kiali")["spec"]["clusterIP"]
    status = "import sys, urllib.request as r, urllib.error as e\ntry: print(r.urlopen(sys.argv[1]).status)\nexcept e.HTTPError as x: print(x.code)"
    for path, expected in (("/api/graph", "401"), ("/", "200"), ("/healthz", "200")):
        done = mesh.control_plane.run(sys.executable, "-c", status, f"http://{address}:20001{path}")
        assert done.stdout.strip() == expected, path


def test_the_graph_has_both_workloads(mesh: Node, traffic: str) -> None:
    token = mesh.control_plane.run("kubectl", "create", "token", "kiali", *SYSTEM).stdout.strip()

    def drawn() -> bool:
        fetch(mesh, traffic, "http://server/")
        shown = json.dumps(graph(mesh, token))
        return f'"{traffic}"' in shown and '"client"' in shown and '"server"' in shown

    mesh.processes.wait("the graph", drawn, 60.0)
    assert "client" in conftest.sailctl(mesh.control_plane, "graph", "-n", traffic)


def test_the_console_shows_nobody_more_than_they_may_see(mesh: Node, traffic: str) -> None:
    create = ("kubectl", "create", "token", "default", "-n", traffic)
    token = mesh.control_plane.run(*create).stdout.strip()
    assert traffic not in json.dumps(graph(mesh, token)["nodes"])


def test_the_dashboard_opens_the_console_logged_in(mesh: Node) -> None:
    command = [
        *mesh.control_plane.prefix,
        sys.executable,
        "-m",
        "sailcloth.cli",
        "dashboard",
        "console",
        "--no-browser",
    ]
    environment = {"KUBECONFIG": str(mesh.control_plane.kubeconfig), "PATH": "/usr/bin:/bin"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as serving:
        try:
            assert serving.stdout is not None
            url, _, token = serving.stdout.readline().strip().partition("/?token=")
            assert "system:serviceaccount:istio-system:kiali" in mesh.answer(
                f"{url}/api/session", f"Authorization: Bearer {token}"
            )
        finally:
            serving.terminate()


def test_pods_would_be_admitted_to_a_restricted_namespace(mesh: Node) -> None:
    plane = mesh.control_plane
    pods = plane.get(*SYSTEM, "pods", "-l", "app in (telemetry,kiali)")["items"]
    assert len(pods) == 2
    with plane.namespace() as name:
        plane.kubectl("label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
        for pod in pods:
            spec = {k: v for k, v in pod["spec"].items() if k in ("containers", "securityContext", "volumes")}
            made = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec}
            said = plane.kubectl("create", "--dry-run=server", "-n", name, "-f", "-", input=yaml.safe_dump(made))
            assert "created" in said
