"""Builds clusters: outbound, inbound for the application's ports, and the special ones such as PassthroughCluster."""

from __future__ import annotations

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import address_pb2, config_source_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2, endpoint_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2 as options_pb

from sailcloth.envoy import names, pipeline
from sailcloth.envoy.features.connection_pools import emit as connection_pools
from sailcloth.envoy.features.dynamic_dns import emit as dynamic_dns
from sailcloth.envoy.features.protocols import emit as protocols
from sailcloth.envoy.protobuf import duration, encode, pack
from sailcloth.envoy.resource import EnvoyResource, resource
from sailcloth.mesh.model import Resolution
from sailcloth.view.clusters import ClusterPlan
from sailcloth.view.inbound import InboundPlan, InboundPort
from sailcloth.view.udp import DatagramsPlan

from .resources import endpoint, service_metadata, udp_proxy
from .resources.address import bind_config, socket_address, to_address

_TYPES = {
    Resolution.EDS: cluster_pb2.Cluster.EDS,
    Resolution.DNS: cluster_pb2.Cluster.STRICT_DNS,
    Resolution.DNS_ROUND_ROBIN: cluster_pb2.Cluster.LOGICAL_DNS,
    Resolution.PASSTHROUGH: cluster_pb2.Cluster.ORIGINAL_DST,
}
_EDS_SOURCE = config_source_pb2.ConfigSource(
    ads=config_source_pb2.AggregatedConfigSource(),
    resource_api_version=config_source_pb2.V3,
    initial_fetch_timeout=duration(0),
)
_CLEANUP = duration(60_000)  # after which an unused address is forgotten, with its connections
_PASSTHROUGH_IDLE = duration(300_000)  # for connections to addresses that are no service's


def outbound(plan: ClusterPlan) -> EnvoyResource:
    """An outbound cluster."""
    name = names.outbound(plan.id)
    cluster = cluster_pb2.Cluster(name=name, alt_stat_name=name + ";")
    if plan.resolution in _TYPES:
        cluster.type = _TYPES[plan.resolution]
    if plan.resolution is Resolution.EDS:
        cluster.eds_cluster_config.eds_config.CopyFrom(_EDS_SOURCE)
        cluster.eds_cluster_config.service_name = name
    elif plan.resolution in (Resolution.DNS, Resolution.DNS_ROUND_ROBIN):
        cluster.dns_lookup_family = cluster_pb2.Cluster.V4_ONLY
        cluster.dns_refresh_rate.CopyFrom(duration(60_000))
        cluster.dns_jitter.CopyFrom(duration(100))  # proxies do not ask all at once
        cluster.respect_dns_ttl = True
        cluster.load_assignment.CopyFrom(endpoint.dns_assignment(name, plan))
    target = plan.port.target
    if plan.resolution is Resolution.PASSTHROUGH and not plan.service.kubernetes and target != plan.port.number:
        # With resolution NONE the address stays as it was dialled, the port becomes the targetPort.
        cluster.original_dst_lb_config.upstream_port_override.value = int(target or plan.port.number)
    for feature in pipeline.CLUSTER:
        feature(plan, cluster)
    istio = cluster.metadata.filter_metadata["istio"]
    if plan.rule is not None:
        istio.fields["config"].string_value = names.config_path(plan.rule.kind, plan.rule.namespace, plan.rule.name)
    if plan.id.subset:
        istio.fields["subset"].string_value = plan.id.subset
    service_metadata.add(cluster.metadata, plan.service.host, plan.service.name, plan.service.namespace)
    eds = name if plan.resolution is Resolution.EDS else ""
    return resource(name, encode(cluster), sources=plan.sources, endpoints=eds)


def datagrams(plan: DatagramsPlan) -> EnvoyResource:
    """The cluster of a gateway's UDP port."""
    return udp_proxy.cluster(plan, _EDS_SOURCE)


def inbound(plan: InboundPlan, inbound_port: InboundPort) -> EnvoyResource:
    """The cluster of one of the application's ports. Connects to the original destination, from 127.0.0.6, which traffic capture
    ignores; or to a Sidecar's defaultEndpoint."""
    name = names.inbound(inbound_port.port)
    cluster = cluster_pb2.Cluster(
        name=name, connect_timeout=duration(plan.config.connect_timeout_ms), alt_stat_name=name + ";"
    )
    address, _, port = inbound_port.endpoint.rpartition(":")
    if inbound_port.endpoint.startswith("unix://"):
        cluster.type = cluster_pb2.Cluster.STATIC
        cluster.load_assignment.CopyFrom(_assignment(name, to_address(inbound_port.endpoint, 0)))
    elif inbound_port.direct and address not in ("", "127.0.0.1"):
        cluster.type = cluster_pb2.Cluster.STATIC  # without redirection there is no original destination
        cluster.load_assignment.CopyFrom(_assignment(name, socket_address(inbound_port.bind, int(port))))
    elif address == "127.0.0.1" or (
        not inbound_port.endpoint and (inbound_port.direct or plan.config.inbound_mode == "LOCALHOST")
    ):
        cluster.type = cluster_pb2.Cluster.STATIC
        target = socket_address("127.0.0.1", int(port) if port else inbound_port.port)
        cluster.load_assignment.CopyFrom(_assignment(name, target))
    else:
        cluster.type = cluster_pb2.Cluster.ORIGINAL_DST
        cluster.lb_policy = cluster_pb2.Cluster.CLUSTER_PROVIDED
        cluster.upstream_bind_config.CopyFrom(bind_config(plan.mark))
        cluster.cleanup_interval.CopyFrom(_CLEANUP)
        if port and int(port) != inbound_port.port:
            cluster.original_dst_lb_config.upstream_port_override.value = int(port)
    protocols.inbound(inbound_port, cluster)
    connection_pools.inbound(inbound_port.connection_pool, plan.config, cluster)
    if inbound_port.host:
        service_metadata.add(cluster.metadata, inbound_port.host)
    return resource(name, encode(cluster))


def _assignment(name: str, address: address_pb2.Address) -> endpoint_pb2.ClusterLoadAssignment:
    host = endpoint_components_pb2.LbEndpoint(endpoint=endpoint_components_pb2.Endpoint(address=address))
    locality = endpoint_components_pb2.LocalityLbEndpoints(lb_endpoints=[host])
    return endpoint_pb2.ClusterLoadAssignment(cluster_name=name, endpoints=[locality])


def special(kind: str, connect_timeout_ms: float, mark: int = 0) -> EnvoyResource:
    """BlackHoleCluster, PassthroughCluster, InboundPassthroughCluster or AllowAnyDynamicDNSCluster."""
    cluster = cluster_pb2.Cluster(name=kind, connect_timeout=duration(connect_timeout_ms))
    if kind == names.BLACK_HOLE:
        cluster.type = cluster_pb2.Cluster.STATIC
        service_metadata.add(cluster.metadata, name=names.BLACK_HOLE)
    elif kind == names.DYNAMIC_DNS:
        dynamic_dns.make_dynamic(cluster)
    else:
        cluster.type = cluster_pb2.Cluster.ORIGINAL_DST
        cluster.lb_policy = cluster_pb2.Cluster.CLUSTER_PROVIDED
        options = options_pb.HttpProtocolOptions()
        options.common_http_protocol_options.idle_timeout.CopyFrom(_PASSTHROUGH_IDLE)
        options.use_downstream_protocol_config.http_protocol_options.SetInParent()
        options.use_downstream_protocol_config.http2_protocol_options.SetInParent()
        cluster.typed_extension_protocol_options[names.HTTP_PROTOCOL_OPTIONS].CopyFrom(pack(options))
    if kind == names.INBOUND_PASSTHROUGH:
        cluster.upstream_bind_config.CopyFrom(bind_config(mark))
        cluster.cleanup_interval.CopyFrom(_CLEANUP)
    if kind != names.BLACK_HOLE:
        limits = cluster.circuit_breakers.thresholds.add()
        for field in (limits.max_connections, limits.max_pending_requests, limits.max_requests, limits.max_retries):
            field.value = 2**32 - 1
    return resource(kind, encode(cluster))
