"""Builds the listener and cluster of a gateway's UDP port. Must not know routes.

All datagrams of a client's address and port are a session, which keeps its endpoint until nothing comes for `_IDLE`.
"""

from __future__ import annotations

from envoy.config.cluster.v3 import circuit_breaker_pb2, cluster_pb2
from envoy.config.core.v3 import address_pb2, base_pb2, config_source_pb2, socket_option_pb2
from envoy.config.listener.v3 import listener_components_pb2 as components
from envoy.config.listener.v3 import listener_pb2
from envoy.extensions.filters.udp.udp_proxy.v3 import route_pb2, udp_proxy_pb2

from sailcloth.envoy import names
from sailcloth.envoy.protobuf import duration, encode, typed
from sailcloth.envoy.resource import EnvoyResource, resource
from sailcloth.view.udp import DatagramsPlan

_IDLE = duration(60_000)
_LARGEST = 65_535  # bytes of a datagram; Envoy's default loses those of more than 1,500
_MAY_FRAGMENT = socket_option_pb2.SocketOption(
    description="IP_MTU_DISCOVER", level=0, name=10, int_value=0, state=socket_option_pb2.SocketOption.STATE_BOUND
)
"""Envoy forbids fragments of what it sends, before it binds; answers that are larger than the network's MTU would be lost."""
_MAX_SESSIONS = 16_384  # of a port; more lose their datagrams. Each has a socket of its own.


def listener(address: str, port: int, plan: DatagramsPlan) -> EnvoyResource:
    """A listener that sends datagrams to the port's cluster."""
    name, cluster = names.udp_listener(address, port), names.datagrams(plan.id)
    proxy = udp_proxy_pb2.UdpProxyConfig(stat_prefix=cluster, idle_timeout=_IDLE)
    proxy.upstream_socket_config.max_rx_datagram_size.value = _LARGEST
    action = typed("route", route_pb2.Route(cluster=cluster))
    proxy.matcher.on_no_match.action.name = action["name"]
    proxy.matcher.on_no_match.action.typed_config.CopyFrom(action["typed_config"])
    socket = address_pb2.SocketAddress(protocol=address_pb2.SocketAddress.UDP, address=address, port_value=port)
    message = listener_pb2.Listener(
        name=name,
        address=address_pb2.Address(socket_address=socket),
        traffic_direction=base_pb2.OUTBOUND,
        socket_options=[_MAY_FRAGMENT],
        listener_filters=[components.ListenerFilter(**typed("envoy.filters.udp_listener.udp_proxy", proxy))],
    )
    message.udp_listener_config.downstream_socket_config.max_rx_datagram_size.value = _LARGEST
    return resource(name, encode(message), frozenset({cluster}), plan.sources)


def cluster(plan: DatagramsPlan, source: config_source_pb2.ConfigSource) -> EnvoyResource:
    """The cluster of a UDP port, whose endpoints are from EDS."""
    name = names.datagrams(plan.id)
    message = cluster_pb2.Cluster(name=name, alt_stat_name=name + ";", type=cluster_pb2.Cluster.EDS)
    message.eds_cluster_config.eds_config.CopyFrom(source)
    message.eds_cluster_config.service_name = name
    limits = circuit_breaker_pb2.CircuitBreakers.Thresholds()
    limits.max_connections.value = _MAX_SESSIONS
    message.circuit_breakers.thresholds.append(limits)
    return resource(name, encode(message), sources=plan.sources, endpoints=name)
