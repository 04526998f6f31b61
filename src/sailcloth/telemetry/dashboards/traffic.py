"""Dashboards of traffic: the mesh, a service, a workload. Titles follow Istio's, so that people find what they know."""

from __future__ import annotations

from .panels import QUANTILES, VERSIONS, Dashboard, Panel, Query, Row, Variable, panel, rate


def _success(selector: str, by: str = "") -> str:
    """The share of requests that did not fail on the server's side."""
    good = rate("istio_requests_total", f'{selector},response_code!~"5.*"', by)
    return f"{good} / {rate('istio_requests_total', selector, by)}"


def _quantile(share: str, metric: str, selector: str, by: str = "") -> str:
    group = ",".join(x for x in (by, "le") if x)
    return f"histogram_quantile({share}, sum(rate({metric}_bucket{{{selector}}}[$window])) by ({group}))"


def _legend(by: str) -> str:
    return " ".join(f"{{{{{label}}}}}" for label in by.split(",") if label)


def _quantiles(title: str, metric: str, unit: str, selector: str, by: str = "") -> Panel:
    queries = (
        Query(_quantile(share, metric, selector, by), f"{_legend(by)} {name}".strip()) for name, share in QUANTILES
    )
    return Panel(title, tuple(queries), unit, needs="http")


def _times(title: str, selector: str, by: str = "") -> Panel:
    return _quantiles(title, "istio_request_duration_milliseconds", "ms", selector, by)


def _sizes(title: str, metric: str, selector: str, by: str) -> Panel:
    return _quantiles(title, metric, "decbytes", selector, by)


def _volume(title: str, selector: str) -> Panel:
    """Requests now, as one number."""
    return panel(title, rate("istio_requests_total", selector), "ops", kind="stat", needs="http")


def _success_now(title: str, selector: str) -> Panel:
    """The share of requests that succeed now, as one number."""
    return panel(title, _success(selector), "percentunit", kind="stat", needs="http")


def _failures(title: str, codes: str) -> Panel:
    """Requests now that some response codes answer, which are 0 where there are none."""
    failed = rate("istio_requests_total", f'{_SOURCE},response_code=~"{codes}"')
    return panel(title, f"{failed} or vector(0)", "ops", kind="stat")


def _by_workload(title: str, expression: str, unit: str, needs: str) -> Panel:
    return panel(title, expression, unit, kind="table", needs=needs)


def _group(whose: str, selector: str, by: str) -> tuple[Panel, ...]:
    """The seven panels of a side: requests, success, times, sizes, bytes of TCP."""
    legend = _legend(by)
    requests = rate("istio_requests_total", selector, f"{by},response_code")
    received = rate("istio_tcp_received_bytes_total", selector, by)
    sent = rate("istio_tcp_sent_bytes_total", selector, by)
    success = f"Incoming Success Rate (non-5xx responses) By {whose}"
    return (
        panel(
            f"Incoming Requests By {whose} And Response Code",
            requests,
            "ops",
            f"{legend}: {{{{response_code}}}}",
            needs="http",
        ),
        panel(success, _success(selector, by), "percentunit", legend, needs="http"),
        _times(f"Incoming Request Duration By {whose}", selector, by),
        _sizes(f"Incoming Request Size By {whose}", "istio_request_bytes", selector, by),
        _sizes(f"Response Size By {whose}", "istio_response_bytes", selector, by),
        panel(f"Bytes Received from Incoming TCP Connection By {whose}", received, "Bps", legend, needs="tcp"),
        panel(f"Bytes Sent to Incoming TCP Connection By {whose}", sent, "Bps", legend, needs="tcp"),
    )


_SOURCE, _DESTINATION = 'reporter="source"', 'reporter="destination"'
_TABLE = "destination_workload,destination_workload_namespace,destination_service"
_BY_SOURCE = "source_workload,source_workload_namespace"
_LATENCY = _quantile("0.99", "istio_request_duration_milliseconds", _SOURCE, _TABLE)
_TCP = "TCP Workloads: bytes"

MESH = Dashboard(
    "sailcloth-mesh",
    "Istio Mesh Dashboard",
    (
        Row(
            "Globals",
            (
                _volume("Traffic Volume", _SOURCE),
                _success_now("Success Rate", _SOURCE),
                _failures("4xxs", "4.*"),
                _failures("5xxs", "5.*"),
            ),
        ),
        Row(
            "Workloads",
            (
                _by_workload(
                    "HTTP/gRPC Workloads: requests", rate("istio_requests_total", _SOURCE, _TABLE), "ops", "http"
                ),
                _by_workload("HTTP/gRPC Workloads: P99 latency", _LATENCY, "ms", "http"),
                _by_workload("HTTP/gRPC Workloads: success rate", _success(_SOURCE, _TABLE), "percentunit", "http"),
                _by_workload(f"{_TCP} sent", rate("istio_tcp_sent_bytes_total", _SOURCE, _TABLE), "Bps", "tcp"),
                _by_workload(f"{_TCP} received", rate("istio_tcp_received_bytes_total", _SOURCE, _TABLE), "Bps", "tcp"),
            ),
        ),
        Row("Istio Component Versions", (panel("Versions", VERSIONS, legend="{{component}}: {{tag}}"),)),
    ),
)

_OF_SERVICE = 'destination_service=~"$service"'
_SENT, _SERVED = f"{_SOURCE},{_OF_SERVICE}", f"{_DESTINATION},{_OF_SERVICE}"
SERVICE = Dashboard(
    "sailcloth-service",
    "Istio Service Dashboard",
    (
        Row(
            "SERVICE: $service",
            (
                _volume("Client Request Volume", _SENT),
                _success_now("Client Success Rate (non-5xx responses)", _SENT),
                _times("Client Request Duration", _SENT),
                _volume("Server Request Volume", _SERVED),
                _success_now("Server Success Rate (non-5xx responses)", _SERVED),
                _times("Server Request Duration", _SERVED),
            ),
        ),
        Row("Client Workloads", _group("Source", _SENT, _BY_SOURCE)),
        Row(
            "Service Workloads",
            _group("Destination Workload", _SERVED, "destination_workload,destination_workload_namespace"),
        ),
    ),
    (Variable("service", "Service", "label_values(istio_requests_total, destination_service)"),),
)

_OF_WORKLOAD = 'destination_workload_namespace=~"$namespace",destination_workload=~"$workload"'
_RECEIVED = f"{_DESTINATION},{_OF_WORKLOAD}"
_CALLED = f'{_SOURCE},source_workload_namespace=~"$namespace",source_workload=~"$workload"'
_HOST = "destination_service"
WORKLOAD = Dashboard(
    "sailcloth-workload",
    "Istio Workload Dashboard",
    (
        Row(
            "WORKLOAD: $workload.$namespace",
            (
                _volume("Incoming Request Volume", _RECEIVED),
                _success_now("Incoming Success Rate (non-5xx responses)", _RECEIVED),
                _times("Request Duration", _RECEIVED),
            ),
        ),
        Row("Inbound Workloads", _group("Source", _RECEIVED, _BY_SOURCE)),
        Row(
            "Outbound Services",
            (
                panel(
                    "Outgoing Requests By Destination And Response Code",
                    rate("istio_requests_total", _CALLED, f"{_HOST},response_code"),
                    "ops",
                    f"{_legend(_HOST)}: {{{{response_code}}}}",
                    needs="http",
                ),
                panel(
                    "Outgoing Success Rate (non-5xx responses) By Destination",
                    _success(_CALLED, _HOST),
                    "percentunit",
                    _legend(_HOST),
                    needs="http",
                ),
                _times("Outgoing Request Duration By Destination", _CALLED, _HOST),
            ),
        ),
    ),
    (
        Variable("namespace", "Namespace", "label_values(istio_requests_total, destination_workload_namespace)"),
        Variable(
            "workload",
            "Workload",
            'label_values(istio_requests_total{destination_workload_namespace=~"$namespace"}, destination_workload)',
        ),
    ),
)
