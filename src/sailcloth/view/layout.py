"""Which outbound listeners a sidecar needs, and which services meet on each. Source: istio.md 2.4, 2.5."""

from __future__ import annotations

from dataclasses import dataclass

from sailcloth.lib.incremental import Graph, derived
from sailcloth.mesh import services
from sailcloth.mesh.model import Port, Protocol, Resolution, Service

from . import scope
from .proxy import View


@dataclass(frozen=True, slots=True)
class Spot:
    """A service's port at the place where a listener finds it."""

    host: str
    port: Port
    address: str = ""  # or CIDR; empty where no address tells it from other services


@dataclass(frozen=True)
class Layout:
    """Listeners of a view: shared HTTP ports, ports bound to an address, and wildcard TCP ports."""

    http: tuple[tuple[int, tuple[str, ...]], ...] = ()  # port -> hosts that share 0.0.0.0_<port>
    bound: tuple[tuple[tuple[str, int], Spot], ...] = ()  # (address or CIDR, port) -> the service there
    wildcard: tuple[tuple[int, tuple[Spot, ...]], ...] = ()  # port -> services without an address
    headless: tuple[Spot, ...] = ()  # TCP services whose endpoints are addressed one by one


@derived
def layout(graph: Graph, view: View) -> Layout:
    """The listeners of a view. Depends on the set of services and their ports, not on routes or endpoints."""
    http: dict[int, list[str]] = {}
    bound: dict[tuple[str, int], Spot] = {}
    wildcard: dict[int, list[Spot]] = {}
    headless: list[Spot] = []
    for host in graph.get(scope.visible, view):
        svc = scope.service(graph, view, host)
        if svc is None or svc.resolution is Resolution.ALIAS:
            if svc is not None:
                _alias(graph, view, svc, http)
            continue
        for port in svc.ports:
            allowed = graph.get(scope.on_port, view, port.number) if view.sidecar else None
            if allowed is not None and host not in allowed:
                continue
            if port.protocol.is_http:
                http.setdefault(port.number, []).append(host)
            elif svc.headless:
                headless.append(Spot(host, port, "*"))
            elif found := scope.addresses(svc, view):
                for address in found:
                    bound.setdefault((address, port.number), Spot(host, port, address))
            else:
                wildcard.setdefault(port.number, []).append(Spot(host, port))
                if port.protocol is Protocol.AUTO:
                    http.setdefault(port.number, []).append(host)
    return Layout(
        http=tuple((p, tuple(h)) for p, h in sorted(http.items())),
        bound=tuple(sorted(bound.items())),
        wildcard=tuple((p, tuple(s)) for p, s in sorted(wildcard.items())),
        headless=tuple(headless),
    )


def _alias(graph: Graph, view: View, svc: Service, http: dict[int, list[str]]) -> None:
    """An ExternalName service adds its names to the ports of the service behind it."""
    target = services.resolve_alias(graph, svc, view.namespace)
    for port in target.ports if target else svc.ports:
        if port.protocol.is_http:
            http.setdefault(port.number, [])


@derived
def http_hosts(graph: Graph, view: View, port: int) -> tuple[str, ...]:
    """Hosts that share the HTTP route configuration of a port."""
    return dict(graph.get(layout, view).http).get(port, ())


@derived
def aliases(graph: Graph, view: View, target: str) -> tuple[str, ...]:
    """ExternalName hosts that stand for a host, in this view."""
    out = []
    for host in graph.get(scope.visible, view):
        svc = scope.service(graph, view, host)
        if svc is not None and svc.resolution is Resolution.ALIAS:
            found = services.resolve_alias(graph, svc, view.namespace)
            if found is not None and found.host == target:
                out.append(host)
    return tuple(out)


@derived
def any_alias(graph: Graph, view: View) -> bool:
    """Whether the view has ExternalName services at all (they are rare, and looking them up costs)."""
    return any(
        (svc := scope.service(graph, view, h)) is not None and svc.resolution is Resolution.ALIAS
        for h in graph.get(scope.visible, view)
    )
