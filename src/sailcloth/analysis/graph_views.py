"""The traffic graph as people look at it: nodes are workloads, applications, their versions, or services. Pure.

Each type is made from the edges between workloads (`traffic_graph`) by naming their ends anew and adding up what falls together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from .traffic_graph import UNKNOWN, Edge, Graph, Node

TYPES = ("versionedApp", "app", "workload", "service")
OUTSIDE = ("PassthroughCluster", "BlackHoleCluster")


@dataclass(frozen=True, order=True, slots=True)
class ViewNode:
    """A node of one graph type. `kind`: workload, app, service or unknown; `workload`: the only workload that it stands for."""

    namespace: str
    name: str
    kind: str
    version: str = ""
    workload: str = field(default="", compare=False)
    app: str = field(default="", compare=False)

    @property
    def id(self) -> str:
        return f"{self.kind}:{self.namespace}/{self.name}" + (f"@{self.version}" if self.version else "")


@dataclass(slots=True)
class ViewEdge:
    """What goes from one node to another by one protocol. Quantiles are those of the slowest part, in milliseconds."""

    source: ViewNode
    destination: ViewNode
    protocol: str
    rate: float = 0.0
    errors: float = 0.0
    bytes: float = 0.0
    codes: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    quantiles: dict[str, float] = field(default_factory=dict)
    server_p95: float = -1.0  # as destinations measure it; below 0 if none has
    hosts: set[str] = field(default_factory=set)
    reported: float = 0.0  # of which it is known whether mutual TLS secured it
    secured: float = 0.0

    @property
    def id(self) -> str:
        return f"{self.source.id}>{self.destination.id}>{self.protocol}"

    @property
    def mutual_tls_share(self) -> float | None:
        return self.secured / self.reported if self.reported else None

    def add(self, edge: Edge, share: float = 1.0) -> None:
        """Add a share of what an edge carries."""
        self.rate += edge.rate * share
        self.errors += edge.errors * share
        self.bytes += edge.bytes * share
        for code, rate in edge.codes.items():
            self.codes[code] += rate * share
        quantiles = self.quantiles
        for name, value in edge.quantiles.items():
            if value > quantiles.get(name, -1.0):
                quantiles[name] = value
        if edge.server_quantiles:
            self.server_p95 = max(self.server_p95, edge.server_quantiles.get("p95", -1.0))
        if edge.host:
            self.hosts.add(edge.host)
        if edge.secured is not None:
            weight = (edge.rate or edge.bytes) * share
            self.reported += weight
            self.secured += weight * edge.secured


def view(graph: Graph, kind: str, services: bool = False) -> list[ViewEdge]:
    """The edges of a graph type, the busiest first. `services`: between two workloads stands the service that was called; the type
    `service` has no other nodes but callers without a service of their own."""
    edges: dict[tuple[ViewNode, ViewNode, str], ViewEdge] = {}
    named: dict[int, ViewNode] = {}  # by the identity of nodes, which lasts as long as the graph

    def name(node: Node) -> ViewNode:
        if id(node) not in named:
            named[id(node)] = _named(node, kind)
        return named[id(node)]

    callers = _services_of(graph) if kind == "service" else {}

    def add(source: ViewNode, destination: ViewNode, edge: Edge, share: float = 1.0) -> None:
        key = (source, destination, edge.protocol)
        joined = edges.get(key)
        if joined is None:
            joined = edges[key] = ViewEdge(*key)
        joined.add(edge, share)

    for edge in graph.edges:
        service = _service(edge) if services or kind == "service" else None
        if kind == "service":
            for source, share in callers.get(edge.source, {_named(edge.source, "app"): 1.0}).items():
                add(source, service or _named(edge.destination, "app"), edge, share)
        elif service is not None and edge.destination.kind == "workload":
            add(name(edge.source), service, edge)
            add(service, name(edge.destination), edge)
        else:
            add(name(edge.source), name(edge.destination), edge)
    return sorted(edges.values(), key=lambda e: (-e.rate, -e.bytes, e.source, e.destination, e.protocol))


def _services_of(graph: Graph) -> dict[Node, Mapping[ViewNode, float]]:
    """The services by which each workload is called, with their shares of its requests."""
    received: dict[Node, dict[ViewNode, float]] = defaultdict(lambda: defaultdict(float))
    for edge in graph.edges:
        if (service := _service(edge)) is not None:
            received[edge.destination][service] += edge.rate or edge.bytes or 1e-9
    return {
        node: {service: amount / sum(by_service.values()) for service, amount in by_service.items()}
        for node, by_service in received.items()
    }


def _service(edge: Edge) -> ViewNode | None:
    """The service that was called; None for what no service has."""
    if edge.service in ("", UNKNOWN, *OUTSIDE):
        return None
    parts = edge.host.split(".")
    namespace = parts[1] if len(parts) > 2 and parts[0] == edge.service else edge.destination.namespace
    return ViewNode(namespace, edge.service, "service")


def _named(node: Node, kind: str) -> ViewNode:
    if node.kind != "workload":
        return ViewNode(node.namespace, node.name, node.kind)
    if kind == "workload" or not node.app:
        return ViewNode(node.namespace, node.name, "workload", workload=node.name, app=node.app)
    if kind == "versionedApp":
        return ViewNode(node.namespace, node.app, "app", node.version, workload=node.name, app=node.app)
    return ViewNode(node.namespace, node.app, "app", app=node.app)


def nodes(edges: list[ViewEdge]) -> Iterator[ViewNode]:
    """All nodes of some edges, each once, in order."""
    yield from sorted({node for edge in edges for node in (edge.source, edge.destination)})
