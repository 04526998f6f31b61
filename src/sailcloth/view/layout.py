"""Which outbound listeners a sidecar needs, and which services meet on each. Source: istio.md 2.4, 2.5."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from sailcloth.lib.buckets import bucket
from sailcloth.lib.incremental import Graph, derived
from sailcloth.mesh import services
from sailcloth.mesh.model import Port, Protocol, Resolution, Service, declared_protocol

from . import scope
from .proxy import View


@dataclass(frozen=True, slots=True)
class ServicePort:
    """A service's port at the place where a listener finds it."""

    host: str
    port: Port
    address: str = ""  # or CIDR; empty where no address tells it from other services


@dataclass(frozen=True, slots=True)
class EgressServices:
    """What meets at a listener that a Sidecar has put somewhere: hosts and ports of HTTP, and of other protocols."""

    place: scope.EgressListener
    http: tuple[tuple[str, int], ...] = ()
    service_ports: tuple[ServicePort, ...] = ()

    @property
    def routes(self) -> str:
        """Name of its route configuration: the port's, or the socket's path."""
        return str(self.place.port) if self.place.port else self.place.address


@dataclass(frozen=True)
class Layout:
    """Listeners of a view: shared HTTP ports, ports bound to an address, and wildcard TCP ports."""

    http: tuple[tuple[int, tuple[str, ...]], ...] = ()  # port -> hosts that share 0.0.0.0_<port>
    bound: tuple[tuple[tuple[str, int], ServicePort], ...] = ()  # (address or CIDR, port) -> the service there
    wildcard: tuple[tuple[int, tuple[ServicePort, ...]], ...] = ()  # port -> services without an address
    headless: tuple[ServicePort, ...] = ()  # TCP services whose endpoints are addressed one by one
    own: tuple[EgressServices, ...] = ()  # where a Sidecar says, instead of the port's shared listener


@dataclass(frozen=True, slots=True)
class PortServices:
    """What meets at a port, whatever the address."""

    http: tuple[str, ...] | None = None  # hosts that share 0.0.0.0_<port>; None: nothing there speaks HTTP
    wildcard: tuple[ServicePort, ...] = ()
    ranges: tuple[ServicePort, ...] = ()  # services with a CIDR
    headless: tuple[ServicePort, ...] = ()


@derived
def layout(graph: Graph, view: View) -> Layout:
    """The listeners of a view. Depends on the set of services and their ports, not on routes or endpoints."""
    http: dict[int, list[str]] = {}
    bound: dict[tuple[str, int], ServicePort] = {}
    wildcard: dict[int, list[ServicePort]] = {}
    headless: list[ServicePort] = []
    every = graph.get(scope.egress_listeners, view) if view.sidecar else ()
    placed = {p.port: p for p in every if not p.every_port}
    proxies = {p.port for p in every if p.every_port and p.port}
    at: dict[int, list[tuple[str, Port]]] = {}
    for host in graph.get(scope.visible, view):
        svc = scope.service(graph, view, host)
        if svc is None or svc.resolution is Resolution.ALIAS:
            if svc is not None:
                _alias(graph, view, svc, http)
            continue
        for port in svc.ports:
            defined = svc.at(port.number)
            allowed = graph.get(scope.on_port, view, port.number) if view.sidecar else None
            if allowed is not None and host not in allowed:
                continue
            if port.number in proxies:
                continue  # the request says where it goes
            if port.number in placed:
                at.setdefault(port.number, []).append((host, port))
            elif port.protocol.is_http:
                http.setdefault(port.number, []).append(host)
            elif defined.headless:
                headless.append(ServicePort(host, port, "*"))
            elif found := scope.addresses(defined, view):
                for address in found:
                    bound.setdefault((address, port.number), ServicePort(host, port, address))
            else:
                wildcard.setdefault(port.number, []).append(ServicePort(host, port))
                if port.protocol is Protocol.AUTO:
                    http.setdefault(port.number, []).append(host)
    own = [_own(place, at.get(number, [])) for number, place in placed.items()]
    own += _for_every_port(graph, view, every)
    for each in own:
        if not each.place.every_port and each.http:
            http[each.place.port] = [host for host, _ in each.http]
    return Layout(
        http=tuple((p, tuple(h)) for p, h in sorted(http.items())),
        bound=tuple(sorted(bound.items())),
        wildcard=tuple((p, tuple(s)) for p, s in sorted(wildcard.items())),
        headless=tuple(headless),
        own=tuple(own),
    )


def _for_every_port(graph: Graph, view: View, places: tuple[scope.EgressListener, ...]) -> Iterator[EgressServices]:
    """Listeners on UNIX sockets and HTTP proxies. No service's port is dialled there, so each of the services behind them counts
    that speaks what the listener is declared to speak."""
    for place in places:
        if not place.every_port:
            continue
        wanted = declared_protocol(place.protocol)
        found = [(h, scope.service(graph, view, h)) for h in graph.get(scope.hosts_behind, view, place)]
        ports = [(h, p) for h, svc in found if svc is not None for p in svc.ports]
        yield _own(
            place,
            [(h, p) for h, p in ports if Protocol.AUTO in (wanted, p.protocol) or p.protocol.is_http == wanted.is_http],
        )


def _own(place: scope.EgressListener, ports: list[tuple[str, Port]]) -> EgressServices:
    """The listener's declared protocol holds for all that meets there; without one, each port's."""
    http, service_ports = [], []
    for host, port in ports:
        protocol = declared_protocol(place.protocol, port.number) if place.protocol else port.protocol
        if protocol.is_http or protocol is Protocol.AUTO:
            http.append((host, port.number))
        if not protocol.is_http:
            service_ports.append(ServicePort(host, port))
    return EgressServices(place, tuple(http), tuple(service_ports))


def _alias(graph: Graph, view: View, svc: Service, http: dict[int, list[str]]) -> None:
    """An ExternalName service adds its names to the ports of the service behind it."""
    target = services.resolve_alias(graph, svc, view.namespace)
    for port in target.ports if target else svc.ports:
        if port.protocol.is_http:
            http.setdefault(port.number, [])


# -- one part at a time, so that a service that changes concerns the listeners it is at, and no others ----------------------


@derived
def egress_services(graph: Graph, view: View) -> tuple[EgressServices, ...]:
    """Where a Sidecar has put listeners."""
    return graph.get(layout, view).own


@derived
def _ports(graph: Graph, view: View) -> dict[int, PortServices]:
    found = graph.get(layout, view)
    out = {port: PortServices(http=hosts) for port, hosts in found.http}
    for port, service_ports in found.wildcard:
        out[port] = replace(out.get(port, PortServices()), wildcard=service_ports)
    ranges: dict[int, list[ServicePort]] = {}
    for (address, port), service_port in found.bound:
        if "/" in address:
            ranges.setdefault(port, []).append(service_port)
    headless: dict[int, list[ServicePort]] = {}
    for service_port in found.headless:
        headless.setdefault(service_port.port.number, []).append(service_port)
    for port, several in ranges.items():
        out[port] = replace(out.get(port, PortServices()), ranges=tuple(several))
    for port, several in headless.items():
        out[port] = replace(out.get(port, PortServices()), headless=tuple(several))
    return out


@derived
def at_port(graph: Graph, view: View, port: int) -> PortServices:
    """What meets at one port."""
    return graph.get(_ports, view).get(port, PortServices())


@derived
def _bound(graph: Graph, view: View) -> dict[int, dict[tuple[str, int], ServicePort]]:
    out: dict[int, dict[tuple[str, int], ServicePort]] = {}
    for place, service_port in graph.get(layout, view).bound:
        out.setdefault(_bucket(place), {})[place] = service_port
    return out


@derived
def _bound_in(graph: Graph, view: View, number: int) -> dict[tuple[str, int], ServicePort]:
    return graph.get(_bound, view).get(number, {})


def _bucket(place: tuple[str, int]) -> int:
    return bucket(f"{place[0]}:{place[1]}")


@derived
def service_port_at(graph: Graph, view: View, place: tuple[str, int]) -> ServicePort | None:
    """The service at an address of its own."""
    return graph.get(_bound_in, view, _bucket(place)).get(place)


@derived
def http_hosts(graph: Graph, view: View, port: int) -> tuple[str, ...]:
    """Hosts that share the HTTP route configuration of a port."""
    return graph.get(at_port, view, port).http or ()


@derived
def _aliases(graph: Graph, view: View) -> dict[str, tuple[str, ...]]:
    out: dict[str, list[str]] = {}
    for host in graph.get(scope.visible, view):
        svc = scope.service(graph, view, host)
        if svc is not None and svc.resolution is Resolution.ALIAS:
            found = services.resolve_alias(graph, svc, view.namespace)
            if found is not None:
                out.setdefault(found.host, []).append(host)
    return {target: tuple(hosts) for target, hosts in out.items()}


@derived
def aliases(graph: Graph, view: View, target: str) -> tuple[str, ...]:
    """ExternalName hosts that stand for a host, in this view."""
    return graph.get(_aliases, view).get(target, ())


@derived
def any_alias(graph: Graph, view: View) -> bool:
    """Whether the view has ExternalName services at all (they are rare, and looking them up costs)."""
    return any(
        (svc := scope.service(graph, view, h)) is not None and svc.resolution is Resolution.ALIAS
        for h in graph.get(scope.visible, view)
    )
