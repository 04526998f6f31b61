"""Collects the description of one pod or one service. Must not print, or evaluate what a derived value has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from sailcloth.api import core
from sailcloth.api.authorization_policy import AuthorizationPolicy
from sailcloth.api.destination_rule import DestinationRule, TrafficPolicy
from sailcloth.api.envoy_filter import EnvoyFilter
from sailcloth.api.meta import Key
from sailcloth.api.peer_authentication import PeerAuthentication
from sailcloth.api.rate_limit import RateLimit
from sailcloth.api.request_authentication import RequestAuthentication
from sailcloth.api.virtual_service import VirtualService
from sailcloth.envoy.features.authorization.policy import is_dry_run
from sailcloth.lib.incremental import Graph
from sailcloth.mesh import (
    destination_rules,
    endpoints,
    hosts,
    peer_authentication,
    registry,
    services,
    virtual_services,
)
from sailcloth.mesh.kinds import Traffic
from sailcloth.mesh.legacy.service import sources
from sailcloth.mesh.model import Port, Service, chosen_protocol
from sailcloth.mesh.registry import Mesh, ServiceId
from sailcloth.view import clusters, gateways, inbound, policies, proxy, routes, scope
from sailcloth.view.policies import Policies
from sailcloth.view.proxy import Proxy, View
from sailcloth.view.routes import ClusterId

from . import routes_to, warnings
from .facts import (
    Clients,
    Description,
    MutualTls,
    PodDescription,
    Policy,
    Rule,
    ServiceDescription,
    ServicePort,
    Subset,
    WorkloadDescription,
)
from .routes_to import Destination, Routes

_POLICIES = (PeerAuthentication, AuthorizationPolicy, RequestAuthentication, RateLimit, EnvoyFilter)
_BLOCKS = ("load_balancer", "connection_pool", "outlier_detection", "tls", "tunnel", "proxy_protocol", "retry_budget")


@dataclass(frozen=True)
class MeshSnapshot:
    """A mesh and its proxies by pod."""

    mesh: Mesh
    proxies: Mapping[Key, Proxy]

    @property
    def graph(self) -> Graph:
        return self.mesh.graph

    @property
    def routers(self) -> list[Proxy]:
        return [p for p in self.proxies.values() if p.kind == "router"]


def proxy_of(key: Key, pod: core.Pod, kind: proxy.ProxyKind, metadata: dict[str, Any], domain: str) -> Proxy:
    """The proxy of a pod."""
    return proxy.described(kind, key.name, key.namespace, (pod.status.pod_ip,), pod.metadata.labels, domain, metadata)


# -- pods ---------------------------------------------------------------------------------------


def pod(snapshot: MeshSnapshot, key: Key) -> PodDescription:
    """Describe a pod. Raises KeyError if there is none."""
    graph, mesh = snapshot.graph, snapshot.mesh
    gateways.connected(graph, snapshot.routers)
    obj = registry.read(graph, core.Pod, key)
    if obj is None:
        raise KeyError(f"{key.namespace}/{key.name}")
    connected = snapshot.proxies.get(key)
    subject = connected or proxy_of(key, obj, "sidecar", {}, mesh.config.domain)
    ports = graph.get(inbound.targets, subject)
    idents = dict.fromkeys((*(s.host for s in inbound.selecting(graph, subject)), *(p.host for p in ports)))
    described = tuple(
        _service(snapshot, svc, obj) for host in idents if (svc := _by_host(graph, host, key.namespace)) is not None
    )
    account = obj.spec.service_account_name or "default"
    view = graph.get(proxy.view, subject)
    limit = graph.get(scope.spec, view)
    selected = _selected(graph, subject)
    facts = PodDescription(
        name=key.name,
        namespace=key.namespace,
        proxy=connected.kind if connected is not None else "",
        identity=f"spiffe://{mesh.config.trust_domain}/ns/{key.namespace}/sa/{account}",
        ready=obj.status.ready,
        services=described,
        mutual_tls=_mutual_tls(graph, subject, selected) if subject.kind == "sidecar" else (),
        policies=tuple(_policies(graph, selected)),
        sidecar=_name(view.sidecar) if view.sidecar is not None else "",
        egress=tuple(h for e in limit.spec.egress for h in e.hosts) if limit is not None else (),
        visible_hosts=len(graph.get(scope.visible, view)),
        serves=tuple(sorted(_name(k) for k in graph.get(gateways.gateways_of, subject)))
        if subject.kind == "router"
        else (),
    )
    texts = [
        *warnings.of_pod(facts, _unresolved(graph, subject, described)),
        *warnings.of_objects(
            graph, [*_routing_objects(facts.services), *(key for _, keys in selected.keys for key in keys)]
        ),
    ]
    return msgspec.structs.replace(facts, warnings=tuple(dict.fromkeys(texts)))


def _unresolved(graph: Graph, subject: Proxy, described: Iterable[ServiceDescription]) -> list[str]:
    """Ports of services whose target is a name that no container has."""
    known = {(p.host, p.service_port) for p in graph.get(inbound.targets, subject)}
    return [
        f"port {p.target} of Service {s.name}"
        for s in described
        for p in s.ports
        if not p.target.isdigit() and (s.host, p.number) not in known
    ]


def _routing_objects(descriptions: Iterable[ServiceDescription]) -> list[Key]:
    """The objects that route to services."""
    keys = []
    for facts in descriptions:
        keys += [Key("DestinationRule", *name.split("/")) for rule in facts.rules for name in rule.names]
        keys += [Key("VirtualService", *routed.virtual_service.split("/")) for routed in facts.routes]
        keys += [Key("Gateway", *exposure.gateway.split("/")) for exposure in facts.gateways]
    return list(dict.fromkeys(keys))


def _by_host(graph: Graph, host: str, namespace: str) -> Service | None:
    return graph.get(services.by_host, host, namespace)


def _selected(graph: Graph, subject: Proxy) -> Policies:
    """The policies for all traffic of a proxy."""
    traffics: tuple[Traffic, ...] = ("gateway",) if subject.kind == "router" else ("inbound", "outbound")
    labels = graph.get(proxy.labels_of, subject)
    keys: dict[str, dict[Key, None]] = {}
    for traffic in traffics:
        for name, listed in policies.of_proxy(graph, subject.namespace, labels, subject.metadata, traffic).keys:
            keys.setdefault(name, {}).update(dict.fromkeys(listed))
    return Policies(tuple((name, tuple(listed)) for name, listed in keys.items()))


def _policies(graph: Graph, selected: Policies) -> Iterator[Policy]:
    for kind in _POLICIES:
        for key in selected.of(kind):
            obj = registry.read(graph, kind, key)
            action = obj.spec.action if isinstance(obj, AuthorizationPolicy) else ""
            dry_run = isinstance(obj, AuthorizationPolicy) and is_dry_run(obj)
            for source in sources(key, obj) if obj is not None else ():
                yield Policy(kind=source.kind, name=_name(source), action=action, dry_run=dry_run)


def _mutual_tls(graph: Graph, subject: Proxy, selected: Policies) -> tuple[MutualTls, ...]:
    """The mode of each known port, and of all others (port 0)."""
    shared, single = peer_authentication.origins(graph, selected.of(PeerAuthentication))
    known = {p.port: p for p in graph.get(inbound.inbound_ports, subject)}
    out = []
    for number in (*sorted({*known, *single}), 0):
        origin = single.get(number, shared)
        tls = known[number].tls if number in known else None
        if tls is not None:
            out.append(MutualTls(port=number, mode=f"TLS ({tls.mode})", level="port", source="the Sidecar's listener"))
            continue
        source = _kind_and_name(origin.source) if origin.source is not None else ""
        out.append(MutualTls(port=number, mode=origin.mode, level=origin.level, source=source))
    return tuple(out)


# -- services -----------------------------------------------------------------------------------


def service(snapshot: MeshSnapshot, key: Key) -> Description:
    """Describe a Kubernetes Service. Raises KeyError if there is none."""
    graph = snapshot.graph
    gateways.connected(graph, snapshot.routers)
    host = f"{key.name}.{key.namespace}.svc.{snapshot.mesh.config.domain}"
    svc = graph.get(services.service, ServiceId(host, *key))
    if svc is None:
        raise KeyError(f"{key.namespace}/{key.name}")
    facts = _service(snapshot, svc, None)
    texts = [*warnings.of_service(facts), *warnings.of_objects(graph, _routing_objects([facts]))]
    workloads = []
    for alike in _pods_by_workload(snapshot, svc):
        pod_facts = pod(snapshot, alike[0])  # policies select by labels, so the others have the same
        names = tuple(f"{k.name}.{k.namespace}" for k in alike)
        workloads.append(WorkloadDescription(pods=names, mutual_tls=pod_facts.mutual_tls, policies=pod_facts.policies))
        same_host = tuple(s for s in pod_facts.services if s.host == host)
        texts += [
            w for s in same_host for p in s.ports for w in warnings.of_tls(p, s, pod_facts.mutual_tls, pod_facts.proxy)
        ]
        texts += (
            [] if pod_facts.proxy else [f"pod {n} has no sidecar: no policy applies to requests to it" for n in names]
        )
    if facts.healthy == 0 and svc.resolution != "ALIAS":
        texts.append("no endpoint is healthy: requests get 503")
    return Description(service=facts, workloads=tuple(workloads), warnings=tuple(dict.fromkeys(texts)))


def _pods_by_workload(snapshot: MeshSnapshot, svc: Service) -> list[list[Key]]:
    """The pods of a service, grouped by labels and proxy kind."""
    graph = snapshot.graph
    addresses = dict.fromkeys(e.address for p in svc.ports for e in clusters.endpoint_list(graph, svc, p))
    groups: dict[tuple[Any, ...], list[Key]] = {}
    for key in dict.fromkeys(graph.get(endpoints.pod_at, address) for address in addresses):
        obj = registry.read(graph, core.Pod, key) if key is not None else None
        if key is not None and obj is not None:
            proxy_kind = snapshot.proxies[key].kind if key in snapshot.proxies else ""
            groups.setdefault((key.namespace, proxy_kind, endpoints.labels_of(obj)), []).append(key)
    return list(groups.values())


def _service(snapshot: MeshSnapshot, svc: Service, pod: core.Pod | None) -> ServiceDescription:
    """Describe a service; with a pod, its routes and rules to that pod."""
    graph = snapshot.graph
    views = {ns: _client(snapshot, ns) for ns in _client_namespaces(snapshot.mesh, svc)}
    behind = {e.address: e for p in svc.ports for e in clusters.endpoint_list(graph, svc, p)}
    rules = tuple(r for ns, view in views.items() if (r := _rule(graph, svc, ns, view, pod)) is not None)
    subsets = frozenset({"", *(s.name for r in rules for s in r.subsets if s.matches)}) if pod is not None else None
    destination = Destination(svc, subsets)
    exposures, via_gateways = routes_to.from_gateways(graph, snapshot.routers, destination)
    routed: dict[tuple[str, str], Routes] = {}
    for view in views.values():
        for port in svc.ports:
            for route in routes_to.in_the_mesh(graph, view, destination, port):
                routed.setdefault((route.virtual_service, route.via), route)
    served = {(route.virtual_service, route.via) for route in via_gateways}
    for route in _at_gateways(snapshot.mesh, svc):
        if (route.virtual_service, route.via) not in served:
            routed.setdefault((route.virtual_service, route.via), route)
    return ServiceDescription(
        name=svc.name,
        namespace=svc.namespace,
        host=svc.host,
        ports=tuple(_port(snapshot, svc, p, views, pod) for p in svc.ports),
        endpoints=len(behind),
        healthy=sum(e.healthy for e in behind.values()),
        with_sidecar=sum(e.mtls for e in behind.values()),
        rules=rules,
        routes=(*routed.values(), *via_gateways),
        gateways=tuple(exposures),
    )


def _client_namespaces(mesh: Mesh, svc: Service) -> tuple[str, ...]:
    """The service's namespace, and those with DestinationRules for it."""
    names = {
        key.namespace
        for key, obj in mesh.objects.items()
        if isinstance(obj, DestinationRule)
        and hosts.covers(hosts.resolve(obj.spec.host, key.namespace, mesh.config.domain), svc.host)
    }
    return (svc.namespace, *sorted(names - {svc.namespace, mesh.config.root_namespace}))


def _at_gateways(mesh: Mesh, svc: Service) -> Iterator[Routes]:
    """The VirtualServices that route to a service at gateways, one entry per gateway, without routes."""
    for key, obj in mesh.objects.items():
        if isinstance(obj, VirtualService) and svc.host in mesh.graph.get(virtual_services.destination_hosts, key):
            for via in sorted(routes.gateway_names(obj.spec.gateways, key) - {"mesh"}):
                yield Routes(virtual_service=_name(key), hosts=obj.spec.hosts, via=via, routes=())


def _client(snapshot: MeshSnapshot, namespace: str) -> View:
    """The view of a sidecar without labels in a namespace."""
    client = proxy.described("sidecar", "client", namespace, (), {}, snapshot.mesh.config.domain, {})
    return snapshot.graph.get(proxy.view, client)


def _port(
    snapshot: MeshSnapshot, svc: Service, port: Port, views: Mapping[str, View], pod: core.Pod | None
) -> ServicePort:
    obj = registry.read(snapshot.graph, core.Service, svc.source)
    declared = next((p for p in obj.spec.ports if p.port == port.number), None) if obj is not None else None
    how = "ServiceEntry"
    if declared is not None:
        how = chosen_protocol(declared.name, declared.app_protocol, declared.port, declared.protocol)[1]
    used: dict[tuple[str, str, str], list[str]] = {}
    for namespace, view in views.items():
        for subset, tls, by in _tls(snapshot.graph, view, svc, port, pod):
            used.setdefault((subset, tls, by), []).append(namespace)
    return ServicePort(
        number=port.number,
        name=port.name,
        protocol=str(port.protocol),
        chosen_by=how,
        target=str(port.target or port.number),
        clients=tuple(Clients(namespaces=tuple(v), subset=k[0], tls=k[1], by=k[2]) for k, v in used.items()),
    )


def _tls(graph: Graph, view: View, svc: Service, port: Port, pod: core.Pod | None) -> Iterator[tuple[str, str, str]]:
    """(subset, TLS, what decides it) for clients with a view; subsets only where they differ from the service."""
    default = None
    for cluster in graph.get(clusters.of_host, view, svc.host):
        if cluster.port != port.number:
            continue
        current = _tls_of(graph, view, cluster, pod)
        if current is not None and (not cluster.subset or current != default):
            yield cluster.subset, *current
        default = current if not cluster.subset else default


def _tls_of(graph: Graph, view: View, cluster: ClusterId, pod: core.Pod | None) -> tuple[str, str] | None:
    plan = graph.get(clusters.plan, view, cluster)
    if plan is None:
        return None
    settings = plan.policy.tls
    if settings is not None:
        rules = graph.get(destination_rules.for_host, cluster.host, plan.service.namespace, view.namespace, view.labels)
        source = destination_rules.origin(graph, rules, cluster.subset)
        by = f"DestinationRule {_name(source)}" if source is not None else "a DestinationRule"
        if settings.mode in ("SIMPLE", "MUTUAL"):
            return f"TLS ({settings.mode})", by
        return ("plain text" if settings.mode == "DISABLE" else "mutual TLS"), by
    if not plan.config.enable_auto_mtls:
        return "plain text", "MeshConfig enableAutoMtls"
    if plan.auto_mtls is None:
        return "plain text", "auto mTLS: not all endpoints take mutual TLS" if pod is None else "auto mTLS"
    listed = graph.get(clusters.endpoints_plan, view, cluster)
    flags = [
        mtls
        for endpoint, mtls in zip(listed.endpoints, listed.mtls, strict=True)
        if pod is None or endpoint.address == pod.status.pod_ip
    ] if listed is not None else []  # fmt: skip
    if flags and not any(flags):
        return "plain text", "auto mTLS"
    return ("mutual TLS" if all(flags) else f"mutual TLS to {sum(flags)} of {len(flags)} endpoints"), "auto mTLS"


def _rule(graph: Graph, svc: Service, namespace: str, view: View, pod: core.Pod | None) -> Rule | None:
    rules = graph.get(destination_rules.for_host, svc.host, svc.namespace, view.namespace, view.labels)
    if not rules.sources:
        return None
    number = svc.ports[0].number if svc.ports else 0
    subsets = []
    for subset in rules.subsets:
        count = len(
            {
                e.address
                for p in svc.ports
                for e in clusters.of_cluster(graph, view, ClusterId(svc.host, p.number, subset.name))
            }
        )
        labels = pod.metadata.labels if pod is not None else {}
        matches = None if pod is None else all(labels.get(k) == v for k, v in subset.labels.items())
        subsets.append(Subset(name=subset.name, labels=subset.labels, endpoints=count, matches=matches))
    policy = destination_rules.policy(rules, number, "", registry.config(graph))
    return Rule(
        names=tuple(_name(k) for k in rules.sources),
        clients=namespace,
        settings=tuple(_settings(policy)),
        subsets=tuple(subsets),
    )  # fmt: skip


def _settings(policy: TrafficPolicy) -> Iterator[str]:
    for block in _BLOCKS:
        value = getattr(policy, block)
        if value is None:
            continue
        first, *others = block.split("_")
        name = first + "".join(p.capitalize() for p in others)
        detail = value.mode if block == "tls" else getattr(value, "simple", None) or ""
        yield f"{name} {detail}".rstrip()


def _name(key: Key) -> str:
    return f"{key.namespace}/{key.name}"


def _kind_and_name(key: Key) -> str:
    return f"{key.kind} {_name(key)}"
