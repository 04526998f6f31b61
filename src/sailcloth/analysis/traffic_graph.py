"""The traffic graph with rates, errors and latencies, from Istio's standard metrics.

An edge uses the metrics of its source's proxy; if the source has none, those of its destination. Pure: samples in, a graph and its
renderings out. Source of the rules: console.md 1.3, 1.5, 2.1.
"""

from __future__ import annotations

import html
import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Sample = tuple[Mapping[str, str], float]
"""Labels and value."""
UNKNOWN = "unknown"
BY = (
    "source_workload",
    "source_workload_namespace",
    "destination_workload",
    "destination_workload_namespace",
    "destination_service",
    "destination_service_name",
    "destination_service_namespace",
    "source_canonical_service",
    "source_canonical_revision",
    "destination_canonical_service",
    "destination_canonical_revision",
)
"""The labels that identify an edge."""


@dataclass(frozen=True, order=True)
class Node:
    """A workload, or a service without workloads. `kind`: workload, service or unknown. `app`, `version`: of a workload."""

    namespace: str
    name: str
    kind: str = "workload"
    app: str = ""
    version: str = ""

    @property
    def id(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


@dataclass
class Edge:
    """Requests (or bytes of connections) per second from one node to another through a service. Quantiles in milliseconds, as the source
    sees them; `server_quantiles` as the destination does, without the way between and what the source's proxy adds."""

    source: Node
    destination: Node
    service: str
    protocol: str
    rate: float = 0.0
    errors: float = 0.0
    bytes: float = 0.0
    secured: float | None = None  # share with mutual TLS; None if no destination has reported
    quantiles: dict[str, float] = field(default_factory=dict)
    server_quantiles: dict[str, float] = field(default_factory=dict)
    codes: dict[str, float] = field(default_factory=dict)  # rate by response code, `-` for none
    host: str = ""  # the service with its namespace and domain

    @property
    def error_share(self) -> float:
        return self.errors / self.rate if self.rate else 0.0


Key = tuple[Node, Node, str, str]
"""Identifies an edge: source, destination, service, protocol."""


@dataclass(frozen=True)
class Graph:
    """Edges, the busiest first."""

    edges: tuple[Edge, ...] = ()

    @property
    def nodes(self) -> tuple[Node, ...]:
        return tuple(sorted({n for e in self.edges for n in (e.source, e.destination)}))


def samples(answer: Any) -> list[Sample]:
    """The vector of Prometheus' answer to an instant query, from its JSON. Raises ValueError with Prometheus' own error, or because it
    is no answer of Prometheus."""
    try:
        if answer.get("status") != "success":
            raise ValueError(f"Prometheus: {answer.get('error') or 'no answer'}")
        data = answer["data"]
        if data.get("resultType") == "scalar":
            return [({}, float(data["result"][1]))]
        if data.get("resultType") == "matrix":
            raise ValueError("the query gives ranges of values; wrap it, such as in rate(…) or max_over_time(…)")
        return [(one["metric"], float(one["value"][1])) for one in data["result"]]
    except (AttributeError, KeyError, IndexError, TypeError):
        raise ValueError("what answers is no Prometheus") from None


def queries(window: str, namespace: str = "") -> dict[str, str]:
    """PromQL queries by the parameter of `graph` that takes their results. `namespace`: only edges from or to it."""
    by = ",".join(BY)
    selectors = (
        [f"source_workload_namespace={json.dumps(namespace)}", f"destination_service_namespace={json.dumps(namespace)}"]
        if namespace
        else [""]
    )

    def either(make: Callable[[str], str]) -> str:
        return " or ".join(make(selector) for selector in selectors)

    def count(metric: str, *more: str) -> str:
        extra = ",".join(("reporter", by, *more))
        return either(lambda s: f"sum by ({extra}) (rate({metric}{{{s}}}[{window}])) > 0")

    def time(share: float) -> str:
        rates = "rate(istio_request_duration_milliseconds_bucket{%s}[%s])"
        return either(lambda s: f"histogram_quantile({share}, sum by (le,reporter,{by}) ({rates % (s, window)}))")

    return {
        "requests": count(
            "istio_requests_total",
            "request_protocol",
            "response_code",
            "grpc_response_status",
            "connection_security_policy",
        ),
        "sent": count("istio_tcp_sent_bytes_total", "connection_security_policy"),
        "received": count("istio_tcp_received_bytes_total", "connection_security_policy"),
        **{name: time(share) for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))},
    }


def graph(
    requests: Iterable[Sample],
    sent: Iterable[Sample] = (),
    received: Iterable[Sample] = (),
    **quantiles: Iterable[Sample],
) -> Graph:
    """The graph from the results of `queries`."""
    edges: dict[Key, Edge] = {}
    with_mtls: dict[Key, float] = defaultdict(float)
    reported: dict[Key, float] = defaultdict(float)

    def edge(labels: Mapping[str, str], protocol: str, value: float) -> Edge | None:
        """The edge that a sample adds to; None if the source's proxy reports it, too."""
        key = _key(labels, protocol)
        if labels.get("reporter") == "destination":
            reported[key] += value
            with_mtls[key] += value if labels.get("connection_security_policy") == "mutual_tls" else 0.0
            if key[0].kind != UNKNOWN:
                return None
        return edges.setdefault(key, Edge(*key, host=labels.get("destination_service", "")))

    for labels, value in requests:
        counted = edge(labels, labels.get("request_protocol") or "http", value)
        if counted is not None:
            counted.rate += value
            counted.errors += value if failed(labels) else 0.0
            counted.codes[code(labels)] = counted.codes.get(code(labels), 0.0) + value
    for labels, value in (*sent, *received):
        counted = edge(labels, "tcp", value)
        if counted is not None:
            counted.bytes += value
    for name, samples in quantiles.items():
        for labels, value in samples:
            for protocol in ("http", "grpc"):
                measured = edges.get(_key(labels, protocol))
                if measured is not None and not math.isnan(value):
                    by_server = labels.get("reporter") == "destination"
                    (measured.server_quantiles if by_server else measured.quantiles)[name] = value
    for key, measured in edges.items():
        if key[0].kind == UNKNOWN:
            measured.quantiles = {**measured.server_quantiles, **measured.quantiles}
        if reported[key]:
            measured.secured = with_mtls[key] / reported[key]
    ordered = sorted(edges.values(), key=lambda e: (-e.rate, -e.bytes, e.source, e.destination, e.service))
    return Graph(tuple(ordered))


def with_silent(traffic: Graph, known: Graph, exists: Callable[[Node], bool]) -> Graph:
    """The traffic, and the known edges that have none now, but for those of workloads that do not exist any more."""
    present = {(e.source, e.destination, e.service, e.protocol) for e in traffic.edges}
    silent = (
        Edge(e.source, e.destination, e.service, e.protocol, host=e.host)
        for e in known.edges
        if (e.source, e.destination, e.service, e.protocol) not in present
        and all(n.kind != "workload" or exists(n) for n in (e.source, e.destination))
    )
    return Graph((*traffic.edges, *silent))


def failed(labels: Mapping[str, str]) -> bool:
    """Whether requests with these labels failed: no response, 5xx, or a gRPC status other than 0."""
    code, status = labels.get("response_code", ""), labels.get("grpc_response_status", "")
    return code == "0" or code.startswith("5") or status not in ("", "0")


def code(labels: Mapping[str, str]) -> str:
    """The response code that health is judged by: of gRPC its status, unless HTTP failed; `-` without a response."""
    http, grpc = labels.get("response_code", ""), labels.get("grpc_response_status", "")
    if labels.get("request_protocol") == "grpc" and grpc and http in ("", "200"):
        return grpc
    return "-" if http in ("", "0") else http


def _key(labels: Mapping[str, str], protocol: str) -> Key:
    return _source(labels), _destination(labels), labels.get("destination_service_name", ""), protocol


def _source(labels: Mapping[str, str]) -> Node:
    name = labels.get("source_workload", UNKNOWN)
    if name == UNKNOWN:
        return Node("", UNKNOWN, UNKNOWN)
    return Node(labels.get("source_workload_namespace", ""), name, "workload", *_canonical(labels, "source"))


def _destination(labels: Mapping[str, str]) -> Node:
    name, service = labels.get("destination_workload", UNKNOWN), labels.get("destination_service_name", UNKNOWN)
    if name != UNKNOWN:
        namespace = labels.get("destination_workload_namespace", "")
        return Node(namespace, name, "workload", *_canonical(labels, "destination"))
    namespace = labels.get("destination_service_namespace", "")
    return Node("" if namespace == UNKNOWN else namespace, service, UNKNOWN if service == UNKNOWN else "service")


def _canonical(labels: Mapping[str, str], side: str) -> tuple[str, str]:
    """Application and version of a workload."""
    app, version = (labels.get(f"{side}_canonical_{what}", "") for what in ("service", "revision"))
    return "" if app == UNKNOWN else app, "" if version == UNKNOWN else version


# -- texts --------------------------------------------------------------------------------------


def rows(traffic: Graph) -> list[tuple[str, ...]]:
    """A table: SOURCE, DESTINATION, SERVICE, PROTOCOL, RATE, ERRORS, P50, P95, P99, MTLS."""
    return [
        (
            e.source.id,
            e.destination.id,
            e.service,
            e.protocol,
            f"{e.rate:.2f}/s" if e.protocol != "tcp" else f"{e.bytes:.0f} B/s",
            f"{e.error_share:.1%}" if e.rate else "-",
            *(f"{e.quantiles[q]:.1f}ms" if q in e.quantiles else "-" for q in ("p50", "p95", "p99")),
            "-" if e.secured is None else f"{e.secured:.0%}",
        )
        for e in traffic.edges
    ]


def plain(traffic: Graph) -> dict[str, Any]:
    """The graph as JSON-able data."""
    return {
        "nodes": [{"id": n.id, "namespace": n.namespace, "name": n.name, "kind": n.kind} for n in traffic.nodes],
        "edges": [
            {
                "source": e.source.id,
                "destination": e.destination.id,
                "service": e.service,
                "protocol": e.protocol,
                "requestsPerSecond": round(e.rate, 6),
                "errorShare": round(e.error_share, 6),
                "bytesPerSecond": round(e.bytes, 3),
                "mutualTlsShare": e.secured,
                "milliseconds": {name: round(value, 3) for name, value in sorted(e.quantiles.items())},
            }
            for e in traffic.edges
        ],
    }


def _label(e: Edge) -> str:
    if e.protocol == "tcp":
        return f"{e.bytes:.0f} B/s"
    return f"{e.rate:.2f}/s" + (f" {e.error_share:.0%} errors" if e.errors else "")


def dot(traffic: Graph) -> str:
    """The graph in Graphviz's language."""
    lines = ["digraph traffic {", "  rankdir=LR;", '  node [shape=box, style=rounded, fontname="sans-serif"];']
    shapes = {"service": "triangle", UNKNOWN: "ellipse"}
    for node in traffic.nodes:
        shape = f", shape={shapes[node.kind]}" if node.kind in shapes else ""
        lines.append(f"  {json.dumps(node.id)} [label={json.dumps(node.name)}{shape}];")
    for e in traffic.edges:
        color = ", color=red" if e.errors else ""
        lines.append(
            f"  {json.dumps(e.source.id)} -> {json.dumps(e.destination.id)} [label={json.dumps(_label(e))}{color}];"
        )
    return "\n".join([*lines, "}", ""])


def mermaid(traffic: Graph) -> str:
    """The graph as a Mermaid flowchart."""
    number = {node: f"n{i}" for i, node in enumerate(traffic.nodes)}
    lines = ["flowchart LR"]
    for node, name in number.items():
        left, right = ("([", "])") if node.kind == UNKNOWN else (">", "]") if node.kind == "service" else ("[", "]")
        lines.append(f'  {name}{left}"{html.escape(node.id)}"{right}')
    lines += [f'  {number[e.source]} -->|"{html.escape(_label(e))}"| {number[e.destination]}' for e in traffic.edges]
    return "\n".join([*lines, ""])


_WIDTH, _HEIGHT, _GAP_X, _GAP_Y = 190, 44, 120, 26


def svg(traffic: Graph) -> str:
    """The graph as an SVG picture, callers to the left of their destinations."""
    positions = _positions(traffic)
    width = max((x for x, _ in positions.values()), default=0) + _WIDTH + 20
    height = max((y for _, y in positions.values()), default=0) + _HEIGHT + 20
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
        ' font-family="sans-serif" font-size="12">',
        '<defs><marker id="end" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0 8 4 0 8z" fill="#666"/></marker></defs>',
    ]
    for e in traffic.edges:
        (ax, ay), (bx, by) = positions[e.source], positions[e.destination]
        x1, y1, x2, y2 = ax + _WIDTH, ay + _HEIGHT / 2, bx, by + _HEIGHT / 2
        color = "#c9190b" if e.errors else "#3e8635" if e.protocol != "tcp" else "#4394e5"
        bend = _GAP_X / 2
        out.append(
            f'<path d="M{x1} {y1:g}C{x1 + bend:g} {y1:g} {x2 - bend:g} {y2:g} {x2} {y2:g}" fill="none" stroke="{color}"'
            ' stroke-width="1.5" marker-end="url(#end)"/>'
        )
        middle = (x1 + x2) / 2, (y1 + y2) / 2 - 4
        out.append(
            f'<text x="{middle[0]:g}" y="{middle[1]:g}" text-anchor="middle" fill="#333">{html.escape(_label(e))}</text>'
        )
    for node, (x, y) in positions.items():
        fill = {"service": "#e7f1fa", UNKNOWN: "#f0f0f0"}.get(node.kind, "#ffffff")
        out.append(
            f'<rect x="{x}" y="{y}" width="{_WIDTH}" height="{_HEIGHT}" rx="6" fill="{fill}" stroke="#8a8d90"/>'
            f'<text x="{x + _WIDTH / 2:g}" y="{y + 19}" text-anchor="middle" font-weight="bold">{html.escape(node.name)}</text>'
            f'<text x="{x + _WIDTH / 2:g}" y="{y + 35}" text-anchor="middle" fill="#6a6e73">{html.escape(node.namespace)}</text>'
        )
    return "\n".join([*out, "</svg>", ""])


def _positions(traffic: Graph) -> dict[Node, tuple[int, int]]:
    """(x, y) of each node: to the right of its callers, except in cycles."""
    destinations_of: dict[Node, list[Node]] = defaultdict(list)
    for e in traffic.edges:
        destinations_of[e.source].append(e.destination)
    column = dict.fromkeys(traffic.nodes, 0)
    for _ in traffic.nodes:  # each round moves nodes by one column; the bound ends cycles
        moved = False
        for source, destinations in destinations_of.items():
            for destination in destinations:
                if destination != source and column[destination] <= column[source] < len(column) - 1:
                    column[destination], moved = column[source] + 1, True
        if not moved:
            break
    order = {c: i for i, c in enumerate(sorted(set(column.values())))}
    rows_in: dict[int, int] = defaultdict(int)
    out = {}
    for node in traffic.nodes:
        position = order[column[node]]
        out[node] = (10 + position * (_WIDTH + _GAP_X), 10 + rows_in[position] * (_HEIGHT + _GAP_Y))
        rows_in[position] += 1
    return out
