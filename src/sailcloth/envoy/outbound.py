"""A sidecar's outbound listeners from its layout, one derived value each. Source: istio.md 2.4, 2.5."""

from __future__ import annotations

from sailcloth.lib.incremental import Graph, derived
from sailcloth.mesh import registry
from sailcloth.mesh.model import Protocol
from sailcloth.view import clusters, layout, scope
from sailcloth.view.layout import Spot
from sailcloth.view.proxy import View
from sailcloth.view.routes import ClusterId

from . import names
from .resource import EnvoyResource
from .resources import listener as lb

Place = tuple[str, int]


@derived
def places(graph: Graph, view: View) -> tuple[Place, ...]:
    """(address, port) of every outbound listener but the virtual one."""
    found = graph.get(layout.layout, view)
    out = {("0.0.0.0", port) for port, _ in (*found.http, *found.wildcard)}
    for (address, port), _ in found.bound:
        out.add(("0.0.0.0", port) if "/" in address else (address, port))
    for spot in found.headless:
        out |= {(address, spot.port.number) for address in graph.get(_addresses, view, spot.host, spot.port.number)}
    return tuple(sorted(p for p in out if p[1] not in (names.OUTBOUND_PORT, names.INBOUND_PORT)))


@derived
def _addresses(graph: Graph, view: View, host: str, port: int) -> tuple[str, ...]:
    """Addresses of a headless service's endpoints."""
    return tuple(sorted({e.address for e in clusters.of_cluster(graph, view, ClusterId(host, port)) if e.healthy}))


def registry_only(graph: Graph, view: View) -> bool:
    """Whether traffic to unknown destinations is refused."""
    limit = graph.get(scope.spec, view)
    policy = limit.spec.outbound_traffic_policy if limit is not None else None
    mode = (policy.mode if policy is not None else None) or registry.config(graph).outbound_mode
    return mode == "REGISTRY_ONLY"


@derived
def virtual(graph: Graph, view: View) -> EnvoyResource:
    """virtualOutbound: hands connections to the listener of their original destination, the rest to the catch-all."""
    logs = _logs(graph)
    refuse = registry_only(graph, view)
    # Nobody may dial the proxy's own ports: the connection would come back for ever.
    holes = [
        lb.chain(name, [lb.tcp_proxy(names.BLACK_HOLE, names.BLACK_HOLE, logs)], port=port)
        for name, port in (
            ("virtualOutbound-blackhole", names.OUTBOUND_PORT),
            ("virtualOutbound-blackhole-inbound", names.INBOUND_PORT),
        )
    ]
    rest = names.BLACK_HOLE if refuse else names.PASSTHROUGH
    catch_all = lb.chain("virtualOutbound-catchall-tcp", [lb.tcp_proxy(rest, rest, logs)])
    return lb.listener(
        names.VIRTUAL_OUTBOUND,
        "0.0.0.0",
        names.OUTBOUND_PORT,
        [*holes, catch_all],
        direction="outbound",
        original=True,
    )


@derived
def at(graph: Graph, view: View, place: Place) -> EnvoyResource | None:
    """The listener of one place; None if nothing is left to serve there."""
    address, port = place
    found = graph.get(layout.layout, view)
    if address != "0.0.0.0":
        spot = dict(found.bound).get(place)
        if spot is None:
            spot = next(
                (
                    s
                    for s in found.headless
                    if s.port.number == port and address in graph.get(_addresses, view, s.host, port)
                ),
                None,
            )
        return _bound(graph, view, place, spot) if spot else None
    hosts = dict(found.http).get(port)
    wildcard = dict(found.wildcard).get(port, ())
    ranges = tuple((a, s) for (a, p), s in found.bound if p == port and "/" in a)
    return _shared(graph, view, port, hosts is not None, wildcard, ranges)


def _bound(graph: Graph, view: View, place: Place, spot: Spot) -> EnvoyResource:
    """A listener at a service's own address: TCP to its cluster, and HTTP by detection if the protocol is not declared."""
    logs = _logs(graph)
    cluster = names.outbound(ClusterId(spot.host, spot.port.number))
    name = names.listener(*place)
    tcp = lb.chain("", [lb.tcp_proxy(cluster, cluster, logs)])
    if spot.port.protocol is not Protocol.AUTO:
        return lb.listener(name, *place, [tcp], direction="outbound", bind=False, clusters=frozenset({cluster}))
    http = _http_chain(f"outbound_{name};", f"{spot.host}:{spot.port.number}", logs)
    return lb.listener(
        name,
        *place,
        [http],
        default=tcp,
        direction="outbound",
        bind=False,
        filters=("tls_inspector", "http_inspector"),
        clusters=frozenset({cluster}),
    )


def _shared(
    graph: Graph,
    view: View,
    port: int,
    http: bool,
    wildcard: tuple[Spot, ...],
    ranges: tuple[tuple[str, Spot], ...],
) -> EnvoyResource:
    """The listener 0.0.0.0_<port>: HTTP by detection with the port's routes, TLS by server name, address ranges, and for the
    rest the one TCP service without an address, or pass-through."""
    logs = _logs(graph)
    name = names.listener("0.0.0.0", port)
    refers: set[str] = set()
    chains = []
    default = None
    for spot in wildcard:
        cluster = names.outbound(ClusterId(spot.host, port))
        if spot.port.protocol.is_tls:
            refers.add(cluster)
            filters = [lb.tcp_proxy(cluster, cluster, logs)]
            chains.append(lb.chain("", filters, transport="tls", sni=(spot.host,)))
        elif default is None:
            refers.add(cluster)
            default = lb.chain("", [lb.tcp_proxy(cluster, cluster, logs)])
    for cidr, spot in ranges:
        cluster = names.outbound(ClusterId(spot.host, port))
        refers.add(cluster)
        if spot.port.protocol is Protocol.AUTO:
            route = f"{spot.host}:{port}"
            chains.append(_http_chain(f"outbound_{name};", route, logs, prefixes=(cidr,)))
        chains.append(lb.chain("", [lb.tcp_proxy(cluster, cluster, logs)], prefixes=(cidr,)))
    if http:
        chains.append(_http_chain(f"outbound_{name};", str(port), logs))
    if default is None:
        rest = names.BLACK_HOLE if registry_only(graph, view) else names.PASSTHROUGH
        default = lb.chain("PassthroughFilterChain", [lb.tcp_proxy(rest, rest, logs)])
    inspectors = ("tls_inspector", "http_inspector") if http or ranges else ("tls_inspector",)
    return lb.listener(
        name,
        "0.0.0.0",
        port,
        chains or [default],
        default=default if chains else None,
        direction="outbound",
        bind=False,
        filters=inspectors,
        clusters=frozenset(refers),
    )


def _http_chain(prefix: str, route: str, logs: tuple[object, ...], prefixes: tuple[str, ...] = ()) -> object:
    manager = lb.connection_manager(prefix, rds=route, direction="outbound", logs=logs)
    return lb.chain("", [manager], transport="raw_buffer", protocols=lb.HTTP_PLAIN, prefixes=prefixes)


@derived
def _logs(graph: Graph) -> tuple[object, ...]:
    config = registry.config(graph)
    return lb.access_log(config.access_log_file, config.access_log_format)
