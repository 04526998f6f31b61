"""Clusters: outbound from plans, inbound for the application's ports, and the three special ones."""

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

from .resources import endpoint
from .resources.address import bind_config, place, socket_address

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


def outbound(plan: ClusterPlan) -> EnvoyResource:
    """An outbound cluster."""
    name = names.outbound(plan.id)
    out = cluster_pb2.Cluster(name=name, alt_stat_name=name + ";")
    if plan.resolution in _TYPES:
        out.type = _TYPES[plan.resolution]
    if plan.resolution is Resolution.EDS:
        out.eds_cluster_config.eds_config.CopyFrom(_EDS_SOURCE)
        out.eds_cluster_config.service_name = name
    elif plan.resolution in (Resolution.DNS, Resolution.DNS_ROUND_ROBIN):
        out.dns_lookup_family = cluster_pb2.Cluster.V4_ONLY
        out.dns_refresh_rate.CopyFrom(duration(60_000))
        out.respect_dns_ttl = True
        out.load_assignment.CopyFrom(endpoint.dns_assignment(name, plan))
    target = plan.port.target
    if plan.resolution is Resolution.PASSTHROUGH and not plan.service.kubernetes and target != plan.port.number:
        # With resolution NONE the address stays as it was dialled, the port becomes the targetPort.
        out.original_dst_lb_config.upstream_port_override.value = int(target or plan.port.number)
    for feature in pipeline.CLUSTER:
        feature(plan, out)
    istio = out.metadata.filter_metadata["istio"]
    if plan.rule is not None:
        istio.fields["config"].string_value = names.config_path(plan.rule.kind, plan.rule.namespace, plan.rule.name)
    if plan.id.subset:
        istio.fields["subset"].string_value = plan.id.subset
    service = istio.fields["services"].list_value.values.add().struct_value
    service.fields["host"].string_value = plan.service.host
    service.fields["name"].string_value = plan.service.name
    service.fields["namespace"].string_value = plan.service.namespace
    eds = name if plan.resolution is Resolution.EDS else ""
    return resource(name, encode(out), sources=plan.sources, endpoints=eds)


def inbound(plan: InboundPlan, inbound_port: InboundPort) -> EnvoyResource:
    """The cluster of one of the application's ports: the address that was dialled, from 127.0.0.6, so that capture lets
    the connection through. A Sidecar's defaultEndpoint on 127.0.0.1 makes it a fixed address."""
    name = names.inbound(inbound_port.port)
    out = cluster_pb2.Cluster(
        name=name, connect_timeout=duration(plan.config.connect_timeout_ms), alt_stat_name=name + ";"
    )
    address, _, port = inbound_port.endpoint.rpartition(":")
    if inbound_port.endpoint.startswith("unix://"):
        out.type = cluster_pb2.Cluster.STATIC
        out.load_assignment.CopyFrom(_assignment(name, place(inbound_port.endpoint, 0)))
    elif inbound_port.direct and address not in ("", "127.0.0.1"):
        out.type = cluster_pb2.Cluster.STATIC  # nothing was redirected, so there is no original destination
        out.load_assignment.CopyFrom(_assignment(name, socket_address(inbound_port.bind, int(port))))
    elif address == "127.0.0.1" or (
        not inbound_port.endpoint and (inbound_port.direct or plan.config.inbound_mode == "LOCALHOST")
    ):
        out.type = cluster_pb2.Cluster.STATIC
        target = socket_address("127.0.0.1", int(port) if port else inbound_port.port)
        out.load_assignment.CopyFrom(_assignment(name, target))
    else:
        out.type = cluster_pb2.Cluster.ORIGINAL_DST
        out.lb_policy = cluster_pb2.Cluster.CLUSTER_PROVIDED
        out.upstream_bind_config.CopyFrom(bind_config(plan.mark))
        if port and int(port) != inbound_port.port:
            out.original_dst_lb_config.upstream_port_override.value = int(port)
    protocols.inbound(inbound_port, out)
    connection_pools.inbound(inbound_port.connection_pool, plan.config, out)
    if inbound_port.host:
        service = out.metadata.filter_metadata["istio"].fields["services"].list_value.values.add().struct_value
        service.fields["host"].string_value = inbound_port.host
    return resource(name, encode(out))


def _assignment(name: str, address: address_pb2.Address) -> endpoint_pb2.ClusterLoadAssignment:
    host = endpoint_components_pb2.LbEndpoint(endpoint=endpoint_components_pb2.Endpoint(address=address))
    locality = endpoint_components_pb2.LocalityLbEndpoints(lb_endpoints=[host])
    return endpoint_pb2.ClusterLoadAssignment(cluster_name=name, endpoints=[locality])


def special(kind: str, connect_timeout_ms: float, mark: int = 0) -> EnvoyResource:
    """BlackHoleCluster, PassthroughCluster, InboundPassthroughCluster or AllowAnyDynamicDNSCluster."""
    out = cluster_pb2.Cluster(name=kind, connect_timeout=duration(connect_timeout_ms))
    if kind == names.BLACK_HOLE:
        out.type = cluster_pb2.Cluster.STATIC
    elif kind == names.DYNAMIC_DNS:
        dynamic_dns.make_dynamic(out)
    else:
        out.type = cluster_pb2.Cluster.ORIGINAL_DST
        out.lb_policy = cluster_pb2.Cluster.CLUSTER_PROVIDED
        options = options_pb.HttpProtocolOptions()
        options.use_downstream_protocol_config.http_protocol_options.SetInParent()
        options.use_downstream_protocol_config.http2_protocol_options.SetInParent()
        out.typed_extension_protocol_options[names.HTTP_PROTOCOL_OPTIONS].CopyFrom(pack(options))
    if kind == names.INBOUND_PASSTHROUGH:
        out.upstream_bind_config.CopyFrom(bind_config(mark))
    if kind != names.BLACK_HOLE:
        limits = out.circuit_breakers.thresholds.add()
        for field in (limits.max_connections, limits.max_pending_requests, limits.max_requests, limits.max_retries):
            field.value = 2**32 - 1
    return resource(kind, encode(out))
