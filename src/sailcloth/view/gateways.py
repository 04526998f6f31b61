"""Plans of a gateway proxy: its listeners and virtual hosts. Source: istio.md 1.3, 2.6, 2.11."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from sailcloth.api.gateway import Gateway, Server
from sailcloth.api.meta import Key
from sailcloth.lib.incremental import Graph, derived
from sailcloth.mesh import (
    backend_tls_settings,
    credentials,
    gateway_listeners,
    hosts,
    registry,
    selection,
    virtual_services,
)
from sailcloth.mesh.kinds import service, service_entry
from sailcloth.mesh.kinds.gateway import every as every_gateway
from sailcloth.mesh.model import Protocol, declared_protocol
from sailcloth.mesh.selection import Labels
from sailcloth.mesh.verdict import ACCEPTED, Verdict

from . import routes, tcp
from .proxy import Proxy, View, labels_of
from .routes import RoutePlan, VirtualHostPlan

GATEWAY_SERVICE = "internal.istio.io/gateway-service"
PASSTHROUGH_MODES = ("PASSTHROUGH", "AUTO_PASSTHROUGH")
NO_TRANSLATION = "experimental.istio.io/disable-gateway-port-translation"


@dataclass(frozen=True)
class GatewayServer:
    """A Gateway's server on a port of the proxy."""

    gateway: Key
    server: Server

    @property
    def protocol(self) -> Protocol:
        return declared_protocol(self.server.port.protocol, self.server.port.number)

    @property
    def mode(self) -> str:
        """The TLS mode; empty for plain text. `httpsRedirect` alone is plain text."""
        tls = self.server.tls
        return "" if tls is None or self.protocol.is_http else tls.mode or "PASSTHROUGH"

    @property
    def terminates_http(self) -> bool:
        """Whether the server routes HTTP requests instead of connections."""
        return self.protocol.is_http or (self.protocol is Protocol.HTTPS and self.mode not in ("", *PASSTHROUGH_MODES))

    @property
    def route_name(self) -> str:
        """Name of the route configuration; all plain servers of a port share one."""
        port, bind = self.server.port, f".{self.server.bind}" if self.server.bind else ""
        if not self.mode:
            return ""
        return f"https.{port.number}.{port.name}.{self.gateway.name}.{self.gateway.namespace}{bind}"


@dataclass(frozen=True)
class ListenerPlan:
    """One listener. Plain HTTP servers share it; TLS servers share it by SNI. A server that conflicts with an older one is
    dropped."""

    port: int
    bind: str
    servers: tuple[GatewayServer, ...]

    @property
    def plain(self) -> bool:
        return not self.servers[0].mode

    @cached_property
    def numbers(self) -> frozenset[int]:
        """The numbers of its servers' ports, which Services may map to its own."""
        return frozenset(b.server.port.number for b in self.servers)

    @property
    def udp(self) -> bool:
        """Whether it takes datagrams instead of connections. Such a listener has one server."""
        return self.servers[0].protocol is Protocol.UDP

    @property
    def http_route(self) -> str:
        """Name of the route configuration that the plain HTTP servers share."""
        return f"http.{self.port}" + (f".{self.bind}" if self.bind else "")

    def route_of(self, bound: GatewayServer) -> str:
        return bound.route_name or self.http_route


class PortTranslation(NamedTuple):
    """A port of a service, and the port of the workload behind it. `udp`: for datagrams, which have port numbers of their own."""

    host: str
    number: int
    target: int
    udp: bool


Translation = tuple[PortTranslation, ...]


@derived
def translation(graph: Graph, proxy: Proxy) -> Translation:
    """Maps service ports to the proxy's ports, for the services that select it."""
    pairs = graph.get(labels_of, proxy)
    labels = dict(pairs)
    domain = registry.config(graph).domain
    translated: list[PortTranslation] = []
    for key, obj in registry.by_selector(graph, service.by_selector_label, proxy.namespace, pairs):
        if not selection.matches(obj.spec.selector, labels):
            continue
        if obj.metadata.labels.get(NO_TRANSLATION) == "true":
            continue
        for p in obj.spec.ports:
            if isinstance(p.target_port or p.port, int):
                host, target = f"{key.name}.{key.namespace}.svc.{domain}", int(p.target_port or p.port)
                translated.append(PortTranslation(host, p.port, target, p.protocol == "UDP"))
    for entry in dict(i for ip in proxy.ips for i in registry.objects(graph, service_entry.by_address(ip))).values():
        if entry.metadata.labels.get(NO_TRANSLATION) == "true":
            continue
        if not any(e.address in proxy.ips and selection.matches(e.labels, labels) for e in entry.spec.endpoints):
            continue
        for port in entry.spec.ports:
            udp = port.protocol.upper() == "UDP"
            translated += [
                PortTranslation(h, port.number, port.target_port or port.number, udp) for h in entry.spec.hosts
            ]
    return tuple(sorted(set(translated)))


@dataclass(frozen=True, slots=True)
class ConflictedServer:
    """A server of a Gateway that is not opened on a port of the proxy, because another Gateway's has it."""

    gateway: Key
    index: int
    port: int
    winner: Key
    why: str


@dataclass(frozen=True, slots=True)
class _Merged:
    plans: tuple[ListenerPlan, ...]
    conflicted: tuple[ConflictedServer, ...]


@derived
def _merged(graph: Graph, labels: Labels, namespace: str, ports: Translation) -> _Merged:
    """The servers of the Gateways that select a proxy, by listening port; the oldest Gateway comes first."""
    merged: dict[tuple[int, str, bool], list[GatewayServer]] = {}  # TCP and UDP each have their own port numbers
    names: dict[tuple[int, str, bool], dict[str, int]] = {}  # which of these servers has a name
    conflicted: list[ConflictedServer] = []
    services = {p.host for p in ports}
    chosen = []
    for key, gateway in registry.objects(graph, every_gateway()):
        named = [s.strip() for s in gateway.metadata.annotations.get(GATEWAY_SERVICE, "").split(",") if s.strip()]
        selects = not gateway.spec.selector or selection.matches_labels(gateway.spec.selector, labels)
        if services & set(named) if named else selects:
            age = gateway.metadata.creation_timestamp or "", f"{key.name}.{key.namespace}"
            chosen.append((age, key, gateway, named))
    for _, key, gateway, named in sorted(chosen, key=lambda c: c[0]):
        for index, server in enumerate(gateway.spec.servers):
            new = GatewayServer(key, server)
            udp = new.protocol is Protocol.UDP
            for number in _numbers(server.port.number, udp, ports, named):
                servers = merged.setdefault((number, server.bind or "", udp), [])
                taken = names.setdefault((number, server.bind or "", udp), {})
                conflict = _conflict(new, servers, taken)
                if conflict is None:
                    taken.update((name, len(servers)) for name in server_names(server) if name not in taken)
                    servers.append(new)
                else:
                    conflicted.append(ConflictedServer(key, index, server.port.number, *conflict))
    plans = (ListenerPlan(port, bind, tuple(servers)) for (port, bind, _), servers in sorted(merged.items()) if servers)
    return _Merged(tuple(plans), tuple(conflicted))


@derived
def listeners(graph: Graph, labels: Labels, namespace: str, ports: Translation) -> tuple[ListenerPlan, ...]:
    """The listeners of a gateway proxy, merged over the Gateways that select it, oldest first."""
    return graph.get(_merged, labels, namespace, ports).plans


@derived
def conflicted_servers(graph: Graph, proxy: Proxy) -> tuple[ConflictedServer, ...]:
    """Servers of Gateways that select a proxy and are not opened."""
    return graph.get(_merged, graph.get(labels_of, proxy), proxy.namespace, graph.get(translation, proxy)).conflicted


def _conflict(new: GatewayServer, servers: list[GatewayServer], taken: dict[str, int]) -> tuple[Key, str] | None:
    """The Gateway because of which a server cannot share a port, and why; None if it can. taken: the place of the server that has a name.
    Source: istio.md 2.11."""
    if not servers:
        return None
    first = servers[0]
    if bool(new.mode) != bool(first.mode):
        kinds = ("TLS", "plain text") if first.mode else ("plain text", "TLS")
        return first.gateway, f"the port is {kinds[0]} there and {kinds[1]} here"
    if not new.mode:
        both = new.protocol.is_http and first.protocol.is_http
        return None if both else (first.gateway, "only HTTP servers can share a port without TLS")
    shared = sorted((taken[name], name) for name in server_names(new.server) if name in taken)
    return (servers[shared[0][0]].gateway, f"both serve {shared[0][1]}") if shared else None


def server_names(server: Server) -> list[str]:
    """The hosts of a server without their namespace prefixes, which limit the VirtualServices that may bind to it."""
    return list(dict.fromkeys(hosts.normalized(h.rpartition("/")[2]) for h in server.hosts))


def _numbers(number: int, udp: bool, ports: Translation, named: list[str]) -> list[int]:
    """The proxy's ports for a Gateway's port: the target ports of its services, or (without a named service) the port itself."""
    matches = (p for p in ports if (p.number, p.udp) == (number, udp) and (not named or p.host in named))
    targets = sorted({p.target for p in matches})
    return targets if targets or named else [number]


@derived
def of_proxy(graph: Graph, proxy: Proxy) -> tuple[ListenerPlan, ...]:
    """The listeners of a gateway proxy."""
    return graph.get(listeners, graph.get(labels_of, proxy), proxy.namespace, graph.get(translation, proxy))


class RouteServers(NamedTuple):
    """The servers whose routes are in a route configuration, and of their listener no more than these need: not its other servers, whose
    changes do not concern them."""

    port: int
    bind: str
    plain: bool
    numbers: frozenset[int]
    servers: tuple[GatewayServer, ...]


@derived
def _by_route(graph: Graph, proxy: Proxy) -> dict[str, RouteServers]:
    """The servers whose routes are in each route configuration, by its name."""
    servers_by_route: dict[str, RouteServers] = {}
    for plan in graph.get(of_proxy, proxy):
        by_name: dict[str, list[GatewayServer]] = {}
        for bound in plan.servers:
            if bound.terminates_http:
                by_name.setdefault(plan.route_of(bound), []).append(bound)
        for name, servers in by_name.items():
            found = RouteServers(plan.port, plan.bind, plan.plain, plan.numbers, tuple(servers))
            servers_by_route.setdefault(name, found)
    return servers_by_route


@derived
def route_names(graph: Graph, proxy: Proxy) -> tuple[str, ...]:
    """Names of a gateway proxy's route configurations."""
    return tuple(graph.get(_by_route, proxy))


@derived
def servers_of(graph: Graph, proxy: Proxy, route: str) -> RouteServers | None:
    """The servers whose routes are in a route configuration, by its name."""
    return graph.get(_by_route, proxy).get(route)


class _Rule(NamedTuple):
    """What one VirtualService adds to a server of a gateway."""

    hosts: tuple[str, ...] = ()
    routes: tuple[RoutePlan, ...] = ()
    sources: tuple[Key, ...] = ()


@derived
def _rule(graph: Graph, view: View, key: Key, number: int, gateway: Key, patterns: tuple[str, ...]) -> _Rule:
    """The routes of one VirtualService at a gateway's port, for the hosts that the server's patterns expose."""
    rule = graph.get(virtual_services.effective, key)
    if rule is None or not rule.spec.http:
        return _Rule()
    plans = routes.rule_routes(graph, view, key, rule, number, f"{gateway.namespace}/{gateway.name}")
    exposed = tcp.exposed(graph, rule, key, gateway, patterns)
    return _Rule(exposed, tuple(plans), graph.get(virtual_services.sources, key))


@derived
def virtual_hosts(graph: Graph, proxy: Proxy, view: View, route: str) -> tuple[VirtualHostPlan, ...]:
    """Virtual hosts of a route configuration, by its name: VirtualServices bound to its Gateways, by host; catch-all routes
    come last."""
    route_servers = graph.get(servers_of, proxy, route)
    routes_by_host: dict[str, list[RoutePlan]] = {}
    by_rule: dict[tuple[str, Key], list[RoutePlan]] = {}
    port_of: dict[str, int] = {}
    redirect: dict[str, bool] = {}
    sources: dict[str, dict[Key, None]] = {}
    for bound in route_servers.servers if route_servers else ():
        gateway = f"{bound.gateway.namespace}/{bound.gateway.name}"
        tls = bound.server.tls
        number = bound.server.port.number
        for key in graph.get(virtual_services.for_gateway, gateway):
            rule = graph.get(_rule, view, key, number, bound.gateway, bound.server.hosts)
            for host in rule.hosts:
                known_routes = by_rule.setdefault((host, key), [])  # a rule may be bound to several servers
                new = [p for p in rule.routes if p not in known_routes]
                known_routes += new
                routes_by_host.setdefault(host, []).extend(new)
                port_of.setdefault(host, number)
                redirect[host] = redirect.get(host, False) or bool(tls and tls.https_redirect)
                sources.setdefault(host, {}).update(dict.fromkeys(rule.sources))
                sources[host][bound.gateway] = None
        if tls is not None and tls.https_redirect:
            for host in server_names(bound.server):
                routes_by_host.setdefault(host, [])
                port_of.setdefault(host, number)
                redirect[host] = True
                sources.setdefault(host, {})[bound.gateway] = None
    return tuple(
        VirtualHostPlan(
            name=f"{host}:{port_of[host]}",
            domains=(host,),
            routes=tuple(sorted(routes_by_host[host], key=routes.matches_all)),
            require_tls=redirect[host],
            sources=tuple(sources[host]),
        )
        for host in sorted(routes_by_host, key=hosts.specificity)
    )


@derived
def virtual_host_names(graph: Graph, proxy: Proxy, view: View, route: str) -> tuple[str, ...]:
    """Names of the virtual hosts of a route configuration, in order."""
    return tuple(h.name for h in graph.get(virtual_hosts, proxy, view, route))


@derived
def _by_name(graph: Graph, proxy: Proxy, view: View, route: str) -> dict[str, VirtualHostPlan]:
    return {h.name: h for h in graph.get(virtual_hosts, proxy, view, route)}


@derived
def virtual_host(graph: Graph, proxy: Proxy, view: View, route: str, name: str) -> VirtualHostPlan | None:
    """One virtual host of a route configuration."""
    return graph.get(_by_name, proxy, view, route).get(name)


_MANY = 64


@derived
def _names_at(graph: Graph, proxy: Proxy, port: int, bind: str) -> frozenset[str]:
    plans = [p for p in graph.get(of_proxy, proxy) if (p.port, p.bind) == (port, bind)]
    return frozenset(name for p in plans for b in p.servers for name in server_names(b.server))


@derived
def _domains_at(graph: Graph, proxy: Proxy, port: int, bind: str) -> frozenset[str]:
    """The parent domains of those names, as wildcards."""
    return frozenset(_domain(n) for n in graph.get(_names_at, proxy, port, bind))


def _domain(name: str) -> str:
    return "*." + name.removeprefix("*.").partition(".")[2] if name.count(".") > 1 else name


@derived
def misdirected(graph: Graph, proxy: Proxy, route: str) -> tuple[str, ...]:
    """Hosts of other TLS servers on the same port. A client may reuse a connection for them if a certificate covers both; it gets
    421, so that it opens another one. Many hosts are replaced by their parent domains, and many domains by `*`."""
    of_route = graph.get(servers_of, proxy, route)
    if of_route is None or of_route.plain:
        return ()
    own_names = {name for b in of_route.servers for name in server_names(b.server)}
    names = graph.get(_names_at, proxy, of_route.port, of_route.bind)
    if len(names) > _MANY and not any(n.startswith("*") for n in own_names):
        names = graph.get(_domains_at, proxy, of_route.port, of_route.bind)
        if len(names) > _MANY:
            return ("*",)
    # The Gateway API wants it also for what a listener for all host names serves.
    generated = all(gateway_listeners.is_generated(b.gateway) for b in of_route.servers)
    return tuple(sorted(n for n in names - own_names if n != "*" or generated))


def connected(graph: Graph, proxies: Iterable[Proxy]) -> None:
    """Set the gateway proxies that are currently connected."""
    graph.set("gateway-proxies", tuple(sorted(proxies, key=lambda p: p.id)))


def verdict(graph: Graph, key: Key) -> Verdict:
    """Which servers of a Gateway are not opened because of another Gateway; which have no certificate, so that every handshake on their
    port fails (certificates come from the namespaces of the proxies that the Gateway selects); and whether any proxy is selected."""
    gateway = registry.read(graph, Gateway, key)
    if gateway is None:
        return ACCEPTED
    proxies: tuple[Proxy, ...] = graph.read("gateway-proxies") or ()
    serving = [p for p in proxies if key in graph.get(gateways_of, p)]
    conflicted = {s.index: s for p in proxies for s in graph.get(conflicted_servers, p) if s.gateway == key}
    notes = [
        f"servers[{i}].tls: {text}"
        for i, server in enumerate(gateway.spec.servers)
        for namespace in sorted({p.namespace for p in serving})
        for text in (credentials.missing(graph, namespace, server.tls) if server.tls else ())
    ]
    if proxies and not serving and not conflicted:
        labels = ",".join(f"{k}={v}" for k, v in sorted(gateway.spec.selector.items()))
        notes.append(f"no gateway proxy has the labels of the selector {labels}")
    if conflicted:
        texts = (
            f"servers[{i}] (port {s.port}) is not opened beside Gateway {s.winner.namespace}/{s.winner.name}: {s.why}"
            for i, s in sorted(conflicted.items())
        )
        return Verdict(False, "Conflicted", "; ".join(texts), tuple(notes))
    return Verdict(notes=tuple(notes))


@derived
def credentials_of(graph: Graph, proxy: Proxy) -> tuple[str, ...] | None:
    """Names of the Secrets in the TLS settings of the Gateways that a proxy serves, sorted; None if it serves none."""
    plans = graph.get(of_proxy, proxy)
    settings = ((server.gateway, server.server.tls) for plan in plans for server in plan.servers)
    names = {
        name
        for gateway, tls in settings
        if tls is not None
        for name in (tls.credential_name, tls.ca_cert_credential_name, *tls.credential_names)
        if name and (gateway_listeners.is_generated(gateway) or not name.startswith(gateway_listeners.GRANTED))
    }
    client = graph.get(backend_tls_settings.client_certificate, proxy.namespace, graph.get(labels_of, proxy))
    return tuple(sorted(names | {client} if client else names)) if plans else None


@derived
def gateways_of(graph: Graph, proxy: Proxy) -> frozenset[Key]:
    """The Gateways that a proxy serves."""
    return frozenset(server.gateway for plan in graph.get(of_proxy, proxy) for server in plan.servers)
