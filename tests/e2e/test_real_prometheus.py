"""A real Prometheus in the cluster finds the pods by itself, and agrees with the embedded store on every panel."""

from __future__ import annotations

import json
import math
import shutil
import threading
import time
import urllib.parse
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from sailcloth.telemetry.dashboards.catalogue import DASHBOARDS
from sailcloth.telemetry.dashboards.panels import panels

from .bookinfo import Cluster

Object = dict[str, Any]
NAMESPACE, NAME = "monitoring", "prometheus"
PROXY = "/api/v1/namespaces/{}/services/http:prometheus:9090/proxy/api/v1/query?query={}"
JITTER = 0.25  # of a rate: two stores look at other moments of a growing counter
REPLACED = (("$window", "1m"), ("$service", ".*"), ("$namespace", ".*"), ("$workload", ".*"))

# What Istio's own prometheus.yaml says of pods, as far as it matters here.
SCRAPES = {
    "global": {"scrape_interval": "5s", "scrape_timeout": "4s"},
    "scrape_configs": [
        {
            "job_name": "kubernetes-pods",
            "honor_labels": True,
            "kubernetes_sd_configs": [{"role": "pod"}],
            "relabel_configs": [
                {
                    "source_labels": ["__meta_kubernetes_pod_annotation_prometheus_io_scrape"],
                    "action": "keep",
                    "regex": "true",
                },
                {
                    "source_labels": ["__meta_kubernetes_pod_annotation_prometheus_io_path"],
                    "action": "replace",
                    "target_label": "__metrics_path__",
                    "regex": "(.+)",
                },
                {
                    "source_labels": [
                        "__meta_kubernetes_pod_annotation_prometheus_io_port",
                        "__meta_kubernetes_pod_ip",
                    ],
                    "action": "replace",
                    "regex": r"(\d+);((([0-9]+?)(\.|$)){4})",
                    "replacement": "$2:$1",
                    "target_label": "__address__",
                },
                {"action": "labelmap", "regex": "__meta_kubernetes_pod_label_(.+)"},
                {"source_labels": ["__meta_kubernetes_namespace"], "target_label": "namespace"},
                {"source_labels": ["__meta_kubernetes_pod_name"], "target_label": "pod"},
                {
                    "source_labels": ["__meta_kubernetes_pod_phase"],
                    "regex": "Pending|Succeeded|Failed",
                    "action": "drop",
                },
            ],
        },
        {
            "job_name": "istiod",
            "kubernetes_sd_configs": [{"role": "pod", "namespaces": {"names": ["istio-system"]}}],
            "relabel_configs": [
                {"source_labels": ["__meta_kubernetes_pod_label_app"], "action": "keep", "regex": "istiod"},
                {
                    "source_labels": ["__meta_kubernetes_pod_container_port_name"],
                    "action": "keep",
                    "regex": "http-monitoring",
                },
            ],
        },
    ],
}


def manifests() -> list[Object]:
    labels = {"app": NAME}
    account = {"kind": "ServiceAccount", "name": NAME, "namespace": NAMESPACE}
    metadata = {"name": NAME, "namespace": NAMESPACE}
    rules = [
        {"apiGroups": [""], "resources": ["pods", "nodes", "services", "endpoints"], "verbs": ["get", "list", "watch"]}
    ]
    container = {
        "name": NAME,
        "image": "example.com/prometheus",
        "args": ["--config.file=/etc/config/prometheus.yml", "--storage.tsdb.path=/data", "--web.listen-address=:9090"],
        "volumeMounts": [{"name": "config", "mountPath": "/etc/config"}, {"name": "data", "mountPath": "/data"}],
        "readinessProbe": {"httpGet": {"path": "/-/ready", "port": 9090}, "periodSeconds": 1},
    }
    volumes = [{"name": "config", "configMap": {"name": NAME}}, {"name": "data", "emptyDir": {}}]
    pod = {"serviceAccountName": NAME, "containers": [container], "volumes": volumes}
    group = "rbac.authorization.k8s.io"
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
        {"apiVersion": f"{group}/v1", "kind": "ClusterRole", "metadata": {"name": NAME}, "rules": rules},
        {
            "apiVersion": f"{group}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": NAME},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": NAME},
            "subjects": [account],
        },
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": metadata,
            "data": {"prometheus.yml": yaml.safe_dump(SCRAPES)},
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {"selector": labels, "ports": [{"name": "http", "port": 9090}]},
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": metadata,
            "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod}},
        },
    ]


@pytest.fixture
def real(mesh: Cluster) -> Iterator[Cluster]:
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("prometheus is not installed")
    mesh.sailctl("image", "add", "--state", str(mesh.state), "example.com/prometheus", program)
    text = "---\n".join(json.dumps(obj) + "\n" for obj in manifests())
    mesh.kubectl("apply", "-f", "-", stdin=text)
    mesh.kubectl("wait", "-n", NAMESPACE, "--for=condition=Available", f"deployment/{NAME}", "--timeout=60s")
    yield mesh
    mesh.kubectl("delete", "namespace", NAMESPACE)
    mesh.kubectl("delete", "clusterrole,clusterrolebinding", NAME)


def vector(mesh: Cluster, namespace: str, expression: str) -> dict[tuple[tuple[str, str], ...], float]:
    quoted = urllib.parse.quote(expression, safe="")
    answer = json.loads(mesh.kubectl("get", "--raw", PROXY.format(namespace, quoted)))
    found = {tuple(sorted(one["metric"].items())): float(one["value"][1]) for one in answer["data"]["result"]}
    return {labels: value for labels, value in found.items() if not math.isnan(value)}


def test_a_real_prometheus_and_the_store_say_the_same(real: Cluster) -> None:
    requests = 'sum(istio_requests_total{destination_workload="productpage-v1"}) by (reporter, response_code)'
    stop = threading.Event()

    def load() -> None:
        while not stop.is_set():
            real.get("/productpage")
            time.sleep(0.1)

    loading = threading.Thread(target=load)
    loading.start()
    try:
        start = time.monotonic()
        real.eventually(lambda: bool(vector(real, NAMESPACE, requests)), 60)
        real.eventually(lambda: time.monotonic() - start > 75, 100)  # a whole window of rates
        wrong = compared(real)
        if wrong:  # once more: a scrape may have been late on a busy machine
            real.eventually(lambda: not compared(real), 30)
    finally:
        stop.set()
        loading.join()
    real.eventually(lambda: vector(real, NAMESPACE, requests) == vector(real, "istio-system", requests), 30)


def compared(mesh: Cluster) -> list[str]:
    """The expressions on which the two differ."""
    wrong = []
    for dashboard in DASHBOARDS:
        for panel in panels(dashboard):
            for query in panel.queries if panel.needs in ("", "http") else ():
                expr = query.expr
                for name, value in REPLACED:
                    expr = expr.replace(name, value)
                ours, theirs = vector(mesh, "istio-system", expr), vector(mesh, NAMESPACE, expr)
                far = [k for k in ours.keys() & theirs.keys() if not close(ours[k], theirs[k])]
                if ours.keys() != theirs.keys() or far:
                    wrong.append(f"{dashboard.title}: {panel.title}: {expr}")
    return wrong


def close(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=JITTER, abs_tol=0.05)
