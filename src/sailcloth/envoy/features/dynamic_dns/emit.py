"""Dynamic forward proxy as Envoy protobuf. Pure."""

from __future__ import annotations

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.route.v3 import route_components_pb2 as route_pb
from envoy.extensions.clusters.dynamic_forward_proxy.v3 import cluster_pb2 as forward_pb
from envoy.extensions.common.dynamic_forward_proxy.v3 import dns_cache_pb2
from envoy.extensions.filters.http.dynamic_forward_proxy.v3 import dynamic_forward_proxy_pb2 as filter_pb
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2 as options_pb

from sailcloth.envoy import names
from sailcloth.envoy.inputs import FilterInputs
from sailcloth.envoy.protobuf import pack
from sailcloth.mesh.model import Resolution
from sailcloth.view.clusters import ClusterPlan
from sailcloth.view.routes import RoutePlan

FILTER = "envoy.filters.http.dynamic_forward_proxy"
_CACHE = dns_cache_pb2.DnsCacheConfig(name="dynamic_dns", dns_lookup_family=cluster_pb2.Cluster.V4_ONLY)


_DISABLED = hcm_pb.HttpFilter(
    name=FILTER, typed_config=pack(filter_pb.FilterConfig(dns_cache_config=_CACHE)), disabled=True
)


def http_filters(inputs: FilterInputs) -> list[hcm_pb.HttpFilter]:
    """The filter, only if some route needs it, because it has a DNS cache, which it shares with the clusters."""
    return [_DISABLED] if inputs.dynamic_dns else []


def cluster(plan: ClusterPlan, out: cluster_pb2.Cluster) -> None:
    """Makes a DYNAMIC_DNS cluster a dynamic forward proxy cluster."""
    if plan.resolution is Resolution.DYNAMIC_DNS:
        make_dynamic(out, _verified(out))


def _verified(out: cluster_pb2.Cluster) -> bool:
    """Whether certificates are verified for the request's host; sets it in HTTP options that leave it open. Envoy requires it of a
    cluster with HTTP options, even without TLS, unless `allow_insecure_cluster_options` is set."""
    if names.HTTP_PROTOCOL_OPTIONS not in out.typed_extension_protocol_options:
        return True
    options = options_pb.HttpProtocolOptions()
    out.typed_extension_protocol_options[names.HTTP_PROTOCOL_OPTIONS].Unpack(options)
    by_host = options.upstream_http_protocol_options
    if not options.HasField("upstream_http_protocol_options"):
        by_host.auto_sni = by_host.auto_san_validation = True
        out.typed_extension_protocol_options[names.HTTP_PROTOCOL_OPTIONS].CopyFrom(pack(options))
    return bool(by_host.auto_sni and by_host.auto_san_validation)


def make_dynamic(out: cluster_pb2.Cluster, verified: bool = True) -> None:
    """Sets the cluster's type."""
    config = forward_pb.ClusterConfig(dns_cache_config=_CACHE, allow_insecure_cluster_options=not verified)
    out.lb_policy = cluster_pb2.Cluster.CLUSTER_PROVIDED
    out.cluster_type.name = "envoy.clusters.dynamic_forward_proxy"
    out.cluster_type.typed_config.CopyFrom(pack(config))


def route(plan: RoutePlan, out: route_pb.Route) -> None:
    """Enables the filter for a route to such a cluster."""
    if plan.dynamic_dns:
        turn_on(out)


def turn_on(out: route_pb.Route) -> None:
    out.typed_per_filter_config[FILTER].CopyFrom(pack(route_pb.FilterConfig(config=pack(filter_pb.PerRouteConfig()))))
