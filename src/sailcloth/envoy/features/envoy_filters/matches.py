"""Evaluates a patch's match on listeners, filter chains, filters, routes and clusters. Pure."""

from __future__ import annotations

from typing import Any

from sailcloth.api.envoy_filter import ConfigObjectMatch

_OLD_NAMES = {
    "envoy.http_connection_manager": "envoy.filters.network.http_connection_manager",
    "envoy.tcp_proxy": "envoy.filters.network.tcp_proxy",
    "envoy.router": "envoy.filters.http.router",
    "envoy.cors": "envoy.filters.http.cors",
    "envoy.fault": "envoy.filters.http.fault",
    "envoy.lua": "envoy.filters.http.lua",
    "envoy.ext_authz": "envoy.filters.http.ext_authz",
    "envoy.rate_limit": "envoy.filters.http.ratelimit",
    "envoy.grpc_web": "envoy.filters.http.grpc_web",
    "envoy.listener.tls_inspector": "envoy.filters.listener.tls_inspector",
    "envoy.listener.http_inspector": "envoy.filters.listener.http_inspector",
}
_VIRTUAL = ("virtualInbound", "virtualOutbound")


def same_name(expected: str | None, name: str) -> bool:
    """Whether a filter has the expected name, or its deprecated alias; None matches any."""
    return not expected or _OLD_NAMES.get(expected, expected) == _OLD_NAMES.get(name, name)


def context(match: ConfigObjectMatch, traffic: str) -> bool:
    """Whether the match includes this traffic (an Istio PatchContext)."""
    return match.context in (None, "ANY", traffic)


def listener(match: ConfigObjectMatch, message: Any, ports: frozenset[int], whole: bool) -> bool:
    """Whether a listener matches. `ports`: all ports that lead to it. Virtual listeners are matched by the ports of their chains,
    unless `whole`."""
    expected = match.listener
    if expected is None:
        return True
    if expected.name and expected.name != message.name:
        return False
    if message.name in _VIRTUAL and not whole:
        return True
    return not expected.port_number or expected.port_number in ports


def chain(match: ConfigObjectMatch, listener_name: str, message: Any) -> bool:
    """Whether a filter chain matches."""
    listener_match = match.listener
    if listener_match is None:
        return True
    actual = message.filter_chain_match
    if (
        listener_name in _VIRTUAL
        and listener_match.port_number
        and actual.destination_port.value != listener_match.port_number
    ):
        return False
    expected = listener_match.filter_chain
    if expected is None:
        return True
    if expected.name and expected.name != message.name:
        return False
    if expected.sni and expected.sni not in actual.server_names:
        return False
    if expected.transport_protocol and expected.transport_protocol != actual.transport_protocol:
        return False
    if expected.transport_socket and expected.transport_socket != message.transport_socket.name:
        return False
    protocols = {p.strip() for p in (expected.application_protocols or "").split(",") if p.strip()}
    if not protocols <= set(actual.application_protocols):
        return False
    return not expected.destination_port or expected.destination_port == actual.destination_port.value


def network_filter(match: ConfigObjectMatch) -> str | None:
    """The name of the network filter in a match; None for any."""
    chain_match = match.listener.filter_chain if match.listener else None
    return chain_match.filter.name if chain_match and chain_match.filter else None


def http_filter(match: ConfigObjectMatch) -> str | None:
    """The name of the HTTP filter in a match; None for any."""
    chain_match = match.listener.filter_chain if match.listener else None
    sub_filter = chain_match.filter.sub_filter if chain_match and chain_match.filter else None
    return sub_filter.name if sub_filter else None


def route_configuration(match: ConfigObjectMatch, name: str, ports: frozenset[int]) -> bool:
    """Whether a route configuration matches by name, port, and for gateways port name and Gateway."""
    expected = match.route_configuration
    if expected is None:
        return True
    if expected.name and expected.name != name:
        return False
    if expected.port_number and expected.port_number not in ports:
        return False
    parts = name.split(".")
    if expected.port_name and not (parts[0] == "https" and len(parts) > 2 and parts[2] == expected.port_name):
        return False
    if expected.gateway:
        namespace, _, gateway = expected.gateway.rpartition("/")
        return parts[0] == "https" and len(parts) > 4 and (parts[4], parts[3]) == (namespace or parts[4], gateway)
    return True


def virtual_host(match: ConfigObjectMatch, message: Any) -> bool:
    """Whether a virtual host matches."""
    expected = match.route_configuration.vhost if match.route_configuration else None
    if expected is None:
        return True
    if expected.name and expected.name != message.name:
        return False
    return not expected.domain_name or expected.domain_name in message.domains


def route(match: ConfigObjectMatch, message: Any) -> bool:
    """Whether a route matches."""
    host = match.route_configuration.vhost if match.route_configuration else None
    expected = host.route if host else None
    if expected is None:
        return True
    if expected.name and expected.name != message.name:
        return False
    action = {"ROUTE": "route", "REDIRECT": "redirect", "DIRECT_RESPONSE": "direct_response"}.get(expected.action or "")
    return action is None or message.HasField(action)


def cluster(match: ConfigObjectMatch, name: str, hosts: tuple[str, ...] = ()) -> bool:
    """Whether a cluster matches by its name or the parts of it. `hosts`: services of an inbound cluster."""
    expected = match.cluster
    if expected is None:
        return True
    if expected.name:
        return expected.name == name
    parts = name.split("|")
    if len(parts) != 4:
        return not (expected.service or expected.subset or expected.port_number)
    direction, port, subset, host = parts
    if expected.subset and expected.subset != subset:
        return False
    if expected.service and expected.service != host and not (direction == "inbound" and expected.service in hosts):
        return False
    return not expected.port_number or str(expected.port_number) == port
