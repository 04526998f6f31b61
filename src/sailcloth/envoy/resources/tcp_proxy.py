"""Builds TCP proxy filters, to one cluster or to weighted destinations."""

from __future__ import annotations

from functools import lru_cache

from envoy.config.accesslog.v3 import accesslog_pb2
from envoy.config.listener.v3 import listener_components_pb2 as components
from envoy.extensions.filters.common.set_filter_state.v3 import value_pb2 as filter_state_pb2
from envoy.extensions.filters.network.set_filter_state.v3 import set_filter_state_pb2
from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2

from sailcloth.api.meta import duration_ms
from sailcloth.envoy import names
from sailcloth.envoy.features.on_demand import emit as on_demand
from sailcloth.envoy.protobuf import duration, typed
from sailcloth.view.routes import Target


def to_cluster(
    stat_prefix: str,
    cluster: str | dict[str, int],
    logs: tuple[accesslog_pb2.AccessLog, ...] = (),
    waits: bool = False,
    after_handshake: bool = False,
) -> components.Filter:
    """A TCP proxy to one cluster, or to several by weight. `waits`: subscribe to the cluster on first use and wait for it.
    `after_handshake`: connect when the client has shown its certificate, which the first log entry names."""
    proxy = tcp_proxy_pb2.TcpProxy(stat_prefix=stat_prefix, access_log=logs)
    proxy.access_log_options.flush_access_log_on_connected = bool(logs)
    if after_handshake:
        proxy.upstream_connect_mode = tcp_proxy_pb2.ON_DOWNSTREAM_TLS_HANDSHAKE
        proxy.max_early_data_bytes.value = _EARLY_BYTES
    if isinstance(cluster, str):
        proxy.cluster = cluster
    else:
        for name, weight in cluster.items():
            proxy.weighted_clusters.clusters.add(name=name, weight=weight)
    if waits:
        on_demand.connection(proxy)
    return components.Filter(**typed("envoy.filters.network.tcp_proxy", proxy))


def to_targets(
    targets: tuple[Target, ...], logs: tuple[accesslog_pb2.AccessLog, ...] = (), waits: bool = False
) -> list[components.Filter]:
    """A TCP proxy to the weighted destinations of a route; to BlackHoleCluster if there are none.

    For a port that expects HTTP, sets the ALPN of mutual TLS to `istio` (plain TCP): the cluster's own ALPN would announce HTTP/2.
    """
    filters = [_set_tcp_alpn()] if any(t.to_http for t in targets) else []
    return [*filters, _to_targets(targets, logs, waits)]


_EARLY_BYTES = 16_384  # of a client that sends before it is connected; Envoy reads no more until then


@lru_cache(maxsize=1)
def _set_tcp_alpn() -> components.Filter:
    value = filter_state_pb2.FilterStateValue(object_key="envoy.network.application_protocols")
    value.format_string.text_format_source.inline_string = "istio"
    config = set_filter_state_pb2.Config(on_new_connection=[value])
    return components.Filter(**typed("envoy.filters.network.set_filter_state", config))


def _to_targets(
    targets: tuple[Target, ...], logs: tuple[accesslog_pb2.AccessLog, ...], waits: bool
) -> components.Filter:
    named: dict[str, int] = {}
    for t in targets:
        cluster = names.outbound(t.cluster)
        named[cluster] = named.get(cluster, 0) + t.weight
    first = next(iter(named), names.BLACK_HOLE)
    proxy = to_cluster(first, named if len(named) > 1 else first, logs, waits)
    idle = next((t.idle_timeout for t in targets if t.idle_timeout), "")
    tunnel = next((t.tunnel for t in targets if t.tunnel is not None), None)
    if not idle and tunnel is None:
        return proxy
    config = tcp_proxy_pb2.TcpProxy.FromString(proxy.typed_config.value)
    if idle:
        config.idle_timeout.CopyFrom(duration(duration_ms(idle) or 0))
    if tunnel is not None:
        config.tunneling_config.hostname = f"{tunnel.target_host}:{tunnel.target_port}"
        config.tunneling_config.use_post = tunnel.protocol == "POST"
    return components.Filter(**typed("envoy.filters.network.tcp_proxy", config))
