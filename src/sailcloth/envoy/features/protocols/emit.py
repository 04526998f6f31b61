"""HTTP protocol options as Envoy protobuf. Pure."""

from __future__ import annotations

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.common.matcher.v3 import matcher_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2 as options_pb

from sailcloth.api.destination_rule import ConnectionPoolSettings
from sailcloth.api.meta import duration_ms
from sailcloth.envoy import names
from sailcloth.envoy.protobuf import duration, pack
from sailcloth.mesh.model import Protocol
from sailcloth.view.clusters import ClusterPlan
from sailcloth.view.inbound import InboundPort

_MOST_STREAMS = 2**31 - 1  # Envoy's limit


def cluster(plan: ClusterPlan, out: cluster_pb2.Cluster) -> None:
    """Sets the HTTP protocol options."""
    protocol = plan.port.protocol
    if not protocol.is_http and protocol is not Protocol.AUTO:
        return
    pool = plan.policy.connection_pool
    http = pool.http if pool else None
    outliers = plan.policy.outlier_detection
    statuses = outliers.outlier_detection_http_error_codes if outliers is not None else ()
    options = options_pb.HttpProtocolOptions()
    if plan.client_protocol:
        options.use_downstream_protocol_config.http_protocol_options.SetInParent()
        options.use_downstream_protocol_config.http2_protocol_options.SetInParent()
    elif plan.upgrade_http2 or protocol.is_http2:
        options.explicit_http_config.http2_protocol_options.allow_connect = True
        streams = (http.max_concurrent_streams if http else None) or 1073741824
        options.explicit_http_config.http2_protocol_options.max_concurrent_streams.value = min(streams, _MOST_STREAMS)
        keep = http.http2_keep_alive if http else None
        if keep is not None and keep.interval:
            alive = options.explicit_http_config.http2_protocol_options.connection_keepalive
            alive.interval.CopyFrom(duration(duration_ms(keep.interval) or 0))
            alive.timeout.CopyFrom(duration(duration_ms(keep.timeout or "20s") or 0))
    elif http is None and not (pool and pool.tcp and pool.tcp.max_connection_duration) and not statuses:
        return
    else:
        options.explicit_http_config.http_protocol_options.SetInParent()
    _common(pool, options)
    if statuses:
        options.outlier_detection.error_matcher.CopyFrom(_one_of(statuses))
    out.typed_extension_protocol_options[names.HTTP_PROTOCOL_OPTIONS].CopyFrom(pack(options))


def inbound(inbound_port: InboundPort, out: cluster_pb2.Cluster) -> None:
    """Sets the HTTP protocol options of an application's port: the declared protocol, with a Sidecar's limits."""
    if not inbound_port.protocol.is_http and inbound_port.protocol is not Protocol.AUTO:
        return
    pool = inbound_port.connection_pool
    http = pool.http if pool else None
    options = options_pb.HttpProtocolOptions()
    if inbound_port.protocol is Protocol.AUTO or (http is not None and http.use_client_protocol):
        options.use_downstream_protocol_config.http_protocol_options.SetInParent()
        options.use_downstream_protocol_config.http2_protocol_options.SetInParent()
    elif inbound_port.protocol.is_http2:
        two = options.explicit_http_config.http2_protocol_options
        two.allow_connect = True
        if http is not None and http.max_concurrent_streams:
            two.max_concurrent_streams.value = min(http.max_concurrent_streams, _MOST_STREAMS)
    elif pool is None:
        return
    else:
        options.explicit_http_config.http_protocol_options.SetInParent()
    _common(pool, options)
    out.typed_extension_protocol_options[names.HTTP_PROTOCOL_OPTIONS].CopyFrom(pack(options))


def _one_of(statuses: tuple[int, ...]) -> matcher_pb2.MatchPredicate:
    """Matches responses with one of the statuses."""
    rules = []
    for status in dict.fromkeys(statuses):
        rule = matcher_pb2.MatchPredicate()
        rule.http_response_headers_match.headers.add(name=":status").string_match.exact = str(status)
        rules.append(rule)
    if len(rules) == 1:
        return rules[0]
    return matcher_pb2.MatchPredicate(or_match=matcher_pb2.MatchPredicate.MatchSet(rules=rules))


def _common(pool: ConnectionPoolSettings | None, options: options_pb.HttpProtocolOptions) -> None:
    http, tcp = (pool.http, pool.tcp) if pool else (None, None)
    common = options.common_http_protocol_options
    if http is not None and http.idle_timeout:
        common.idle_timeout.CopyFrom(duration(duration_ms(http.idle_timeout) or 0))
    if http is not None and http.max_requests_per_connection:
        common.max_requests_per_connection.value = http.max_requests_per_connection
    if tcp is not None and tcp.max_connection_duration:
        common.max_connection_duration.CopyFrom(duration(duration_ms(tcp.max_connection_duration) or 0))
