"""Filter chains by mutual TLS mode and protocol. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sailcloth.envoy.resources import filter_chain, tls
from sailcloth.mesh.tls_parameters import TlsParameters

_TCP_ALPN = ("istio-peer-exchange", "h2", "http/1.1")
HTTP_ALPN = ("h2", "http/1.1")


@dataclass(frozen=True)
class PortChains:
    """The inputs of a port's filter chains. If both `http` and `tcp` are set, the protocol is detected.

    http_filters: called with whether the connection has mutual TLS.
    """

    name: str
    http_name: str
    port: int  # 0: any
    http_filters: Callable[[bool], list[Any]]
    tcp_filters: list[Any]
    http: bool
    tcp: bool
    trust_domains: tuple[str, ...]
    limits: TlsParameters


def filter_chains(mode: str, port: PortChains) -> list[Any]:
    """The chains of a port in a mode: DISABLE, PERMISSIVE or STRICT."""
    chains = []
    protocols: tuple[str, ...]
    detects = port.http and port.tcp
    if mode != "DISABLE":
        every = () if mode == "STRICT" else filter_chain.MTLS_ALL
        if port.http:
            protocols = filter_chain.MTLS_HTTP if detects else every
            socket = tls.server_socket(port.trust_domains, HTTP_ALPN, port.limits)
            chains.append(_chain(port, port.http_name, port.http_filters(True), "tls", protocols, socket))
        if port.tcp:
            protocols = filter_chain.MTLS_TCP if detects and mode != "STRICT" else every
            socket = tls.server_socket(port.trust_domains, _TCP_ALPN, port.limits)
            chains.append(_chain(port, port.name, port.tcp_filters, "tls", protocols, socket))
    if mode == "STRICT":
        return chains
    # In mode DISABLE, TLS from the application is opaque bytes to the proxy.
    plain = "" if mode == "DISABLE" and not detects else "raw_buffer"
    if port.http:
        protocols = filter_chain.HTTP_PLAIN if detects else ()
        chains.append(_chain(port, port.http_name, port.http_filters(False), plain, protocols))
    if port.tcp:
        chains.append(_chain(port, port.name, port.tcp_filters, plain))
        if plain:
            chains.append(_chain(port, port.name, port.tcp_filters, "tls"))
    return chains


def _chain(
    port: PortChains,
    name: str,
    filters: list[Any],
    transport: str,
    protocols: tuple[str, ...] = (),
    socket: Any = None,
) -> Any:
    return filter_chain.chain(name, filters, port=port.port, transport=transport, protocols=protocols, socket=socket)
