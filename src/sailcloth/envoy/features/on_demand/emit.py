"""On-demand discovery of clusters as Envoy protobuf. Pure."""

from __future__ import annotations

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import config_source_pb2
from envoy.extensions.filters.http.on_demand.v3 import on_demand_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb
from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2

from sailcloth.envoy.inputs import FilterInputs
from sailcloth.envoy.protobuf import duration, typed
from sailcloth.view.clusters import ClusterPlan

_WAIT_MS = 5_000  # timeout for a cluster; 503 afterwards
_ENDPOINTS_MS = 2_000  # timeout for a cluster's endpoints; Envoy delays other subscriptions in the meantime
_SOURCE = config_source_pb2.ConfigSource(
    ads=config_source_pb2.AggregatedConfigSource(), resource_api_version=config_source_pb2.V3
)


_FILTER = hcm_pb.HttpFilter(
    **typed(
        "envoy.filters.http.on_demand",
        on_demand_pb2.OnDemand(odcds=on_demand_pb2.OnDemandCds(source=_SOURCE, timeout=duration(_WAIT_MS))),
    )
)


def http_filters(inputs: FilterInputs) -> list[hcm_pb.HttpFilter]:
    """The filter that waits for a request's cluster."""
    return [_FILTER] if inputs.on_demand else []


def connection(out: tcp_proxy_pb2.TcpProxy) -> None:
    """Makes a TCP proxy wait for its cluster."""
    out.on_demand.odcds_config.CopyFrom(_SOURCE)
    out.on_demand.timeout.CopyFrom(duration(_WAIT_MS))


def cluster(plan: ClusterPlan, out: cluster_pb2.Cluster) -> None:
    """Sets the timeout for the cluster's endpoints."""
    if plan.on_demand and out.HasField("eds_cluster_config"):
        out.eds_cluster_config.eds_config.initial_fetch_timeout.CopyFrom(duration(_ENDPOINTS_MS))
