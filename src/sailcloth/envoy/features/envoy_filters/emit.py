"""Patches applied to one resource: bytes in, bytes out, with the patches that took effect. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from google.protobuf.message import Message

from sailcloth.envoy.inputs import ResourceInputs
from sailcloth.envoy.protobuf import encode, pack
from sailcloth.envoy.resource import EnvoyResource, resource
from sailcloth.mesh.kinds import Traffic
from sailcloth.xds.types import CLUSTER, EXTENSION, LISTENER

from . import places
from .compiled import Compiled
from .merge import merge, unpack
from .policy import Patches

_CONTEXT: dict[Traffic, str] = {"inbound": "SIDECAR_INBOUND", "outbound": "SIDECAR_OUTBOUND", "gateway": "GATEWAY"}
_ADDED = {CLUSTER: "CLUSTER", LISTENER: "LISTENER", EXTENSION: "EXTENSION_CONFIG"}
_ROUTES = ("ROUTE_CONFIGURATION", "VIRTUAL_HOST", "HTTP_ROUTE")
_CHANGES = ("MERGE", "MERGE_AND_REPLACE_LIST", "REMOVE")  # what can be done to one cluster
_MANAGER = "envoy.filters.network.http_connection_manager"
_ROUTER = "envoy.filters.http.router"
# Filters that only Istio's proxy has: the one of ours before which they would stand; "" is the very first place.
_ANCHORS = {
    "istio.metadata_exchange": "",
    "istio.alpn": "envoy.filters.http.fault",
    "istio.stats": _ROUTER,
    "istio_authn": "envoy.filters.http.fault",
}
_AUTHN = {"istio_authn", "envoy.filters.http.jwt_authn"}
_AUTHZ = {"envoy.filters.http.rbac", "envoy.filters.http.ext_authz"}
_BEHIND = {"AUTHN": _AUTHN, "AUTHZ": _AUTHN | _AUTHZ}  # class of a filter to add -> those of ours that it stands behind


class _Used:
    """Which patches took effect on a resource."""

    def __init__(self) -> None:
        self.idents: list[Any] = []

    def note(self, patch: Compiled) -> None:
        self.idents.append(patch.ident)


def _for(inputs: ResourceInputs, *applies_to: str) -> list[Compiled]:
    """The patches for a kind of place in resources of this traffic."""
    patches, context = inputs.policies.of(Patches).patches, _CONTEXT[inputs.traffic]
    return [p for p in patches if p.applies_to in applies_to and places.context(p.match, context)]


def cluster(made: EnvoyResource, inputs: ResourceInputs) -> EnvoyResource | None:
    """A cluster after patches; None if one removes it."""
    mine = [p for p in _for(inputs, "CLUSTER") if p.operation in _CHANGES]
    mine = [p for p in mine if places.cluster(p.match, made.name, inputs.hosts)]
    if not mine:
        return made
    message = cluster_pb2.Cluster.FromString(made.body)
    used = _Used()
    for patch in mine:
        used.note(patch)
        if patch.operation == "REMOVE":
            return None
        if patch.value is not None:
            merge(message, patch.value, patch.operation == "MERGE_AND_REPLACE_LIST")
    return _remade(made, message, used)


def added(type_url: str, inputs: ResourceInputs) -> dict[str, EnvoyResource]:
    """Resources of a type that patches add, by name: whole clusters, listeners or extension configurations."""
    out: dict[str, EnvoyResource] = {}
    for patch in _for(inputs, _ADDED[type_url]):
        if patch.operation == "ADD":
            value: Any = patch.value
            if value is not None and value.name:
                plain = resource(value.name, encode(value), sources=(patch.key,))
                out[value.name] = _with(plain, (patch.ident,))
    return out


def routes(made: EnvoyResource, inputs: ResourceInputs) -> EnvoyResource:
    """A route configuration after patches."""
    mine = [p for p in _for(inputs, *_ROUTES) if places.route_configuration(p.match, made.name, inputs.ports)]
    if not mine:
        return made
    message = route_pb2.RouteConfiguration.FromString(made.body)
    used = _Used()
    _edit_routes(message, mine, used)
    return _remade(made, message, used)


def _edit_routes(message: Any, patches: Iterable[Compiled], used: _Used) -> None:
    for patch in patches:
        if patch.applies_to == "ROUTE_CONFIGURATION":
            if patch.operation in ("MERGE", "MERGE_AND_REPLACE_LIST") and patch.value is not None:
                merge(message, patch.value, patch.operation != "MERGE")
                used.note(patch)
        elif patch.applies_to == "VIRTUAL_HOST":
            if patch.operation == "ADD":
                message.virtual_hosts.append(patch.value)
                used.note(patch)
                continue
            _edit(message.virtual_hosts, patch, used, partial(places.virtual_host, patch.match))
        else:
            for host in message.virtual_hosts:
                if places.virtual_host(patch.match, host):
                    _edit(host.routes, patch, used, partial(places.route, patch.match))


def listener(made: EnvoyResource, inputs: ResourceInputs) -> EnvoyResource | None:
    """A listener after patches; None if one removes it."""
    inline = _ROUTES if inputs.traffic == "inbound" else ()
    mine = _for(inputs, "LISTENER", "FILTER_CHAIN", "NETWORK_FILTER", "HTTP_FILTER", "LISTENER_FILTER", *inline)
    if not mine:
        return made
    message = listener_pb2.Listener.FromString(made.body)
    used = _Used()
    for patch in mine:
        if patch.applies_to in inline:
            _inline_routes(message, patch, used)
            continue
        if not places.listener(patch.match, message, inputs.ports, patch.applies_to == "LISTENER"):
            continue
        if patch.applies_to == "LISTENER":
            if patch.operation == "REMOVE":
                return None
            if patch.operation in ("MERGE", "MERGE_AND_REPLACE_LIST") and patch.value is not None:
                merge(message, patch.value, patch.operation != "MERGE")
                used.note(patch)
        elif patch.applies_to == "LISTENER_FILTER":
            wanted = patch.match.listener.listener_filter if patch.match.listener else None
            _edit(message.listener_filters, patch, used, partial(_is_named, wanted))
        elif patch.applies_to == "FILTER_CHAIN":
            _filter_chains(message, patch, used)
        else:
            for chain in _chains(message):
                if places.chain(patch.match, message.name, chain):
                    _filters(chain, patch, used)
    return _remade(made, message, used)


def _chains(message: Any) -> list[Any]:
    return [
        *message.filter_chains,
        *([message.default_filter_chain] if message.HasField("default_filter_chain") else []),
    ]


def _filter_chains(message: Any, patch: Compiled, used: _Used) -> None:
    if patch.operation == "ADD":
        message.filter_chains.append(patch.value)
        used.note(patch)
        return
    _edit(message.filter_chains, patch, used, partial(places.chain, patch.match, message.name))
    if message.HasField("default_filter_chain") and places.chain(
        patch.match, message.name, message.default_filter_chain
    ):
        if patch.operation == "REMOVE":
            message.ClearField("default_filter_chain")
            used.note(patch)
        elif patch.operation.startswith("MERGE") and patch.value is not None:
            merge(message.default_filter_chain, patch.value)
            used.note(patch)


def _filters(chain: Any, patch: Compiled, used: _Used) -> None:
    name = places.network_filter(patch.match)
    if patch.applies_to == "NETWORK_FILTER":
        _edit(chain.filters, patch, used, partial(_is_named, name))
        return
    for each in chain.filters:
        if each.name != _MANAGER or not places.same_name(name, each.name):
            continue
        manager: Any = unpack(each.typed_config)
        before = len(used.idents)
        _http_filters(manager, patch, used)
        if len(used.idents) > before:
            each.typed_config.CopyFrom(pack(manager))


def _http_filters(manager: Any, patch: Compiled, used: _Used) -> None:
    wanted = places.http_filter(patch.match)
    found = manager.http_filters
    if patch.operation == "ADD" and patch.filter_class in _BEHIND:
        behind = [i for i, f in enumerate(found) if f.name in _BEHIND[patch.filter_class]]
        _insert(found, max(behind, default=-1) + 1, patch.value)
        used.note(patch)
        return
    if patch.operation == "ADD" or (not wanted and patch.operation == "INSERT_AFTER"):
        place = next((i for i, f in enumerate(found) if f.name == _ROUTER), len(found))
        _insert(found, place, patch.value)
        used.note(patch)
        return
    anchor = _ANCHORS.get(wanted or "")
    if anchor is not None and patch.operation.startswith("INSERT") and all(f.name != wanted for f in found):
        place = next((i for i, f in enumerate(found) if f.name == anchor), 0) if anchor else 0
        _insert(found, place, patch.value)
        used.note(patch)
        return
    _edit(found, patch, used, partial(_is_named, wanted))


def _inline_routes(message: Any, patch: Compiled, used: _Used) -> None:
    """The routes of inbound listeners stand in the listener itself."""
    for chain in _chains(message):
        for each in chain.filters:
            if each.name != _MANAGER:
                continue
            manager: Any = unpack(each.typed_config)
            before = len(used.idents)
            port = chain.filter_chain_match.destination_port.value
            if places.route_configuration(patch.match, manager.route_config.name, frozenset({port})):
                _edit_routes(manager.route_config, [patch], used)
            if len(used.idents) > before:
                each.typed_config.CopyFrom(pack(manager))


def _is_named(wanted: str | None, made: Any) -> bool:
    return places.same_name(wanted, made.name)


def _edit(found: Any, patch: Compiled, used: _Used, holds: Callable[[Any], bool]) -> None:
    """One operation on a list of named messages."""
    operation, value = patch.operation, patch.value
    if operation == "ADD":
        found.append(value)
        used.note(patch)
        return
    if operation == "INSERT_FIRST":
        _insert(found, 0, value)
        used.note(patch)
        return
    at = [i for i, each in enumerate(found) if holds(each)]
    if not at:
        return
    used.note(patch)
    if operation == "REMOVE":
        for index in reversed(at):
            del found[index]
    elif operation in ("INSERT_BEFORE", "INSERT_AFTER"):
        _insert(found, at[0] + (operation == "INSERT_AFTER"), value)
    elif operation == "REPLACE":
        for index in at:
            found[index].CopyFrom(value)
    elif value is not None:
        for index in at:
            merge(found[index], value, operation == "MERGE_AND_REPLACE_LIST")


def _insert(found: Any, place: int, value: Message | None) -> None:
    if value is None:
        return
    rest = [type(each).FromString(each.SerializeToString()) for each in found[place:]]
    del found[place:]
    found.append(value)
    found.extend(rest)


def _remade(made: EnvoyResource, message: Any, used: _Used) -> EnvoyResource:
    if not used.idents:
        return made
    sources = (*made.sources, *(key for key, _ in used.idents))
    plain = resource(made.name, encode(message), made.clusters, sources, made.endpoints)
    return _with(plain, tuple(used.idents))


def _with(made: EnvoyResource, idents: tuple[Any, ...]) -> EnvoyResource:
    return replace(made, applied=idents)
