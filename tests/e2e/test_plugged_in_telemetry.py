"""A real Prometheus and another tracing system in place of the embedded stores, and with a copy of everything: commands work as they did.

The tracing system is a real Jaeger where there is one; otherwise, and for Zipkin's protocol, a small receiver."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from ..telemetry import prometheus
from .bookinfo import KUBECTL, Cluster
from .test_embedded_telemetry import ask, query

Object = dict[str, Any]
JAEGER = os.environ.get("SAILCLOTH_JAEGER") or shutil.which("jaeger-all-in-one")
COUNTS = 'sum by (reporter) (istio_requests_total{destination_workload="productpage-v1",response_code="200"})'
pytestmark = [
    pytest.mark.skipif(KUBECTL is None, reason="kubectl is not installed"),
    pytest.mark.skipif(prometheus.PROGRAM is None, reason="prometheus is not installed"),
]


class Receiver(BaseHTTPRequestHandler):
    """Takes spans as JSON by OTLP and by Zipkin's protocol; answers Jaeger's query with the services of each trace."""

    services: dict[str, set[str]]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/api/v2/spans":
            pairs = [(span["traceId"], span["localEndpoint"]["serviceName"]) for span in body]
        else:
            assert self.path == "/v1/traces"
            pairs = [
                (span["traceId"], of["resource"]["attributes"][0]["value"]["stringValue"])
                for of in body["resourceSpans"]
                for scope in of["scopeSpans"]
                for span in scope["spans"]
            ]
        for trace, service in pairs:
            self.services.setdefault(trace, set()).add(service)
        self._answer(b"{}")

    def do_GET(self) -> None:
        traces = [{"processes": {name: {"serviceName": name} for name in of}} for of in list(self.services.values())]
        self._answer(json.dumps({"data": traces}).encode())

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Tracing:
    """A running tracing system."""

    def __init__(self, query: int, otlp: int) -> None:
        self.url, self.spans = f"http://127.0.0.1:{query}", f"http://127.0.0.1:{otlp}"

    def traces(self) -> list[Object]:
        with urllib.request.urlopen(
            f"{self.url}/api/traces?service=productpage.default&limit=20", timeout=10
        ) as answer:
            return list(json.load(answer)["data"] or ())


@contextlib.contextmanager
def receiver() -> Iterator[Tracing]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("_", (Receiver,), {"services": {}}))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield Tracing(server.server_port, server.server_port)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextlib.contextmanager
def jaeger(folder: Path) -> Iterator[Tracing]:
    """A real Jaeger, or a receiver in its place."""
    if not JAEGER:
        with receiver() as stand_in:
            yield stand_in
        return
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(8)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        ports = [one.getsockname()[1] for one in sockets]
    names = (
        "query.http-server",
        "collector.otlp.http",
        "query.grpc-server",
        "collector.otlp.grpc",
        "collector.grpc-server",
    )
    names += ("collector.http-server", "admin.http", "http-server")
    flags = [f"--{name}.host-port=127.0.0.1:{port}" for name, port in zip(names, ports, strict=True)]
    flags += [
        f"--processor.{name}.server-host-port=127.0.0.1:0"
        for name in ("jaeger-binary", "jaeger-compact", "zipkin-compact")
    ]
    with (
        (folder / "jaeger.log").open("wb") as log,
        subprocess.Popen([JAEGER, *flags], stdout=log, stderr=log) as process,
    ):
        try:
            made, end = Tracing(ports[0], ports[1]), time.monotonic() + 30
            while True:
                try:
                    made.traces()
                    break
                except OSError:
                    assert time.monotonic() < end, (folder / "jaeger.log").read_text()[-2000:]
                    assert process.poll() is None, (folder / "jaeger.log").read_text()[-2000:]
                    time.sleep(0.1)
            yield made
        finally:
            process.kill()
            process.wait()


def complete(traces: list[Object]) -> bool:
    names = [{p["serviceName"].partition(".")[0] for p in trace["processes"].values()} for trace in traces]
    return any({"istio-ingressgateway", "productpage", "details", "reviews"} <= one for one in names)


def counted(real: prometheus.Prometheus) -> dict[str, float]:
    _, answer = real.get("/api/v1/query", query=COUNTS)
    return {one["metric"]["reporter"]: float(one["value"][1]) for one in answer["data"]["result"]}


def test_they_replace_the_embedded_stores(state: Path, tmp_path: Path) -> None:
    cluster = Cluster(state)
    with prometheus.running(tmp_path) as metrics, jaeger(tmp_path) as traces:
        cluster.start("--prometheus", metrics.url, "--tracing", traces.url, "--spans", traces.spans)
        for _ in range(10):
            cluster.get("/productpage")
        sent = 11  # the first is the one of the start
        cluster.eventually(lambda: counted(metrics) == {"source": sent, "destination": sent}, 60)
        answer = query(cluster, COUNTS)
        assert {labels["reporter"]: value for labels, value in answer} == {"source": sent, "destination": sent}
        assert ask(cluster, "prometheus:9090", "/api/v1/status/buildinfo")["data"]["goVersion"]  # ours has none
        cluster.eventually(
            lambda: bool(cluster.get("/productpage")) and "productpage-v1" in cluster.sailctl("graph"), 30
        )
        cluster.eventually(
            lambda: complete(ask(cluster, "tracing:80", "/api/traces?service=productpage.default")["data"]), 30
        )
        assert complete(traces.traces())
        kept = state / "telemetry"
        assert not any(kept.glob("traces/traces-*.db"))
        assert list(kept.glob("access-logs/access-logs-*.db"))
    gone = cluster.kubectl(
        "get", "--raw", "/api/v1/namespaces/istio-system/services/http:prometheus:9090/proxy/graph", fails=True
    )
    assert "does not answer" in gone


def test_they_get_a_copy(state: Path, tmp_path: Path) -> None:
    cluster = Cluster(state)
    with prometheus.running(tmp_path) as metrics, receiver() as traces:
        cluster.start("--forward-metrics", metrics.url, "--forward-spans", f"{traces.spans}/api/v2/spans")
        cluster.eventually(lambda: set(counted(metrics)) == {"source", "destination"}, 60)
        cluster.eventually(lambda: bool(cluster.get("/productpage")) and complete(traces.traces()), 30)
        assert complete(ask(cluster, "tracing:80", "/api/traces?service=productpage.default&limit=20")["data"])

        def same() -> bool:
            return {labels["reporter"]: value for labels, value in query(cluster, COUNTS)} == counted(metrics)

        cluster.eventually(same, 40)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--prometheus", "localhost:9090"), "--prometheus: give a URL"),
        (("--spans", "http://localhost:4318"), "--spans says where the system of --tracing takes spans"),
        (("--tracing", "http://localhost:16686", "--no-telemetry"), "--tracing need telemetry"),
        (("--forward-metrics", "http://localhost:9090/?a=b"), "--forward-metrics: give a URL"),
    ],
)
def test_wrong_options_end_before_anything_starts(state: Path, options: tuple[str, ...], text: str) -> None:
    ran = subprocess.run(
        [*Cluster.SAILCTL, "up", "--detach", "--state", str(state), *options],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ran.returncode, text in ran.stderr) == (64, True), ran.stderr
