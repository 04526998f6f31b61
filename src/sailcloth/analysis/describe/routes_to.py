"""Which routes of VirtualServices, and which Gateways, lead to a service's port or to some of its subsets.

Uses the plans of proxies' configuration (`view.routes`, `view.tcp`, `view.gateways`), so the routes are Envoy's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import msgspec

from sailcloth.api.meta import Key, StringMatch
from sailcloth.api.virtual_service import HTTPMatchRequest, HTTPRoute, VirtualService
from sailcloth.lib.incremental import Graph
from sailcloth.mesh import registry, virtual_services
from sailcloth.mesh.kinds.virtual_service import in_mesh
from sailcloth.mesh.model import Port, Service
from sailcloth.view import gateways, layout, routes, tcp
from sailcloth.view import proxy as proxies
from sailcloth.view.proxy import Proxy, View
from sailcloth.view.routes import RoutePlan, Target


class Route(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A route of a VirtualService to a service. `place`: its field; `when`: its conditions; `targets`: destinations with percentages.
    `percent`: share for the described destination; `unreached`: why no request of these clients takes the route; empty: some
    requests do."""

    place: str
    when: str
    targets: tuple[str, ...]
    percent: float
    unreached: str = ""


class Routes(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The routes of one VirtualService to a service. `via`: the gateway, `namespace/name`, or `mesh`; without routes: no proxy serves
    that gateway."""

    virtual_service: str
    hosts: tuple[str, ...]
    via: str
    routes: tuple[Route, ...]


class Exposure(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A server of a Gateway from which some route leads to a service. `tls`: its mode; empty: plain text."""

    gateway: str
    port: int
    protocol: str
    tls: str
    hosts: tuple[str, ...]
    virtual_services: tuple[str, ...]
    proxies: tuple[str, ...]


@dataclass(frozen=True)
class Destination:
    """The described service. `subsets`: those of the described pod, and the empty one; None: all."""

    service: Service
    subsets: frozenset[str] | None = None

    def includes(self, target: Target) -> bool:
        return target.cluster.host == self.service.host and (
            self.subsets is None or target.cluster.subset in self.subsets
        )


def in_the_mesh(graph: Graph, view: View, destination: Destination, port: Port) -> list[Routes]:
    """Routes of VirtualServices, for any host, by which clients with this view reach a port of the service."""
    host = destination.service.host
    keys = dict.fromkeys(routes.rules_for(graph, view, host), host)
    for key in registry.select(graph, in_mesh()):
        if key not in keys and host in graph.get(virtual_services.destination_hosts, key):
            head = registry.head(graph, key)
            listed = next((h for h in head.hosts if key in routes.rules_for(graph, view, h)), "") if head else ""
            keys |= {key: listed} if listed else {}
    routes_of_rules = []
    for key, routed in keys.items():
        rule = graph.get(virtual_services.effective, key)
        if rule is None:
            continue
        if rule.spec.http and port.protocol.is_http | (port.protocol == "AUTO"):
            plan = graph.get(routes.virtual_host, view, routed, port.number)
            plans_of_rule = [p for p in plan.routes if p.source == key] if plan is not None else []
            routes_of_rules += _http(graph, view, destination, key, rule, plans_of_rule, "mesh", port.number)
        elif rule.spec.tcp or rule.spec.tls:
            routes_of_rules += _connections(graph, view, destination, key, rule, port)
    return routes_of_rules


def _http(
    graph: Graph,
    view: View,
    destination: Destination,
    key: Key,
    rule: VirtualService,
    plans: list[RoutePlan],
    via: str,
    number: int,
) -> list[Routes]:
    """The HTTP routes of one VirtualService; a route without a plan is unreached."""
    entries = []
    for index, http in enumerate(rule.spec.http):
        matching = [p for p in plans if p.rule == http]
        targets = matching[0].targets if matching else _targets(graph, view, key, http, number)
        routed = any(t.cluster.host == destination.service.host for t in targets)
        mirrored = any(c.host == destination.service.host for p in matching[:1] for c, _ in p.mirrors)
        if not routed and not mirrored:
            continue
        name = http.name or ""
        entries.append(
            Route(
                place=f"http[{index}]" + (f" {name}" if name else ""),
                when=conditions(http),
                targets=_shares(targets) + (("mirrored",) if mirrored else ()),
                percent=_percent(targets, destination),
                unreached="" if matching else _unreached_reason(plans, rule, index),
            )
        )
    return (
        [Routes(virtual_service=_name(key), hosts=rule.spec.hosts, via=via, routes=tuple(entries))] if entries else []
    )


def _targets(graph: Graph, view: View, key: Key, http: HTTPRoute, number: int) -> tuple[Target, ...]:
    several = len(http.route) > 1
    clusters = ((routes.cluster_of(graph, view, key, r.destination, number), r.weight) for r in http.route)
    return tuple(Target(cluster, weight if several else 1) for cluster, weight in clusters if weight or not several)


def _unreached_reason(plans: list[RoutePlan], rule: VirtualService, index: int) -> str:
    """Why a route has no plan."""
    places = {rule.spec.http.index(p.rule): p for p in plans if p.rule in rule.spec.http}
    before = [i for i, p in places.items() if i < index and routes.matches_all(p)]
    if before:
        return f"never: http[{before[0]}] takes every request"
    if any(m is None or routes.matches_all(RoutePlan(None, m, ())) for m in (rule.spec.http[index].match or [None])):
        return "never: an older VirtualService has a route for every request of this host"
    return "not for these clients, or not on this port: see its match"


def _connections(
    graph: Graph, view: View, destination: Destination, key: Key, rule: VirtualService, port: Port
) -> Iterator[Routes]:
    address = next(iter(destination.service.addresses), "")
    plans = graph.get(tcp.of_service_port, view, layout.ServicePort(destination.service.host, port, address))
    entries = [
        Route(
            place="tls" if plan.sni and rule.spec.tls else "tcp",
            when=", ".join((*(f"SNI {n}" for n in plan.sni), *(f"to {p}" for p in plan.prefixes)))
            or "every connection",
            targets=_shares(plan.targets),
            percent=_percent(plan.targets, destination),
        )
        for plan in plans
        if plan.source == key and any(t.cluster.host == destination.service.host for t in plan.targets)
    ]
    if entries:
        yield Routes(virtual_service=_name(key), hosts=rule.spec.hosts, via="mesh", routes=tuple(entries))


# -- gateways -----------------------------------------------------------------------------------


def from_gateways(
    graph: Graph, gateway_proxies: Iterable[Proxy], destination: Destination
) -> tuple[list[Exposure], list[Routes]]:
    """The Gateways' servers with routes to the service, and these routes."""
    exposures: dict[tuple[Key, int, str], Exposure] = {}
    by_rule: dict[tuple[str, str], Routes] = {}
    for proxy in gateway_proxies:
        view = graph.get(proxies.view, proxy)
        for plan in graph.get(gateways.of_proxy, proxy):
            for gateway_server in plan.servers:
                keys = []
                for routed in _of_server(graph, proxy, view, destination, plan, gateway_server):
                    keys.append(routed.virtual_service)
                    by_rule.setdefault((routed.virtual_service, routed.via), routed)
                if keys:
                    ident = (gateway_server.gateway, gateway_server.server.port.number, gateway_server.server.port.name)
                    before = exposures.get(ident)
                    exposures[ident] = Exposure(
                        gateway=_name(gateway_server.gateway),
                        port=gateway_server.server.port.number,
                        protocol=str(gateway_server.protocol),
                        tls=gateway_server.mode,
                        hosts=tuple(gateways.server_names(gateway_server.server)),
                        virtual_services=tuple(dict.fromkeys(keys)),
                        proxies=(*(before.proxies if before else ()), proxy.id),
                    )
    return list(exposures.values()), list(by_rule.values())


def _of_server(
    graph: Graph,
    proxy: Proxy,
    view: View,
    destination: Destination,
    plan: gateways.ListenerPlan,
    gateway_server: gateways.GatewayServer,
) -> Iterator[Routes]:
    """The routes of a Gateway's server to the service."""
    via, number = _name(gateway_server.gateway), gateway_server.server.port.number
    if gateway_server.terminates_http:
        hosts_ = graph.get(gateways.virtual_hosts, proxy, view, plan.route_of(gateway_server))
        for key in graph.get(virtual_services.for_gateway, via):
            rule = graph.get(virtual_services.effective, key)
            if rule is None or not tcp.exposed(graph, rule, key, gateway_server.gateway, gateway_server.server.hosts):
                continue
            plans = [p for host in hosts_ for p in host.routes if p.source == key]
            yield from _http(graph, view, destination, key, rule, plans, via, number)
        return
    connections = [
        (p.source, p.targets)
        for p in tcp.at_gateway_tls(graph, view, gateway_server.gateway, gateway_server.server, number)
    ]
    targets, source = tcp.at_gateway_tcp(graph, view, gateway_server.gateway, gateway_server.server, number)
    for origin, to in (*connections, (source, targets)):
        rule = graph.get(virtual_services.effective, origin) if origin is not None else None
        if origin is not None and rule is not None and any(t.cluster.host == destination.service.host for t in to):
            place = "tls" if rule.spec.tls else "tcp"
            route = Route(place=place, when="every connection", targets=_shares(to), percent=_percent(to, destination))
            yield Routes(virtual_service=_name(origin), hosts=rule.spec.hosts, via=via, routes=(route,))


# -- text ---------------------------------------------------------------------------------------


def _name(key: Key) -> str:
    return f"{key.namespace}/{key.name}"


def _percent(targets: tuple[Target, ...], destination: Destination) -> float:
    total = sum(t.weight for t in targets)
    return round(100 * sum(t.weight for t in targets if destination.includes(t)) / total, 1) if total else 0.0


def _shares(targets: tuple[Target, ...]) -> tuple[str, ...]:
    total = sum(t.weight for t in targets) or 1
    return tuple(
        t.cluster.host + (f" subset {t.cluster.subset}" if t.cluster.subset else "")
        + (f" {100 * t.weight / total:g} %" if len(targets) > 1 else "")
        for t in targets
    )  # fmt: skip


def conditions(route: HTTPRoute) -> str:
    """The conditions of a route as a short text."""
    return " or ".join(_condition(m) for m in route.match) or "every request"


def _condition(match: HTTPMatchRequest) -> str:
    parts = [
        f"{what} {_text(value)}"
        for what, value in (("path", match.uri), ("method", match.method), ("host", match.authority), ("scheme", match.scheme))
        if value is not None
    ]  # fmt: skip
    parts += [f"header {name} {_text(value)}".rstrip() for name, value in match.headers.items()]
    parts += [f"without header {name} {_text(value)}".rstrip() for name, value in match.without_headers.items()]
    parts += [f"query {name} {_text(value)}".rstrip() for name, value in match.query_params.items()]
    parts += [f"port {match.port}"] if match.port is not None else []
    parts += [f"from {key}={value}" for key, value in match.source_labels.items()]
    parts += [f"from namespace {match.source_namespace}"] if match.source_namespace else []
    return ", ".join(parts) or "every request"


def _text(value: StringMatch) -> str:
    if value.exact is not None:
        return value.exact
    return f"{value.prefix}*" if value.prefix is not None else f"~{value.regex}" if value.regex is not None else ""
