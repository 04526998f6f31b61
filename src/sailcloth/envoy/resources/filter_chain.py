"""Builds filter chains and their matches, with the ALPN protocols that identify mutual TLS of the mesh."""

from __future__ import annotations

import ipaddress

from envoy.config.core.v3 import base_pb2
from envoy.config.listener.v3 import listener_components_pb2 as components

from sailcloth.envoy.protobuf import duration

HTTP_PLAIN = ("http/1.0", "http/1.1", "h2c")
MTLS_HTTP = ("istio-http/1.0", "istio-http/1.1", "istio-h2")
MTLS_TCP = ("istio-peer-exchange", "istio")
MTLS_ALL = ("istio", "istio-peer-exchange", *MTLS_HTTP)


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
    message = components.FilterChain(name=name, filters=filters)
    match = components.FilterChainMatch(transport_protocol=transport, application_protocols=protocols, server_names=sni)
    if port:
        match.destination_port.value = port
    for network in (ipaddress.ip_network(p, strict=False) for p in prefixes):
        cidr = match.prefix_ranges.add(address_prefix=str(network.network_address))
        cidr.prefix_len.value = network.prefixlen
    if match.ByteSize():
        message.filter_chain_match.CopyFrom(match)
    if socket is not None:
        message.transport_socket.CopyFrom(socket)
        message.transport_socket_connect_timeout.CopyFrom(duration(15_000))
    return message


def distinct(chains: list[components.FilterChain]) -> list[components.FilterChain]:
    """Removes overlaps, because Envoy rejects chains that match the same connections: the first chain keeps them.

    Leaves out server names with a wildcard for a part of a label, which Envoy cannot match.
    """
    kept: list[components.FilterChain] = []
    matched: set[tuple[bytes, tuple[str, int], str]] = set()
    for original in chains:
        match = components.FilterChainMatch()
        match.CopyFrom(original.filter_chain_match)
        names = [n for n in dict.fromkeys(match.server_names) if not n.startswith("*") or n.startswith("*.")]
        names = names if match.server_names else [""]
        ranges = list(dict.fromkeys((r.address_prefix, r.prefix_len.value) for r in match.prefix_ranges)) or [("", 0)]
        match.ClearField("server_names")
        match.ClearField("prefix_ranges")
        other_criteria = match.SerializeToString(deterministic=True)
        if names == [""]:
            ranges = [r for r in ranges if (other_criteria, r, "") not in matched]
        else:
            names = [n for n in names if all((other_criteria, r, n) not in matched for r in ranges)]
        if not names or not ranges:
            continue
        matched |= {(other_criteria, r, n) for r in ranges for n in names}
        match.server_names.extend(n for n in names if n)
        for address, length in ranges:
            if address:
                match.prefix_ranges.add(address_prefix=address).prefix_len.value = length
        if match != original.filter_chain_match:
            narrowed = components.FilterChain()
            narrowed.CopyFrom(original)
            narrowed.filter_chain_match.CopyFrom(match)
            original = narrowed
        kept.append(original)
    return kept
