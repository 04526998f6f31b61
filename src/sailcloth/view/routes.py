"""Plans of HTTP routes: virtual hosts, their domains and routes, for sidecars and gateways.

Must not know Envoy's routes; `envoy.routes` builds them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from sailcloth.api.destination_rule import ConsistentHashLB, TrafficPolicy, TunnelSettings
from sailcloth.api.meta import Key
from sailcloth.api.virtual_service import Destination, Headers, HTTPMatchRequest, HTTPRetry, HTTPRoute, VirtualService
from sailcloth.lib.incremental import Graph, derived, settled
from sailcloth.mesh import destination_rules, extended_routes, hosts, registry, selection, services, virtual_services
from sailcloth.mesh.http_routes import SEMANTICS
from sailcloth.mesh.model import Resolution, Service

from . import layout, scope
from .proxy import View


class ClusterId(NamedTuple):
    """Identifies an outbound cluster: a service's port and subset."""

    host: str
    port: int
    subset: str = ""
    passthrough: bool = False  # AUTO_PASSTHROUGH: passes the client's mutual TLS through, by SNI


@dataclass(frozen=True)
class Target:
    """A weighted destination of a route."""

    cluster: ClusterId
    weight: int = 1
    headers: Headers | None = None
    hash: ConsistentHashLB | None = None
    tunnel: TunnelSettings | None = None  # for connections only
    idle_timeout: str = ""  # for connections only
    to_http: bool = False  # for connections only: whether the port's protocol is HTTP


@dataclass(frozen=True)
class RoutePlan:
    """One Envoy route: a rule, one of its matches (None for every request), and its destinations."""

    rule: HTTPRoute | None
    match: HTTPMatchRequest | None
    targets: tuple[Target, ...]
    mirrors: tuple[tuple[ClusterId, float], ...] = ()  # with percentages
    source: Key | None = None
    port: int = 0
    gateway: bool = False
    retries: HTTPRetry | None = None  # the mesh's default, for a rule without retries
    dynamic_dns: bool = False  # whether a destination is a dynamic forward proxy
    segments: bool = False  # whether prefixes match whole path segments


@dataclass(frozen=True)
class VirtualHostPlan:
    """A virtual host: its name, domains and routes in order."""

    name: str
    domains: tuple[str, ...]
    routes: tuple[RoutePlan, ...] = ()
    require_tls: bool = False
    sources: tuple[Key, ...] = ()


# -- domains ------------------------------------------------------------------------------------


def service_domains(svc: Service, view: View, domain: str) -> list[str]:
    """Domains of a service's virtual host, as seen from the view's namespace. Source: istio.md 2.2."""
    host = svc.host
    names = [host]
    if not host.startswith("*"):
        names.append(host + ".")
    if svc.kubernetes and host.endswith(f".svc.{domain}"):
        names += short_names(svc.name, svc.namespace, view.namespace)
    if svc.headless and svc.kubernetes:
        names += ["*." + n for n in names if not n.endswith(".")]
    names += [_as_host(a) for a in scope.addresses(svc, view) if "/" not in a and a not in ("0.0.0.0", "::")]
    return list(dict.fromkeys(names))


def _as_host(address: str) -> str:
    """An address as in a Host header: IPv6 in brackets. Names are unchanged."""
    return f"[{address.lower()}]" if ":" in address else address


def short_names(name: str, namespace: str, view_namespace: str) -> list[str]:
    """Short forms of a Kubernetes service name; the bare name only inside its own namespace."""
    dotted = [f"{name}.{namespace}", f"{name}.{namespace}.svc"]
    return [name, *dotted] if namespace == view_namespace else dotted


@derived
def lost_domains(graph: Graph, view: View, port: int, host: str) -> frozenset[str]:
    """The domains that one host loses to others on a port, because domains of a route configuration must be unique.

    Full names take precedence over generated short names and addresses; of several hosts with an address the first has it. Nothing
    else is generated for two hosts. Looks at no other host, unless they share an address.
    """
    svc = scope.service_at(graph, view, host, port)
    taken = graph.get(_full_names, view, port)
    lost = {name for name in _domains(graph, view, svc, host) if name != _as_host(host) and name in taken}
    for address in scope.addresses(svc, view) if svc is not None else ():
        before = {ident.host for ident in registry.services_at(graph, address) if ident.host < host}
        if _as_host(address) != _as_host(host) and any(
            _has_address(graph, view, port, other, address) for other in before
        ):
            lost.add(_as_host(address))
    return frozenset(lost)


def _domains(graph: Graph, view: View, svc: Service | None, host: str) -> list[str]:
    domain = registry.config(graph).domain
    return service_domains(svc, view, domain) if svc is not None else _rule_domains(host, view, domain)


def _has_address(graph: Graph, view: View, port: int, host: str, address: str) -> bool:
    svc = scope.service_at(graph, view, host, port)
    return (
        svc is not None
        and address.lower() in (a.lower() for a in scope.addresses(svc, view))
        and host in graph.get(virtual_hosts, view, port)
    )


@settled
def _full_names(graph: Graph, view: View, port: int) -> frozenset[str]:
    """The hosts of a port whose full names may be short names or addresses of others: those outside the cluster's domain."""
    suffix = f".svc.{registry.config(graph).domain}"
    return frozenset(
        _as_host(h) for h in graph.get(virtual_hosts, view, port) if h.startswith("*") or not h.endswith(suffix)
    )


@settled
def virtual_hosts(graph: Graph, view: View, port: int) -> tuple[str, ...]:
    """Hosts with a virtual host in a port's route configuration, sorted: services with the port, and hosts that only a VirtualService
    names: on port 80 all of them, as in Istio, on another port those that a wildcard service of the port covers."""
    names = set(graph.get(layout.http_hosts, view, port))
    wildcards = [name for name in names if name.startswith("*")]
    if port == 80:
        names.update(graph.get(unregistered, view))
    elif wildcards:
        names.update(h for h in graph.get(unregistered, view) if any(hosts.covers(w, h) for w in wildcards))
    return tuple(sorted(names))


@derived
def unregistered(graph: Graph, view: View) -> tuple[str, ...]:
    """Hosts of VirtualServices without a service, limited by the Sidecar's imports."""
    limit = graph.get(scope.spec, view)
    unregistered_hosts = []
    for host, key in graph.get(virtual_services.mesh_hosts, view.namespace):
        if graph.get(services.by_host, host, view.namespace) is not None:
            continue
        head = registry.head(graph, key)
        if head is None or not head.http:
            continue
        egress = limit.spec.egress if limit is not None else []
        if egress and not any(scope.imports_rule(graph, e.hosts, key, view) for e in egress):
            continue
        if host.startswith("*") and graph.get(_only_services, view, host):
            continue
        unregistered_hosts.append(host)
    return tuple(unregistered_hosts)


@derived
def _only_services(graph: Graph, view: View, pattern: str) -> bool:
    """Whether a wildcard host needs no virtual host of its own, because registered services cover it."""
    return any(hosts.covers(pattern, h) for h in graph.get(scope.visible, view))


# -- virtual hosts ------------------------------------------------------------------------------


@derived
def virtual_host(graph: Graph, view: View, host: str, port: int) -> VirtualHostPlan | None:
    """The virtual host of one host in a sidecar's route configuration; None if it loses all domains."""
    domain = registry.config(graph).domain
    svc = scope.service(graph, view, host)
    names = _domains(graph, view, svc, host)
    if graph.get(layout.any_alias, view):
        for alias in graph.get(layout.aliases, view, host):
            alias_service = scope.service(graph, view, alias)
            if alias_service is not None:
                names += service_domains(alias_service, view, domain)
    lost = graph.get(lost_domains, view, port, host)
    names = [n for n in dict.fromkeys(names) if n not in lost]
    if not names:
        return None
    keys = rules_for(graph, view, host)
    plans: list[RoutePlan] = []
    for key in keys:
        rule = graph.get(virtual_services.effective, key)
        if rule is not None and rule.spec.http:
            plans += rule_routes(graph, view, key, rule, port, "mesh")
    if len(keys) > 1:
        plans = _merged(plans)
    if not plans and svc is None:
        return None
    if not plans and svc is not None and not any(_routes_http(graph, key) for key in keys):
        plans = [default_route(graph, view, svc, port)]
    used = dict.fromkeys(p.source for p in plans if p.source)
    return VirtualHostPlan(
        name=f"{host}:{port}",
        domains=tuple(names),
        routes=tuple(plans),
        sources=tuple(dict.fromkeys(s for key in used for s in _sources(graph, key))),
    )


def _sources(graph: Graph, key: Key) -> tuple[Key, ...]:
    return graph.get(virtual_services.sources, key) if key.kind == "VirtualService" else (key,)


def _merged(plans: list[RoutePlan]) -> list[RoutePlan]:
    """Merges the routes of several objects for one host: in order of age, the first route that matches all requests last."""
    everything = [p for p in plans if matches_all(p)]
    return [p for p in plans if not matches_all(p)] + everything[:1]


def matches_all(plan: RoutePlan) -> bool:
    """Whether a route takes every request."""
    everything = plan.match is None or virtual_services.catches_all(plan.match)
    return everything and not extended_routes.is_partial(plan.rule)


def _routes_http(graph: Graph, key: Key) -> bool:
    head = registry.head(graph, key)
    return head is not None and head.http


def _rule_domains(host: str, view: View, domain: str) -> list[str]:
    suffix = f".svc.{domain}"
    names = [host] if host.startswith("*") else [_as_host(host), host + "."]
    if host.endswith(suffix) and host[: -len(suffix)].count(".") == 1:
        name, namespace = host[: -len(suffix)].split(".")
        names += short_names(name, namespace, view.namespace)
    return names


def rules_for(graph: Graph, view: View, host: str) -> tuple[Key, ...]:
    """The VirtualServices for a host in this view that the view's Sidecar imports, oldest first."""
    keys = graph.get(virtual_services.for_host, host, view.namespace)
    limit = graph.get(scope.spec, view)
    if limit is None or not limit.spec.egress:
        return keys
    return tuple(k for k in keys if any(scope.imports_rule(graph, e.hosts, k, view) for e in limit.spec.egress))


def default_route(graph: Graph, view: View, svc: Service, port: int) -> RoutePlan:
    """The route of a service without a VirtualService: all requests to the service."""
    cluster = ClusterId(svc.host, port)
    target = Target(cluster, hash=hash_policy(graph, view, cluster))
    retries = registry.config(graph).retries
    return RoutePlan(None, None, (target,), port=port, retries=retries, dynamic_dns=_dynamic(graph, view, (target,)))


def _dynamic(graph: Graph, view: View, targets: tuple[Target, ...]) -> bool:
    services_ = (scope.service_at(graph, view, t.cluster.host, t.cluster.port) for t in targets)
    return any(svc is not None and svc.resolution is Resolution.DYNAMIC_DNS for svc in services_)


def rule_routes(
    graph: Graph, view: View, key: Key, rule: VirtualService, port: int, gateway: str
) -> tuple[RoutePlan, ...]:
    """Routes of a VirtualService: one per match that applies to this client and port.

    Drops rules after one that matches every request, which are unreachable, as Istio does.
    """
    routes: list[RoutePlan] = []
    segments = rule.metadata.annotations.get(SEMANTICS) == "gateway"
    for http in rule.spec.http:
        targets, mirrors = _targets(graph, view, key, http, port)
        matches: list[HTTPMatchRequest | None] = [*http.match] or [None]
        for match in matches:
            if match is not None and not _applies(match, view, port, gateway, key, rule):
                continue
            dynamic = _dynamic(graph, view, targets)
            retries = registry.config(graph).retries
            routes.append(
                RoutePlan(http, match, targets, mirrors, key, port, gateway != "mesh", retries, dynamic, segments)
            )
            if matches_all(routes[-1]):
                return tuple(routes)
        if not http.match and rule.spec.gateways and gateway not in gateway_names(rule.spec.gateways, key):
            routes.pop()
    return tuple(routes)


def gateway_names(names: Iterable[str], key: Key) -> set[str]:
    """The gateways of a VirtualService with their namespaces; `mesh` is unchanged."""
    return {n if n == "mesh" or "/" in n else f"{key.namespace}/{n}" for n in names}


def _applies(match: HTTPMatchRequest, view: View, port: int, gateway: str, key: Key, rule: VirtualService) -> bool:
    """Whether the conditions that Envoy does not evaluate apply: port, gateway, labels and namespace of the client. Source:
    istio.md 1.1."""
    if match.port is not None and match.port != port:
        return False
    if match.gateways:
        return gateway in gateway_names(match.gateways, key)
    if gateway not in gateway_names(rule.spec.gateways or ["mesh"], key):
        return False
    if match.source_namespace and match.source_namespace != view.namespace:
        return False
    return selection.matches_labels(match.source_labels, view.labels)


def _targets(
    graph: Graph, view: View, key: Key, http: HTTPRoute, port: int
) -> tuple[tuple[Target, ...], tuple[tuple[ClusterId, float], ...]]:
    targets = []
    several = len(http.route) > 1
    for r in http.route:
        if several and r.weight == 0:
            continue
        cluster = cluster_of(graph, view, key, r.destination, port)
        targets.append(Target(cluster, r.weight if several else 1, r.headers, hash_policy(graph, view, cluster)))
    mirrors = []
    if http.mirror is not None:
        mirrors.append((cluster_of(graph, view, key, http.mirror, port), http.mirrored_percent))
    for m in http.mirrors:
        percent = m.percentage.value if m.percentage else 100.0
        mirrors.append((cluster_of(graph, view, key, m.destination, port), percent))
    return tuple(targets), tuple(m for m in mirrors if m[1] > 0)


def cluster_of(graph: Graph, view: View, key: Key, destination: Destination, port: int) -> ClusterId:
    """The cluster of a destination: with its port, else the service's only port, else the listener's."""
    domain = registry.config(graph).domain
    host = virtual_services.destination_host(destination, key.namespace, domain)
    host = _registered(graph, view, host)
    if destination.port is not None and destination.port.number:
        return ClusterId(host, destination.port.number, destination.subset or "")
    svc = graph.get(services.by_host, host, view.namespace)
    if svc is not None and len(svc.ports) == 1:
        port = svc.ports[0].number
    return ClusterId(host, port, destination.subset or "")


def _registered(graph: Graph, view: View, host: str) -> str:
    """The host whose clusters a destination means: the service behind an ExternalName, or the wildcard service that covers a host
    which is no service itself. A host that is neither stays, and Envoy answers with 503 (NC)."""
    svc = graph.get(services.by_host, host, view.namespace)
    if svc is not None and svc.resolution is not Resolution.ALIAS:
        return host
    if svc is not None:
        target = services.resolve_alias(graph, svc, view.namespace)
        return target.host if target is not None else host
    covering = (w for w in hosts.wildcards(host) if graph.get(services.by_host, w, view.namespace) is not None)
    return next(covering, host)


def hash_policy(graph: Graph, view: View, cluster: ClusterId) -> ConsistentHashLB | None:
    """The consistent hash of the DestinationRule for a cluster; Envoy has it on the route."""
    balancer = policy(graph, view, cluster).load_balancer
    return balancer.consistent_hash if balancer else None


def policy(graph: Graph, view: View, cluster: ClusterId) -> TrafficPolicy:
    """The policy of the DestinationRule for a cluster."""
    svc = graph.get(services.by_host, cluster.host, view.namespace)
    namespace = svc.namespace if svc else ""
    rules = graph.get(destination_rules.for_host, cluster.host, namespace, view.namespace, view.labels)
    return destination_rules.policy(rules, cluster.port, cluster.subset, registry.config(graph))
