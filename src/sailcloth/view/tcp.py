"""Plans of connections routed without parsing HTTP: TCP routes, and TLS routes by SNI.

One plan is one filter chain: its match and its weighted clusters. Sidecars and gateways share the rules and differ in which of
them apply. Source: istio.md 1.1, 2.5, 2.11.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sailcloth.api.gateway import Server
from sailcloth.api.meta import Key
from sailcloth.api.virtual_service import L4MatchAttributes, RouteDestination, TLSMatchAttributes, VirtualService
from sailcloth.lib.incremental import Graph, derived
from sailcloth.mesh import hosts, registry, selection, services, virtual_services

from . import routes
from .layout import ServicePort
from .proxy import View
from .routes import ClusterId, Target

Match = L4MatchAttributes | TLSMatchAttributes


@dataclass(frozen=True)
class ConnectionPlan:
    """One filter chain: the server names and addresses that it matches (empty: any), and its destinations."""

    targets: tuple[Target, ...]
    sni: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()
    source: Key | None = None

    @property
    def matches(self) -> bool:
        """Whether it matches only some connections."""
        return bool(self.sni or self.prefixes)


@derived
def of_service_port(graph: Graph, view: View, service_port: ServicePort) -> tuple[ConnectionPlan, ...]:
    """A sidecar's plans for connections to a service's non-HTTP port.

    TLS ports use the TLS routes of the service's VirtualService; without any, a service without an address of its own is matched
    by its host as SNI. The first TCP route that applies to every address ends the list.
    """
    rules = ((k, graph.get(virtual_services.effective, k)) for k in routes.rules_for(graph, view, service_port.host))
    key, rule = next(((k, r) for k, r in rules if r is not None and (r.spec.tcp or r.spec.tls)), (None, None))
    cluster = ClusterId(service_port.host, service_port.port.number)
    addressed = service_port.address not in ("", "0.0.0.0")
    default = ConnectionPlan(
        (_target(graph, view, cluster),),
        sni=() if addressed or not service_port.port.protocol.is_tls else (service_port.host,),
    )
    if rule is None or key is None:
        return (default,)
    if service_port.port.protocol.is_tls:
        by_name = tuple(_tls(graph, view, key, rule, service_port.port.number))
        if by_name:
            return by_name
    plans: list[ConnectionPlan] = []
    for tcp in rule.spec.tcp:
        targets = _targets(graph, view, key, tcp.route, service_port.port.number)
        matches = [m for m in tcp.match if applies(m, rule, key, view, service_port.port.number, "mesh")]
        if not tcp.match and not _in_mesh(rule, key):
            continue
        everywhere = not tcp.match or any(not m.destination_subnets for m in matches)
        subnets = tuple(s for m in matches for s in m.destination_subnets)
        if everywhere:
            return (*plans, ConnectionPlan(targets, default.sni, source=key))
        if subnets:
            plans.append(ConnectionPlan(targets, default.sni, subnets, key))
    return (*plans, default)


def _tls(graph: Graph, view: View, key: Key, rule: VirtualService, port: int) -> Iterator[ConnectionPlan]:
    for tls in rule.spec.tls:
        targets = _targets(graph, view, key, tls.route, port)
        for match in tls.match:
            if applies(match, rule, key, view, port, "mesh"):
                yield ConnectionPlan(targets, _server_names(match), tuple(match.destination_subnets), key)


def _server_names(match: TLSMatchAttributes) -> tuple[str, ...]:
    return tuple(hosts.normalized(h) for h in match.sni_hosts)


def _in_mesh(rule: VirtualService, key: Key) -> bool:
    return "mesh" in routes.gateway_names(rule.spec.gateways or ["mesh"], key)


def applies(match: Match, rule: VirtualService, key: Key, view: View, port: int, gateway: str) -> bool:
    """Whether the conditions that Envoy does not evaluate apply: port, gateway, and the client's workload."""
    if match.port is not None and match.port != port:
        return False
    if match.gateways:
        return gateway in routes.gateway_names(match.gateways, key)
    if gateway not in routes.gateway_names(rule.spec.gateways or ["mesh"], key):
        return False
    if match.source_namespace and match.source_namespace != view.namespace:
        return False
    return selection.matches_labels(match.source_labels, view.labels)


def _targets(graph: Graph, view: View, key: Key, route: tuple[RouteDestination, ...], port: int) -> tuple[Target, ...]:
    several = len(route) > 1
    return tuple(
        _target(graph, view, routes.cluster_of(graph, view, key, r.destination, port), r.weight if several else 1)
        for r in route
        if not several or r.weight > 0
    )


def _target(graph: Graph, view: View, cluster: ClusterId, weight: int = 1) -> Target:
    policy = routes.policy(graph, view, cluster)
    tcp = policy.connection_pool.tcp if policy.connection_pool else None
    svc = graph.get(services.by_host, cluster.host, view.namespace)
    port = svc.port(cluster.port) if svc is not None else None
    return Target(
        cluster,
        weight,
        tunnel=policy.tunnel,
        idle_timeout=(tcp.idle_timeout or "") if tcp else "",
        to_http=port is not None and port.protocol.is_http,
    )


# -- gateways -----------------------------------------------------------------------------------


def at_gateway_tcp(
    graph: Graph, view: View, gateway: Key, server: Server, number: int
) -> tuple[tuple[Target, ...], Key | None]:
    """The destinations of opaque connections to a gateway's server, by the first TCP route that applies, and the VirtualService of
    that route."""
    name = f"{gateway.namespace}/{gateway.name}"
    for key, rule in _bound(graph, gateway, server):
        for tcp in rule.spec.tcp:
            if not tcp.match or any(applies(m, rule, key, view, number, name) for m in tcp.match):
                return _targets(graph, view, key, tcp.route, number), key
    return (), None


def at_gateway_tls(graph: Graph, view: View, gateway: Key, server: Server, number: int) -> tuple[ConnectionPlan, ...]:
    """Plans of a server that routes by SNI only: the TLS routes that apply, each with its server names."""
    name = f"{gateway.namespace}/{gateway.name}"
    plans = []
    for key, rule in _bound(graph, gateway, server):
        for tls in rule.spec.tls:
            for match in tls.match:
                if applies(match, rule, key, view, number, name):
                    names = _within(_server_names(match), server)
                    if names:
                        targets = _targets(graph, view, key, tls.route, number)
                        plans.append(ConnectionPlan(targets, names, tuple(match.destination_subnets), key))
    return tuple(plans)


def _within(names: tuple[str, ...], server: Server) -> tuple[str, ...]:
    """Server names cut to those of a Gateway's server: of each overlapping pair the narrower one."""
    served = [hosts.normalized(h.rpartition("/")[2]) for h in server.hosts]
    pairs = ((name, own) for name in names for own in served if hosts.overlaps(name, own))
    return tuple(dict.fromkeys(name if hosts.covers(own, name) else own for name, own in pairs))


@derived
def passthrough_clusters(graph: Graph, view: View) -> tuple[ClusterId, ...]:
    """For AUTO_PASSTHROUGH, a second cluster for each cluster of a view with mutual TLS, without TLS of the gateway itself."""
    from . import clusters

    plans = (graph.get(clusters.plan, view, c._replace(passthrough=True)) for c in graph.get(clusters.ids, view))
    return tuple(p.id for p in plans if p is not None and not p.service.external)


def _bound(graph: Graph, gateway: Key, server: Server) -> Iterator[tuple[Key, VirtualService]]:
    """VirtualServices bound to a gateway that share a host with one of its servers, oldest first."""
    for key in graph.get(virtual_services.for_gateway, f"{gateway.namespace}/{gateway.name}"):
        rule = graph.get(virtual_services.effective, key)
        if rule is not None and exposed(graph, rule, key, gateway, server.hosts):
            yield key, rule


def exposed(graph: Graph, rule: VirtualService, key: Key, gateway: Key, patterns: tuple[str, ...]) -> tuple[str, ...]:
    """Hosts of a VirtualService that a server's `hosts` expose: of each overlapping pair the more specific one."""
    domain = registry.config(graph).domain
    exposed_hosts: dict[str, None] = {}
    for pattern in patterns:
        namespace, _, name = pattern.rpartition("/")
        name = hosts.normalized(name)
        namespace = gateway.namespace if namespace == "." else namespace
        if namespace not in ("", "*", key.namespace):
            continue
        for host in rule.spec.hosts:
            full = hosts.resolve(host, key.namespace, domain)
            if hosts.covers(name, full):
                exposed_hosts[full] = None
            elif hosts.covers(full, name):
                exposed_hosts[name] = None
    return tuple(exposed_hosts)
