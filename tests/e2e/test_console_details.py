"""The console's details of a local cluster: logs, charts, traces and proxies' configuration are those of real requests, and of nobody
who may not read them."""

from __future__ import annotations

import http.client
import json
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from ..console.test_page import CHROMIUM, CONSOLE, needs_browser, needs_packages
from .bookinfo import Cluster, Load, to, virtual_service
from .test_console import ask, base, token

__all__ = ["base", "token"]  # fixtures

Object = dict[str, Any]
PRODUCTPAGE = "kind=workload&namespace=default&name=productpage-v1"


def status(url: str, token: str) -> int:
    try:
        ask(url, token)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    return 200


def events(url: str, token: str) -> Iterator[Object]:
    """The data of server-sent events, for at most twenty seconds."""
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
    deadline = time.monotonic() + 20
    with urllib.request.urlopen(request, timeout=20) as answer:
        while time.monotonic() < deadline and (line := answer.readline()):
            if line.startswith(b"data: "):
                yield json.loads(line.removeprefix(b"data: "))


def test_an_overview_has_what_kubectl_shows(mesh: Cluster, base: str, token: str) -> None:
    mesh.apply(virtual_service("reviews", {"route": [to("reviews", "v1")]}))

    def details(kind: str, name: str) -> Object:
        shown: Object = ask(f"{base}/api/details?kind={kind}&namespace=default&name={name}", token)
        return shown

    def objects() -> set[tuple[str, str]]:
        return {(o["kind"], o["name"]) for o in details("service", "reviews")["objects"]}

    mesh.eventually(lambda: objects() >= {("VirtualService", "reviews"), ("DestinationRule", "reviews")})
    reviews = details("service", "reviews")
    addresses = mesh.kubectl("get", "endpoints", "reviews", "-o", "jsonpath={.subsets[*].addresses[*].ip}").split()
    assert {e["address"] for e in reviews["endpoints"]} == set(addresses)
    assert [(p["number"], p["protocol"]) for p in reviews["ports"]] == [(9080, "HTTP")]
    assert {r["name"] for r in reviews["related"] if r["kind"] == "workload"} == {f"reviews-v{n}" for n in (1, 2, 3)}
    pod = mesh.pod("app=reviews,version=v1")

    def pods() -> list[tuple[str, bool, bool]]:
        return [(p["name"], p["ready"], p["synced"]) for p in details("workload", "reviews-v1")["pods"]]

    mesh.eventually(lambda: pods() == [(pod, True, True)])
    about = {"kind": "Pod", "name": pod, "namespace": "default"}
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    event = {"apiVersion": "v1", "kind": "Event", "metadata": {"name": "looked", "namespace": "default"}}
    event |= {"involvedObject": about, "reason": "Looked", "type": "Normal", "lastTimestamp": now}
    mesh.kubectl("create", "-f", "-", stdin=json.dumps(event))
    try:
        mesh.eventually(lambda: "Looked" in {e["reason"] for e in details("workload", "reviews-v1")["events"]})
        assert "Looked" not in {e["reason"] for e in details("workload", "reviews-v2")["events"]}
    finally:
        mesh.kubectl("delete", "event", "looked", "-n", "default")
    namespace = ask(f"{base}/api/details/namespace?name=default", token)
    assert {i["name"] for i in namespace["apps"]} >= {"productpage", "reviews", "details", "ratings"}


def test_logs_of_application_and_proxy_arrive(mesh: Cluster, base: str, token: str) -> None:
    marker = uuid.uuid4().hex

    def logged() -> list[Object]:
        assert mesh.get(f"/productpage?u={marker}").status == 200
        lines = ask(f"{base}/api/logs?{PRODUCTPAGE}&lines=500", token)["lines"]
        return [line for line in lines if marker in line["text"]]

    mesh.eventually(lambda: any(line["access"] for line in logged()), 30)
    line = next(line for line in logged() if line["access"])
    assert (line["container"], line["level"]) == ("istio-proxy", "info")
    shown = ask(f"{base}/api/logs?{PRODUCTPAGE}", token)
    assert shown["containers"] == ["productpage", "istio-proxy"]
    assert [one["time"] for one in shown["lines"]] == sorted(one["time"] for one in shown["lines"])
    body = json.dumps({"line": line["text"]}).encode()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{base}/api/logs/explain", body, headers)
    with urllib.request.urlopen(request, timeout=20) as answer:
        assert f"Inbound GET /productpage?u={marker}" in json.load(answer)["summary"]


def test_logs_are_followed(mesh: Cluster, base: str, token: str) -> None:
    marker = uuid.uuid4().hex

    def arrives() -> bool:
        for batch in events(f"{base}/api/logs/events?{PRODUCTPAGE}&lines=20", token):
            if batch["containers"]:  # the first event: from now on lines come as they are written
                assert mesh.get(f"/productpage?u={marker}").status == 200
            if any(marker in line["text"] for line in batch["lines"]):
                return True
        return False

    mesh.eventually(arrives, 60)


def test_charts_add_up_to_what_was_sent(mesh: Cluster, base: str, token: str) -> None:
    """By a code that nothing else gives: the area under its line is the number of requests."""
    url = f"{base}/api/series?{PRODUCTPAGE}&by=code&window=5m"
    sent = 0

    def area() -> float:
        charts = ask(url, token)
        lines = [line for c in charts["charts"] if c["name"] == "requests" for line in c["lines"]]
        values = [v for line in lines if line["label"] == "404" for v in line["values"] if v is not None]
        return float(sum(values) * charts["step"])

    def warm() -> bool:
        nonlocal sent
        assert mesh.get("/static/nothing-here").status == 404
        sent += 1
        return area() > 0

    mesh.eventually(warm, 40)  # a rate begins with the second sample of a series
    connection = http.client.HTTPConnection(*mesh.gateway, timeout=30)
    for _ in range(100):
        connection.request("GET", "/static/nothing-here")
        with connection.getresponse() as answer:
            answer.read()
            assert answer.status == 404
    connection.close()
    mesh.eventually(lambda: 85 <= area() <= 115 + sent, 60)  # rates extrapolate where a scrape is late
    names = {c["name"] for c in ask(f"{base}/api/series?{PRODUCTPAGE}", token)["charts"]}
    assert {"requests", "duration", "requestSize", "responseSize"} <= names


def test_traces_are_there_span_by_span(mesh: Cluster, base: str, token: str) -> None:
    def whole() -> Object:
        assert mesh.get("/productpage").status == 200
        for row in ask(f"{base}/api/traces?kind=workload&namespace=default&name=details-v1", token)["traces"]:
            trace: Object = ask(f"{base}/api/traces/spans?id={row['id']}", token)
            services = {span["service"] for span in trace["spans"]}
            if {"istio-ingressgateway.istio-system", "productpage.default", "details.default"} <= services:
                return trace
        return {}

    mesh.eventually(lambda: bool(whole()), 40)
    spans = whole()["spans"]
    assert (spans[0]["service"], spans[0]["depth"]) == ("istio-ingressgateway.istio-system", 0)
    depth = {span["service"]: span["depth"] for span in spans}
    assert depth["productpage.default"] < depth["details.default"]
    assert any(span["tags"].get("http.status_code") == "200" for span in spans)


def test_the_routes_of_a_proxy_name_the_virtual_service(mesh: Cluster, base: str, token: str) -> None:
    mesh.apply(virtual_service("reviews", {"route": [to("reviews", "v1")]}))
    pod = mesh.pod("app=productpage")

    def tables() -> dict[str, Object]:
        shown = ask(f"{base}/api/proxy-config?namespace=default&pod={pod}", token)
        return {table["part"]: table for table in shown["tables"]}

    def named() -> set[tuple[str, str]]:
        rows = [r for r in tables()["route"]["rows"] if r["cells"][1].startswith("reviews.default.")]
        return {(r["origin"]["kind"], r["origin"]["name"]) for r in rows if r["origin"]}

    mesh.eventually(lambda: named() == {("VirtualService", "reviews")})
    printed = json.loads(mesh.sailctl("proxy-config", "cluster", pod, "-o", "json"))
    shown = {tuple(r["cells"][:4]) for r in tables()["cluster"]["rows"]}
    wanted = (c["name"].split("|") for c in printed if c["name"].startswith("outbound|"))
    assert {(host, port, subset or "-", way) for way, port, subset, host in wanted} <= shown
    dump = json.dumps(ask(f"{base}/api/proxy-config/json?namespace=default&pod={pod}", token))
    assert "PRIVATE KEY" not in dump


def test_a_viewer_of_one_namespace_sees_nothing_of_another(mesh: Cluster, base: str) -> None:
    mesh.kubectl("create", "namespace", "shop")
    try:
        for name, role in (("keeper", "view"), ("guest", "sailcloth-guest")):
            mesh.kubectl("create", "serviceaccount", name, "-n", "shop")
            if role != "view":
                mesh.kubectl("create", "clusterrole", role, "--verb=get,list", "--resource=pods")
            given = (f"--clusterrole={role}", f"--serviceaccount=shop:{name}")
            mesh.kubectl("create", "rolebinding", name, "-n", "shop" if name == "keeper" else "default", *given)
        mesh.kubectl(
            "create", "rolebinding", "neighbour", "-n", "default", "--clusterrole=view", "--serviceaccount=shop:default"
        )
        keeper, guest, neighbour = (
            mesh.kubectl("create", "token", name, "-n", "shop").strip() for name in ("keeper", "guest", "default")
        )
        pod = mesh.pod("app=productpage")
        mesh.eventually(lambda: [n["name"] for n in ask(f"{base}/api/namespaces", keeper)] == ["shop"])
        for path in ("details", "series", "logs", "logs/events", "traces"):
            assert status(f"{base}/api/{path}?{PRODUCTPAGE}", keeper) == 404, path
        assert status(f"{base}/api/proxy-config?namespace=default&pod={pod}", keeper) == 404
        assert status(f"{base}/api/details/namespace?name=default", keeper) == 404

        mesh.eventually(lambda: status(f"{base}/api/details?{PRODUCTPAGE}", guest) == 200)
        assert status(f"{base}/api/logs?{PRODUCTPAGE}", guest) == 403
        notes = ask(f"{base}/api/details?{PRODUCTPAGE}", guest)["notes"]
        assert any("may not list the events" in note for note in notes)

        mesh.eventually(lambda: status(f"{base}/api/logs?{PRODUCTPAGE}", neighbour) == 200)

        def hidden() -> Object:
            assert mesh.get("/productpage").status == 200
            shown: Object = ask(f"{base}/api/traces?{PRODUCTPAGE}", neighbour)
            return shown

        mesh.eventually(lambda: hidden()["hidden"] > 0, 40)  # they all come through the gateway
        assert "istio-ingressgateway" not in json.dumps(hidden())

        def callers() -> set[str]:
            assert mesh.get("/productpage").status == 200
            charts = ask(f"{base}/api/series?{PRODUCTPAGE}&by=workload&window=1m", neighbour)["charts"]
            return {line["label"] for c in charts if c["name"] == "requests" for line in c["lines"]}

        mesh.eventually(lambda: "inaccessible" in callers(), 40)
        assert not any("istio" in label for label in callers())
        config = ask(f"{base}/api/proxy-config?namespace=default&pod={pod}", neighbour)
        assert sum(table["hidden"] for table in config["tables"]) > 0
        assert "istio-system" not in json.dumps(config)
        assert status(f"{base}/api/proxy-config/json?namespace=default&pod={pod}", neighbour) == 403
    finally:
        mesh.kubectl("delete", "rolebinding", "guest", "neighbour", "-n", "default", "--ignore-not-found")
        mesh.kubectl("delete", "clusterrole", "sailcloth-guest", "--ignore-not-found")
        mesh.kubectl("delete", "namespace", "shop")


@needs_packages
@needs_browser
@pytest.mark.timeout(300)
def test_a_browser_shows_every_tab_of_a_workload(mesh: Cluster, base: str) -> None:
    url = f"{base}/?token={(mesh.state / 'state' / 'console-token').read_text()}"
    with Load(mesh, threads=1):
        done = subprocess.run(
            ["node", "tests/e2e/details.mjs", url, "default", "productpage-v1"],
            cwd=CONSOLE,
            env={**mesh.environment, "CHROMIUM": CHROMIUM or ""},
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
