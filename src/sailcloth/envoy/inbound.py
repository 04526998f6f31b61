"""Builds the listener virtualInbound: one filter chain per port, protocol and transport. Source: istio.md 2.9.

Must not decide which connections a mutual TLS mode accepts; `features.peer_authentication` does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from envoy.config.accesslog.v3 import accesslog_pb2
from envoy.config.route.v3 import route_pb2

from sailcloth.api.virtual_service import HTTPRetry
from sailcloth.lib.incremental import Graph, derived
from sailcloth.mesh.model import Protocol
from sailcloth.mesh.peer_authentication import MutualTlsModes
from sailcloth.view.inbound import InboundPlan, InboundPort

from . import clusters as cluster_messages
from . import names, pipeline
from .features.peer_authentication import emit as peer_authentication
from .features.peer_authentication.emit import HTTP_ALPN, PortChains
from .features.retries import emit as retries_emit
from .features.retries import policy as retries_policy
from .inputs import FilterInputs, ResolvedPolicies
from .protobuf import duration, encode
from .resource import EnvoyResource
from .resources import filter_chain, tcp_proxy, tls
from .resources import http_connection_manager as hcm
from .resources import listener as listener_messages


@derived
def clusters(graph: Graph, plan: InboundPlan) -> tuple[EnvoyResource, ...]:
    """Clusters of the application's ports, and InboundPassthroughCluster for all other ports."""
    passthrough = cluster_messages.special(names.INBOUND_PASSTHROUGH, plan.config.connect_timeout_ms, plan.mark)
    return (passthrough, *(cluster_messages.inbound(plan, a) for a in plan.ports))


@derived
def listener(graph: Graph, plan: InboundPlan) -> EnvoyResource:
    """virtualInbound."""
    chains = _Chains.of(plan, graph.get(pipeline.resolve, plan.policies))
    # Reject connections to the proxy's own port, which would loop.
    black_hole = tcp_proxy.to_cluster(names.BLACK_HOLE, names.BLACK_HOLE, chains.logs(tcp=True))
    filter_chains = [filter_chain.chain("virtualInbound-blackhole", [black_hole], port=names.INBOUND_PORT)]
    filter_chains += chains.passthrough(chains.modes.mode, 0)
    served = {a.port for a in plan.ports if not a.direct}
    for port, mode in chains.modes.ports:
        if port not in served:
            filter_chains += chains.passthrough(mode, port)
    for inbound_port in plan.ports:
        if not inbound_port.direct:
            filter_chains += chains.port(inbound_port)
    return listener_messages.listener(
        names.VIRTUAL_INBOUND,
        "0.0.0.0",
        names.INBOUND_PORT,
        filter_chains,
        direction="inbound",
        wait_ms=plan.config.detection_timeout_ms,
        filters=("original_dst", "tls_inspector", "http_inspector"),
        declared_ports=tuple(a.port for a in plan.ports if not a.direct and not _detected(a)),
        clusters=chains.clusters,
        sources=chains.policies.sources,
    )


@derived
def direct(graph: Graph, plan: InboundPlan, port: int) -> EnvoyResource | None:
    """The listener that binds to a port by itself, for a Sidecar's ingress listener with `captureMode: NONE`."""
    inbound_port = next((a for a in plan.ports if a.port == port and a.direct), None)
    if inbound_port is None:
        return None
    chains = _Chains.of(plan, graph.get(pipeline.resolve, plan.policies))
    return listener_messages.listener(
        names.listener(inbound_port.bind, port),
        inbound_port.bind,
        port,
        chains.port(inbound_port),
        direction="inbound",
        wait_ms=plan.config.detection_timeout_ms,
        filters=("tls_inspector", "http_inspector"),
        clusters=chains.clusters,
        sources=chains.policies.sources,
    )


def _detected(inbound_port: InboundPort) -> bool:
    """Whether the protocol of a port's connections is detected."""
    return inbound_port.protocol is Protocol.AUTO or inbound_port.detect


@dataclass(frozen=True)
class _Chains:
    """Builds the filter chains of a workload's ports."""

    plan: InboundPlan
    policies: ResolvedPolicies
    modes: MutualTlsModes
    inputs: FilterInputs
    telemetry: bool

    @classmethod
    def of(cls, plan: InboundPlan, policies: ResolvedPolicies) -> _Chains:
        inputs = FilterInputs("inbound", policies)
        return cls(plan, policies, policies.of(MutualTlsModes), inputs, not plan.without_telemetry)

    @property
    def clusters(self) -> frozenset[str]:
        """Names of the clusters that policies call."""
        return frozenset(names.outbound(c) for c in self.policies.clusters)

    def port(self, inbound_port: InboundPort) -> list[Any]:
        """The chains of one port of the workload."""
        cluster = names.inbound(inbound_port.port)
        name = names.listener(inbound_port.bind, inbound_port.port)
        vhost = f"inbound|http|{inbound_port.service_port or inbound_port.port}"
        routes = _routes(cluster, vhost, inbound_port, self.plan.config.inbound_retries)
        http = inbound_port.protocol.is_http
        auto = inbound_port.protocol is Protocol.AUTO
        chains = PortChains(
            name=name,
            http_name=name,
            port=inbound_port.port,
            http_filters=lambda mutual: self._http(f"inbound_{name};", routes, mutual),
            tcp_filters=self._tcp(cluster),
            http=http or auto,
            tcp=not http or inbound_port.detect,
            trust_domains=self.plan.config.trust_domains,
            limits=self.plan.config.mesh_tls,
        )
        settings = inbound_port.tls
        mode = self.modes.mode_of_port(inbound_port.port)
        if settings is not None and mode == "DISABLE":  # otherwise mutual TLS of the mesh protects the port
            https = http or inbound_port.protocol is Protocol.HTTPS
            protocols, defaults = HTTP_ALPN if https else (), self.plan.config.tls_defaults
            socket = tls.terminating_socket(settings, protocols, defaults, self.plan.external_sds)
            filters = chains.http_filters(settings.mode == "MUTUAL") if https else chains.tcp_filters
            return [filter_chain.chain(name, filters, port=inbound_port.port, transport="tls", socket=socket)]
        return peer_authentication.filter_chains(mode, chains)

    def passthrough(self, mode: str, port: int) -> list[Any]:
        """Chains for ports without a service; port 0 means all of them."""
        cluster = names.INBOUND_PASSTHROUGH
        routes = _routes(cluster, "inbound|http|0", None, self.plan.config.inbound_retries)
        chains = PortChains(
            name=names.VIRTUAL_INBOUND,
            http_name="virtualInbound-catchall-http",
            port=port,
            http_filters=lambda mutual: self._http(cluster + ";", routes, mutual),
            tcp_filters=self._tcp(cluster),
            http=True,
            tcp=True,
            trust_domains=self.plan.config.trust_domains,
            limits=self.plan.config.mesh_tls,
        )
        return peer_authentication.filter_chains(mode, chains)

    def _tcp(self, cluster: str) -> list[Any]:
        return [
            *pipeline.network_filters(replace(self.inputs, tcp=True)),
            tcp_proxy.to_cluster(cluster, cluster, self.logs(tcp=True), after_handshake=True),
        ]

    def logs(self, tcp: bool) -> tuple[accesslog_pb2.AccessLog, ...]:
        """The access loggers of a chain."""
        return pipeline.access_logs(replace(self.inputs, tcp=tcp)) if self.telemetry else ()

    def _http(self, stat_prefix: str, routes: bytes, mutual: bool) -> list[Any]:
        manager = hcm.connection_manager(
            stat_prefix,
            pipeline.http_filters(self.inputs),
            inline=routes,
            direction="inbound",
            mutual=mutual,
            logs=self.logs(tcp=False),
            tracing=pipeline.tracing(self.inputs),
            normalization=self.plan.config.path_normalization,
        )
        return [*pipeline.network_filters(self.inputs), manager]


def _routes(cluster: str, vhost: str, inbound_port: InboundPort | None, retries: HTTPRetry | None) -> bytes:
    route_config = route_pb2.RouteConfiguration(name=cluster)
    host = route_config.virtual_hosts.add(name=vhost, domains=["*"])
    default_route = host.routes.add(name="default")
    default_route.match.prefix = "/"
    default_route.route.cluster = cluster
    default_route.route.timeout.CopyFrom(duration(0))
    default_route.route.max_stream_duration.grpc_timeout_header_max.CopyFrom(duration(0))
    if inbound_port is not None and inbound_port.host:
        default_route.decorator.operation = f"{inbound_port.host}:{inbound_port.service_port}/*"
    if inbound_port is None or inbound_port.protocol in (Protocol.HTTP, Protocol.HTTP2):
        policy = retries_policy.inbound(retries)
        if policy is not None:
            default_route.route.retry_policy.CopyFrom(retries_emit.retry_policy(policy))
    return encode(route_config)
