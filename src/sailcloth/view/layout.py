"""Which outbound listeners a sidecar needs, and which services share each. Source: istio.md 2.4, 2.5."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import TypeVar

from sailcloth.lib.buckets import BUCKETS, bucket
from sailcloth.lib.incremental import Graph, derived, settled
from sailcloth.mesh import services
from sailcloth.mesh.model import Port, Protocol, Resolution, Service, declared_protocol

from . import scope
from .proxy import View

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ServicePort:
    """A service's port at an address."""

    host: str
    port: Port
    address: str = ""  # or CIDR; empty if the service has no address of its own


@dataclass(frozen=True, slots=True)
class EgressServices:
    """The services of a Sidecar's egress listener: hosts and ports with HTTP, and ports with other protocols."""

    listener: scope.EgressListener
    http: tuple[tuple[str, int], ...] = ()
    service_ports: tuple[ServicePort, ...] = ()

    @property
    def routes(self) -> str:
        """Name of its route configuration: the port, or the path of the UNIX socket."""
        return str(self.listener.port) if self.listener.port else self.listener.address


@dataclass(frozen=True)
class Layout:
    """Listeners of a view: shared HTTP ports, ports bound to an address, and wildcard TCP ports."""

    http: tuple[tuple[int, tuple[str, ...]], ...] = ()  # port -> hosts that share 0.0.0.0_<port>
    bound: tuple[tuple[tuple[str, int], ServicePort], ...] = ()  # (address or CIDR, port) -> the service there
    wildcard: tuple[tuple[int, tuple[ServicePort, ...]], ...] = ()  # port -> services without an address
    headless: tuple[ServicePort, ...] = ()  # TCP services with a listener per endpoint
    egress: tuple[EgressServices, ...] = ()  # Sidecar egress listeners; each replaces its port's shared listener


@dataclass(frozen=True, slots=True)
class PortServices:
    """The services of a port at any address."""

    http: tuple[str, ...] | None = None  # hosts that share 0.0.0.0_<port>; None: no HTTP
    wildcard: tuple[ServicePort, ...] = ()
    ranges: tuple[ServicePort, ...] = ()  # services with a CIDR
    headless: tuple[ServicePort, ...] = ()


@dataclass(frozen=True, slots=True)
class _Part:
    """What the hosts of one bucket add to the layout, in their order."""

    http: dict[int, list[str]]
    bound: dict[tuple[str, int], ServicePort]
    wildcard: dict[int, list[ServicePort]]
    headless: list[ServicePort]
    exclusive: dict[int, list[tuple[str, Port]]]  # of ports that belong to an egress listener
    aliases: list[str]


@derived
def _hosts(graph: Graph, view: View) -> dict[int, tuple[str, ...]]:
    by_bucket: dict[int, list[str]] = {}
    for host in graph.get(scope.visible, view):
        by_bucket.setdefault(bucket(host), []).append(host)
    return {number: tuple(hosts) for number, hosts in by_bucket.items()}


@settled
def _hosts_in(graph: Graph, view: View, number: int) -> tuple[str, ...]:
    return graph.get(_hosts, view).get(number, ())


@derived
def _part(graph: Graph, view: View, number: int) -> _Part:
    """A changed service costs its bucket, and the joining of all."""
    part = _Part({}, {}, {}, [], {}, [])
    egress_listeners = graph.get(scope.egress_listeners, view) if view.sidecar else ()
    exclusive = {p.port for p in egress_listeners if not p.every_port}
    proxies = {p.port for p in egress_listeners if p.every_port and p.port}
    for host in graph.get(_hosts_in, view, number):
        svc = scope.service(graph, view, host)
        if svc is None or svc.resolution is Resolution.ALIAS:
            if svc is not None:
                part.aliases.append(host)
                _alias(graph, view, svc, part.http)
            continue
        for port in svc.ports:
            defined = svc.at(port.number)
            allowed = graph.get(scope.on_port, view, port.number) if view.sidecar else None
            if allowed is not None and host not in allowed:
                continue
            if port.number in proxies:
                continue  # an HTTP proxy listener: the request names its destination
            if port.number in exclusive:
                part.exclusive.setdefault(port.number, []).append((host, port))
            elif port.protocol.is_http:
                part.http.setdefault(port.number, []).append(host)
            elif defined.headless:
                part.headless.append(ServicePort(host, port, "*"))
            elif addresses := scope.addresses(defined, view):
                for address in addresses:
                    part.bound.setdefault((address, port.number), ServicePort(host, port, address))
            else:
                part.wildcard.setdefault(port.number, []).append(ServicePort(host, port))
                if port.protocol is Protocol.AUTO:
                    part.http.setdefault(port.number, []).append(host)
    return part


@derived
def layout(graph: Graph, view: View) -> Layout:
    """The listeners of a view. Depends on the set of services and their ports, not on routes or endpoints."""
    parts = [graph.get(_part, view, number) for number in sorted(graph.get(_hosts, view))]
    http = _joined(p.http for p in parts)
    wildcard = _joined(p.wildcard for p in parts)
    by_port = _joined(p.exclusive for p in parts)
    bound: dict[tuple[str, int], ServicePort] = {}
    for part in parts:
        for address, service_port in part.bound.items():
            known = bound.get(address)
            if known is None or service_port.host < known.host:
                bound[address] = service_port
    egress_listeners = graph.get(scope.egress_listeners, view) if view.sidecar else ()
    exclusive = {p.port: p for p in egress_listeners if not p.every_port}
    egress = [
        _egress_services(listener, sorted(by_port.get(number, []), key=itemgetter(0)))
        for number, listener in exclusive.items()
    ]
    egress += _for_every_port(graph, view, egress_listeners)
    own_http = {each.listener.port: each.http for each in egress if not each.listener.every_port and each.http}
    shared = {port: tuple(sorted(hosts)) for port, hosts in http.items()}
    shared |= {port: tuple(host for host, _ in hosts) for port, hosts in own_http.items()}
    return Layout(
        http=tuple(sorted(shared.items())),
        bound=tuple(sorted(bound.items(), key=itemgetter(0))),
        wildcard=tuple((p, tuple(sorted(s, key=_host))) for p, s in sorted(wildcard.items())),
        headless=tuple(sorted((s for p in parts for s in p.headless), key=_host)),
        egress=tuple(egress),
    )


def _joined(parts: Iterable[dict[int, list[T]]]) -> dict[int, list[T]]:
    out: dict[int, list[T]] = {}
    for part in parts:
        for port, items in part.items():
            out.setdefault(port, []).extend(items)
    return out


def _host(service_port: ServicePort) -> str:
    return service_port.host


def _for_every_port(graph: Graph, view: View, listeners: tuple[scope.EgressListener, ...]) -> Iterator[EgressServices]:
    """Listeners on UNIX sockets and HTTP proxies. Connections to them have no destination port, so they include all service ports
    with the listener's declared protocol."""
    for listener in listeners:
        if not listener.every_port:
            continue
        declared = declared_protocol(listener.protocol)
        services_ = [(h, scope.service(graph, view, h)) for h in graph.get(scope.hosts_behind, view, listener)]
        ports = [(h, p) for h, svc in services_ if svc is not None for p in svc.ports]
        yield _egress_services(
            listener,
            [
                (h, p)
                for h, p in ports
                if Protocol.AUTO in (declared, p.protocol) or p.protocol.is_http == declared.is_http
            ],
        )


def _egress_services(listener: scope.EgressListener, ports: list[tuple[str, Port]]) -> EgressServices:
    """The listener's declared protocol applies to all its ports; by default each port has its own."""
    http, service_ports = [], []
    for host, port in ports:
        protocol = declared_protocol(listener.protocol, port.number) if listener.protocol else port.protocol
        if protocol.is_http or protocol is Protocol.AUTO:
            http.append((host, port.number))
        if not protocol.is_http:
            service_ports.append(ServicePort(host, port))
    return EgressServices(listener, tuple(http), tuple(service_ports))


def _alias(graph: Graph, view: View, svc: Service, http: dict[int, list[str]]) -> None:
    """Add the HTTP ports of an ExternalName service's target."""
    target = services.resolve_alias(graph, svc, view.namespace)
    for port in target.ports if target else svc.ports:
        if port.protocol.is_http:
            http.setdefault(port.number, [])


# -- parts of the layout as derived values, so that a changed service affects only its own listeners ------------------------


@settled
def egress_services(graph: Graph, view: View) -> tuple[EgressServices, ...]:
    """The egress listeners of the view's Sidecar, with their services."""
    return graph.get(layout, view).egress


@derived
def _ports(graph: Graph, view: View) -> dict[int, dict[int, PortServices]]:
    services_ = graph.get(layout, view)
    by_port = {port: PortServices(http=hosts) for port, hosts in services_.http}
    for port, service_ports in services_.wildcard:
        by_port[port] = replace(by_port.get(port, PortServices()), wildcard=service_ports)
    ranges: dict[int, list[ServicePort]] = {}
    for (address, port), service_port in services_.bound:
        if "/" in address:
            ranges.setdefault(port, []).append(service_port)
    headless: dict[int, list[ServicePort]] = {}
    for service_port in services_.headless:
        headless.setdefault(service_port.port.number, []).append(service_port)
    for port, several in ranges.items():
        by_port[port] = replace(by_port.get(port, PortServices()), ranges=tuple(several))
    for port, several in headless.items():
        by_port[port] = replace(by_port.get(port, PortServices()), headless=tuple(several))
    by_bucket: dict[int, dict[int, PortServices]] = {}
    for port, port_services in by_port.items():
        by_bucket.setdefault(port % BUCKETS, {})[port] = port_services
    return by_bucket


@settled
def _ports_in(graph: Graph, view: View, number: int) -> dict[int, PortServices]:
    return graph.get(_ports, view).get(number, {})


@derived
def at_port(graph: Graph, view: View, port: int) -> PortServices:
    """The services of one port."""
    return graph.get(_ports_in, view, port % BUCKETS).get(port, PortServices())


@derived
def _bound(graph: Graph, view: View) -> dict[int, dict[tuple[str, int], ServicePort]]:
    by_bucket: dict[int, dict[tuple[str, int], ServicePort]] = {}
    for address, service_port in graph.get(layout, view).bound:
        by_bucket.setdefault(_bucket(address), {})[address] = service_port
    return by_bucket


@settled
def _bound_in(graph: Graph, view: View, number: int) -> dict[tuple[str, int], ServicePort]:
    return graph.get(_bound, view).get(number, {})


def _bucket(address: tuple[str, int]) -> int:
    return bucket(f"{address[0]}:{address[1]}")


@derived
def service_port_at(graph: Graph, view: View, address: tuple[str, int]) -> ServicePort | None:
    """The service port at an (address, port)."""
    return graph.get(_bound_in, view, _bucket(address)).get(address)


@derived
def http_hosts(graph: Graph, view: View, port: int) -> tuple[str, ...]:
    """Hosts that share the HTTP route configuration of a port."""
    return graph.get(at_port, view, port).http or ()


@derived
def _aliases(graph: Graph, view: View) -> dict[str, tuple[str, ...]]:
    hosts_by_target: dict[str, list[str]] = {}
    for host in sorted(h for number in graph.get(_hosts, view) for h in graph.get(_part, view, number).aliases):
        svc = scope.service(graph, view, host)
        service = services.resolve_alias(graph, svc, view.namespace) if svc is not None else None
        if service is not None:
            hosts_by_target.setdefault(service.host, []).append(host)
    return {target: tuple(hosts) for target, hosts in hosts_by_target.items()}


@derived
def aliases(graph: Graph, view: View, target: str) -> tuple[str, ...]:
    """The ExternalName hosts that point to a host, in this view."""
    return graph.get(_aliases, view).get(target, ())


@settled
def any_alias(graph: Graph, view: View) -> bool:
    """Whether the view has any ExternalName services (they are rare, and resolving them is expensive)."""
    return any(graph.get(_part, view, number).aliases for number in graph.get(_hosts, view))
