"""Telemetry objects on real traffic: who logs what where, and traces from the gateway to the last service."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from .bookinfo import Cluster
from .lab import Lab, deployment

Object = dict[str, Any]
COLLECTOR = Path(__file__).with_name("collector.py")
HOST = "collector.telemetry.svc.cluster.local"
PROVIDERS: list[Object] = [
    {"name": "zipkin", "zipkin": {"service": HOST, "port": 9411}},
    {
        "name": "otel",
        "opentelemetry": {
            "service": HOST,
            "port": 9411,
            "http": {"path": "/v1/traces", "timeout": "1s"},
            "serviceAttributeEnrichment": "OTEL_SEMANTIC_CONVENTIONS",
        },
    },
    {
        "name": "json",
        "envoyFileAccessLog": {
            "path": "/dev/stdout",
            "logFormat": {"labels": {"mark": "seen", "path": "%REQ(:PATH)%", "status": "%RESPONSE_CODE%"}},
        },
    },
    {
        "name": "pushed",
        "opentelemetryMetrics": {"service": HOST, "port": 9411, "path": "/v1/metrics", "interval": "1s"},
    },
    {"name": "absent", "zipkin": {"service": "nowhere.telemetry.svc.cluster.local", "port": 9411}},
]


@pytest.fixture(scope="module")
def made(cluster: Cluster) -> Iterator[Lab]:
    lab = Lab(cluster, "telemetry")
    program = Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    state = ("--state", str(cluster.state))
    cluster.sailctl("image", "add", *state, "example.com/collector", str(program), str(COLLECTOR))
    ports = [{"name": "http", "port": 9411}]
    lab.put(
        deployment("collector", {"app": "collector"}, {"image": "example.com/collector"}),
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "collector"},
            "spec": {"selector": {"app": "collector"}, "ports": ports},
        },
    )
    lab.ready()
    get = ("get", "configmap", "istio", "-n", "istio-system", "-o", "json")
    before = (json.loads(cluster.kubectl(*get)).get("data") or {}).get("mesh", "")
    mesh = yaml.safe_load(before) or {}
    defaults = {**(mesh.get("defaultProviders") or {}), "metrics": ["prometheus", "pushed"]}
    options = yaml.safe_dump({**mesh, "extensionProviders": PROVIDERS, "defaultProviders": defaults})
    patch = ("patch", "configmap", "istio", "-n", "istio-system", "--type=merge", "-p")
    cluster.kubectl(*patch, json.dumps({"data": {"mesh": options}}))
    yield lab
    cluster.kubectl(*patch, json.dumps({"data": {"mesh": before}}))
    cluster.kubectl("delete", "namespace", "telemetry")


@pytest.fixture
def lab(made: Lab) -> Iterator[Lab]:
    yield made
    made.cluster.kubectl("delete", "telemetries", "--all", "-A")


def telemetry(lab: Lab, name: str, namespace: str = "telemetry", wait: str = "Programmed", **spec: Any) -> None:
    obj = {
        "apiVersion": "telemetry.istio.io/v1",
        "kind": "Telemetry",
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }
    lab.cluster.kubectl("apply", "-f", "-", stdin=json.dumps(obj))
    lab.cluster.kubectl("wait", f"--for=condition={wait}", f"telemetry/{name}", "-n", namespace, "--timeout=20s")


def collected(lab: Lab, path: str) -> list[bytes]:
    answer = lab.kubectl("exec", "deploy/caller", "-c", "main", "--", "curl", "-s", f"http://collector:9411{path}")
    return [base64.b64decode(body) for body in json.loads(answer)]


def zipkin_spans(lab: Lab) -> list[Object]:
    return [span for body in collected(lab, "/api/v2/spans") for span in json.loads(body)]


def test_one_trace_joins_the_gateway_and_all_services(lab: Lab) -> None:
    telemetry(
        lab, "all", "istio-system", tracing=[{"providers": [{"name": "zipkin"}], "randomSamplingPercentage": 100}]
    )
    services = {"productpage", "details", "reviews", "ratings"}

    def joined() -> bool:
        lab.cluster.get("/productpage")
        by_trace: dict[str, list[Object]] = {}
        for span in zipkin_spans(lab):
            by_trace.setdefault(span["traceId"], []).append(span)
        for spans in by_trace.values():
            names = {s["localEndpoint"]["serviceName"].partition(".")[0] for s in spans}
            if services | {"istio-ingressgateway"} <= names:
                kinds = {s["kind"] for s in spans if s["localEndpoint"]["serviceName"] == "reviews.default"}
                return kinds == {"CLIENT", "SERVER"}
        return False

    lab.cluster.eventually(joined, 40)
    span = next(s for s in zipkin_spans(lab) if s["localEndpoint"]["serviceName"] == "ratings.default")
    assert span["tags"]["istio.canonical_service"] == "ratings"
    assert span["tags"]["istio.canonical_revision"] == "v1"
    assert span["tags"]["istio.namespace"] == "default"
    assert span["tags"]["http.status_code"] == "200"


def test_otlp_spans_have_the_services_name_and_custom_tags(lab: Lab) -> None:
    tags = {"team": {"literal": {"value": "shop"}}, "user": {"header": {"name": "x-user", "defaultValue": "nobody"}}}
    entry = {"providers": [{"name": "otel"}], "randomSamplingPercentage": 100, "customTags": tags}
    telemetry(lab, "otel", tracing=[entry])

    def found() -> bool:
        lab.ask("http://echo/traced", "-H", "x-user: ann")
        for body in collected(lab, "/v1/traces"):
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                name = {a.key: a.value.string_value for a in resource.resource.attributes}.get("service.name")
                for span in (s for scope in resource.instrumentation_library_spans for s in scope.spans):
                    have = {a.key: a.value.string_value for a in span.attributes}
                    if name == "echo.telemetry" and (have.get("team"), have.get("user")) == ("shop", "ann"):
                        return True
        return False

    lab.cluster.eventually(found, 30)


def test_spans_without_trace_headers(lab: Lab) -> None:
    entry: Object = {"providers": [{"name": "zipkin"}], "randomSamplingPercentage": 100}
    telemetry(lab, "headers", tracing=[entry])
    lab.cluster.eventually(lambda: "X-B3-Traceid" in lab.ask("http://echo/with").told["headers"], 30)
    telemetry(lab, "headers", tracing=[{**entry, "disableContextPropagation": True, "enableIstioTags": False}])
    lab.cluster.eventually(lambda: "X-B3-Traceid" not in lab.ask("http://echo/without").told["headers"], 30)

    def reported() -> bool:
        """Whether the latest spans of both sides are apart, and without Istio's tags."""
        lab.ask("http://echo/later")
        spans = [s for s in zipkin_spans(lab) if s.get("tags", {}).get("http.url", "").endswith("/later")]
        latest = {span["kind"]: span for span in sorted(spans, key=lambda s: int(s["timestamp"]))}
        tags = [name for span in latest.values() for name in span["tags"] if name.startswith("istio.")]
        return set(latest) == {"CLIENT", "SERVER"} and not tags and not any("parentId" in s for s in latest.values())

    lab.cluster.eventually(reported, 30)


def test_no_trace_without_sampling(lab: Lab) -> None:
    telemetry(lab, "none", tracing=[{"providers": [{"name": "zipkin"}], "randomSamplingPercentage": 0}])
    lab.many(20, "http://echo/untraced")
    assert not any("/untraced" in span.get("tags", {}).get("http.url", "") for span in zipkin_spans(lab))


@pytest.fixture(scope="module")
def pusher(made: Lab) -> Lab:
    """A pod that is injected with what the providers say."""

    def injected() -> bool:
        made.put(pod)
        spec = json.loads(made.kubectl("get", "pod", "pusher", "-o", "json"))["spec"]
        containers = [*spec["containers"], *(spec.get("initContainers") or ())]
        if any(v["name"] == "OTEL_METRIC_EXPORT_INTERVAL" for c in containers for v in c.get("env") or ()):
            return True
        made.kubectl("delete", "pod", "pusher")
        return False

    container = {"name": "main", "image": "curlimages/curl", "command": ["sleep", "infinity"]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pusher"}, "spec": {"containers": [container]}}
    made.cluster.eventually(injected)
    made.kubectl("wait", "--for=condition=Ready", "pod/pusher", "--timeout=60s")
    return made


def test_spans_are_of_a_service_by_the_semantic_conventions(lab: Lab, pusher: Lab) -> None:
    telemetry(lab, "otel", tracing=[{"providers": [{"name": "otel"}], "randomSamplingPercentage": 100}])
    wanted = {"service.name": "pusher", "service.namespace": "telemetry"}
    wanted["service.instance.id"] = "telemetry.pusher.main"

    def found() -> bool:
        pusher.kubectl("exec", "pusher", "-c", "main", "--", "curl", "-s", "http://collector:9411/named")
        return any(
            wanted.items() <= {a.key: a.value.string_value for a in resource.resource.attributes}.items()
            for body in collected(lab, "/v1/traces")
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans
        )

    lab.cluster.eventually(found, 30)


def test_a_proxy_pushes_its_metrics(lab: Lab, pusher: Lab) -> None:
    pusher.kubectl("exec", "pusher", "-c", "main", "--", "sh", "-c", "for i in 1 2 3; do curl -s http://echo; done")
    wanted = {"source_workload": "pusher", "destination_service_name": "echo", "reporter": "source"}
    wanted |= {"source_principal": "spiffe://cluster.local/ns/telemetry/sa/default", "response_code": "200"}

    def count(body: bytes) -> float:
        (resource,) = ExportMetricsServiceRequest.FromString(body).resource_metrics
        metrics = resource.instrumentation_library_metrics[0].metrics
        points = [p for metric in metrics if metric.name == "istio_requests_total" for p in metric.sum.data_points]
        labels = [({a.key: a.value.string_value for a in p.attributes}, p.as_double) for p in points]
        return sum(value for have, value in labels if wanted.items() <= have.items())

    lab.cluster.eventually(lambda: 3 in [count(body) for body in collected(lab, "/v1/metrics")], 30)

    def logged() -> bool:
        lines = lab.kubectl("logs", "-l", "app=collector", "-c", "istio-proxy", "--tail=-1").splitlines()
        return any("/v1/metrics" in line and "outbound_.9411_" in line for line in lines)  # by mutual TLS

    lab.cluster.eventually(logged)


def logged(lab: Lab, app: str) -> str:
    return lab.kubectl("logs", "-l", f"app={app}", "-c", "istio-proxy", "--tail=-1")


def test_a_log_of_one_side_with_a_filter_and_a_format(lab: Lab) -> None:
    entry = {
        "match": {"mode": "SERVER"},
        "providers": [{"name": "json"}],
        "filter": {"expression": "response.code >= 400 || request.url_path.startsWith('/kept')"},
    }
    telemetry(lab, "log", accessLogging=[entry])

    def there() -> bool:
        lab.many(2, "http://echo/kept")
        lab.many(2, "http://echo/dropped")
        return '"path":"/kept"' in logged(lab, "echo")

    lab.cluster.eventually(there, 40)
    line = next(line for line in logged(lab, "echo").splitlines() if '"path":"/kept"' in line)
    assert json.loads(line) == {"mark": "seen", "path": "/kept", "status": 200}
    assert '"path":"/dropped"' not in logged(lab, "echo")
    assert '"mark"' not in logged(lab, "caller")


def test_a_provider_that_does_not_exist_is_told(lab: Lab) -> None:
    telemetry(lab, "wrong", wait="Accepted=False", tracing=[{"providers": [{"name": "absent"}]}])
    status = json.loads(lab.kubectl("get", "telemetry", "wrong", "-o", "json"))["status"]
    accepted = next(c for c in status["conditions"] if c["type"] == "Accepted")
    assert "nowhere.telemetry.svc.cluster.local" in accepted["message"]
    assert lab.ask("http://echo").status == 200
