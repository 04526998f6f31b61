"""Plan of a gateway proxy: its ports, and the virtual hosts behind them. Source: istio.md 1.3, 2.6, 2.11."""

from __future__ import annotations

from dataclasses import dataclass

from sailcloth.api import core
from sailcloth.api.gateway import Gateway, Server
from sailcloth.api.meta import Key
from sailcloth.api.service_entry import ServiceEntry
from sailcloth.api.virtual_service import VirtualService
from sailcloth.lib.incremental import Graph, derived
from sailcloth.mesh import endpoints, hosts, registry, virtual_services
from sailcloth.mesh.model import Protocol, declared_protocol

from . import routes
from .proxy import Proxy, View
from .routes import RoutePlan, VirtualHostPlan

GATEWAY_SERVICE = "internal.istio.io/gateway-service"
NO_TRANSLATION = "experimental.istio.io/disable-gateway-port-translation"


@dataclass(frozen=True)
class Bound:
    """A Gateway's server on a port of the proxy."""

    gateway: Key
    server: Server


@dataclass(frozen=True)
class ListenerPlan:
    """One listening port: HTTP servers share it, and a conflict drops the later server."""

    port: int
    bind: str
    servers: tuple[Bound, ...]
    protocol: Protocol

    @property
    def route_name(self) -> str:
        return f"http.{self.port}" + (f".{self.bind}" if self.bind else "")


Translation = tuple[tuple[str, int, int], ...]  # (service host, service port, port of the workload)


@derived
def translation(graph: Graph, proxy: Proxy) -> Translation:
    """How service ports lead to the proxy's ports, for the services that select it."""
    labels = dict(proxy.labels)
    domain = registry.config(graph).domain
    out: list[tuple[str, int, int]] = []
    for key in registry.selecting(graph, "service-selecting", proxy.namespace, proxy.labels):
        obj: core.Service | None = registry.read(graph, key)
        if obj is None or not endpoints.matches(obj.spec.selector, labels):
            continue
        if obj.metadata.labels.get(NO_TRANSLATION) == "true":
            continue
        for p in obj.spec.ports:
            if isinstance(p.target_port or p.port, int):
                out.append((f"{key.name}.{key.namespace}.svc.{domain}", p.port, int(p.target_port or p.port)))
    for key in {k for ip in proxy.ips for k in registry.select(graph, ("entry-address", ip))}:
        entry: ServiceEntry | None = registry.read(graph, key)
        if entry is None or entry.metadata.labels.get(NO_TRANSLATION) == "true":
            continue
        if not any(e.address in proxy.ips and _selected(e.labels, labels) for e in entry.spec.endpoints):
            continue
        out += [(h, p.number, p.target_port or p.number) for h in entry.spec.hosts for p in entry.spec.ports]
    return tuple(sorted(set(out)))


def _selected(entry_labels: dict[str, str], labels: dict[str, str]) -> bool:
    return endpoints.matches(entry_labels, labels)


@derived
def listeners(
    graph: Graph, labels: tuple[tuple[str, str], ...], namespace: str, ports: Translation
) -> tuple[ListenerPlan, ...]:
    """The listening ports of a gateway proxy, merged over the Gateways that select it, oldest first."""
    merged: dict[tuple[int, str], list[Bound]] = {}
    protocols: dict[tuple[int, str], Protocol] = {}
    services = {host for host, _, _ in ports}
    chosen = []
    for key in registry.select(graph, ("kind", "Gateway")):
        gateway: Gateway | None = registry.read(graph, key)
        if gateway is None:
            continue
        named = [s.strip() for s in gateway.metadata.annotations.get(GATEWAY_SERVICE, "").split(",") if s.strip()]
        if named:
            if services & set(named):
                chosen.append((gateway.metadata.creation_timestamp or "", key.namespace, key.name, key, gateway, named))
        elif not gateway.spec.selector or endpoints.has_labels(gateway.spec.selector, labels):
            chosen.append((gateway.metadata.creation_timestamp or "", key.namespace, key.name, key, gateway, []))
    for *_, key, gateway, named in sorted(chosen, key=lambda c: c[:3]):
        for server in gateway.spec.servers:
            protocol = declared_protocol(server.port.protocol, server.port.number)
            for number in _numbers(server.port.number, ports, named):
                place = (number, server.bind or "")
                known = protocols.setdefault(place, protocol)
                if known.is_http and protocol.is_http:
                    merged.setdefault(place, []).append(Bound(key, server))
                elif place not in merged:
                    merged[place] = [Bound(key, server)]
    return tuple(
        ListenerPlan(port, bind, tuple(bound), protocols[port, bind]) for (port, bind), bound in sorted(merged.items())
    )


def _numbers(number: int, ports: Translation, named: list[str]) -> list[int]:
    """Ports of the proxy for a Gateway's port: the targets of the services' ports, else (no service named) the port itself."""
    found = sorted({t for host, p, t in ports if p == number and (not named or host in named)})
    return found if found or named else [number]


@derived
def http(graph: Graph, proxy: Proxy) -> tuple[ListenerPlan, ...]:
    """The HTTP listeners of a gateway proxy."""
    ports = graph.get(translation, proxy)
    plans = graph.get(listeners, proxy.labels, proxy.namespace, ports)
    return tuple(p for p in plans if p.protocol.is_http)


@derived
def virtual_hosts(graph: Graph, proxy: Proxy, view: View, route: str) -> tuple[VirtualHostPlan, ...]:
    """Virtual hosts of an HTTP listener, by its route configuration's name: VirtualServices bound to its Gateways, by host;
    catch-all routes come last."""
    listener = next((p for p in graph.get(http, proxy) if p.route_name == route), None)
    if listener is None:
        return ()
    domain = registry.config(graph).domain
    found: dict[str, list[RoutePlan]] = {}
    port_of: dict[str, int] = {}
    redirect: dict[str, bool] = {}
    sources: dict[str, dict[Key, None]] = {}
    for bound in listener.servers:
        gateway = f"{bound.gateway.namespace}/{bound.gateway.name}"
        tls = bound.server.tls
        number = bound.server.port.number
        for key in graph.get(virtual_services.for_gateway, gateway):
            rule = graph.get(virtual_services.effective, key)
            if rule is None or not rule.spec.http:
                continue
            for host in _hosts(rule, key, bound, domain):
                plans = routes.rule_routes(graph, view, key, rule, number, gateway)
                have = found.setdefault(host, [])
                have += [p for p in plans if p not in have]
                port_of.setdefault(host, number)
                redirect[host] = redirect.get(host, False) or bool(tls and tls.https_redirect)
                sources.setdefault(host, {})[key] = None
                sources[host][bound.gateway] = None
        if tls is not None and tls.https_redirect:
            for pattern in bound.server.hosts:
                host = pattern.rpartition("/")[2]
                found.setdefault(host, [])
                port_of.setdefault(host, number)
                redirect[host] = True
                sources.setdefault(host, {})[bound.gateway] = None
    return tuple(
        VirtualHostPlan(
            name=f"{host}:{port_of[host]}",
            domains=(host,),
            routes=tuple(sorted(found[host], key=_catch_all_last)),
            require_tls=redirect[host],
            sources=tuple(sources[host]),
        )
        for host in sorted(found, key=hosts.specificity)
    )


def _catch_all_last(plan: RoutePlan) -> bool:
    return plan.match is None or routes.catches_all(plan.match)


def _hosts(rule: VirtualService, key: Key, bound: Bound, domain: str) -> list[str]:
    """Hosts of a VirtualService that a server exposes: of each overlapping pair the more specific one."""
    out: dict[str, None] = {}
    for pattern in bound.server.hosts:
        namespace, _, name = pattern.rpartition("/")
        namespace = bound.gateway.namespace if namespace == "." else namespace
        if namespace not in ("", "*", key.namespace):
            continue
        for host in rule.spec.hosts:
            full = hosts.resolve(host, key.namespace, domain)
            if hosts.covers(name, full):
                out[full] = None
            elif hosts.covers(full, name):
                out[name] = None
    return list(out)
