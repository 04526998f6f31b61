"""A real Prometheus in the cluster scrapes the same pods, and agrees with the embedded store on every panel, also of errors and delays.

`SAILCLOTH_WATCH_S=600` watches for ten minutes."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import threading
import time
import urllib.parse
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import yaml

from sailcloth.telemetry.dashboards.catalogue import DASHBOARDS
from sailcloth.telemetry.dashboards.panels import panels

from .bookinfo import Cluster, to, virtual_service

Object = dict[str, Any]
WATCH_S = float(os.environ.get("SAILCLOTH_WATCH_S", "45"))  # at least the window of rates
FAULT = {
    "abort": {"httpStatus": 503, "percentage": {"value": 20}},
    "delay": {"fixedDelay": "0.2s", "percentage": {"value": 20}},
}
NAMESPACE, NAME = "monitoring", "prometheus"
PROXY = "/api/v1/namespaces/{}/services/http:prometheus:9090/proxy/api/v1/query?query={}&time={:.3f}"
JITTER = 0.25  # of a rate: two stores look at other moments of a growing counter
SHARE = 0.1  # of the requests: other scrapes see some more or fewer slow ones, so a quantile lies between theirs below and above
NEXT_BUCKET = 0.6  # of a quantile's value: times within a bucket are not known
QUANTILE = re.compile(r"histogram_quantile\(([0-9.]+),")
REPLACED = (
    ("$window", f"{min(120.0, WATCH_S * 2 / 3):.0f}s"),
    ("$service", ".*"),
    ("$namespace", ".*"),
    ("$workload", ".*"),
)


def scrapes(mesh: Cluster) -> Object:
    """A configuration that names the pods: Debian's Prometheus is built without Kubernetes' service discovery."""
    jobs = []
    for pod in json.loads(mesh.kubectl("get", "pods", "-A", "-o", "json"))["items"]:
        metadata, address = pod["metadata"], pod["status"].get("podIP")
        notes, labels = metadata.get("annotations") or {}, metadata.get("labels") or {}
        control_plane = labels.get("app") == "istiod"
        if not control_plane and notes.get("prometheus.io/scrape") != "true":
            continue
        port = 15014 if control_plane else notes["prometheus.io/port"]
        mapped = {re.sub(r"[^a-zA-Z0-9_]", "_", name): value for name, value in labels.items()}
        own = {"namespace": metadata["namespace"], "pod": metadata["name"], "node": pod["spec"]["nodeName"]}
        job = "istiod" if control_plane else "kubernetes-pods"
        jobs.append(
            {
                "job_name": metadata["name"],
                "honor_labels": True,
                "metrics_path": "/metrics" if control_plane else notes.get("prometheus.io/path", "/metrics"),
                "static_configs": [{"targets": [f"{address}:{port}"], "labels": {**mapped, **own}}],
                "relabel_configs": [{"target_label": "job", "replacement": job}],
            }
        )
    return {"global": {"scrape_interval": "5s", "scrape_timeout": "4s"}, "scrape_configs": jobs}


def manifests(config: Object) -> list[Object]:
    labels, metadata = {"app": NAME}, {"name": NAME, "namespace": NAMESPACE}
    container = {
        "name": NAME,
        "image": "example.com/prometheus",
        "args": ["--config.file=/etc/config/prometheus.yml", "--storage.tsdb.path=/data", "--web.listen-address=:9090"],
        "volumeMounts": [{"name": "config", "mountPath": "/etc/config"}, {"name": "data", "mountPath": "/data"}],
        "readinessProbe": {"httpGet": {"path": "/-/ready", "port": 9090}, "periodSeconds": 1},
    }
    volumes = [{"name": "config", "configMap": {"name": NAME}}, {"name": "data", "emptyDir": {}}]
    pod = {"containers": [container], "volumes": volumes}
    data = {"prometheus.yml": yaml.safe_dump(config)}
    ports = [{"name": "http", "port": 9090}]
    template = {"metadata": {"labels": labels}, "spec": pod}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data},
        {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"selector": labels, "ports": ports}},
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": metadata,
            "spec": {"selector": {"matchLabels": labels}, "template": template},
        },
    ]


@pytest.fixture
def real(mesh: Cluster) -> Iterator[Cluster]:
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("prometheus is not installed")
    mesh.sailctl("image", "add", "--state", str(mesh.state), "example.com/prometheus", program)
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests(scrapes(mesh))})
    mesh.kubectl("apply", "-f", "-", stdin=text)
    mesh.kubectl("wait", "-n", NAMESPACE, "--for=condition=Available", f"deployment/{NAME}", "--timeout=60s")
    yield mesh
    mesh.kubectl("delete", "namespace", NAMESPACE)


def vector(mesh: Cluster, namespace: str, expression: str, at: float = 0) -> dict[tuple[tuple[str, str], ...], float]:
    quoted = urllib.parse.quote(expression, safe="")
    answer = json.loads(mesh.kubectl("get", "--raw", PROXY.format(namespace, quoted, at or time.time())))
    found = {tuple(sorted(one["metric"].items())): float(one["value"][1]) for one in answer["data"]["result"]}
    return {labels: value for labels, value in found.items() if not math.isnan(value)}


def test_a_real_prometheus_and_the_store_say_the_same(real: Cluster) -> None:
    requests = 'sum(istio_requests_total{destination_workload="productpage-v1"}) by (reporter, response_code)'
    stop = threading.Event()

    def load() -> None:
        while not stop.is_set():
            real.get("/productpage")
            time.sleep(0.1)

    real.apply(virtual_service("details", {"fault": FAULT, "route": [to("details")]}))
    loading = threading.Thread(target=load)
    loading.start()
    try:
        start = time.monotonic()
        real.eventually(lambda: bool(vector(real, NAMESPACE, requests)), 60)
        while time.monotonic() - start < WATCH_S:
            time.sleep(min(45.0, max(0.0, WATCH_S - (time.monotonic() - start))))
            wrong = compared(real, queries())
            print("\n".join((f"{time.monotonic() - start:.0f} s: {len(wrong)} differ", *wrong.values())), flush=True)
        real.eventually(lambda: not settled(real, wrong), 60)  # a scrape may have been late on a busy machine
    finally:
        stop.set()
        loading.join()
    failed = 'sum(istio_requests_total{destination_service_name="details",response_code="503"}) by (reporter)'
    assert vector(real, "istio-system", failed)
    for expression in (requests, failed):
        real.eventually(partial(same, real, expression), 30)


def same(mesh: Cluster, expression: str) -> bool:
    return vector(mesh, NAMESPACE, expression) == vector(mesh, "istio-system", expression)


def settled(mesh: Cluster, wrong: dict[str, str]) -> dict[str, str]:
    """Look once more at the expressions that differed, and keep in `wrong` those that still do."""
    still = compared(mesh, tuple(wrong))
    wrong.clear()
    wrong.update(still)
    return wrong


def queries() -> tuple[str, ...]:
    """The expressions of every panel that needs nothing but HTTP traffic."""
    found: dict[str, None] = {}
    for dashboard in DASHBOARDS:
        for panel in panels(dashboard):
            for query in panel.queries if panel.needs in ("", "http") else ():
                expression = query.expr
                for name, value in REPLACED:
                    expression = expression.replace(name, value)
                found[expression] = None
    return tuple(found)


def compared(mesh: Cluster, expressions: tuple[str, ...]) -> dict[str, str]:
    """The expressions on which the two differ, each with what differs."""
    wrong = {}
    for expression in expressions:
        at = time.time() - 1.0  # at one moment, whose scrapes have ended
        ours = vector(mesh, "istio-system", expression, at)
        low, high = (vector(mesh, NAMESPACE, one, at) for one in neighbours(expression))
        quantile = "histogram_quantile" in expression
        far = [
            key
            for key in ours.keys() & low.keys()
            if not between(low[key], ours[key], high.get(key, math.inf), quantile)
        ]
        if ours.keys() != low.keys() or far:
            values = [(dict(key), ours[key], low[key], high.get(key)) for key in far] or sorted(
                ours.keys() ^ low.keys()
            )
            wrong[expression] = f"{expression}: {values}"
    return wrong


def neighbours(expression: str) -> tuple[str, str]:
    """The expression with its quantile somewhat lower and higher, as far as other scrapes may move it; itself if it has none."""

    def moved(by: float) -> str:
        return QUANTILE.sub(
            lambda match: f"histogram_quantile({min(1.0, max(0.0, float(match[1]) + by)):.3f},", expression
        )

    return moved(-SHARE), moved(SHARE)


def between(low: float, value: float, high: float, quantile: bool) -> bool:
    tolerance = NEXT_BUCKET if quantile else JITTER
    return low * (1 - tolerance) - 0.05 <= value <= high * (1 + tolerance) + 0.05
