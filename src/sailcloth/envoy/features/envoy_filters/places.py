"""Where a patch applies: the conditions of its match, over listeners, chains, filters, routes and clusters. Pure."""

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


def same_name(wanted: str | None, name: str) -> bool:
    """Whether a filter's name is the wanted one, by its present or its former name; nothing wanted is any."""
    return not wanted or _OLD_NAMES.get(wanted, wanted) == _OLD_NAMES.get(name, name)


def context(match: ConfigObjectMatch, own: str) -> bool:
    """Whether the kind of traffic is meant."""
    return match.context in (None, "ANY", own)


def listener(match: ConfigObjectMatch, made: Any, ports: frozenset[int], whole: bool) -> bool:
    """Whether a listener is meant. `ports` are all that lead to it; the ports of virtual listeners are those of their chains."""
    wanted = match.listener
    if wanted is None:
        return True
    if wanted.name and wanted.name != made.name:
        return False
    if made.name in _VIRTUAL and not whole:
        return True
    return not wanted.port_number or wanted.port_number in ports


def chain(match: ConfigObjectMatch, listener_name: str, made: Any) -> bool:
    """Whether a filter chain is meant."""
    wanted = match.listener
    if wanted is None:
        return True
    place = made.filter_chain_match
    if listener_name in _VIRTUAL and wanted.port_number and place.destination_port.value != wanted.port_number:
        return False
    given = wanted.filter_chain
    if given is None:
        return True
    if given.name and given.name != made.name:
        return False
    if given.sni and given.sni not in place.server_names:
        return False
    if given.transport_protocol and given.transport_protocol != place.transport_protocol:
        return False
    protocols = {p.strip() for p in (given.application_protocols or "").split(",") if p.strip()}
    if not protocols <= set(place.application_protocols):
        return False
    return not given.destination_port or given.destination_port == place.destination_port.value


def network_filter(match: ConfigObjectMatch) -> str | None:
    """Name of the network filter that a match names."""
    found = match.listener.filter_chain if match.listener else None
    return found.filter.name if found and found.filter else None


def http_filter(match: ConfigObjectMatch) -> str | None:
    """Name of the HTTP filter that a match names."""
    found = match.listener.filter_chain if match.listener else None
    inner = found.filter.sub_filter if found and found.filter else None
    return inner.name if inner else None


def route_configuration(match: ConfigObjectMatch, name: str, ports: frozenset[int]) -> bool:
    """Whether a route configuration is meant, by its name, its port, and at gateways the port's name and the Gateway."""
    wanted = match.route_configuration
    if wanted is None:
        return True
    if wanted.name and wanted.name != name:
        return False
    if wanted.port_number and wanted.port_number not in ports:
        return False
    parts = name.split(".")
    if wanted.port_name and not (parts[0] == "https" and len(parts) > 2 and parts[2] == wanted.port_name):
        return False
    if wanted.gateway:
        namespace, _, gateway = wanted.gateway.rpartition("/")
        return parts[0] == "https" and len(parts) > 4 and (parts[4], parts[3]) == (namespace or parts[4], gateway)
    return True


def virtual_host(match: ConfigObjectMatch, made: Any) -> bool:
    """Whether a virtual host is meant."""
    wanted = match.route_configuration.vhost if match.route_configuration else None
    if wanted is None:
        return True
    if wanted.name and wanted.name != made.name:
        return False
    return not wanted.domain_name or wanted.domain_name in made.domains


def route(match: ConfigObjectMatch, made: Any) -> bool:
    """Whether a route is meant."""
    host = match.route_configuration.vhost if match.route_configuration else None
    wanted = host.route if host else None
    if wanted is None:
        return True
    if wanted.name and wanted.name != made.name:
        return False
    action = {"ROUTE": "route", "REDIRECT": "redirect", "DIRECT_RESPONSE": "direct_response"}.get(wanted.action or "")
    return action is None or made.HasField(action)


def cluster(match: ConfigObjectMatch, name: str, hosts: tuple[str, ...] = ()) -> bool:
    """Whether a cluster is meant, by its name or the parts of it."""
    wanted = match.cluster
    if wanted is None:
        return True
    if wanted.name:
        return wanted.name == name
    parts = name.split("|")
    if len(parts) != 4:
        return not (wanted.service or wanted.subset or wanted.port_number)
    direction, port, subset, host = parts
    if wanted.subset and wanted.subset != subset:
        return False
    if wanted.service and wanted.service != host and not (direction == "inbound" and wanted.service in hosts):
        return False
    return not wanted.port_number or str(wanted.port_number) == port
