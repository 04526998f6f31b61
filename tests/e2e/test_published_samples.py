"""Istio's published samples that need nothing but their images: each applies as it is, and its pods become ready."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from .bookinfo import KUBECTL, Cluster, new_state

PUBLISHED = Path(__file__).parents[3] / "shared" / "cases" / "samples" / "istio"
FOLDERS = ("curl", "extauthz", "grpc-echo", "health-check", "helloworld", "httpbin", "sleep", "tcp-echo", "websockets")
BOOKINFO = ("bookinfo-db", "bookinfo-mysql", "bookinfo-ratings-v2", "bookinfo-ratings-v2-mysql", "bookinfo-details-v2")
Object = dict[str, Any]


def documents(file: Path) -> list[Object]:
    return [o for o in yaml.safe_load_all(file.read_text()) if o]


def with_pods() -> list[str]:
    files = [f for folder in FOLDERS for f in sorted((PUBLISHED / folder).rglob("*.yaml"))]
    found = [str(f.relative_to(PUBLISHED)) for f in files if any(o["kind"] == "Deployment" for o in documents(f))]
    return [*found, *(f"bookinfo/platform/kube/{name}.yaml" for name in BOOKINFO if PUBLISHED.exists())]


def rules() -> list[str]:
    files = [f for folder in (*FOLDERS, "external") for f in sorted((PUBLISHED / folder).rglob("*.yaml"))]
    return [str(f.relative_to(PUBLISHED)) for f in files if all(o["kind"] != "Deployment" for o in documents(f))]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    if KUBECTL is None:
        pytest.skip("kubectl is not installed")
    if not PUBLISHED.exists():
        pytest.skip("the published samples are not at hand")
    with new_state() as state:
        running = Cluster(state)
        running.found = json.loads(running.sailctl("up", "--detach", "-o", "json"))
        yield running


def place(cluster: Cluster, name: str) -> str:
    """An injected namespace for a sample: the one that its objects name, or one of its own."""
    named = {o["metadata"].get("namespace", "") for o in documents(PUBLISHED / name)} - {""}
    namespace = named.pop() if named else re.sub(r"[^a-z0-9]+", "-", name.removesuffix(".yaml"))
    leaving = "jsonpath={.metadata.deletionTimestamp}"
    if cluster.kubectl("get", "namespace", namespace, "--ignore-not-found", "-o", leaving):  # from the test before
        cluster.kubectl("wait", "--for=delete", f"namespace/{namespace}", "--timeout=60s")
    labelled = {"name": namespace, "labels": {"istio-injection": "enabled"}}
    made = {"apiVersion": "v1", "kind": "Namespace", "metadata": labelled}
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps(made))
    return namespace


@pytest.mark.parametrize("name", with_pods())
def test_pods_become_ready(cluster: Cluster, name: str) -> None:
    namespace = place(cluster, name)
    try:
        cluster.kubectl("apply", "-n", namespace, "-f", str(PUBLISHED / name))
        cluster.kubectl("wait", "-n", namespace, "--for=condition=Available", "deployment", "--all", "--timeout=30s")
        for pod in json.loads(cluster.kubectl("get", "pods", "-n", namespace, "-o", "json"))["items"]:
            assert all(s["ready"] for s in pod["status"]["containerStatuses"]), pod["metadata"]["name"]
    finally:
        cluster.kubectl("delete", "namespace", namespace, "--wait=false")


@pytest.mark.parametrize("name", rules())
def test_rules_apply(cluster: Cluster, name: str) -> None:
    namespace = place(cluster, name)
    try:
        cluster.kubectl("apply", "-n", namespace, "-f", str(PUBLISHED / name))
    finally:
        cluster.kubectl("delete", "namespace", namespace, "--wait=false")


def test_a_browser_at_the_websocket_sample_hears_of_changes(cluster: Cluster) -> None:
    """Over the gateway and the sidecar, by the published route."""
    import http.client
    import socket

    namespace = place(cluster, "websockets/route.yaml")
    try:
        for file in ("app.yaml", "route.yaml"):
            cluster.kubectl("apply", "-n", namespace, "-f", str(PUBLISHED / "websockets" / file))
        gateway = json.loads(cluster.kubectl("get", "gateways.networking.istio.io", "-n", namespace, "-o", "json"))[
            "items"
        ][0]
        port = {
            "op": "replace",
            "path": "/spec/servers/0/port/number",
            "value": 8080,
        }  # the gateway's port on this host
        cluster.kubectl("patch", "gateways.networking.istio.io", gateway["metadata"]["name"], "-n", namespace, "--type=json", "-p", json.dumps([port]))  # fmt: skip
        cluster.kubectl("wait", "-n", namespace, "--for=condition=Available", "deployment", "--all", "--timeout=30s")
        cluster.eventually(lambda: cluster.get("/").status == 200)
        host, number = cluster.gateway
        fields = "upgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ=="
        with socket.create_connection((host, number), timeout=10) as link, link.makefile("rb") as lines:
            link.sendall(f"GET /ws HTTP/1.1\r\nhost: {host}:{number}\r\n{fields}\r\n\r\n".encode())
            assert b" 101 " in lines.readline()
            while lines.readline() not in (b"\r\n", b""):
                pass
            link.sendall(b"\x89\x80\x00\x00\x00\x00")  # a ping, so that the server is known to listen
            assert lines.read(2) == b"\x8a\x00"
            asked = http.client.HTTPConnection(host, number, timeout=10)
            asked.request("GET", "/api?id=1&value=hello")
            assert asked.getresponse().status == 200
            asked.close()
            head = lines.read(2)
            assert json.loads(lines.read(head[1])) == {"id": "1", "value": "hello"}
    finally:
        cluster.kubectl("delete", "namespace", namespace, "--wait=false")


@pytest.mark.parametrize(("database", "ratings"), [("db", "v2"), ("mysql", "v2-mysql")])
def test_ratings_come_from_a_database_in_the_mesh(cluster: Cluster, database: str, ratings: str) -> None:
    namespace = f"ratings-{ratings}"
    labelled = {"name": namespace, "labels": {"istio-injection": "enabled"}}
    cluster.kubectl(
        "apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": labelled})
    )
    try:
        for name in (f"bookinfo-{database}", f"bookinfo-ratings-{ratings}"):
            cluster.kubectl(
                "apply", "-n", namespace, "-f", str(PUBLISHED / "bookinfo" / "platform" / "kube" / f"{name}.yaml")
            )
        cluster.kubectl("wait", "-n", namespace, "--for=condition=Available", "deployment", "--all", "--timeout=30s")
        code = "import urllib.request as u;print(u.urlopen('http://127.0.0.1:9080/ratings/0').read().decode())"
        ask = ("exec", "-n", namespace, f"deploy/ratings-{ratings}", "-c", "ratings", "--", "python3", "-c", code)
        assert json.loads(cluster.kubectl(*ask))["ratings"] == {"Reviewer1": 5, "Reviewer2": 4}
    finally:
        cluster.kubectl("delete", "namespace", namespace, "--wait=false")


def test_istios_echo_client_runs_in_its_pod(cluster: Cluster) -> None:
    """As the conformance tests of mesh traffic call it."""
    namespace = place(cluster, "grpc-echo/grpc-echo.yaml")
    try:
        cluster.kubectl("apply", "-f", str(PUBLISHED / "grpc-echo" / "grpc-echo.yaml"))
        cluster.kubectl("wait", "-n", namespace, "--for=condition=Available", "deployment", "--all", "--timeout=30s")
        ask = ("exec", "-n", namespace, "deploy/echo-v1", "-c", "app", "--", "client")
        for url in ("http://echo/path", "grpc://echo:7070", "tcp://echo:9090"):
            told = cluster.kubectl(*ask, url, "--count=10")
            assert told.count("StatusCode=200") >= 10, told
            pods = set(re.findall(r"Hostname=(echo-v[12])-", told))
            assert pods, told
    finally:
        cluster.kubectl("delete", "namespace", namespace, "--wait=false")
