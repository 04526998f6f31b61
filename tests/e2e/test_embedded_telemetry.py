"""What a local cluster keeps by itself: metrics behind Prometheus' API, traces behind Jaeger's, and the commands that read them."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sailcloth.telemetry.dashboards.catalogue import DASHBOARDS
from sailcloth.telemetry.dashboards.panels import panels

from .bookinfo import Cluster
from .test_kills import command, envoys, kill
from .test_observe import start

Object = dict[str, Any]
SAMPLES = Path(__file__).parents[2] / "samples"
TCP_ECHO, CURL = SAMPLES / "tcp-echo", SAMPLES / "curl" / "curl.yaml"
PROXY = "/api/v1/namespaces/istio-system/services/http:{}/proxy"


def ask(mesh: Cluster, service: str, path: str) -> Any:
    return json.loads(mesh.kubectl("get", "--raw", PROXY.format(service) + path))


def query(mesh: Cluster, expression: str) -> list[tuple[Object, float]]:
    quoted = urllib.parse.quote(expression, safe="")
    answer = ask(mesh, "prometheus:9090", f"/api/v1/query?query={quoted}")
    assert answer["status"] == "success"
    return [(one["metric"], float(one["value"][1])) for one in answer["data"]["result"]]


@pytest.fixture(autouse=True)
def ready(mesh: Cluster) -> None:
    """The process starts after the cluster is ready."""

    def scraped() -> bool:
        try:
            return len(query(mesh, "up == 1")) >= 8
        except AssertionError:
            return False

    mesh.eventually(scraped, 40)


def test_every_request_is_in_the_store_twice(mesh: Cluster) -> None:
    labels = 'destination_workload="productpage-v1",source_workload="istio-ingressgateway",response_code="200"'

    def totals() -> dict[str, float]:
        """What the store has by reporter, when all series were scraped after the last request."""
        last = time.time() + 1.0  # Envoy counts a request at its end
        mesh.eventually(
            lambda: all(at > last for _, at in query(mesh, f"min(timestamp(istio_requests_total{{{labels}}}))")), 30
        )
        found = query(mesh, f"sum by (reporter) (istio_requests_total{{{labels}}})")
        return {of["reporter"]: value for of, value in found}

    mesh.get("/productpage")
    mesh.eventually(lambda: bool(query(mesh, f"istio_requests_total{{{labels}}}")), 30)
    before = totals()
    for _ in range(30):
        assert mesh.get("/productpage").status == 200
    assert totals() == {side: before[side] + 30 for side in ("source", "destination")}


EDGE = 'destination_workload="productpage-v1",source_workload="istio-ingressgateway",response_code="200"'


class Counting:
    """Requests that the store has counted since now: by reporter, from its samples as they were scraped."""

    def __init__(self, mesh: Cluster) -> None:
        """Returns when both sides were scraped after what they have counted so far."""
        self._mesh, self._since = mesh, time.time() + 1.0  # Envoy counts a request at its end
        oldest = f"min(timestamp(istio_requests_total{{{EDGE}}}))"
        mesh.eventually(lambda: any(at > self._since for _, at in query(mesh, oldest)), 30)
        self._begun = time.time()

    def counts(self) -> dict[str, float]:
        window = int(time.time() - self._since) + 1
        quoted = urllib.parse.quote(f"istio_requests_total{{{EDGE}}}[{window}s]", safe="")
        answer = ask(self._mesh, "prometheus:9090", f"/api/v1/query?query={quoted}")["data"]["result"]
        counts = {"source": 0.0, "destination": 0.0}
        for series in answer:
            samples = [(at, float(value)) for at, value in series["values"] if at > self._since]
            values = [value for _, value in samples]
            if samples and samples[0][0] > self._begun:
                values.insert(0, 0.0)  # a series that is new
            for old, new in itertools.pairwise(values):
                counts[series["metric"]["reporter"]] += new - old if new >= old else new  # a reset
        return counts

    def increase(self) -> dict[str, float]:
        window = int(time.time() - self._since)
        answer = query(self._mesh, f"sum by (reporter) (increase(istio_requests_total{{{EDGE}}}[{window}s]))")
        return {labels["reporter"]: value for labels, value in answer}


def kill_sidecar(mesh: Cluster) -> None:
    pod = mesh.pod("app=productpage")
    (pid,) = (p for p in envoys(mesh, gateway=False) if f"~{pod}." in Path(command(p)[2]).read_text())
    kill(pid)


RESTARTS: dict[str, Callable[[Cluster], None]] = {
    "sidecar": kill_sidecar,
    "control plane": lambda mesh: mesh.kill("sailcloth.controlplane"),
    "telemetry": lambda mesh: mesh.kill("sailcloth.telemetry"),
}


@pytest.mark.parametrize("what", RESTARTS)
def test_a_restart_neither_loses_nor_doubles_a_count(mesh: Cluster, what: str) -> None:
    def send(number: int) -> int:
        return sum(mesh.get("/productpage").status == 200 for _ in range(number))

    send(1)
    mesh.eventually(lambda: bool(query(mesh, f"istio_requests_total{{{EDGE}}}")), 30)
    counting = Counting(mesh)
    sent = send(30)
    mesh.eventually(lambda: counting.counts() == {"source": sent, "destination": sent}, 30)
    RESTARTS[what](mesh)
    sent += send(10)
    assert sent >= 35  # a sidecar that is killed may cost requests, which are no 200
    seen: list[dict[str, float]] = []

    def counted() -> bool:
        with contextlib.suppress(AssertionError):  # while telemetry starts
            seen.append(counting.counts())
        return bool(seen) and seen[-1] == {"source": sent, "destination": sent}

    try:
        mesh.eventually(counted, 60)
    except AssertionError:
        raise AssertionError(f"{sent} were sent: {seen[-3:]}") from None
    # It extrapolates to the ends of a short window; a reset that was taken for a decrease, or a total counted twice, is further off.
    assert counting.increase() == pytest.approx({"source": sent, "destination": sent}, rel=0.9)


def test_the_graph_shows_bookinfo(mesh: Cluster) -> None:
    wanted = {
        ("istio-system/istio-ingressgateway", "default/productpage-v1"),
        ("default/productpage-v1", "default/details-v1"),
        ("default/productpage-v1", "default/reviews-v1"),
        ("default/reviews-v3", "default/ratings-v1"),
    }
    edges: list[Object] = []

    def complete() -> bool:
        mesh.get("/productpage")
        edges[:] = json.loads(mesh.sailctl("graph", "-o", "json"))["edges"]
        return wanted <= {(e["source"], e["destination"]) for e in edges}

    mesh.eventually(complete, 60)
    one = next(e for e in edges if e["destination"] == "default/details-v1")
    assert (one["service"], one["protocol"], one["errorShare"]) == ("details", "http", 0)
    assert one["requestsPerSecond"] > 0
    mesh.eventually(lambda: "100%" in mesh.sailctl("graph", "-n", "default"))
    assert "productpage-v1" in mesh.sailctl("top", "--once")
    assert "digraph" in mesh.sailctl("graph", "-o", "dot")
    metrics = mesh.sailctl("x", "metrics", "productpage-v1").splitlines()
    assert re.match(r"productpage-v1 +\d+\.\d{3} +0\.000 ", metrics[1])


def test_traces_are_kept(mesh: Cluster) -> None:
    def joined() -> bool:
        mesh.get("/productpage")
        found = ask(mesh, "tracing:80", "/api/traces?service=productpage.default&limit=20")["data"]
        services = [{p["serviceName"].partition(".")[0] for p in trace["processes"].values()} for trace in found]
        return any({"istio-ingressgateway", "productpage", "details", "reviews"} <= names for names in services)

    mesh.eventually(joined, 40)


def test_control_plane_and_proxies_are_targets(mesh: Cluster) -> None:
    def all_up() -> bool:
        up = {(labels.get("job"), labels.get("app")): value for labels, value in query(mesh, "up")}
        wanted = {("istiod", "istiod"), ("kubernetes-pods", "productpage"), ("kubernetes-pods", "telemetry")}
        return wanted <= up.keys() and all(up[one] == 1 for one in wanted)

    mesh.eventually(all_up, 30)
    mesh.eventually(lambda: query(mesh, "sum(pilot_xds)")[0][1] >= 7, 30)  # a pod of an earlier test may have just come
    assert query(mesh, "histogram_quantile(0.99, sum by (le) (pilot_proxy_convergence_time_bucket))")


def test_the_dashboard_command_opens_prometheus(mesh: Cluster) -> None:
    command = start(mesh, "dashboard", "prometheus", "--no-browser")
    try:
        assert command.stdout is not None
        url = command.stdout.readline().strip()
        with urllib.request.urlopen(f"{url}/-/ready", timeout=10) as answer:
            assert answer.status == 200
    finally:
        command.terminate()
        command.communicate(timeout=10)


def test_every_panel_shows_something(mesh: Cluster) -> None:
    """All expressions of all dashboards have series, those of TCP where there is TCP."""
    mesh.kubectl("create", "namespace", "panels")
    mesh.kubectl("label", "namespace", "panels", "istio-injection=enabled")
    try:
        mesh.kubectl("apply", "-n", "panels", "-f", str(TCP_ECHO / "tcp-echo.yaml"))
        mesh.kubectl("apply", "-n", "panels", "-f", str(CURL))
        mesh.kubectl("wait", "-n", "panels", "--for=condition=Available", "deployment", "--all", "--timeout=60s")
        empty: list[str] = []
        numbers = itertools.count(100)

        def all_shown() -> bool:
            mesh.get("/productpage")
            say = "echo hello | curl -s -m 1 telnet://tcp-echo:9000 || true"
            mesh.kubectl("exec", "-n", "panels", "deploy/curl", "-c", "curl", "--", "sh", "-c", say)
            change = {
                "host": "tcp-echo",
                "trafficPolicy": {"connectionPool": {"tcp": {"maxConnections": next(numbers)}}},
            }
            rule = {"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": {"name": "tcp-echo"}}
            mesh.kubectl("apply", "-n", "panels", "-f", "-", stdin=json.dumps({**rule, "spec": change}))
            expressions = [
                (f"{dashboard.title}: {panel.title}", query.expr)
                for dashboard in DASHBOARDS
                for panel in panels(dashboard)
                for query in panel.queries
            ]
            empty.clear()
            for title, expr in expressions:
                for name, value in (("$window", "2m"), ("$service", ".*"), ("$namespace", ".*"), ("$workload", ".*")):
                    expr = expr.replace(name, value)
                if not any(value == value for _, value in query(mesh, expr)):
                    empty.append(f"{title}: {expr}")
            return not empty

        try:
            mesh.eventually(all_shown, 60)
        except AssertionError:
            raise AssertionError("\n".join(empty)) from None
    finally:
        mesh.kubectl("delete", "namespace", "panels")


def test_a_change_is_a_trace(mesh: Cluster) -> None:
    """From the write to the last proxy's acknowledgement, shown, and kept in the trace store."""
    rule = SAMPLES / "bookinfo" / "networking" / "virtual-service-ratings-test-delay.yaml"
    subsets = SAMPLES / "bookinfo" / "networking" / "destination-rule-all.yaml"
    mesh.kubectl("apply", "-f", str(subsets))
    try:
        traced = start(mesh, "x", "trace-change", "-f", str(rule))
        out, problems = traced.communicate(timeout=60)
        assert traced.returncode == 0, problems
        lines = out.splitlines()
        for text in (
            "change VirtualService default/ratings",
            "apply virtualservice/ratings",
            "validate and compute",
            "deliver",
        ):
            assert any(line.strip().startswith(text) for line in lines), out
        assert any(line.strip().startswith("productpage-v1-") and " RDS " in line for line in lines), out
        trace_id = lines[-1].removeprefix("trace ")

        def kept() -> list[Object]:
            try:
                return list(ask(mesh, "tracing:80", f"/api/traces/{trace_id}")["data"][0]["spans"])
            except AssertionError:
                return []

        mesh.eventually(lambda: bool(kept()), 20)
        names = {span["operationName"] for span in kept()}
        assert {"change VirtualService default/ratings", "apply virtualservice/ratings", "deliver"} <= names
        again = start(mesh, "x", "trace-change", "-f", str(rule))
        out, problems = again.communicate(timeout=60)
        assert (again.returncode, out, problems) == (0, "", "virtualservice/ratings unchanged\n")
        last = start(mesh, "x", "trace-change", "virtualservice/ratings", "-o", "json", "--no-export")
        out, problems = last.communicate(timeout=60)
        (row,) = json.loads(out)
        assert row["waiting"] == [], problems
        assert {"type": "RDS", "complete": True} in [{k: a[k] for k in ("type", "complete")} for a in row["answers"]]
    finally:
        mesh.kubectl("delete", "-f", str(rule), "-f", str(subsets), "--ignore-not-found")


def test_what_cannot_be_traced_is_told(mesh: Cluster) -> None:
    for arguments, text in (
        (("virtualservice/nothing",), "remembers no change of virtualservice/nothing"),
        (("nothing",), "write KIND/NAME[.NAMESPACE]"),
        (("-o", "otlp"), "needs an object or -f"),
        (("-o", "xml"), "unknown output 'xml'"),
    ):
        ran = start(mesh, "x", "trace-change", *arguments)
        _, problems = ran.communicate(timeout=30)
        assert ran.returncode
        assert text in problems
