"""The listener virtualInbound: one filter chain for each port, protocol and kind of TLS. Source: istio.md 2.9.

STRICT means STRICT: with it, no chain takes plain text, the pass-through chains included.
"""

from __future__ import annotations

from typing import Any

from envoy.config.route.v3 import route_components_pb2 as route_pb
from envoy.config.route.v3 import route_pb2

from sailcloth.lib.incremental import Graph, derived
from sailcloth.mesh import rate_limits as mesh_limits
from sailcloth.mesh.model import MeshConfig, Protocol
from sailcloth.mesh.rate_limits import Limits
from sailcloth.view.inbound import Accepted, InboundPlan

from . import names
from .features.rate_limits import emit as rate_limits
from .protobuf import duration, encode
from .resource import EnvoyResource
from .resources import cluster as cluster_shape
from .resources import listener as lb
from .resources import tls

_TCP_ALPN = ("istio-peer-exchange", "h2", "http/1.1")
_HTTP_ALPN = ("h2", "http/1.1")


@derived
def clusters(graph: Graph, plan: InboundPlan) -> tuple[EnvoyResource, ...]:
    """Clusters of the application's ports, and the one for all other ports."""
    through = cluster_shape.special(names.INBOUND_PASSTHROUGH, plan.config.connect_timeout_ms, plan.mark)
    return (through, *(cluster_shape.inbound(plan, a) for a in plan.ports))


@derived
def listener(graph: Graph, plan: InboundPlan) -> EnvoyResource:
    """virtualInbound."""
    logs = () if plan.lean else _logs(plan.config)
    limits = graph.get(mesh_limits.limits, plan.limits)
    hole = lb.chain(
        "virtualInbound-blackhole", [lb.tcp_proxy(names.BLACK_HOLE, names.BLACK_HOLE, logs)], port=names.INBOUND_PORT
    )
    chains = [hole, *_passthrough(plan, limits, plan.mode, 0, logs)]
    served = {a.port for a in plan.ports if not a.direct}
    for port, mode in plan.port_modes:
        if port not in served:
            chains += _passthrough(plan, limits, mode, port, logs)
    for accepted in plan.ports:
        if not accepted.direct:
            chains += _port(plan, limits, accepted, logs)
    return lb.listener(
        names.VIRTUAL_INBOUND,
        "0.0.0.0",
        names.INBOUND_PORT,
        chains,
        direction="inbound",
        wait_ms=plan.config.detection_timeout_ms,
        filters=("original_dst", "tls_inspector", "http_inspector"),
        http_ports=None,
        sources=(*plan.sources, *plan.limits),
    )


@derived
def direct(graph: Graph, plan: InboundPlan, port: int) -> EnvoyResource | None:
    """The listener of a port that a Sidecar has the proxy listen on itself (`captureMode: NONE`)."""
    accepted = next((a for a in plan.ports if a.port == port and a.direct), None)
    if accepted is None:
        return None
    logs = () if plan.lean else _logs(plan.config)
    return lb.listener(
        names.listener(accepted.bind, port),
        accepted.bind,
        port,
        _port(plan, graph.get(mesh_limits.limits, plan.limits), accepted, logs),
        direction="inbound",
        wait_ms=plan.config.detection_timeout_ms,
        filters=("tls_inspector", "http_inspector"),
        sources=(*plan.sources, *plan.limits),
    )


def _logs(config: MeshConfig) -> Any:
    return lb.access_log(config.access_log_file, config.access_log_format, config.access_log_json)


def _port(plan: InboundPlan, limits: Limits, accepted: Accepted, logs: Any) -> list[Any]:
    cluster = names.inbound(accepted.port)
    routes = _routes(cluster, f"inbound|http|{accepted.service_port or accepted.port}", accepted)
    http = accepted.protocol.is_http
    auto = accepted.protocol is Protocol.AUTO
    name = names.listener(accepted.bind, accepted.port)
    stat = f"inbound_{name};"

    def http_filters(mutual: bool) -> list[Any]:
        return _limited(limits, plan.config.path_normalization, stat, routes, mutual, logs)

    tcp_filters = [*rate_limits.network_filters(limits), lb.tcp_proxy(cluster, cluster, logs)]
    settings = accepted.settings()
    mode = plan.mode_at(accepted.port)
    if settings is not None and mode == "DISABLE":  # with the mesh's own TLS on, that is what protects the port
        https = http or accepted.protocol is Protocol.HTTPS
        socket = tls.terminating_socket(settings, _HTTP_ALPN if https else ())
        filters = http_filters(settings.mode == "MUTUAL") if https else tcp_filters
        return [lb.chain(name, filters, port=accepted.port, transport="tls", socket=socket)]
    return _chains(
        plan,
        mode,
        name=name,
        http_name=name,
        port=accepted.port,
        http_filters=http_filters,
        tcp_filters=tcp_filters,
        http=http or auto,
        tcp=not http,
    )


def _passthrough(plan: InboundPlan, limits: Limits, mode: str, port: int, logs: Any) -> list[Any]:
    """Chains for ports that no service has."""
    cluster = names.INBOUND_PASSTHROUGH
    routes = _routes(cluster, "inbound|http|0", None)
    return _chains(
        plan,
        mode,
        name=names.VIRTUAL_INBOUND,
        http_name="virtualInbound-catchall-http",
        port=port,
        http_filters=lambda mutual: _limited(
            limits, plan.config.path_normalization, cluster + ";", routes, mutual, logs
        ),
        tcp_filters=[*rate_limits.network_filters(limits), lb.tcp_proxy(cluster, cluster, logs)],
        http=True,
        tcp=True,
    )


def _limited(limits: Limits, normalization: str, stat: str, routes: bytes, mutual: bool, logs: Any) -> list[Any]:
    """The filters of an HTTP chain: the limits of connections, then the manager with those of requests."""
    more = rate_limits.http_filters(limits)
    manager = lb.connection_manager(
        stat, inline=routes, direction="inbound", mutual=mutual, logs=logs, more=more, normalization=normalization
    )
    return [*rate_limits.network_filters(limits), manager]


def _chains(
    plan: InboundPlan,
    mode: str,
    *,
    name: str,
    http_name: str,
    port: int,
    http_filters: Any,
    tcp_filters: list[Any],
    http: bool,
    tcp: bool,
) -> list[Any]:
    """The table of modes and protocols: `http` and `tcp` both set means that the protocol is detected."""
    out = []
    trust = plan.config.trust_domains
    sniffed = http and tcp
    if mode != "DISABLE":
        every = () if mode == "STRICT" else lb.MTLS_ALL
        if http:
            out.append(
                lb.chain(
                    http_name,
                    http_filters(True),
                    port=port,
                    transport="tls",
                    protocols=lb.MTLS_HTTP if sniffed else every,
                    socket=tls.server_socket(trust, _HTTP_ALPN),
                )
            )
        if tcp:
            out.append(
                lb.chain(
                    name,
                    tcp_filters,
                    port=port,
                    transport="tls",
                    protocols=lb.MTLS_TCP if sniffed and mode != "STRICT" else every,
                    socket=tls.server_socket(trust, _TCP_ALPN),
                )
            )
    if mode == "STRICT":
        return out
    # With TLS off everything is plain text to us, TLS from the application included.
    plain = "" if mode == "DISABLE" and not sniffed else "raw_buffer"
    if http:
        protocols = lb.HTTP_PLAIN if sniffed else ()
        out.append(lb.chain(http_name, http_filters(False), port=port, transport=plain, protocols=protocols))
    if tcp:
        out.append(lb.chain(name, tcp_filters, port=port, transport=plain))
        if plain:
            out.append(lb.chain(name, tcp_filters, port=port, transport="tls"))
    return out


def _routes(cluster: str, vhost: str, accepted: Accepted | None) -> bytes:
    out = route_pb2.RouteConfiguration(name=cluster)
    host = out.virtual_hosts.add(name=vhost, domains=["*"])
    made = host.routes.add(name="default")
    made.match.prefix = "/"
    made.route.cluster = cluster
    made.route.timeout.CopyFrom(duration(0))
    made.route.max_stream_duration.grpc_timeout_header_max.CopyFrom(duration(0))
    if accepted is not None and accepted.host:
        made.decorator.operation = f"{accepted.host}:{accepted.service_port}/*"
    if accepted is not None and accepted.protocol in (Protocol.HTTP, Protocol.HTTP2):
        retry = route_pb.RetryPolicy(retry_on="reset-before-request")
        retry.num_retries.value = 2
        made.route.retry_policy.CopyFrom(retry)
    return encode(out)
