"""Listeners: the HTTP connection manager, TCP proxies, filter chains and their matches."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from envoy.config.accesslog.v3 import accesslog_pb2
from envoy.config.core.v3 import base_pb2, config_source_pb2
from envoy.config.listener.v3 import listener_components_pb2 as components
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.access_loggers.file.v3 import file_pb2
from envoy.extensions.filters.common.set_filter_state.v3 import value_pb2 as filter_state_pb2
from envoy.extensions.filters.http.cors.v3 import cors_pb2
from envoy.extensions.filters.http.fault.v3 import fault_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.listener.http_inspector.v3 import http_inspector_pb2
from envoy.extensions.filters.listener.original_dst.v3 import original_dst_pb2
from envoy.extensions.filters.listener.proxy_protocol.v3 import proxy_protocol_pb2
from envoy.extensions.filters.listener.tls_inspector.v3 import tls_inspector_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb
from envoy.extensions.filters.network.set_filter_state.v3 import set_filter_state_pb2
from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2

from sailcloth.api.meta import duration_ms
from sailcloth.envoy import names, pipeline
from sailcloth.envoy.features.dynamic_dns import emit as dynamic_dns
from sailcloth.envoy.features.on_demand import emit as on_demand
from sailcloth.envoy.protobuf import duration, encode, pack, typed
from sailcloth.envoy.resource import EnvoyResource, resource
from sailcloth.view.proxy import Topology
from sailcloth.view.routes import Target

from .cluster import place

HTTP_PLAIN = ("http/1.0", "http/1.1", "h2c")
MTLS_HTTP = ("istio-http/1.0", "istio-http/1.1", "istio-h2")
MTLS_TCP = ("istio-peer-exchange", "istio")
MTLS_ALL = ("istio", "istio-peer-exchange", *MTLS_HTTP)

ACCESS_LOG_FORMAT = (
    '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% '
    '%RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% "%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% '
    '%BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" '
    '"%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" %UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS% '
    "%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%\n"
)

ACCESS_LOG_FIELDS = {
    "start_time": "%START_TIME%",
    "method": "%REQ(:METHOD)%",
    "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
    "protocol": "%PROTOCOL%",
    "response_code": "%RESPONSE_CODE%",
    "response_flags": "%RESPONSE_FLAGS%",
    "response_code_details": "%RESPONSE_CODE_DETAILS%",
    "connection_termination_details": "%CONNECTION_TERMINATION_DETAILS%",
    "upstream_transport_failure_reason": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
    "duration": "%DURATION%",
    "upstream_service_time": "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%",
    "x_forwarded_for": "%REQ(X-FORWARDED-FOR)%",
    "user_agent": "%REQ(USER-AGENT)%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "authority": "%REQ(:AUTHORITY)%",
    "upstream_host": "%UPSTREAM_HOST%",
    "upstream_cluster": "%UPSTREAM_CLUSTER_RAW%",
    "upstream_local_address": "%UPSTREAM_LOCAL_ADDRESS%",
    "downstream_local_address": "%DOWNSTREAM_LOCAL_ADDRESS%",
    "downstream_remote_address": "%DOWNSTREAM_REMOTE_ADDRESS%",
    "requested_server_name": "%REQUESTED_SERVER_NAME%",
    "route_name": "%ROUTE_NAME%",
}

_NOTHING_BEFORE = Topology()
_OFF: dict[str, Any] = {
    "envoy.filters.http.fault": fault_pb2.HTTPFault(),
    "envoy.filters.http.cors": cors_pb2.Cors(),
    dynamic_dns.FILTER: dynamic_dns.filter_config(),
}


@lru_cache(maxsize=32)
def access_log(path: str, text: str, as_json: bool = False) -> tuple[accesslog_pb2.AccessLog, ...]:
    """Istio's log to a file, as text or as JSON (then `text` is a JSON object of names and formats); none without a path."""
    if not path:
        return ()
    log = file_pb2.FileAccessLog(path=path)
    if as_json:
        log.log_format.json_format.update(_json_fields(text))
    else:
        log.log_format.text_format_source.inline_string = text or ACCESS_LOG_FORMAT
    return (accesslog_pb2.AccessLog(**typed("envoy.access_loggers.file", log)),)


def _json_fields(text: str) -> dict[str, str]:
    """The fields of a JSON log: as given, else Istio's names for what the text has."""
    try:
        given = json.loads(text) if text else None
    except ValueError:
        given = None
    if isinstance(given, dict) and given:
        return {str(k): str(v) for k, v in given.items()}
    return dict(ACCESS_LOG_FIELDS)


@lru_cache(maxsize=8)
def http_filters(rare: bool = False) -> tuple[hcm_pb.HttpFilter, ...]:
    """Filters of every HTTP chain: those that single routes turn on (disabled until then), then the router."""
    optional = [
        hcm_pb.HttpFilter(name=name, typed_config=pack(_OFF[name]), disabled=True)
        for name in (*pipeline.OPTIONAL_HTTP_FILTERS, *(pipeline.RARE_HTTP_FILTERS if rare else ()))
    ]
    return (*optional, hcm_pb.HttpFilter(**typed("envoy.filters.http.router", router_pb2.Router())))


def connection_manager(
    stat_prefix: str,
    *,
    rds: str = "",
    inline: bytes = b"",
    direction: str,
    mutual: bool = False,
    logs: tuple[accesslog_pb2.AccessLog, ...] = (),
    rare: bool = False,
    more: Sequence[hcm_pb.HttpFilter] = (),
    normalization: str = "BASE",
    topology: Topology = _NOTHING_BEFORE,
) -> components.Filter:
    """An HTTP connection manager. `direction` is outbound, inbound or gateway; `inline` a serialised route configuration,
    `more` are filters right before the router."""
    out = hcm_pb.HttpConnectionManager(
        stat_prefix=stat_prefix,
        http_filters=[*http_filters(rare)[:-1], *more, http_filters(rare)[-1]],
        access_log=logs,
        stream_idle_timeout=duration(0),
        server_name="istio-envoy",
        proxy_100_continue=True,
    )
    out.normalize_path.value = normalization != "NONE"
    out.merge_slashes = normalization in ("MERGE_SLASHES", "DECODE_AND_MERGE_SLASHES")
    if normalization == "DECODE_AND_MERGE_SLASHES":
        out.path_with_escaped_slashes_action = hcm_pb.HttpConnectionManager.UNESCAPE_AND_FORWARD
    out.use_remote_address.value = direction == "gateway"
    out.upgrade_configs.add(upgrade_type="websocket")
    out.http_protocol_options.accept_http_10 = True
    out.http2_protocol_options.allow_connect = True
    if rds:
        out.rds.route_config_name = rds
        out.rds.config_source.CopyFrom(
            config_source_pb2.ConfigSource(
                ads=config_source_pb2.AggregatedConfigSource(),
                resource_api_version=config_source_pb2.V3,
                initial_fetch_timeout=duration(0),
            )
        )
    else:
        out.route_config.CopyFrom(route_pb2.RouteConfiguration.FromString(inline))
    if direction == "inbound":
        out.server_header_transformation = hcm_pb.HttpConnectionManager.PASS_THROUGH
    if mutual or direction == "gateway":
        append, sanitize = hcm_pb.HttpConnectionManager.APPEND_FORWARD, hcm_pb.HttpConnectionManager.SANITIZE_SET
        out.forward_client_cert_details = sanitize if direction == "gateway" else append
        if topology.client_certificates:
            name = topology.client_certificates
            out.forward_client_cert_details = hcm_pb.HttpConnectionManager.ForwardClientCertDetails.Value(name)
        out.xff_num_trusted_hops = topology.trusted_proxies
        details = out.set_current_client_cert_details
        details.subject.value = True
        details.dns = details.uri = True
        details.cert = direction == "gateway"
    return components.Filter(**typed("envoy.filters.network.http_connection_manager", out))


def tcp_proxy(
    stat_prefix: str,
    cluster: str | dict[str, int],
    logs: tuple[accesslog_pb2.AccessLog, ...] = (),
    waits: bool = False,
) -> components.Filter:
    """A TCP proxy to one cluster, or to several by weight; it may wait for a cluster that comes on first use."""
    out = tcp_proxy_pb2.TcpProxy(stat_prefix=stat_prefix, access_log=logs)
    if isinstance(cluster, str):
        out.cluster = cluster
    else:
        for name, weight in cluster.items():
            out.weighted_clusters.clusters.add(name=name, weight=weight)
    if waits:
        on_demand.connection(out)
    return components.Filter(**typed("envoy.filters.network.tcp_proxy", out))


def to_targets(
    targets: tuple[Target, ...], logs: tuple[accesslog_pb2.AccessLog, ...] = (), waits: bool = False
) -> list[components.Filter]:
    """A TCP proxy to the weighted destinations of a route; to nowhere if it has none.

    A connection to a port that expects HTTP says over mutual TLS that it is just bytes: the cluster would promise HTTP/2.
    """
    said = [_just_bytes()] if any(t.to_http for t in targets) else []
    return [*said, _to_targets(targets, logs, waits)]


@lru_cache(maxsize=1)
def _just_bytes() -> components.Filter:
    value = filter_state_pb2.FilterStateValue(object_key="envoy.network.application_protocols")
    value.format_string.text_format_source.inline_string = "istio"
    made = set_filter_state_pb2.Config(on_new_connection=[value])
    return components.Filter(**typed("envoy.filters.network.set_filter_state", made))


def _to_targets(
    targets: tuple[Target, ...], logs: tuple[accesslog_pb2.AccessLog, ...], waits: bool
) -> components.Filter:
    named: dict[str, int] = {}
    for t in targets:
        cluster = names.outbound(t.cluster)
        named[cluster] = named.get(cluster, 0) + t.weight
    first = next(iter(named), names.BLACK_HOLE)
    made = tcp_proxy(first, named if len(named) > 1 else first, logs, waits)
    idle = next((t.idle_timeout for t in targets if t.idle_timeout), "")
    tunnel = next((t.tunnel for t in targets if t.tunnel is not None), None)
    if not idle and tunnel is None:
        return made
    out = tcp_proxy_pb2.TcpProxy.FromString(made.typed_config.value)
    if idle:
        out.idle_timeout.CopyFrom(duration(duration_ms(idle) or 0))
    if tunnel is not None:
        out.tunneling_config.hostname = f"{tunnel.target_host}:{tunnel.target_port}"
        out.tunneling_config.use_post = tunnel.protocol == "POST"
    return components.Filter(**typed("envoy.filters.network.tcp_proxy", out))


def chain(
    name: str,
    filters: list[components.Filter],
    *,
    port: int = 0,
    transport: str = "",
    protocols: tuple[str, ...] = (),
    sni: tuple[str, ...] = (),
    prefixes: tuple[str, ...] = (),
    socket: base_pb2.TransportSocket | None = None,
) -> components.FilterChain:
    """A filter chain with its match."""
    out = components.FilterChain(name=name, filters=filters)
    match = components.FilterChainMatch(transport_protocol=transport, application_protocols=protocols, server_names=sni)
    if port:
        match.destination_port.value = port
    for network in (ipaddress.ip_network(p, strict=False) for p in prefixes):
        cidr = match.prefix_ranges.add(address_prefix=str(network.network_address))
        cidr.prefix_len.value = network.prefixlen
    if match.ByteSize():
        out.filter_chain_match.CopyFrom(match)
    if socket is not None:
        out.transport_socket.CopyFrom(socket)
        out.transport_socket_connect_timeout.CopyFrom(duration(15_000))
    return out


def distinct(chains: list[components.FilterChain]) -> list[components.FilterChain]:
    """Chains of which no two match the same connections, as Envoy demands: the first of them has the say.

    Names with a wildcard for a part of a label are left out, which Envoy cannot match.
    """
    out: list[components.FilterChain] = []
    taken: set[tuple[bytes, tuple[str, int], str]] = set()
    for each in chains:
        match = components.FilterChainMatch()
        match.CopyFrom(each.filter_chain_match)
        names = [n for n in dict.fromkeys(match.server_names) if not n.startswith("*") or n.startswith("*.")]
        names = names if match.server_names else [""]
        ranges = list(dict.fromkeys((r.address_prefix, r.prefix_len.value) for r in match.prefix_ranges)) or [("", 0)]
        match.ClearField("server_names")
        match.ClearField("prefix_ranges")
        rest = match.SerializeToString(deterministic=True)
        if names == [""]:
            ranges = [r for r in ranges if (rest, r, "") not in taken]
        else:
            names = [n for n in names if all((rest, r, n) not in taken for r in ranges)]
        if not names or not ranges:
            continue
        taken |= {(rest, r, n) for r in ranges for n in names}
        match.server_names.extend(n for n in names if n)
        for address, length in ranges:
            if address:
                match.prefix_ranges.add(address_prefix=address).prefix_len.value = length
        if match != each.filter_chain_match:
            made = components.FilterChain()
            made.CopyFrom(each)
            made.filter_chain_match.CopyFrom(match)
            each = made
        out.append(each)
    return out


@lru_cache(maxsize=8)
def _listener_filter(name: str) -> components.ListenerFilter:
    messages = {
        "original_dst": original_dst_pb2.OriginalDst(),
        "tls_inspector": tls_inspector_pb2.TlsInspector(),
        "http_inspector": http_inspector_pb2.HttpInspector(),
        "proxy_protocol": proxy_protocol_pb2.ProxyProtocol(),
    }
    return components.ListenerFilter(**typed(f"envoy.filters.listener.{name}", messages[name]))


def listener(
    name: str,
    address: str,
    port: int,
    chains: list[components.FilterChain],
    *,
    direction: str,
    default: components.FilterChain | None = None,
    filters: tuple[str, ...] = (),
    bind: bool = True,
    original: bool = False,
    reuse_port: bool = True,
    clusters: frozenset[str] = frozenset(),
    sources: tuple[Any, ...] = (),
    http_ports: tuple[int, ...] | None = None,
    wait_ms: float = 0.0,
    beside: tuple[int, ...] = (),
) -> EnvoyResource:
    """A listener, also at the ports `beside`. `wait_ms` bounds the wait for first bytes to inspect (0: no bound). `http_ports`: ports on which the HTTP inspector is needed; None for all."""
    out = listener_pb2.Listener(
        name=name,
        address=place(address, port),
        additional_addresses=[listener_pb2.AdditionalAddress(address=place(address, p)) for p in beside],
        filter_chains=chains,
        traffic_direction=base_pb2.INBOUND if direction == "inbound" else base_pb2.OUTBOUND,
        continue_on_listener_filters_timeout=True,
        listener_filters_timeout=duration(wait_ms),
    )
    if default is not None:
        out.default_filter_chain.CopyFrom(default)
    if not bind:
        out.bind_to_port.value = False
    if original:
        out.use_original_dst.value = True
    if not reuse_port:
        out.enable_reuse_port.value = False
    for f in filters:
        made = components.ListenerFilter()
        made.CopyFrom(_listener_filter(f))
        if f == "http_inspector" and http_ports is not None:
            made.filter_disabled.CopyFrom(_except_ports(http_ports))
        out.listener_filters.append(made)
    return resource(name, encode(out), clusters, sources)


def _except_ports(ports: tuple[int, ...]) -> components.ListenerFilterChainMatchPredicate:
    """True for every destination port but these."""
    predicate = components.ListenerFilterChainMatchPredicate
    if not ports:
        return predicate(any_match=True)
    rules = []
    for port in ports:
        one = predicate()
        one.destination_port_range.start, one.destination_port_range.end = port, port + 1
        rules.append(one)
    inner = rules[0] if len(rules) == 1 else predicate(or_match=predicate.MatchSet(rules=rules))
    return predicate(not_match=inner)
