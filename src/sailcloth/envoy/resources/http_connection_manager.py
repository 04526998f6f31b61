"""The HTTP connection manager."""

from __future__ import annotations

from collections.abc import Sequence

from envoy.config.accesslog.v3 import accesslog_pb2
from envoy.config.core.v3 import config_source_pb2
from envoy.config.listener.v3 import listener_components_pb2 as components
from envoy.config.route.v3 import route_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb
from envoy.extensions.request_id.uuid.v3 import uuid_pb2

from sailcloth.envoy.features.telemetry.tracing import Settings as Tracing
from sailcloth.envoy.protobuf import duration, pack, typed
from sailcloth.view.proxy import GatewayTopology

_NO_TOPOLOGY = GatewayTopology()
_NO_TRACING = Tracing()


def connection_manager(
    stat_prefix: str,
    filters: Sequence[hcm_pb.HttpFilter],
    *,
    rds: str = "",
    inline: bytes = b"",
    direction: str,
    mutual: bool = False,
    logs: tuple[accesslog_pb2.AccessLog, ...] = (),
    tracing: Tracing = _NO_TRACING,
    normalization: str = "BASE",
    topology: GatewayTopology = _NO_TOPOLOGY,
) -> components.Filter:
    """An HTTP connection manager. `direction` is outbound, inbound or gateway; `inline` a serialised route configuration."""
    manager = hcm_pb.HttpConnectionManager(
        stat_prefix=stat_prefix,
        http_filters=filters,
        access_log=logs,
        stream_idle_timeout=duration(0),
        server_name="" if direction == "outbound" else "istio-envoy",  # Envoy's own default is "envoy"
        proxy_100_continue=True,
    )
    manager.normalize_path.value = normalization != "NONE"
    manager.merge_slashes = normalization in ("MERGE_SLASHES", "DECODE_AND_MERGE_SLASHES")
    if normalization == "DECODE_AND_MERGE_SLASHES":
        manager.path_with_escaped_slashes_action = hcm_pb.HttpConnectionManager.UNESCAPE_AND_FORWARD
    manager.use_remote_address.value = direction == "gateway"
    manager.upgrade_configs.add(upgrade_type="websocket")
    manager.http_protocol_options.accept_http_10 = True
    manager.http2_protocol_options.allow_connect = True
    if rds:
        manager.rds.route_config_name = rds
        manager.rds.config_source.CopyFrom(
            config_source_pb2.ConfigSource(
                ads=config_source_pb2.AggregatedConfigSource(),
                resource_api_version=config_source_pb2.V3,
                initial_fetch_timeout=duration(0),
            )
        )
    else:
        manager.route_config.CopyFrom(route_pb2.RouteConfiguration.FromString(inline))
    if tracing.tracing is not None:
        manager.tracing.CopyFrom(tracing.tracing)
        if not tracing.by_request_id:
            ids = uuid_pb2.UuidRequestIdConfig()
            ids.use_request_id_for_trace_sampling.value = False
            manager.request_id_extension.typed_config.CopyFrom(pack(ids))
    if direction == "inbound":
        manager.server_header_transformation = hcm_pb.HttpConnectionManager.PASS_THROUGH
    if mutual or direction == "gateway":
        append, sanitize = hcm_pb.HttpConnectionManager.APPEND_FORWARD, hcm_pb.HttpConnectionManager.SANITIZE_SET
        manager.forward_client_cert_details = sanitize if direction == "gateway" else append
        if topology.client_certificates:
            name = topology.client_certificates
            manager.forward_client_cert_details = hcm_pb.HttpConnectionManager.ForwardClientCertDetails.Value(name)
        manager.xff_num_trusted_hops = topology.trusted_proxies
        details = manager.set_current_client_cert_details
        details.subject.value = True
        details.dns = details.uri = True
        details.cert = direction == "gateway"
    return components.Filter(**typed("envoy.filters.network.http_connection_manager", manager))
