"""Joins the inventory of the cluster with its traffic: the answers of the console's API. Pure.

A namespace that a user may not read is absent here; the other end of an edge from or to it is the node `inaccessible`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from sailcloth.analysis import graph_views, health, traffic_graph
from sailcloth.analysis.graph_views import ViewEdge, ViewNode
from sailcloth.analysis.traffic_graph import UNKNOWN, Node
from sailcloth.analysis.traffic_graph import Graph as TrafficGraph
from sailcloth.api.meta import Key
from sailcloth.lib.uncollected import uncollected

from . import schema
from .findings import Found
from .inventory import Inventory, Object, Service, Workload

Rates = dict[str, dict[str, float]]  # by protocol and response code
INACCESSIBLE = ViewNode("", "inaccessible", "unknown")
_REASONS = {
    UNKNOWN: "Requests from clients without a sidecar, or from outside the mesh. Inject sidecars to see who they are.",
    "inaccessible": "Workloads of namespaces that you may not read.",
    "PassthroughCluster": "Requests to addresses that no Service or ServiceEntry has. Add a ServiceEntry to name them.",
    "BlackHoleCluster": "Requests that were refused: no Service or ServiceEntry has their address, and the outbound mode is "
    "REGISTRY_ONLY. Add a ServiceEntry to let them out.",
}
_TOP = 5


@dataclass(frozen=True)
class Scope:
    """`shown`: the namespaces that were asked for; `readable`: all that the user may read, a superset."""

    shown: frozenset[str]
    readable: frozenset[str]


@dataclass(frozen=True)
class Snapshot:
    """What an answer is made from. `at`: seconds since the epoch. `notes`: sources that do not answer, and why. `known`: earlier traffic, from
    which edges without any now are known."""

    inventory: Inventory
    traffic: TrafficGraph
    window: str
    at: float
    notes: tuple[str, ...] = ()
    known: TrafficGraph = TrafficGraph()


# -- graph --------------------------------------------------------------------------------------


@uncollected
def graph(
    snapshot: Snapshot, scope: Scope, kind: schema.GraphType, services: bool, idle: bool, number: int
) -> schema.Graph:
    """The traffic graph of a type. services: whether services are nodes of their own. idle: whether nodes without traffic are shown."""
    traffic = snapshot.traffic
    if idle:
        workloads = snapshot.inventory.workloads
        traffic = traffic_graph.with_silent(traffic, snapshot.known, lambda n: (n.namespace, n.name) in workloads)
    edges = [
        edge
        for edge in graph_views.view(_hide_unreadable(traffic, scope), kind, services)
        if edge.source.namespace in scope.shown or edge.destination.namespace in scope.shown
    ]
    sent: dict[tuple[ViewNode, str], float] = defaultdict(float)
    inbound: dict[ViewNode, list[ViewEdge]] = defaultdict(list)
    outbound: dict[ViewNode, list[ViewEdge]] = defaultdict(list)
    for edge in edges:
        outbound[edge.source].append(edge)
        inbound[edge.destination].append(edge)
        sent[edge.source, edge.protocol] += edge.rate or edge.bytes
    active = {end for edge in edges if edge.rate or edge.bytes for end in (edge.source, edge.destination)}
    nodes = {node: node not in active for node in graph_views.nodes(edges)}
    if idle:
        nodes |= dict.fromkeys(_idle(snapshot.inventory, scope, kind, nodes), True)
    ends = {node: (node.id, _tolerances(snapshot.inventory, node)) for node in nodes}
    notes = list(snapshot.notes)
    if not edges and not notes:
        where = ", ".join(sorted(scope.shown)) or "any namespace"
        notes.append(f"No requests in {where} in the last {snapshot.window}. Send some, or choose a longer window.")
    return schema.Graph(
        number=number,
        type=kind,
        window=snapshot.window,
        at=snapshot.at,
        namespaces=sorted(scope.shown),
        nodes=[_node(snapshot, scope, n, inbound[n], outbound[n], is_idle) for n, is_idle in nodes.items()],
        edges=[_edge(edge, ends, sent) for edge in edges],
        notes=notes,
    )


def _hide_unreadable(traffic: TrafficGraph, scope: Scope) -> TrafficGraph:
    """The traffic with the workloads of unreadable namespaces merged into one node."""
    hidden = Node("", INACCESSIBLE.name, UNKNOWN)

    def visible(node: Node) -> Node:
        return node if not node.namespace or node.namespace in scope.readable else hidden

    edges = []
    for edge in traffic.edges:
        source, destination = visible(edge.source), visible(edge.destination)
        if destination is hidden:
            edges.append(replace(edge, source=source, destination=destination, service="", host=""))
        else:
            edges.append(edge if source is edge.source else replace(edge, source=source))
    return TrafficGraph(tuple(edges))


def delta(before: schema.Graph, after: schema.Graph) -> schema.GraphDelta:
    """What changes one graph into another of the same parameters."""
    old_nodes, old_edges = {n.id: n for n in before.nodes}, {e.id: e for e in before.edges}
    return schema.GraphDelta(
        since=before.number,
        number=after.number,
        at=after.at,
        nodes=[n for n in after.nodes if old_nodes.get(n.id) != n],
        edges=[e for e in after.edges if old_edges.get(e.id) != e],
        removed_nodes=sorted(old_nodes.keys() - {n.id for n in after.nodes}),
        removed_edges=sorted(old_edges.keys() - {e.id for e in after.edges}),
        notes=after.notes,
    )


def _node(
    snapshot: Snapshot,
    scope: Scope,
    node: ViewNode,
    inbound: Sequence[ViewEdge],
    outbound: Sequence[ViewEdge],
    idle: bool,
) -> schema.Node:
    inventory = snapshot.inventory
    workloads = _workloads_of(inventory, node)
    service = inventory.services.get((node.namespace, node.name)) if node.kind == "service" else None
    subject: Workload | Service | None = service or (workloads[0] if workloads else None)
    received, sent = _traffic(inbound), _traffic(outbound)
    return schema.Node(
        id=node.id,
        kind="serviceEntry" if node.kind == "service" and service is None else node.kind,  # type: ignore[arg-type]
        namespace=node.namespace,
        name=node.name,
        version=node.version,
        app=node.app or (node.name if node.kind == "app" else ""),
        workload=node.workload,
        service=node.name if node.kind == "service" else "",
        health=_health(subject, workloads, _rates(received), _rates(sent), snapshot.window),
        inbound=received,
        outbound=sent,
        badges=sorted(_badges(inventory, node, workloads, inbound, outbound)),
        outside=node.namespace not in scope.shown,
        idle=idle,
        reason=_REASONS.get(node.name, "") if node.kind == "unknown" or node.name in graph_views.OUTSIDE else "",
        labels=_labels(service, workloads),
    )


def _labels(service: Service | None, workloads: Sequence[Workload]) -> dict[str, str]:
    """The service's labels, or those that all of the workloads have."""
    if service is not None:
        return dict(service.labels)
    first, *others = (w.labels for w in workloads) if workloads else ({},)
    return {k: v for k, v in first.items() if k != "pod-template-hash" and all(o.get(k) == v for o in others)}


def _workloads_of(inventory: Inventory, node: ViewNode) -> list[Workload]:
    if node.kind == "service":
        return []
    if node.workload:
        workload = inventory.workloads.get((node.namespace, node.workload))
        return [workload] if workload is not None else []
    if node.kind != "app":
        return []
    return [w for w in inventory.workloads.values() if w.namespace == node.namespace and w.app == node.name]


def _badges(
    inventory: Inventory,
    node: ViewNode,
    workloads: Sequence[Workload],
    inbound: Sequence[ViewEdge],
    outbound: Sequence[ViewEdge],
) -> set[str]:
    badges = set(inventory.service_badges.get((node.namespace, node.name), ())) if node.kind == "service" else set()
    if any(w.gateway for w in workloads):
        badges.add("gateway")
    elif inventory.injected(node.namespace) and any(w.wants_sidecar and not w.sidecar for w in workloads):
        badges.add("missingSidecar")
    if outbound and not inbound:
        badges.add("trafficSource")
    return badges


def _idle(
    inventory: Inventory, scope: Scope, kind: schema.GraphType, present: Iterable[ViewNode]
) -> Iterable[ViewNode]:
    """Nodes for what has no traffic."""
    known = set(present)
    if kind == "service":
        named = (ViewNode(s.namespace, s.name, "service") for s in inventory.services.values())
    else:
        named = (
            ViewNode(w.namespace, w.name, "workload", workload=w.name, app=w.app)
            if kind == "workload"
            else ViewNode(
                w.namespace,
                w.app,
                "app",
                w.version if kind == "versionedApp" else "",
                w.name if kind == "versionedApp" else "",
                w.app,
            )
            for w in inventory.workloads.values()
        )
    return sorted({node for node in named if node.namespace in scope.shown} - known)


def _edge(
    edge: ViewEdge,
    ends: Mapping[ViewNode, tuple[str, Sequence[health.Tolerance]]],
    sent: Mapping[tuple[ViewNode, str], float],
) -> schema.Edge:
    """`ends`: the identifier and the tolerances of each node. `sent`: how much each node sends, by protocol."""
    whole = sent[edge.source, edge.protocol]
    (source_id, source), (target_id, target) = ends[edge.source], ends[edge.destination]
    status = health.of_edge(edge.protocol, edge.codes, source, target)
    return schema.Edge(
        id=f"{source_id}>{target_id}>{edge.protocol}",
        source=source_id,
        target=target_id,
        traffic=schema.Traffic(
            protocol=edge.protocol,
            rate=edge.rate,
            error_share=edge.errors / edge.rate if edge.rate else 0.0,
            bytes=edge.bytes,
            codes=dict(sorted(edge.codes.items()) if len(edge.codes) > 1 else edge.codes),
        ),
        status=status,  # type: ignore[arg-type]
        hosts=sorted(edge.hosts),
        share=(edge.rate or edge.bytes) / whole if whole else None,
        mutual_tls_share=edge.mutual_tls_share,
        p50=edge.quantiles.get("p50"),
        p95=edge.quantiles.get("p95"),
        p99=edge.quantiles.get("p99"),
        server_p95=edge.server_p95 if edge.server_p95 >= 0 else None,
    )


def _tolerances(inventory: Inventory, node: ViewNode) -> Sequence[health.Tolerance]:
    workloads = _workloads_of(inventory, node)
    subject = inventory.services.get((node.namespace, node.name)) if node.kind == "service" else None
    annotations = subject.annotations if subject is not None else workloads[0].annotations if workloads else {}
    return health.tolerances(annotations)


# -- health and traffic -------------------------------------------------------------------------


def _rates(traffic: Iterable[schema.Traffic]) -> Rates:
    return {one.protocol: one.codes for one in traffic}


def _traffic(edges: Iterable[ViewEdge]) -> list[schema.Traffic]:
    by_protocol: dict[str, list[ViewEdge]] = defaultdict(list)
    for edge in edges:
        by_protocol[edge.protocol].append(edge)
    out = []
    for protocol, listed in sorted(by_protocol.items()):
        rate = sum(e.rate for e in listed)
        codes: dict[str, float] = defaultdict(float)
        for edge in listed:
            for code, value in edge.codes.items():
                codes[code] += value
        errors = sum(e.errors for e in listed)
        out.append(
            schema.Traffic(
                protocol=protocol,
                rate=rate,
                error_share=errors / rate if rate else 0.0,
                bytes=sum(e.bytes for e in listed),
                codes=dict(sorted(codes.items())),
            )
        )
    return out


def _health(
    subject: Workload | Service | None, workloads: Sequence[Workload], inbound: Rates, outbound: Rates, window: str
) -> schema.Health:
    tolerances = health.tolerances(subject.annotations if subject is not None else {})
    by_requests, judgements = health.of_requests(inbound, outbound, tolerances)
    by_replicas = health.worst(w.replicas.status for w in workloads)
    replicas = None
    if workloads:
        synced = [w.replicas.synced for w in workloads if w.replicas.synced is not None]
        replicas = schema.Replicas(
            desired=sum(w.replicas.desired for w in workloads),
            current=sum(w.replicas.current for w in workloads),
            available=sum(w.replicas.available for w in workloads),
            synced=sum(synced) if synced else None,
        )
    return schema.Health(
        status=health.worst((by_requests, by_replicas)),  # type: ignore[arg-type]
        window=window,
        judgements=[_judgement(j) for j in judgements],
        replicas=replicas,
        replicas_status=by_replicas,  # type: ignore[arg-type]
    )


def _judgement(judgement: health.Judgement) -> schema.Judgement:
    tolerance = judgement.tolerance
    return schema.Judgement(
        status=judgement.status,  # type: ignore[arg-type]
        direction=judgement.direction,  # type: ignore[arg-type]
        protocol=judgement.protocol,
        codes=tolerance.code,
        share=judgement.share / 100,
        degraded_from=tolerance.degraded / 100,
        failure_from=tolerance.failure / 100,
        rate=judgement.rate,
    )


# -- lists --------------------------------------------------------------------------------------


def items(snapshot: Snapshot, scope: Scope, kind: schema.GraphType) -> list[schema.Item]:
    """The workloads, applications or services (graph types `workload`, `app`, `service`) of the shown namespaces."""
    whole = graph(snapshot, scope, kind, services=False, idle=True, number=0)
    p95: dict[str, float] = {}
    for edge in whole.edges:
        if edge.p95 is not None:
            p95[edge.target] = max(edge.p95, p95.get(edge.target, 0.0))
    rows = []
    for node in whole.nodes:
        if node.namespace not in scope.shown or node.kind in ("unknown", "serviceEntry"):
            continue
        inventory = snapshot.inventory
        members = _workloads_of(inventory, ViewNode(node.namespace, node.name, node.kind, node.version, node.workload))
        service = inventory.services.get((node.namespace, node.name)) if node.kind == "service" else None
        rate = sum(t.rate for t in node.inbound)
        errors = sum(t.rate * t.error_share for t in node.inbound)
        rows.append(
            schema.Item(
                kind={"service": "Service", "app": "App"}.get(node.kind)
                or (members[0].kind if members else "Workload"),
                namespace=node.namespace,
                name=node.name,
                health=node.health,
                labels=dict(service.labels if service is not None else members[0].labels if members else {}),
                versions=sorted({w.version for w in members if w.version}),
                sidecar="missingSidecar" not in node.badges,
                rate=rate,
                error_share=errors / rate if rate else 0.0,
                p95=p95.get(node.id),
            )
        )
    return sorted(rows, key=lambda row: (row.namespace, row.name))


def namespaces(snapshot: Snapshot, scope: Scope) -> list[schema.Namespace]:
    """The shown namespaces, each with the worst health of its applications."""
    worst: dict[str, str] = {}
    for item in items(snapshot, scope, "app"):
        worst[item.namespace] = health.worst((item.health.status, worst.get(item.namespace, "NA")))
    return [
        schema.Namespace(
            name=name,
            injected=snapshot.inventory.injected(name),
            control_plane=name == "istio-system",
            health=schema.Health(status=worst.get(name, "NA"), window=snapshot.window),  # type: ignore[arg-type]
        )
        for name in sorted(scope.shown)
    ]


def config(inventory: Inventory, scope: Scope, findings: Found) -> list[schema.ConfigItem]:
    """The objects of the mesh in the shown namespaces, those that are not accepted first, then those with findings."""
    rows = [
        config_item(obj, findings) for obj in inventory.config if obj["metadata"].get("namespace", "") in scope.shown
    ]
    return sorted(rows, key=lambda row: (row.accepted, -row.errors, -row.warnings, row.kind, row.namespace, row.name))


def config_item(obj: Object, findings: Found) -> schema.ConfigItem:
    """An object of the mesh as a row."""
    metadata = obj["metadata"]
    own = findings.get(Key(obj["kind"], metadata.get("namespace", ""), metadata["name"]), ())
    conditions = {c["type"]: c for c in (obj.get("status") or {}).get("conditions") or () if isinstance(c, Mapping)}
    accepted, programmed = conditions.get("Accepted", {}), conditions.get("Programmed", {})
    return schema.ConfigItem(
        kind=obj["kind"],
        api_version=obj["apiVersion"],
        namespace=metadata.get("namespace", ""),
        name=metadata["name"],
        accepted=accepted.get("status", "True") == "True",
        reason=str(accepted.get("reason", "")),
        message=str(accepted.get("message") or ""),
        proxies=str(programmed.get("message") or ""),
        created=str(metadata.get("creationTimestamp") or ""),
        errors=sum(f.severity == "Error" for f in own),
        warnings=sum(f.severity == "Warning" for f in own),
    )


def overview(
    snapshot: Snapshot,
    scope: Scope,
    control_plane: schema.ControlPlane,
    certificates: list[schema.Certificate],
    findings: Found,
) -> schema.Overview:
    """What needs attention."""
    applications = items(snapshot, scope, "app")
    services = items(snapshot, scope, "service")
    counts: dict[str, int] = defaultdict(int)
    for item in applications:
        counts[item.health.status] += 1

    def top(values: Iterable[tuple[schema.Item, float]]) -> list[schema.Insight]:
        ordered = sorted(((value, item) for item, value in values if value > 0), key=lambda pair: -pair[0])
        return [schema.Insight(namespace=i.namespace, name=i.name, value=value) for value, i in ordered[:_TOP]]

    rules = config(snapshot.inventory, scope, findings)
    return schema.Overview(
        window=snapshot.window,
        applications=[
            schema.Counted(status=status, count=counts[status])  # type: ignore[arg-type]
            for status in reversed(health.ORDER)
            if counts[status]
        ],
        inbound_rate=sum(item.rate for item in services),
        error_rates=top((item, item.error_share) for item in services),
        slowest=top((item, item.p95 or 0.0) for item in services),
        busiest=top((item, item.rate) for item in services),
        config=[rule for rule in rules if not rule.accepted or rule.errors],
        config_count=len(rules),
        control_plane=control_plane,
        certificates=certificates,
    )
