"""A gateway proxy's listeners and route configurations. Source: istio.md 1.3, 2.11."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from sailcloth.api.meta import Key
from sailcloth.lib.incremental import Graph, derived
from sailcloth.mesh import hosts, registry
from sailcloth.mesh.model import Protocol
from sailcloth.view import gateways, tcp, udp
from sailcloth.view.gateways import GatewayServer, ListenerPlan
from sailcloth.view.proxy import Proxy, View
from sailcloth.view.routes import ClusterId, Target
from sailcloth.view.udp import DatagramsId

from . import names, outbound, pipeline
from . import routes as route_messages
from .inputs import FilterInputs
from .resource import EnvoyResource
from .resources import filter_chain, tcp_proxy, tls, udp_proxy
from .resources import http_connection_manager as hcm
from .resources import listener as listener_messages

_HANDSHAKE_MS = 15_000.0  # timeout for the first bytes on a TLS port
_HTTP_ALPN = ("h2", "http/1.1")
_TCP_ALPN = ("istio-peer-exchange", "istio", "h2", "http/1.1")


@derived
def listeners(graph: Graph, proxy: Proxy, view: View) -> tuple[EnvoyResource, ...]:
    """Listeners of a gateway proxy. A port without any route for connections gets no listener."""
    built = (
        _udp_listener(graph, view, plan) if plan.udp else _listener(graph, proxy, view, plan)
        for plan in graph.get(gateways.of_proxy, proxy)
    )
    return tuple(listener_ for listener_ in built if listener_ is not None)


def _udp_listener(graph: Graph, view: View, plan: ListenerPlan) -> EnvoyResource | None:
    ident = DatagramsId(plan.servers[0].gateway, plan.servers[0].server.port.number)
    if not graph.get(udp.targets, view, ident)[0]:
        return None
    return udp_proxy.listener(plan.bind or "0.0.0.0", plan.port, graph.get(udp.plan, view, ident))


def _listener(graph: Graph, proxy: Proxy, view: View, plan: ListenerPlan) -> EnvoyResource | None:
    config = registry.config(graph)
    policies = graph.get(pipeline.resolve, view.policies)
    inputs = FilterInputs("gateway", policies, graph.get(outbound.dynamic_dns, view))
    of_bytes = replace(inputs, tcp=True)
    logs = () if proxy.without_telemetry else pipeline.access_logs(of_bytes)
    address = plan.bind or "0.0.0.0"
    name = names.listener(address, plan.port)
    chains: list[Any] = []
    clusters: set[str] = {names.outbound(c) for c in policies.clusters}
    sources: dict[Key, None] = {}
    for bound in plan.servers[:1] if plan.plain and plan.servers[0].terminates_http else plan.servers:
        sources[bound.gateway] = None
        if bound.terminates_http:
            socket = _socket(graph, view, bound) if bound.mode else None
            manager = hcm.connection_manager(
                f"outbound_{name}",
                pipeline.http_filters(inputs),
                rds=plan.route_of(bound),
                direction="gateway",
                mutual=bound.mode == "ISTIO_MUTUAL",
                topology=proxy.topology,
                logs=() if proxy.without_telemetry else pipeline.access_logs(inputs),
                tracing=pipeline.tracing(inputs),
                normalization=config.path_normalization,
            )
            chains.append(
                filter_chain.chain("", [*pipeline.network_filters(inputs), manager], sni=_sni(bound), socket=socket)
            )
            continue
        for connection in _connections(graph, view, bound):
            clusters |= {names.outbound(t.cluster) for t in connection.targets}
            sources |= {connection.source: None} if connection.source else {}
            socket = (
                _socket(graph, view, bound) if bound.mode and bound.mode not in gateways.PASSTHROUGH_MODES else None
            )
            forward = tcp_proxy.to_targets(connection.targets, logs)
            if bound.mode == "AUTO_PASSTHROUGH":
                forward = [tcp_proxy.to_cluster(connection.sni[0], names.outbound(connection.targets[0].cluster), logs)]
            filters = [*pipeline.network_filters(of_bytes), *forward]
            chains.append(
                filter_chain.chain(
                    "",
                    filters,
                    sni=tuple(n for n in connection.sni if n != "*"),
                    prefixes=connection.prefixes,
                    protocols=filter_chain.MTLS_ALL if bound.mode == "AUTO_PASSTHROUGH" else (),
                    socket=socket,
                )
            )
    sources |= {b.gateway: None for b in plan.servers} | dict.fromkeys(policies.sources)
    chains = filter_chain.distinct(chains)
    if not chains:
        return None
    return listener_messages.listener(
        name,
        address,
        plan.port,
        chains,
        direction="outbound",
        reuse_port=False,  # one bind for all workers: a published host port hands the proxy a single listening socket
        additional_ports=tuple(
            original
            for port, original in proxy.additional_ports
            if port == plan.port and not address.startswith("unix://")
        ),
        filters=(
            *(("proxy_protocol",) if proxy.topology.proxy_protocol else ()),
            *(() if plan.plain else ("tls_inspector",)),
        ),
        wait_ms=_HANDSHAKE_MS,
        clusters=frozenset(clusters),
        sources=tuple(sources),
    )


@derived
def passthrough_clusters(graph: Graph, proxy: Proxy, view: View) -> tuple[ClusterId, ...]:
    """The clusters for AUTO_PASSTHROUGH; empty if no server of the gateway proxy has that mode."""
    servers = (b for plan in graph.get(gateways.of_proxy, proxy) for b in plan.servers)
    return graph.get(tcp.passthrough_clusters, view) if any(b.mode == "AUTO_PASSTHROUGH" for b in servers) else ()


def ports(graph: Graph, proxy: Proxy, name: str) -> frozenset[int]:
    """Ports of the listener or route configuration with a name: its own, and those of the gateway's Services that target it."""
    routes = graph.get(gateways.servers_of, proxy, name)
    if routes is not None:
        return frozenset({routes.port, *_service_ports(graph, proxy, routes.port, udp=False), *routes.numbers})
    for plan in graph.get(gateways.of_proxy, proxy):
        listener = names.udp_listener if plan.udp else names.listener
        if name == listener(plan.bind or "0.0.0.0", plan.port):
            return frozenset({plan.port, *_service_ports(graph, proxy, plan.port, plan.udp), *plan.numbers})
    return frozenset()


def _service_ports(graph: Graph, proxy: Proxy, number: int, udp: bool) -> Iterator[int]:
    """The ports of the gateway's Services that target a port of it."""
    return (p.number for p in graph.get(gateways.translation, proxy) if (p.target, p.udp) == (number, udp))


def _sni(bound: GatewayServer) -> tuple[str, ...]:
    server_names = gateways.server_names(bound.server) if bound.mode else []
    return () if "*" in server_names else tuple(server_names)


def _connections(graph: Graph, view: View, bound: GatewayServer) -> list[tcp.ConnectionPlan]:
    """The filter chains of a server that routes connections."""
    number = bound.server.port.number
    if bound.mode == "AUTO_PASSTHROUGH":
        served = gateways.server_names(bound.server)
        passthrough = (
            c for c in graph.get(tcp.passthrough_clusters, view) if any(hosts.covers(name, c.host) for name in served)
        )
        return [tcp.ConnectionPlan((Target(c),), (names.sni(c),)) for c in passthrough]
    if bound.mode == "PASSTHROUGH":
        return list(tcp.at_gateway_tls(graph, view, bound.gateway, bound.server, number))
    targets, source = tcp.at_gateway_tcp(graph, view, bound.gateway, bound.server, number)
    if targets:
        return [tcp.ConnectionPlan(targets, _sni(bound), source=source)]
    # Terminated TLS may also be routed by server name.
    return list(tcp.at_gateway_tls(graph, view, bound.gateway, bound.server, number)) if bound.mode else []


def _socket(graph: Graph, view: View, bound: GatewayServer) -> Any:
    config, http = registry.config(graph), bound.terminates_http
    if bound.mode == "ISTIO_MUTUAL":
        return tls.server_socket(config.trust_domains, _HTTP_ALPN if http else _TCP_ALPN, config.mesh_tls)
    assert bound.server.tls is not None
    protocols = _HTTP_ALPN if bound.protocol is Protocol.HTTPS else ()
    return tls.terminating_socket(bound.server.tls, protocols, config.tls_defaults, view.external_sds)


@derived
def route_names(graph: Graph, proxy: Proxy, view: View) -> tuple[str, ...]:
    """Names of a gateway proxy's route configurations."""
    return graph.get(gateways.route_names, proxy)


@derived
def routes(graph: Graph, proxy: Proxy, view: View, name: str) -> EnvoyResource | None:
    """One route configuration of a gateway proxy. Without routes it answers every request with 404."""
    servers = graph.get(gateways.servers_of, proxy, name)
    if servers is None:
        return None
    virtual_hosts = (
        graph.get(_virtual_host, proxy, view, name, n)
        for n in graph.get(gateways.virtual_host_names, proxy, view, name)
    )
    hosts = [host for host in virtual_hosts if host is not None]
    elsewhere = graph.get(_misdirected, proxy, view, name)
    if not hosts:
        elsewhere = tuple(n for n in elsewhere if n != "*")
        first = servers.servers[0]
        hosts = [route_messages.black_hole(first.server.port.number if first.mode else servers.port)]
    if elsewhere:
        hosts.append(route_messages.misdirected(elsewhere))
    return route_messages.configuration(name, [route_messages.group(hosts)])


@derived
def _virtual_host(graph: Graph, proxy: Proxy, view: View, name: str, host: str) -> route_messages.VirtualHost | None:
    """The bytes of one virtual host, which a change of a VirtualService recomputes."""
    plan = graph.get(gateways.virtual_host, proxy, view, name, host)
    return route_messages.virtual_host(plan) if plan is not None else None


@derived
def _misdirected(graph: Graph, proxy: Proxy, view: View, name: str) -> tuple[str, ...]:
    """Hosts that get 421, so that the client opens another connection; without those that have routes here."""
    misdirected = graph.get(gateways.misdirected, proxy, name)
    routed = {d for h in graph.get(gateways.virtual_hosts, proxy, view, name) for d in h.domains} if misdirected else ()
    return () if "*" in routed else tuple(n for n in misdirected if n not in routed)
