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


_Range = tuple[str, int]  # address and prefix length


def distinct(chains: list[components.FilterChain]) -> list[components.FilterChain]:
    """Removes overlaps, because Envoy rejects chains that match the same connections: the first chain keeps them.

    Leaves out server names with a wildcard for a part of a label, which Envoy cannot match. Of overlapping address ranges Envoy
    tries the longest prefix only, so a chain of a wider range gets the narrower ones too, where they have no chain of their own.
    """
    kept: list[components.FilterChain] = []
    matched: set[tuple[bytes, _Range, str]] = set()
    for original in chains:
        criteria, names, ranges = _parts(original.filter_chain_match)
        names = [n for n in names if not n.startswith("*") or n.startswith("*.")]
        if names == [""]:
            ranges = [r for r in ranges if (criteria, r, "") not in matched]
        else:
            names = [n for n in names if all((criteria, r, n) not in matched for r in ranges)]
        if names and ranges:
            matched |= {(criteria, r, n) for r in ranges for n in names}
            kept.append(_with_match(original, names, ranges))
    return [*kept, *_in_narrower_ranges(kept, matched)]


def _in_narrower_ranges(
    chains: list[components.FilterChain], matched: set[tuple[bytes, _Range, str]]
) -> list[components.FilterChain]:
    """Copies of chains for the ranges of other chains that lie within their own."""
    networks = {
        r: ipaddress.ip_network(f"{r[0]}/{r[1]}") for c in chains for r in _parts(c.filter_chain_match)[2] if r[0]
    }
    copies: list[components.FilterChain] = []
    for inner in sorted(networks, key=lambda r: r[1]) if len(networks) > 1 else ():
        around: list[tuple[int, components.FilterChain]] = []
        for chain_ in chains:
            lengths = [
                r[1] for r in _parts(chain_.filter_chain_match)[2] if r in networks and _within(networks, inner, r)
            ]
            around += [(max(lengths), chain_)] if lengths else []
        for _, chain_ in sorted(around, key=lambda entry: -entry[0]):  # the next wider range first
            criteria, names, _ = _parts(chain_.filter_chain_match)
            names = [n for n in names if (criteria, inner, n) not in matched]
            if names:
                matched |= {(criteria, inner, n) for n in names}
                copies.append(_with_match(chain_, names, [inner]))
    return copies


def _within(
    networks: dict[_Range, ipaddress.IPv4Network | ipaddress.IPv6Network], inner: _Range, outer: _Range
) -> bool:
    """Whether a range lies within another, wider one."""
    small, large = networks[inner], networks[outer]
    if isinstance(small, ipaddress.IPv4Network) and isinstance(large, ipaddress.IPv4Network):
        return small != large and small.subnet_of(large)
    if isinstance(small, ipaddress.IPv6Network) and isinstance(large, ipaddress.IPv6Network):
        return small != large and small.subnet_of(large)
    return False


def _parts(match: components.FilterChainMatch) -> tuple[bytes, list[str], list[_Range]]:
    """A match as its criteria other than these two, its server names ([""]: any), and its address ranges ([("", 0)]: any)."""
    rest = components.FilterChainMatch()
    rest.CopyFrom(match)
    names = list(dict.fromkeys(match.server_names)) or [""]
    ranges = list(dict.fromkeys((r.address_prefix, r.prefix_len.value) for r in match.prefix_ranges)) or [("", 0)]
    rest.ClearField("server_names")
    rest.ClearField("prefix_ranges")
    return rest.SerializeToString(deterministic=True), names, ranges


def _with_match(original: components.FilterChain, names: list[str], ranges: list[_Range]) -> components.FilterChain:
    """A chain with these server names and address ranges; the chain itself if it has them."""
    match = components.FilterChainMatch()
    match.CopyFrom(original.filter_chain_match)
    match.ClearField("server_names")
    match.ClearField("prefix_ranges")
    match.server_names.extend(n for n in names if n)
    for address, length in ranges:
        if address:
            match.prefix_ranges.add(address_prefix=address).prefix_len.value = length
    if match == original.filter_chain_match:
        return original
    changed = components.FilterChain()
    changed.CopyFrom(original)
    changed.filter_chain_match.CopyFrom(match)
    return changed
