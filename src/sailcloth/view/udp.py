"""Plans of datagrams through a gateway: the UDP ports that it serves, and the endpoints that each sends to.

Envoy's UDP proxy sends to one cluster, and has no weights of its own. So each UDP port has a cluster of its own, with the endpoints of
all backends of the route: an endpoint's weight is its part of its backend's weight. Source: UDPRoute of the Gateway API.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

from sailcloth.api.gateway import Gateway
from sailcloth.api.meta import Key
from sailcloth.lib.incremental import Graph, derived
from sailcloth.mesh import endpoints, registry, services
from sailcloth.mesh.model import Endpoint, Protocol, declared_protocol

from . import gateways, tcp
from .proxy import Proxy, View
from .routes import Target

DISCARD = Endpoint("255.255.255.255", 9)
"""An endpoint that loses datagrams: the system refuses to send to the broadcast address."""
_WHOLE = 1_000_000  # the sum of all weights, about


class DatagramsId(NamedTuple):
    """Identifies the cluster of a UDP port: by the Gateway and the number of its server's port."""

    gateway: Key
    port: int


@dataclass(frozen=True)
class DatagramsPlan:
    """The endpoints of a UDP port with their weights, and the objects that they derive from."""

    id: DatagramsId
    endpoints: tuple[Endpoint, ...]
    sources: tuple[Key, ...]


@derived
def ids(graph: Graph, proxy: Proxy, view: View) -> tuple[DatagramsId, ...]:
    """The UDP ports of a gateway proxy that have a route."""
    servers = (b for plan in graph.get(gateways.of_proxy, proxy) if plan.udp for b in plan.servers)
    idents = (DatagramsId(b.gateway, b.server.port.number) for b in servers)
    return tuple(i for i in idents if graph.get(targets, view, i)[0])


@derived
def targets(graph: Graph, view: View, ident: DatagramsId) -> tuple[tuple[Target, ...], Key | None]:
    """The weighted destinations of a UDP port, and the VirtualService that says so."""
    gateway = registry.read(graph, Gateway, ident.gateway)
    for server in gateway.spec.servers if gateway is not None else ():
        number = server.port.number
        if number == ident.port and declared_protocol(server.port.protocol, number) is Protocol.UDP:
            return tcp.at_gateway_tcp(graph, view, ident.gateway, server, number)
    return (), None


@derived
def plan(graph: Graph, view: View, ident: DatagramsId) -> DatagramsPlan:
    """The endpoints of a UDP port. The share of a backend without a ready endpoint is lost, as the API wants it."""
    weighted, rule = graph.get(targets, view, ident)
    weights: dict[Endpoint, float] = {}
    sources: dict[Key, None] = dict.fromkeys((ident.gateway, *((rule,) if rule is not None else ())))
    whole = sum(t.weight for t in weighted)
    for target in weighted:
        port = graph.get(services.datagram_port, target.cluster.host, target.cluster.port, view.namespace)
        found: list[Endpoint] = []
        if port is not None:
            sources[port[0]] = None
            found = [e for e in graph.get(endpoints.of_port, port[0], target.cluster.host, port[1]) if e.healthy]
        for each in found or [DISCARD]:
            endpoint = replace(each, locality="", weight=1)
            weights[endpoint] = weights.get(endpoint, 0.0) + target.weight / whole / max(1, len(found))
    shares = (replace(e, weight=max(1, round(_WHOLE * share))) for e, share in weights.items())
    return DatagramsPlan(ident, tuple(sorted(shares, key=lambda e: (e.address, e.port))), tuple(sources))
