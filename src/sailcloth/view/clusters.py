"""Plans of outbound clusters: which clusters a view has, and the resolution, traffic policy and TLS of each."""

from __future__ import annotations

from dataclasses import dataclass, replace

import msgspec

from sailcloth.api.destination_rule import TrafficPolicy
from sailcloth.api.meta import Key
from sailcloth.api.peer_authentication import PeerAuthentication
from sailcloth.lib.incremental import Graph, derived
from sailcloth.mesh import backend_tls_settings, destination_rules, endpoints, peer_authentication, registry, selection
from sailcloth.mesh.model import Endpoint, MeshConfig, Port, Protocol, Resolution, Service

from . import locality, scope
from .locality import LocalityPlan
from .proxy import View
from .routes import ClusterId
from .routes import policy as policy_of


@dataclass(frozen=True)
class AutoMtls:
    """Automatic mutual TLS: the identities to verify, and whether all endpoints accept it."""

    identities: tuple[str, ...]
    all: bool


@dataclass(frozen=True)
class ClusterPlan:
    """One outbound cluster."""

    id: ClusterId
    port: Port
    service: Service
    resolution: Resolution
    policy: TrafficPolicy
    auto_mtls: AutoMtls | None
    config: MeshConfig
    sources: tuple[Key, ...]
    rule: Key | None = None
    endpoints: tuple[Endpoint, ...] = ()  # only if the endpoints are part of the cluster (no EDS)
    upgrade_http2: bool = False
    client_protocol: bool = False  # whether requests keep the HTTP version that clients use
    subset_labels: tuple[tuple[str, str], ...] = ()
    preference: LocalityPlan | None = None
    on_demand: bool = False  # whether the proxy subscribes to it on first use
    credentials: bool = False  # whether the proxy gets Secrets over SDS
    external_sds: bool = False  # whether the proxy's certificate is from an external server
    own_certificate: str = ""  # credential with the certificate that the proxy shows to servers outside the mesh


@derived
def ids(graph: Graph, view: View) -> tuple[ClusterId, ...]:
    """All outbound clusters of a view: every visible service's ports, each with the subsets of its DestinationRule."""
    cluster_ids: list[ClusterId] = []
    for host in graph.get(scope.visible, view):
        cluster_ids += graph.get(of_host, view, host)
    return tuple(cluster_ids)


@derived
def of_host(graph: Graph, view: View, host: str) -> tuple[ClusterId, ...]:
    """Outbound clusters of one host."""
    svc = scope.service(graph, view, host)
    if svc is None or svc.resolution is Resolution.ALIAS:
        return ()
    rules = graph.get(destination_rules.for_host, host, svc.namespace, view.namespace, view.labels)
    subsets = ("", *(s.name for s in rules.subsets))
    return tuple(ClusterId(host, p.number, s) for p in svc.ports for s in subsets)


@derived
def plan(graph: Graph, view: View, cluster: ClusterId) -> ClusterPlan | None:
    """The plan of one outbound cluster; None if its service or port does not exist."""
    svc = scope.service_at(graph, view, cluster.host, cluster.port)
    port = svc.port(cluster.port) if svc else None
    if svc is None or port is None:
        return None
    rules = graph.get(destination_rules.for_host, cluster.host, svc.namespace, view.namespace, view.labels)
    config = registry.config(graph)
    policy = destination_rules.policy(rules, cluster.port, cluster.subset, config)
    if cluster.passthrough:
        policy = msgspec.structs.replace(policy, tls=None, proxy_protocol=None)
    own_certificate = ""
    if policy.tls is None and view.kind == "router" and not cluster.passthrough:
        backend = graph.get(backend_tls_settings.settings, svc.source, port.name)
        if backend is not None:
            policy = msgspec.structs.replace(policy, tls=backend)
            own_certificate = graph.get(backend_tls_settings.client_certificate, view.namespace, view.labels)
    resolution = svc.resolution
    if view.kind == "router" and svc.headless:
        resolution = Resolution.EDS
    balancer = policy.load_balancer
    if balancer is not None and balancer.simple == "PASSTHROUGH" and resolution is Resolution.EDS:
        resolution = Resolution.PASSTHROUGH
    auto = None
    if policy.tls is None and config.enable_auto_mtls and not svc.external and not cluster.passthrough:
        auto = graph.get(auto_mtls, svc, port, resolution)
    elif policy.tls is not None and policy.tls.mode == "ISTIO_MUTUAL":
        auto = graph.get(auto_mtls, svc, port, resolution) or AutoMtls((), True)
    pool = policy.connection_pool
    http = pool.http if pool else None
    # A sidecar's client speaks what the server understands; clients of a gateway choose by themselves.
    kept = port.protocol is Protocol.AUTO and view.kind != "router"
    return ClusterPlan(
        id=cluster,
        port=port,
        service=svc,
        resolution=resolution,
        policy=policy,
        auto_mtls=auto,
        config=config,
        sources=(svc.source, *svc.more_sources, *rules.sources),
        rule=rules.sources[0] if rules.sources else None,
        endpoints=of_cluster(graph, view, cluster)
        if resolution in (Resolution.DNS, Resolution.DNS_ROUND_ROBIN)
        else (),
        preference=locality.plan(view, policy, config.locality),
        on_demand=view.on_demand,
        credentials=view.kind == "router" or rules.selected,
        external_sds=view.external_sds,
        own_certificate=own_certificate,
        upgrade_http2=_upgrades(auto, port, (http.h2_upgrade_policy if http else None) or config.h2_upgrade),
        client_protocol=kept or (http is not None and bool(http.use_client_protocol)),
    )


def _upgrades(auto: AutoMtls | None, port: Port, policy: str | None) -> bool:
    """Whether to use HTTP/2 to sidecars: if all endpoints have one and the user does not forbid it. Cheaper under concurrency."""
    if policy == "UPGRADE":
        return port.protocol == "HTTP"
    return policy != "DO_NOT_UPGRADE" and port.protocol == "HTTP" and auto is not None and auto.all


@derived
def auto_mtls(graph: Graph, svc: Service, port: Port, resolution: Resolution) -> AutoMtls | None:
    """How the endpoints of a port accept automatic mutual TLS; None if none of them does.

    Endpoints that are addressed directly (headless services) get mutual TLS only if all of them have a sidecar.
    """
    endpoints = endpoint_list(graph, svc, port)
    capable = [e for e in endpoints if graph.get(accepts_mtls, e.namespace, e.labels, e.port) and e.mtls]
    if resolution is Resolution.PASSTHROUGH and (not endpoints or len(capable) != len(endpoints)):
        return None
    if resolution in (Resolution.DNS, Resolution.DNS_ROUND_ROBIN) and not capable:
        return None
    trust = registry.config(graph).trust_domain
    identities = {f"spiffe://{trust}/ns/{e.namespace}/sa/{e.service_account}" for e in capable if e.service_account}
    return AutoMtls(
        tuple(sorted(identities | set(svc.subject_alt_names))), bool(endpoints) and len(capable) == len(endpoints)
    )


@derived
def accepts_mtls(graph: Graph, namespace: str, labels: tuple[tuple[str, str], ...], port: int) -> bool:
    """Whether a workload's port accepts mutual TLS, by its PeerAuthentication."""
    policies = graph.get(selection.for_workload, PeerAuthentication, namespace, labels)
    return graph.get(peer_authentication.modes, policies).mode_of_port(port) != "DISABLE"


def endpoint_list(graph: Graph, svc: Service, port: Port) -> tuple[Endpoint, ...]:
    """All endpoints of a service's port."""
    return endpoints.of_service(graph, svc.at(port.number), port)


def of_cluster(graph: Graph, view: View, cluster: ClusterId) -> tuple[Endpoint, ...]:
    """Endpoints of a cluster: those of the port, limited to the subset."""
    svc = scope.service_at(graph, view, cluster.host, cluster.port)
    port = svc.port(cluster.port) if svc else None
    if svc is None or port is None:
        return ()
    endpoints = endpoint_list(graph, svc, port)
    if not cluster.subset:
        return endpoints
    rules = graph.get(destination_rules.for_host, cluster.host, svc.namespace, view.namespace, view.labels)
    subset = rules.subset(cluster.subset)
    return tuple(e for e in endpoints if selection.matches_labels(subset.labels, e.labels)) if subset else ()


@dataclass(frozen=True)
class EndpointsPlan:
    """The endpoints of one cluster, and which of them accept mutual TLS."""

    id: ClusterId
    endpoints: tuple[Endpoint, ...]
    mtls: tuple[bool, ...]
    preference: LocalityPlan | None = None


@derived
def subset_labels(graph: Graph, view: View, cluster: ClusterId) -> tuple[tuple[str, str], ...] | None:
    """Labels of a cluster's subset: () for the whole service, None if the subset is not defined."""
    if not cluster.subset:
        return ()
    svc = scope.service(graph, view, cluster.host)
    namespace = svc.namespace if svc else ""
    rules = graph.get(destination_rules.for_host, cluster.host, namespace, view.namespace, view.labels)
    subset = rules.subset(cluster.subset)
    return tuple(sorted(subset.labels.items())) if subset else None


@derived
def of_subset(
    graph: Graph,
    svc: Service,
    port: Port,
    subset: str,
    labels: tuple[tuple[str, str], ...],
    preference: LocalityPlan | None = None,
) -> EndpointsPlan:
    """Endpoints by service, port and subset labels. Views with equal arguments share the plan."""
    endpoints = endpoint_list(graph, svc, port)
    if labels:
        endpoints = tuple(e for e in endpoints if selection.matches_labels(dict(labels), e.labels))
    mtls = tuple(e.mtls and graph.get(accepts_mtls, e.namespace, e.labels, e.port) for e in endpoints)
    return EndpointsPlan(ClusterId(svc.host, port.number, subset), endpoints, mtls, preference)


@derived
def endpoints_plan(graph: Graph, view: View, cluster: ClusterId) -> EndpointsPlan | None:
    """The endpoints plan of a cluster of a view."""
    svc = scope.service_at(graph, view, cluster.host, cluster.port)
    port = svc.port(cluster.port) if svc else None
    labels = graph.get(subset_labels, view, cluster)
    if svc is None or port is None or labels is None:
        return None
    endpoints = graph.get(of_subset, svc, port, cluster.subset, labels, graph.get(preference, view, cluster))
    return _only_mtls(endpoints, cluster) if cluster.passthrough else endpoints


def _only_mtls(plan: EndpointsPlan, cluster: ClusterId) -> EndpointsPlan:
    """Endpoints without mutual TLS cannot decrypt passed-through connections; drop them."""
    endpoints = tuple(e for e, mtls in zip(plan.endpoints, plan.mtls, strict=True) if mtls)
    return replace(plan, id=cluster, endpoints=endpoints, mtls=(True,) * len(endpoints))


@derived
def preference(graph: Graph, view: View, cluster: ClusterId) -> LocalityPlan | None:
    """A view's locality preferences for the endpoints of a cluster."""
    return locality.plan(view, policy_of(graph, view, cluster), registry.config(graph).locality)
