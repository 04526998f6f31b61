"""Builds a sidecar's outbound listeners from its layout, one derived value each. Source: istio.md 2.4, 2.5."""

from __future__ import annotations

from collections.abc import Iterable

from envoy.config.accesslog.v3 import accesslog_pb2
from envoy.config.listener.v3 import listener_components_pb2

from sailcloth.api.meta import Key
from sailcloth.lib.buckets import bucket
from sailcloth.lib.incremental import Graph, derived
from sailcloth.mesh import hosts, registry
from sailcloth.mesh.model import Protocol, Resolution
from sailcloth.view import clusters, layout, scope, tcp
from sailcloth.view.layout import ServicePort
from sailcloth.view.proxy import View
from sailcloth.view.routes import ClusterId
from sailcloth.view.tcp import ConnectionPlan

from . import names, pipeline
from . import routes as route_messages
from .inputs import FilterInputs
from .resource import EnvoyResource
from .resources import filter_chain, tcp_proxy
from .resources import http_connection_manager as hcm
from .resources import listener as listener_messages

ListenerAddress = tuple[str, int]


@derived
def listener_addresses(graph: Graph, view: View) -> tuple[ListenerAddress, ...]:
    """(address, port) of every outbound listener except virtualOutbound."""
    services = graph.get(layout.layout, view)
    egress_ports = {o.listener.port for o in services.egress}
    addresses = {("0.0.0.0", port) for port, _ in (*services.http, *services.wildcard) if port not in egress_ports}
    addresses |= {(o.listener.address, o.listener.port) for o in services.egress}
    for (address, port), _ in services.bound:
        addresses.add(("0.0.0.0", port) if "/" in address else (address, port))
    for service_port in services.headless:
        addresses |= {
            (address, service_port.port.number)
            for address in graph.get(_addresses, view, service_port.host, service_port.port.number)
        }
    return tuple(sorted(p for p in addresses if p[1] not in (names.OUTBOUND_PORT, names.INBOUND_PORT)))


@derived
def _addresses(graph: Graph, view: View, host: str, port: int) -> tuple[str, ...]:
    """Addresses of a headless service's endpoints."""
    return tuple(sorted({e.address for e in clusters.of_cluster(graph, view, ClusterId(host, port)) if e.healthy}))


def mode(graph: Graph, view: View) -> str:
    """The outbound traffic policy for unknown destinations: REGISTRY_ONLY, ALLOW_ANY or ALLOW_ANY_DYNAMIC_DNS."""
    limit = graph.get(scope.spec, view)
    policy = limit.spec.outbound_traffic_policy if limit is not None else None
    return (policy.mode if policy is not None else None) or registry.config(graph).outbound_mode


def registry_only(graph: Graph, view: View) -> bool:
    """Whether traffic to unknown destinations is rejected."""
    return mode(graph, view) == "REGISTRY_ONLY"


def passthrough_cluster(graph: Graph, view: View) -> str:
    """The cluster for traffic to unknown destinations; a Sidecar may name an egress service for it."""
    limit = graph.get(scope.spec, view)
    policy = limit.spec.outbound_traffic_policy if limit is not None else None
    proxy = policy.egress_proxy if policy is not None else None
    if proxy is not None and limit is not None:
        host = hosts.resolve(proxy.host, limit.metadata.namespace, registry.config(graph).domain)
        number = proxy.port.number if proxy.port else None
        svc = scope.service(graph, view, host)
        only = svc.ports[0].number if svc is not None and len(svc.ports) == 1 else 0
        return names.outbound(ClusterId(host, number or only, proxy.subset or ""))
    return names.BLACK_HOLE if registry_only(graph, view) else names.PASSTHROUGH


@derived
def dynamic_dns(graph: Graph, view: View) -> bool:
    """Whether some route resolves the request's host by DNS (dynamic forward proxy)."""
    if mode(graph, view) == "ALLOW_ANY_DYNAMIC_DNS":
        return True
    wild = (h for h in graph.get(scope.visible, view) if h.startswith("*"))
    return any((s := scope.service(graph, view, h)) and s.resolution is Resolution.DYNAMIC_DNS for h in wild)


@derived
def virtual_outbound(graph: Graph, view: View) -> EnvoyResource:
    """virtualOutbound: passes connections to the listener of their original destination, or else to the catch-all chain."""
    logs = graph.get(_logs, view)
    # Reject connections to the proxy's own ports, which would loop.
    black_holes = [
        filter_chain.chain(name, [tcp_proxy.to_cluster(names.BLACK_HOLE, names.BLACK_HOLE, logs)], port=port)
        for name, port in (
            ("virtualOutbound-blackhole", names.OUTBOUND_PORT),
            ("virtualOutbound-blackhole-inbound", names.INBOUND_PORT),
        )
    ]
    way = passthrough_cluster(graph, view)
    catch_all = filter_chain.chain(
        "virtualOutbound-catchall-tcp", [tcp_proxy.to_cluster(way, way, logs, view.on_demand)]
    )
    looks_up = mode(graph, view) == "ALLOW_ANY_DYNAMIC_DNS"
    if looks_up:
        inline = route_messages.configuration(
            names.DYNAMIC_DNS, [route_messages.group([route_messages.catch_all(mode(graph, view), way)])]
        ).body
        inputs = FilterInputs("outbound", graph.get(pipeline.resolve, view.policies), dynamic_dns=True)
        manager = hcm.connection_manager(
            "outbound_virtualOutbound;",
            pipeline.http_filters(inputs),
            inline=inline,
            direction="outbound",
            logs=pipeline.access_logs(inputs),
            tracing=pipeline.tracing(inputs),
        )
        chain = filter_chain.chain(
            "virtualOutbound-catchall-http", [manager], transport="raw_buffer", protocols=filter_chain.HTTP_PLAIN
        )
        black_holes.append(chain)
    return listener_messages.listener(
        names.VIRTUAL_OUTBOUND,
        "0.0.0.0",
        names.OUTBOUND_PORT,
        black_holes if looks_up else [*black_holes, catch_all],
        default=catch_all if looks_up else None,
        direction="outbound",
        wait_ms=registry.config(graph).detection_timeout_ms,
        original=True,
        filters=("tls_inspector", "http_inspector") if looks_up else (),
    )


@derived
def listener(graph: Graph, view: View, listener_address: ListenerAddress) -> EnvoyResource | None:
    """The listener at an address and port; None if no service needs one there."""
    address, port = listener_address
    egress = next(
        (
            o
            for o in graph.get(layout.egress_services, view)
            if (o.listener.address, o.listener.port) == listener_address
        ),
        None,
    )
    if egress is not None:
        return _shared(
            graph,
            view,
            listener_address,
            egress.routes if egress.http else "",
            egress.service_ports,
            (),
            egress.listener.direct,
        )
    if address != "0.0.0.0":
        service_port = graph.get(layout.service_port_at, view, listener_address) or _headless(
            graph, view, listener_address
        )
        return _bound(graph, view, listener_address, service_port) if service_port else None
    at_port = graph.get(layout.at_port, view, port)
    ranges = tuple((s.address, s) for s in at_port.ranges)
    return _shared(
        graph, view, listener_address, str(port) if at_port.http is not None else "", at_port.wildcard, ranges
    )


def _headless(graph: Graph, view: View, listener_address: ListenerAddress) -> ServicePort | None:
    """The headless service with an endpoint at an address."""
    address, port = listener_address
    if not graph.get(layout.at_port, view, port).headless:
        return None
    return graph.get(_headless_in, view, port, bucket(address)).get(address)


@derived
def _headless_at(graph: Graph, view: View, port: int) -> dict[int, dict[str, ServicePort]]:
    by_bucket: dict[int, dict[str, ServicePort]] = {}
    for service_port in graph.get(layout.at_port, view, port).headless:
        for address in graph.get(_addresses, view, service_port.host, port):
            by_bucket.setdefault(bucket(address), {}).setdefault(address, service_port)
    return by_bucket


@derived
def _headless_in(graph: Graph, view: View, port: int, number: int) -> dict[str, ServicePort]:
    return graph.get(_headless_at, view, port).get(number, {})


def _bound(graph: Graph, view: View, listener_address: ListenerAddress, service_port: ServicePort) -> EnvoyResource:
    """A listener at a service's own address: TCP to its clusters, and HTTP by protocol detection if the port declares none."""
    logs = graph.get(_logs, view)
    name = names.listener(*listener_address)
    plans = graph.get(tcp.of_service_port, view, service_port)
    chains = (
        []
        if service_port.port.protocol is not Protocol.AUTO
        else [_http_chain(graph, view, f"outbound_{name};", _route_config_name(service_port))]
    )
    chains = filter_chain.distinct([*chains, *(_chain(view, p, logs) for p in plans if p.matches)])
    default = next((_chain(view, p, logs) for p in plans if not p.matches), None) or _passthrough_chain(
        graph, view, logs
    )
    filters = ("tls_inspector", "http_inspector") if service_port.port.protocol is Protocol.AUTO else ("tls_inspector",)
    return listener_messages.listener(
        name,
        *listener_address,
        chains or [default],
        default=default if chains else None,
        direction="outbound",
        wait_ms=registry.config(graph).detection_timeout_ms,
        bind=False,
        filters=filters if chains else (),
        clusters=_clusters(plans) | _called(graph, view),
        sources=_sources(plans),
    )


def _passthrough_chain(
    graph: Graph, view: View, logs: tuple[accesslog_pb2.AccessLog, ...]
) -> listener_components_pb2.FilterChain:
    """The default filter chain, for connections that match no other chain."""
    cluster = passthrough_cluster(graph, view)
    return filter_chain.chain("PassthroughFilterChain", [tcp_proxy.to_cluster(cluster, cluster, logs, view.on_demand)])


def _route_config_name(service_port: ServicePort) -> str:
    """Name of the route configuration of a service with its own listener."""
    return f"{service_port.host}:{service_port.port.number}"


def _chain(
    view: View, plan: ConnectionPlan, logs: tuple[accesslog_pb2.AccessLog, ...], prefixes: tuple[str, ...] = ()
) -> listener_components_pb2.FilterChain:
    return filter_chain.chain(
        "",
        tcp_proxy.to_targets(plan.targets, logs, view.on_demand),
        transport="tls" if plan.sni else "",
        sni=plan.sni,
        prefixes=plan.prefixes or prefixes,
    )


def _clusters(plans: Iterable[ConnectionPlan]) -> frozenset[str]:
    return frozenset(names.outbound(t.cluster) for p in plans for t in p.targets)


def _sources(plans: Iterable[ConnectionPlan]) -> tuple[Key, ...]:
    return tuple(p.source for p in plans if p.source is not None)


def _shared(
    graph: Graph,
    view: View,
    listener_address: ListenerAddress,
    routes: str,
    wildcard: tuple[ServicePort, ...],
    ranges: tuple[tuple[str, ServicePort], ...],
    direct: bool = False,
) -> EnvoyResource:
    """A listener that several services share, such as 0.0.0.0_<port>: HTTP by detection with the port's routes (if any), TLS by
    server name, address ranges, and for the rest the first TCP service without an address, or passthrough. `direct`: binds to
    the port, for applications that connect to it without redirection."""
    logs = graph.get(_logs, view)
    name = names.listener(*listener_address)
    used: list[ConnectionPlan] = []
    chains = []
    default = None
    matches: set[object] = set()  # chains must not have equal matches: the first service wins
    for cidr, service_port in [*(("", s) for s in wildcard), *ranges]:
        if cidr and service_port.port.protocol is Protocol.AUTO:
            chains.append(
                _http_chain(graph, view, f"outbound_{name};", _route_config_name(service_port), prefixes=(cidr,))
            )
        for plan in graph.get(tcp.of_service_port, view, service_port):
            match = (plan.sni, plan.prefixes or ((cidr,) if cidr else ()))
            if match in matches:
                continue
            matches.add(match)
            used.append(plan)
            chain = _chain(view, plan, logs, match[1])
            if any(match):
                chains.append(chain)
            else:
                default = chain
    if routes:
        chains.append(_http_chain(graph, view, f"outbound_{name};", routes))
    if default is None:
        default = _passthrough_chain(graph, view, logs)
    chains = filter_chain.distinct(chains)
    inspectors = ("tls_inspector", "http_inspector") if routes or ranges else ("tls_inspector",)
    return listener_messages.listener(
        name,
        *listener_address,
        chains or [default],
        default=default if chains else None,
        direction="outbound",
        wait_ms=registry.config(graph).detection_timeout_ms,
        bind=direct,
        filters=inspectors,
        clusters=_clusters(used) | _called(graph, view),
        sources=_sources(used),
    )


def _http_chain(
    graph: Graph,
    view: View,
    prefix: str,
    route: str,
    prefixes: tuple[str, ...] = (),
) -> listener_components_pb2.FilterChain:
    policies = graph.get(pipeline.resolve, view.policies)
    inputs = FilterInputs("outbound", policies, graph.get(dynamic_dns, view), view.on_demand)
    manager = hcm.connection_manager(
        prefix,
        pipeline.http_filters(inputs),
        rds=route,
        direction="outbound",
        logs=pipeline.access_logs(inputs),
        tracing=pipeline.tracing(inputs),
        normalization=registry.config(graph).path_normalization,
    )
    return filter_chain.chain(
        "", [manager], transport="raw_buffer", protocols=filter_chain.HTTP_PLAIN, prefixes=prefixes
    )


@derived
def _logs(graph: Graph, view: View) -> tuple[accesslog_pb2.AccessLog, ...]:
    """The loggers of TCP proxies."""
    return pipeline.access_logs(FilterInputs("outbound", graph.get(pipeline.resolve, view.policies), tcp=True))


def _called(graph: Graph, view: View) -> frozenset[str]:
    """Names of the clusters that policies call."""
    return frozenset(names.outbound(c) for c in graph.get(pipeline.resolve, view.policies).clusters)
