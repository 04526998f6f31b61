"""Builds listeners: addresses, listener filters, and the order of filter chains."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from envoy.config.core.v3 import base_pb2
from envoy.config.listener.v3 import listener_components_pb2 as components
from envoy.config.listener.v3 import listener_pb2
from envoy.extensions.filters.listener.http_inspector.v3 import http_inspector_pb2
from envoy.extensions.filters.listener.original_dst.v3 import original_dst_pb2
from envoy.extensions.filters.listener.proxy_protocol.v3 import proxy_protocol_pb2
from envoy.extensions.filters.listener.tls_inspector.v3 import tls_inspector_pb2

from sailcloth.envoy.protobuf import duration, encode, typed
from sailcloth.envoy.resource import EnvoyResource, resource

from .address import to_address


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
    declared_ports: tuple[int, ...] = (),
    wait_ms: float = 0.0,
    additional_ports: tuple[int, ...] = (),
) -> EnvoyResource:
    """A listener, also at the ports `additional_ports`. `wait_ms`: timeout of listener filters for the first bytes (0: none).
    `declared_ports`: ports whose protocol is not detected, so that the HTTP inspector is off there."""
    message = listener_pb2.Listener(
        name=name,
        address=to_address(address, port),
        additional_addresses=[listener_pb2.AdditionalAddress(address=to_address(address, p)) for p in additional_ports],
        filter_chains=chains,
        traffic_direction=base_pb2.INBOUND if direction == "inbound" else base_pb2.OUTBOUND,
        continue_on_listener_filters_timeout=True,
        listener_filters_timeout=duration(wait_ms),
    )
    if default is not None:
        message.default_filter_chain.CopyFrom(default)
    if bind:
        message.max_connections_to_accept_per_socket_event.value = 1  # other connections of the worker get their turn
    else:
        message.bind_to_port.value = False
    if original:
        message.use_original_dst.value = True
    if not reuse_port:
        message.enable_reuse_port.value = False
    for f in filters:
        listener_filter = components.ListenerFilter()
        listener_filter.CopyFrom(_listener_filter(f))
        if f == "http_inspector" and declared_ports:
            listener_filter.filter_disabled.CopyFrom(_at_ports(declared_ports))
        message.listener_filters.append(listener_filter)
    return resource(name, encode(message), clusters, sources)


def _at_ports(ports: tuple[int, ...]) -> components.ListenerFilterChainMatchPredicate:
    """Matches these destination ports."""
    predicate = components.ListenerFilterChainMatchPredicate
    rules = []
    for port in ports:
        port_match = predicate()
        port_match.destination_port_range.start, port_match.destination_port_range.end = port, port + 1
        rules.append(port_match)
    return rules[0] if len(rules) == 1 else predicate(or_match=predicate.MatchSet(rules=rules))
