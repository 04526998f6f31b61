"""Probes of pods with and without a sidecar say the same, whatever the application listens on."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .bookinfo import Cluster

Object = dict[str, Any]
SERVER = """
import http.server, os, socket, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        while self.path == "/endless":
            self.wfile.write(b"x" * 4096)
    def log_message(self, *_): pass
address = {"pod": os.environ["POD_IP"], "loopback": "127.0.0.1"}[sys.argv[1]]
http.server.ThreadingHTTPServer((address, 8080), Handler).serve_forever()
"""
IMAGE = "example.com/listening"
HTTP = {"httpGet": {"path": "/", "port": 8080}}
# name: (what the server listens on, the readiness probe, whether it passes)
CASES: dict[str, tuple[str, Object, bool]] = {
    "http": ("pod", HTTP, True),
    "endless": ("pod", {"httpGet": {"path": "/endless", "port": 8080}}, True),
    "tcp": ("pod", {"tcpSocket": {"port": 8080}}, True),
    "grpc": ("pod", {"grpc": {"port": 8080}}, False),
    "http-on-loopback": ("loopback", HTTP, False),
    "tcp-on-loopback": ("loopback", {"tcpSocket": {"port": 8080}}, False),
}


def pod(name: str, listens: str, probe: Object) -> Object:
    container = {
        "name": "main",
        "image": IMAGE,
        "args": [listens],
        "env": [{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
        "readinessProbe": {**probe, "periodSeconds": 1, "failureThreshold": 1},
    }
    metadata = {"name": name, "labels": {"app": name}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container]}}


@pytest.fixture
def image(cluster: Cluster, tmp_path: Path) -> Iterator[None]:
    script = tmp_path / "listening.py"
    script.write_text(SERVER)
    cluster.sailctl("image", "add", "--state", str(cluster.state), IMAGE, sys.executable, str(script))
    yield
    cluster.sailctl("image", "remove", IMAGE, "--state", str(cluster.state))


@pytest.mark.usefixtures("image")
@pytest.mark.parametrize("injected", [True, False], ids=["injected", "plain"])
def test_a_server_is_ready_by_its_pods_address(cluster: Cluster, injected: bool) -> None:
    namespace = f"probes-{'injected' if injected else 'plain'}"
    cluster.kubectl("create", "namespace", namespace)
    try:
        if injected:
            cluster.kubectl("label", "namespace", namespace, "istio-injection=enabled")
        items = [pod(name, listens, probe) for name, (listens, probe, _) in CASES.items()]
        cluster.kubectl(
            "-n", namespace, "apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
        )

        expected = {name: passes for name, (_, _, passes) in CASES.items()}
        cluster.eventually(lambda: readiness(cluster, namespace) == expected, 40)
    finally:
        cluster.kubectl("delete", "namespace", namespace, "--wait=false")


def readiness(cluster: Cluster, namespace: str) -> dict[str, bool]:
    """Readiness by pod, of those that were judged: ready, or with a probe that counted as failed."""
    pods = json.loads(cluster.kubectl("-n", namespace, "get", "pods", "-o", "json"))["items"]
    events = json.loads(cluster.kubectl("-n", namespace, "get", "events", "-o", "json"))["items"]
    failed = {e["involvedObject"]["name"] for e in events if e.get("reason") == "Unhealthy"}
    ready = {p["metadata"]["name"]: bool(main(p).get("ready")) for p in pods}
    return {name: passes for name, passes in ready.items() if passes or name in failed}


def main(obj: Object) -> Object:
    """The status of a pod's own container."""
    statuses: list[Object] = obj.get("status", {}).get("containerStatuses") or []
    return next((s for s in statuses if s["name"] == "main"), {})
