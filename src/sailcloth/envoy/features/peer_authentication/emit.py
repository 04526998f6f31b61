"""Filter chains by mode and protocol. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sailcloth.envoy.resources import filter_chain, tls

_TCP_ALPN = ("istio-peer-exchange", "h2", "http/1.1")
HTTP_ALPN = ("h2", "http/1.1")


@dataclass(frozen=True)
class PortChains:
    """What the chains of a port are made from. `http` and `tcp` both set means that the protocol is detected.

    http_filters is asked with whether the connection comes with mutual TLS.
    """

    name: str
    http_name: str
    port: int  # 0: any
    http_filters: Callable[[bool], list[Any]]
    tcp_filters: list[Any]
    http: bool
    tcp: bool
    trust_domains: tuple[str, ...]


def filter_chains(mode: str, port: PortChains) -> list[Any]:
    """The chains of a port in a mode: DISABLE, PERMISSIVE or STRICT."""
    out = []
    protocols: tuple[str, ...]
    detects = port.http and port.tcp
    if mode != "DISABLE":
        every = () if mode == "STRICT" else filter_chain.MTLS_ALL
        if port.http:
            protocols = filter_chain.MTLS_HTTP if detects else every
            socket = tls.server_socket(port.trust_domains, HTTP_ALPN)
            out.append(_chain(port, port.http_name, port.http_filters(True), "tls", protocols, socket))
        if port.tcp:
            protocols = filter_chain.MTLS_TCP if detects and mode != "STRICT" else every
            socket = tls.server_socket(port.trust_domains, _TCP_ALPN)
            out.append(_chain(port, port.name, port.tcp_filters, "tls", protocols, socket))
    if mode == "STRICT":
        return out
    # With mutual TLS off everything is plain text to the proxy, TLS from the application included.
    plain = "" if mode == "DISABLE" and not detects else "raw_buffer"
    if port.http:
        protocols = filter_chain.HTTP_PLAIN if detects else ()
        out.append(_chain(port, port.http_name, port.http_filters(False), plain, protocols))
    if port.tcp:
        out.append(_chain(port, port.name, port.tcp_filters, plain))
        if plain:
            out.append(_chain(port, port.name, port.tcp_filters, "tls"))
    return out


def _chain(
    port: PortChains,
    name: str,
    filters: list[Any],
    transport: str,
    protocols: tuple[str, ...] = (),
    socket: Any = None,
) -> Any:
    return filter_chain.chain(name, filters, port=port.port, transport=transport, protocols=protocols, socket=socket)
