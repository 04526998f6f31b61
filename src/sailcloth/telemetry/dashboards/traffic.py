"""Dashboards of traffic: the mesh, a service, a workload. Titles follow Istio's, so that people find what they know."""

from __future__ import annotations

from .panels import QUANTILES, Dashboard, Panel, Query, Row, Variable, rate

_ERRORS = 'response_code=~"5.*"'


def _success(selector: str, by: str = "") -> str:
    """The share of requests that did not fail on the server's side."""
    good = rate("istio_requests_total", f'{selector},response_code!~"5.*"', by)
    return f"{good} / {rate('istio_requests_total', selector, by)}"


def _quantile(share: str, metric: str, selector: str, by: str = "") -> str:
    group = ",".join(x for x in (by, "le") if x)
    return f"histogram_quantile({share}, sum(rate({metric}_bucket{{{selector}}}[$window])) by ({group}))"


def _times(title: str, selector: str, by: str = "") -> Panel:
    legend = " ".join(f"{{{{{label}}}}}" for label in by.split(",") if label)
    queries = tuple(
        Query(_quantile(share, "istio_request_duration_milliseconds", selector, by), f"{legend} {name}".strip())
        for name, share in QUANTILES
    )
    return Panel(title, queries, "ms", needs="http")


def _sizes(title: str, metric: str, selector: str, by: str) -> Panel:
    legend = " ".join(f"{{{{{label}}}}}" for label in by.split(",") if label)
    queries = tuple(
        Query(_quantile(share, metric, selector, by), f"{legend} {name}".strip()) for name, share in QUANTILES
    )
    return Panel(title, queries, "decbytes", needs="http")


def _group(whose: str, selector: str, by: str) -> tuple[Panel, ...]:
    """The seven panels of a side: requests, success, times, sizes, bytes of TCP."""
    legend = " ".join(f"{{{{{label}}}}}" for label in by.split(","))
    return (
        Panel(
            f"Incoming Requests By {whose} And Response Code",
            (Query(rate("istio_requests_total", selector, f"{by},response_code"), f"{legend}: {{{{response_code}}}}"),),
            "ops",
            needs="http",
        ),
        Panel(
            f"Incoming Success Rate (non-5xx responses) By {whose}",
            (Query(_success(selector, by), legend),),
            "percentunit",
            needs="http",
        ),
        _times(f"Incoming Request Duration By {whose}", selector, by),
        _sizes(f"Incoming Request Size By {whose}", "istio_request_bytes", selector, by),
        _sizes(f"Response Size By {whose}", "istio_response_bytes", selector, by),
        Panel(
            f"Bytes Received from Incoming TCP Connection By {whose}",
            (Query(rate("istio_tcp_received_bytes_total", selector, by), legend),),
            "Bps",
            needs="tcp",
        ),
        Panel(
            f"Bytes Sent to Incoming TCP Connection By {whose}",
            (Query(rate("istio_tcp_sent_bytes_total", selector, by), legend),),
            "Bps",
            needs="tcp",
        ),
    )


_SOURCE = 'reporter="source"'
_WORKLOAD_TABLE = "destination_workload,destination_workload_namespace,destination_service"

MESH = Dashboard(
    "sailcloth-mesh",
    "Istio Mesh Dashboard",
    (
        Row(
            "Globals",
            (
                Panel("Traffic Volume", (Query(rate("istio_requests_total", _SOURCE)),), "ops", "stat", "http"),
                Panel("Success Rate", (Query(_success(_SOURCE)),), "percentunit", "stat", "http"),
                Panel(
                    "4xxs",
                    (Query(rate("istio_requests_total", f'{_SOURCE},response_code=~"4.*"') + " or vector(0)"),),
                    "ops",
                    "stat",
                ),
                Panel(
                    "5xxs",
                    (Query(rate("istio_requests_total", f"{_SOURCE},{_ERRORS}") + " or vector(0)"),),
                    "ops",
                    "stat",
                ),
            ),
        ),
        Row(
            "Workloads",
            (
                Panel(
                    "HTTP/gRPC Workloads: requests",
                    (Query(rate("istio_requests_total", _SOURCE, _WORKLOAD_TABLE)),),
                    "ops",
                    "table",
                    "http",
                ),
                Panel(
                    "HTTP/gRPC Workloads: P99 latency",
                    (Query(_quantile("0.99", "istio_request_duration_milliseconds", _SOURCE, _WORKLOAD_TABLE)),),
                    "ms",
                    "table",
                    "http",
                ),
                Panel(
                    "HTTP/gRPC Workloads: success rate",
                    (Query(_success(_SOURCE, _WORKLOAD_TABLE)),),
                    "percentunit",
                    "table",
                    "http",
                ),
                Panel(
                    "TCP Workloads: bytes sent",
                    (Query(rate("istio_tcp_sent_bytes_total", _SOURCE, _WORKLOAD_TABLE)),),
                    "Bps",
                    "table",
                    "tcp",
                ),
                Panel(
                    "TCP Workloads: bytes received",
                    (Query(rate("istio_tcp_received_bytes_total", _SOURCE, _WORKLOAD_TABLE)),),
                    "Bps",
                    "table",
                    "tcp",
                ),
            ),
        ),
        Row(
            "Istio Component Versions",
            (Panel("Versions", (Query("sum(istio_build) by (component, tag)", "{{component}}: {{tag}}"),)),),
        ),
    ),
)

_OF_SERVICE = 'destination_service=~"$service"'
SERVICE = Dashboard(
    "sailcloth-service",
    "Istio Service Dashboard",
    (
        Row(
            "SERVICE: $service",
            (
                Panel(
                    "Client Request Volume",
                    (Query(rate("istio_requests_total", f"{_SOURCE},{_OF_SERVICE}")),),
                    "ops",
                    "stat",
                    "http",
                ),
                Panel(
                    "Client Success Rate (non-5xx responses)",
                    (Query(_success(f"{_SOURCE},{_OF_SERVICE}")),),
                    "percentunit",
                    "stat",
                    "http",
                ),
                _times("Client Request Duration", f"{_SOURCE},{_OF_SERVICE}"),
                Panel(
                    "Server Request Volume",
                    (Query(rate("istio_requests_total", f'reporter="destination",{_OF_SERVICE}')),),
                    "ops",
                    "stat",
                    "http",
                ),
                Panel(
                    "Server Success Rate (non-5xx responses)",
                    (Query(_success(f'reporter="destination",{_OF_SERVICE}')),),
                    "percentunit",
                    "stat",
                    "http",
                ),
                _times("Server Request Duration", f'reporter="destination",{_OF_SERVICE}'),
            ),
        ),
        Row(
            "Client Workloads",
            _group("Source", f'reporter="source",{_OF_SERVICE}', "source_workload,source_workload_namespace"),
        ),
        Row(
            "Service Workloads",
            _group(
                "Destination Workload",
                f'reporter="destination",{_OF_SERVICE}',
                "destination_workload,destination_workload_namespace",
            ),
        ),
    ),
    (Variable("service", "Service", "label_values(istio_requests_total, destination_service)"),),
)

_OF_WORKLOAD = 'destination_workload_namespace=~"$namespace",destination_workload=~"$workload"'
_FROM_WORKLOAD = 'source_workload_namespace=~"$namespace",source_workload=~"$workload"'
WORKLOAD = Dashboard(
    "sailcloth-workload",
    "Istio Workload Dashboard",
    (
        Row(
            "WORKLOAD: $workload.$namespace",
            (
                Panel(
                    "Incoming Request Volume",
                    (Query(rate("istio_requests_total", f'reporter="destination",{_OF_WORKLOAD}')),),
                    "ops",
                    "stat",
                    "http",
                ),
                Panel(
                    "Incoming Success Rate (non-5xx responses)",
                    (Query(_success(f'reporter="destination",{_OF_WORKLOAD}')),),
                    "percentunit",
                    "stat",
                    "http",
                ),
                _times("Request Duration", f'reporter="destination",{_OF_WORKLOAD}'),
            ),
        ),
        Row(
            "Inbound Workloads",
            _group("Source", f'reporter="destination",{_OF_WORKLOAD}', "source_workload,source_workload_namespace"),
        ),
        Row(
            "Outbound Services",
            (
                Panel(
                    "Outgoing Requests By Destination And Response Code",
                    (
                        Query(
                            rate(
                                "istio_requests_total",
                                f"{_SOURCE},{_FROM_WORKLOAD}",
                                "destination_service,response_code",
                            ),
                            "{{destination_service}}: {{response_code}}",
                        ),
                    ),
                    "ops",
                    needs="http",
                ),
                Panel(
                    "Outgoing Success Rate (non-5xx responses) By Destination",
                    (Query(_success(f"{_SOURCE},{_FROM_WORKLOAD}", "destination_service"), "{{destination_service}}"),),
                    "percentunit",
                    needs="http",
                ),
                _times(
                    "Outgoing Request Duration By Destination", f"{_SOURCE},{_FROM_WORKLOAD}", "destination_service"
                ),
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
