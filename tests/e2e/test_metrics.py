"""Istio's standard metrics of real traffic: the number of requests that were sent is the number that both sides report."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from ..telemetry import queries
from .bookinfo import Cluster, Load
from .lab import Lab, kind
from .test_embedded_telemetry import query

Object = dict[str, Any]
_SERIES = re.compile(r"^(?P<name>\w+)\{(?P<labels>.*)\} (?P<value>\S+)$")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_APP = "gcr.io/istio-testing/app"
SERVER = ["--port=8080", "--tcp=9000", "--grpc=7070", "--metrics=9100"]


@pytest.fixture(scope="module")
def lab(cluster: Cluster) -> Iterator[Lab]:
    made = Lab(cluster, "measured")
    ports = [("http", 80, 8080), ("tcp", 9000, 9000), ("grpc", 7070, 7070)]
    container = {"image": _APP, "args": SERVER}
    spec = {"selector": {"app": "server"}, "ports": [{"name": n, "port": p, "targetPort": t} for n, p, t in ports]}
    labels = {"app": "server", "version": "v1.2"}
    scraped = {"prometheus.io/scrape": "true", "prometheus.io/port": "9100", "prometheus.io/path": "/metrics"}
    for obj in (
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "server"}, "spec": spec},
        _pod("server", labels, container, scraped),
        _pod("client", {"app": "client"}, {"image": _APP, "args": ["--port=8000"]}),
        _pod(
            "plain",
            {"app": "plain"},
            {"image": _APP, "args": ["--port=8000", "--port=9080"]},
            {"sidecar.istio.io/inject": "false"},
        ),
    ):
        made.put(obj)
    made.kubectl("wait", "--for=condition=Ready", "pod", "server", "client", "plain", "--timeout=60s")
    yield made
    cluster.kubectl("delete", "namespace", "measured")


def _pod(name: str, labels: Object, container: Object, annotations: Object | None = None) -> Object:
    metadata = {"name": name, "labels": labels, "annotations": annotations or {}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {"containers": [{"name": "main", **container}]},
    }


class Metrics:
    """The series of a pod, as a scrape sees them."""

    def __init__(self, lab: Lab, pod: str, port: int = 15020) -> None:
        url = f"localhost:{port}/stats/prometheus"
        self.page = lab.kubectl("exec", pod, "-c", "istio-proxy", "--", "curl", "-s", url)

    def series(self, metric: str, **labels: str) -> list[tuple[Object, float]]:
        """(labels, value) of the series of a metric that have these labels."""
        found = (m for line in self.page.splitlines() if (m := _SERIES.match(line)) and m["name"] == metric)
        pairs = ((dict(_LABEL.findall(m["labels"])), float(m["value"])) for m in found)
        return [(have, value) for have, value in pairs if labels.items() <= have.items()]

    def total(self, metric: str, **labels: str) -> float:
        return sum(value for _, value in self.series(metric, **labels))


def call(lab: Lab, pod: str, url: str, *options: str) -> str:
    return lab.kubectl("exec", pod, "-c", "main", "--", "client", "--timeout", "5s", *options, url)


class Counting:
    """What is counted from now on."""

    def __init__(self, lab: Lab, pod: str, metric: str, **labels: str) -> None:
        self._lab, self._pod, self._metric, self._labels = lab, pod, metric, labels
        self._before = self._series()

    def _series(self) -> dict[tuple[tuple[str, str], ...], float]:
        series = Metrics(self._lab, self._pod).series(self._metric, **self._labels)
        return {tuple(sorted(labels.items())): value for labels, value in series}

    def more(self) -> list[tuple[Object, float]]:
        grown = ((dict(k), v - self._before.get(k, 0.0)) for k, v in self._series().items())
        return [(labels, value) for labels, value in grown if value]

    def counts(self, expected: float) -> Object:
        """The labels of the one series that has grown, by this number; Envoy counts a request after its end."""
        found: list[tuple[Object, float]] = []

        def there() -> bool:
            found[:] = self.more()
            return sum(value for _, value in found) == expected

        try:
            self._lab.cluster.eventually(there, 15)
        except AssertionError:
            raise AssertionError(f"{expected} expected: {found}") from None
        assert len(found) == 1, found
        return found[0][0]


def test_both_sides_count_each_request_with_all_labels(lab: Lab) -> None:
    sent = Counting(lab, "client", "istio_requests_total", destination_workload="server")
    got = Counting(lab, "server", "istio_requests_total", source_workload="client")
    call(lab, "client", "http://server", "--count", "25")
    told = {
        "source_workload": "client",
        "source_workload_namespace": "measured",
        "source_principal": "spiffe://cluster.local/ns/measured/sa/default",
        "source_app": "client",
        "source_version": "unknown",
        "source_cluster": "Kubernetes",
        "source_canonical_service": "client",
        "source_canonical_revision": "latest",
        "destination_workload": "server",
        "destination_workload_namespace": "measured",
        "destination_principal": "spiffe://cluster.local/ns/measured/sa/default",
        "destination_app": "server",
        "destination_version": "v1.2",
        "destination_cluster": "Kubernetes",
        "destination_canonical_service": "server",
        "destination_canonical_revision": "v1.2",
        "destination_service": "server.measured.svc.cluster.local",
        "destination_service_name": "server",
        "destination_service_namespace": "measured",
        "request_protocol": "http",
        "response_code": "200",
        "response_flags": "-",
    }
    assert sent.counts(25) == {**told, "reporter": "source", "connection_security_policy": "unknown"}
    assert got.counts(25) == {**told, "reporter": "destination", "connection_security_policy": "mutual_tls"}

    def measured() -> bool:  # Envoy adds up histograms every five seconds
        read = Metrics(lab, "server")
        requests = read.total("istio_requests_total", source_workload="client")
        names = ("istio_request_duration_milliseconds_count", "istio_response_bytes_count")
        return all(read.total(name, source_workload="client") == requests for name in names)

    lab.cluster.eventually(measured)
    assert Metrics(lab, "server", 15090).total("istio_requests_total", source_workload="client") >= 25


def test_plain_text_names_no_source(lab: Lab) -> None:
    counting = Counting(lab, "server", "istio_requests_total", source_workload="unknown")
    call(lab, "plain", "http://server.measured", "--count", "3")
    got = counting.counts(3)
    assert (got["connection_security_policy"], got["source_principal"]) == ("none", "unknown")
    assert got["destination_service_name"] == "server"


def test_calls_and_messages_of_grpc(lab: Lab) -> None:
    metrics = ("istio_requests_total", "istio_request_messages_total", "istio_response_messages_total")
    counting = [Counting(lab, pod, m, request_protocol="grpc") for pod in ("client", "server") for m in metrics]
    call(lab, "client", "grpc://server:7070", "--count", "7")
    for one in counting:
        got = one.counts(7)
        assert (got["grpc_response_status"], got["response_code"]) == ("0", "200")
        assert (got["source_workload"], got["destination_workload"]) == ("client", "server")


def test_connections_and_bytes_of_tcp(lab: Lab) -> None:
    metrics = ("istio_tcp_connections_opened_total", "istio_tcp_connections_closed_total")
    of_server = {"destination_service_name": "server"}
    counting = [Counting(lab, pod, m, **of_server) for pod in ("client", "server") for m in metrics]
    call(lab, "client", "tcp://server:9000", "--count", "4")
    for one in counting:
        got = one.counts(4)
        assert (got["source_workload"], got["destination_workload"]) == ("client", "server")
        assert got["request_protocol"] == "tcp"
    for pod in ("client", "server"):
        read = Metrics(lab, pod)
        assert read.total("istio_tcp_sent_bytes_total", **of_server) > 0
        assert read.total("istio_tcp_received_bytes_total", **of_server) > 0


def test_what_no_service_has_is_passthrough(lab: Lab) -> None:
    passed = {"destination_service_name": "PassthroughCluster"}
    http = Counting(lab, "client", "istio_requests_total", **passed)
    tcp = Counting(lab, "client", "istio_tcp_connections_opened_total", **passed)
    address = lab.ip("app=plain")
    call(lab, "client", f"http://{address}:9080", "--count", "2", "-H", "Host: outside.example.com")
    got = http.counts(2)
    assert (got["destination_service"], got["destination_workload"]) == ("outside.example.com", "unknown")
    call(lab, "client", f"http://{address}:8000")  # no service has this port, so its protocol is not looked at
    assert tcp.counts(1)["destination_service"] == "unknown"


def test_errors_say_where_they_were_going(lab: Lab) -> None:
    spec = {"selector": {"app": "nobody"}, "ports": [{"name": "http", "port": 80}]}
    lab.put({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "empty"}, "spec": spec})
    of_empty = {"destination_service_name": "empty"}
    lab.cluster.eventually(lambda: "503" in _failing(lab, "http://empty"))
    counting = Counting(lab, "client", "istio_requests_total", **of_empty)
    _failing(lab, "http://empty")
    got = counting.counts(1)
    assert (got["response_code"], got["response_flags"]) == ("503", "UH")
    assert (got["destination_workload"], got["destination_service_namespace"]) == ("unknown", "measured")


def _failing(lab: Lab, url: str) -> str:
    try:
        return call(lab, "client", url)
    except AssertionError as error:
        return str(error)


def test_a_change_of_rules_loses_no_count(lab: Lab) -> None:
    """Counters outlive the listener that a policy replaces."""
    counting = Counting(lab, "server", "istio_requests_total", source_workload="client")
    call(lab, "client", "http://server", "--count", "5")
    policy = {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": "all"},
        "spec": {"rules": [{}]},
    }
    lab.put(policy)
    lab.kubectl("wait", "--for=condition=Programmed", "authorizationpolicy/all", "--timeout=20s")
    call(lab, "client", "http://server", "--count", "5")
    lab.kubectl("delete", "authorizationpolicy", "all")
    counting.counts(10)


def test_telemetry_changes_metrics(lab: Lab) -> None:
    overrides = [
        {
            "match": {"metric": "REQUEST_COUNT", "mode": "SERVER"},
            "tagOverrides": {
                "request_method": {"value": "request.method"},
                "port": {"value": "string(destination.port)"},
                "team": {"value": "'shop'"},
                "route": {"value": "xds.route_name"},
                "request_operation": {"value": "request.url_path.startsWith('/list') ? 'List' : 'Other'"},
                "source_principal": {"operation": "REMOVE"},
            },
        },
        {"match": {"metric": "REQUEST_SIZE"}, "disabled": True},
    ]
    telemetry = {
        "apiVersion": "telemetry.istio.io/v1",
        "kind": "Telemetry",
        "metadata": {"name": "changed"},
        "spec": {"metrics": [{"providers": [{"name": "prometheus"}], "overrides": overrides}]},
    }
    counting = Counting(lab, "server", "istio_requests_total", team="shop")
    lab.put(telemetry)
    lab.kubectl("wait", "--for=condition=Programmed", "telemetry/changed", "--timeout=20s")
    try:

        def counted() -> bool:  # connections that are open go on as they were
            call(lab, "client", "http://server")
            return bool(counting.more())

        lab.cluster.eventually(counted)
        got, _ = counting.more()[0]
        assert (got["request_method"], got["port"]) == ("GET", "8080")
        assert (got["route"], got["request_operation"]) == ("default", "Other")
        assert "source_principal" not in got
        call(lab, "client", "http://server/list?a=b")
        lab.cluster.eventually(lambda: {"Other", "List"} == {of["request_operation"] for of, _ in counting.more()})
        listeners = lab.cluster.sailctl("proxy-config", "listeners", "server.measured", "--port", "15006", "-o", "json")
        assert "istio_response_bytes" in listeners
        assert "istio_request_bytes" not in listeners
    finally:
        lab.kubectl("delete", "telemetry", "changed")

        def as_before() -> bool:
            before = counting.more()
            call(lab, "client", "http://server")
            return counting.more() == before

        lab.cluster.eventually(as_before)


def test_the_applications_metrics_are_on_the_same_page(lab: Lab) -> None:
    pod = json.loads(lab.kubectl("get", "pod", "server", "-o", "json"))
    assert pod["metadata"]["annotations"]["prometheus.io/port"] == "15020"
    page = Metrics(lab, "server").page
    assert "istio_agent_scrapes_total" in page
    assert "istio_echo_http_requests_total" in page


NEEDS = {
    "container_cpu_usage_seconds_total": "a kubelet with cAdvisor",
    "go_goroutines": "a control plane in Go",
    "rate(pilot_total_xds_rejects": "a proxy that rejects a change",
}
"""Expressions of Istio's dashboards that have no series here, by what they need."""
NAMES = (("mongodb.default", "server.measured"), ("ratings-v1", "client"))
"""Names in the expressions of dashboards, and who has such traffic here."""
FETCH = "import urllib.request as u\ntry: u.urlopen('http://nobody.measured', timeout=5)\nexcept OSError: pass"


def test_what_grafana_and_kiali_ask_has_answers_with_all_labels(lab: Lab) -> None:
    expressions = [text for text in queries.grafana() if not any(part in text for part in NEEDS)]
    expressions += queries.kiali("measured")
    spec = {"selector": {"app": "nobody"}, "ports": [{"name": "http", "port": 80}]}
    lab.put({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "nobody"}, "spec": spec})
    numbers = itertools.count(100)
    empty: list[str] = []

    def answered() -> bool:
        lab.cluster.kubectl("exec", "deploy/productpage-v1", "--", "python3", "-c", FETCH)  # fails, from elsewhere
        for url in ("http://server", "grpc://server:7070", "tcp://server:9000"):
            call(lab, "client", url, "--count", "2")
        pool = {"connectionPool": {"tcp": {"maxConnections": next(numbers)}}}
        lab.put(kind("DestinationRule", "server", host="server", trafficPolicy=pool))
        empty[:] = [text for text in expressions if not has_answer(lab, text)]
        return not empty

    with Load(lab.cluster, threads=1):
        try:
            lab.cluster.eventually(answered, 60)
        except AssertionError:
            raise AssertionError("\n".join(empty)) from None
        finally:
            lab.kubectl("delete", "destinationrule", "server")


def has_answer(lab: Lab, text: str) -> bool:
    """Whether an expression has values, and those of Kiali's graph all labels of an edge."""
    for name, here in NAMES:
        text = text.replace(name, here)
    answer = [labels for labels, value in query(lab.cluster, text) if value == value]
    edges = "destination_canonical_revision" in text
    return bool(answer) and (not edges or all(labels.keys() >= queries.KIALI_LABELS for labels in answer))


def test_metrics_by_mutual_tls_only(lab: Lab) -> None:
    variables = {
        "ENVOY_SECURE_METRICS_PORT": "15091",
        "ENVOY_SECURE_MERGED_METRICS_PORT": "15092",
        "METRICS_LOCALHOST_ACCESS_ONLY": "true",
    }
    container = {"image": _APP, "args": SERVER}
    scraped = {"prometheus.io/scrape": "true", "prometheus.io/port": "9100", "prometheus.io/path": "/metrics"}
    config = {"proxy.istio.io/config": json.dumps({"proxyMetadata": variables})}
    lab.put(_pod("secured", {"app": "secured"}, container, {**scraped, **config}))
    lab.kubectl("wait", "--for=condition=Ready", "pod", "secured", "--timeout=60s")
    pod = json.loads(lab.kubectl("get", "pod", "secured", "-o", "json"))
    assert pod["metadata"]["annotations"]["prometheus.istio.io/secure-port"] == "15092"
    address = lab.ip("app=secured")

    def page(url: str, *options: str) -> str:
        curl = ("exec", "plain", "-c", "main", "--", "curl", "-s", "-m", "5", "-w", "%{http_code}", *options, url)
        try:
            return lab.kubectl(*curl)
        except AssertionError:
            return "000"

    assert page(f"http://{address}:15020/stats/prometheus").endswith("403")
    assert page(f"http://{address}:15090/stats/prometheus").endswith("000")
    assert page(f"http://{address}:15092/stats/prometheus").endswith("000")
    assert page(f"https://{address}:15092/stats/prometheus", "-k").endswith("000")  # without a certificate
    assert "istio_agent_scrapes_total" in Metrics(lab, "secured").page  # from the pod itself
    ports = [{"name": f"http-{port}", "port": port - 15000, "targetPort": port} for port in (15091, 15092)]
    spec = {"selector": {"app": "secured"}, "ports": ports}
    lab.put({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "secured"}, "spec": spec})
    mutual = {"tls": {"mode": "ISTIO_MUTUAL"}}
    lab.apply(kind("DestinationRule", "secured", host="secured", trafficPolicy=mutual))
    lab.cluster.eventually(lambda: lab.ask("http://secured:92/stats/prometheus").status == 200)
    merged, envoy = (lab.ask(f"http://secured:{port}/stats/prometheus").body for port in (92, 91))
    assert "istio_echo_http_requests_total" in merged
    assert "envoy_server_live" in envoy
    assert "istio_echo_http_requests_total" not in envoy
