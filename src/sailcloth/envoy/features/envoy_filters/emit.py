"""Applies patches to one resource: bytes in, bytes out, with the patches that took effect. Pure."""

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

from . import matches
from .compiled import Compiled
from .merge import merge, unpack
from .policy import Patches

_CONTEXT: dict[Traffic, str] = {"inbound": "SIDECAR_INBOUND", "outbound": "SIDECAR_OUTBOUND", "gateway": "GATEWAY"}
_ADDED = {CLUSTER: "CLUSTER", LISTENER: "LISTENER", EXTENSION: "EXTENSION_CONFIG"}
_ROUTES = ("ROUTE_CONFIGURATION", "VIRTUAL_HOST", "HTTP_ROUTE")
_CHANGES = ("MERGE", "MERGE_AND_REPLACE_LIST", "REMOVE")  # operations on a cluster
_MANAGER = "envoy.filters.network.http_connection_manager"
_ROUTER = "envoy.filters.http.router"
# Filters that only Istio's proxy has -> the filter before which they would be; "": first position.
_ANCHORS = {
    "istio.metadata_exchange": "",
    "istio.alpn": "envoy.filters.http.fault",
    "istio.stats": _ROUTER,
    "istio_authn": "envoy.filters.http.fault",
}
_AUTHN = {"istio_authn", "envoy.filters.http.jwt_authn"}
_AUTHZ = {"envoy.filters.http.rbac", "envoy.filters.http.ext_authz"}
_PRECEDING = {"AUTHN": _AUTHN, "AUTHZ": _AUTHN | _AUTHZ}  # filterClass of an added filter -> filters that precede it


class _Applied:
    """Which patches took effect on a resource."""

    def __init__(self) -> None:
        self.idents: list[Any] = []

    def note(self, patch: Compiled) -> None:
        self.idents.append(patch.ident)


def _patches_for(inputs: ResourceInputs, *applies_to: str) -> list[Compiled]:
    """The patches with these `applyTo` for resources of this traffic."""
    patches, context = inputs.policies.of(Patches).patches, _CONTEXT[inputs.traffic]
    return [p for p in patches if p.applies_to in applies_to and matches.context(p.match, context)]


def cluster(unpatched: EnvoyResource, inputs: ResourceInputs) -> EnvoyResource | None:
    """A cluster after patches; None if one removes it."""
    patches = [p for p in _patches_for(inputs, "CLUSTER") if p.operation in _CHANGES]
    patches = [p for p in patches if matches.cluster(p.match, unpatched.name, inputs.hosts)]
    if not patches:
        return unpatched
    message = cluster_pb2.Cluster.FromString(unpatched.body)
    used = _Applied()
    for patch in patches:
        used.note(patch)
        if patch.operation == "REMOVE":
            return None
        if patch.value is not None:
            merge(message, patch.value, patch.operation == "MERGE_AND_REPLACE_LIST")
    return _patched(unpatched, message, used)


def added(type_url: str, inputs: ResourceInputs) -> dict[str, EnvoyResource]:
    """Resources of a type that patches add, by name: clusters, listeners or extension configurations."""
    resources: dict[str, EnvoyResource] = {}
    for patch in _patches_for(inputs, _ADDED[type_url]):
        if patch.operation == "ADD":
            value: Any = patch.value
            if value is not None and value.name:
                plain = resource(value.name, encode(value), sources=(patch.key,))
                resources[value.name] = _with_applied(plain, (patch.ident,))
    return resources


def routes(unpatched: EnvoyResource, inputs: ResourceInputs) -> EnvoyResource:
    """A route configuration after patches."""
    patches = [
        p for p in _patches_for(inputs, *_ROUTES) if matches.route_configuration(p.match, unpatched.name, inputs.ports)
    ]
    if not patches:
        return unpatched
    message = route_pb2.RouteConfiguration.FromString(unpatched.body)
    used = _Applied()
    _edit_routes(message, patches, used)
    return _patched(unpatched, message, used)


def _edit_routes(message: Any, patches: Iterable[Compiled], used: _Applied) -> None:
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
            _edit(message.virtual_hosts, patch, used, partial(matches.virtual_host, patch.match))
        else:
            for host in message.virtual_hosts:
                if matches.virtual_host(patch.match, host):
                    _edit(host.routes, patch, used, partial(matches.route, patch.match))


def listener(unpatched: EnvoyResource, inputs: ResourceInputs) -> EnvoyResource | None:
    """A listener after patches; None if one removes it."""
    inline = _ROUTES if inputs.traffic == "inbound" else ()
    patches = _patches_for(
        inputs, "LISTENER", "FILTER_CHAIN", "NETWORK_FILTER", "HTTP_FILTER", "LISTENER_FILTER", *inline
    )
    if not patches:
        return unpatched
    message = listener_pb2.Listener.FromString(unpatched.body)
    used = _Applied()
    for patch in patches:
        if patch.applies_to in inline:
            _inline_routes(message, patch, used)
            continue
        if not matches.listener(patch.match, message, inputs.ports, patch.applies_to == "LISTENER"):
            continue
        if patch.applies_to == "LISTENER":
            if patch.operation == "REMOVE":
                return None
            if patch.operation in ("MERGE", "MERGE_AND_REPLACE_LIST") and patch.value is not None:
                merge(message, patch.value, patch.operation != "MERGE")
                used.note(patch)
        elif patch.applies_to == "LISTENER_FILTER":
            filter_name = patch.match.listener.listener_filter if patch.match.listener else None
            _edit(message.listener_filters, patch, used, partial(_is_named, filter_name))
        elif patch.applies_to == "FILTER_CHAIN":
            _filter_chains(message, patch, used)
        else:
            for chain in _chains(message):
                if matches.chain(patch.match, message.name, chain):
                    _filters(chain, patch, used)
    return _patched(unpatched, message, used)


def _chains(message: Any) -> list[Any]:
    return [
        *message.filter_chains,
        *([message.default_filter_chain] if message.HasField("default_filter_chain") else []),
    ]


def _filter_chains(message: Any, patch: Compiled, used: _Applied) -> None:
    if patch.operation == "ADD":
        message.filter_chains.append(patch.value)
        used.note(patch)
        return
    _edit(message.filter_chains, patch, used, partial(matches.chain, patch.match, message.name))
    if message.HasField("default_filter_chain") and matches.chain(
        patch.match, message.name, message.default_filter_chain
    ):
        if patch.operation == "REMOVE":
            message.ClearField("default_filter_chain")
            used.note(patch)
        elif patch.operation.startswith("MERGE") and patch.value is not None:
            merge(message.default_filter_chain, patch.value)
            used.note(patch)


def _filters(chain: Any, patch: Compiled, used: _Applied) -> None:
    name = matches.network_filter(patch.match)
    if patch.applies_to == "NETWORK_FILTER":
        _edit(chain.filters, patch, used, partial(_is_named, name))
        return
    for network_filter in chain.filters:
        if network_filter.name != _MANAGER or not matches.same_name(name, network_filter.name):
            continue
        manager: Any = unpack(network_filter.typed_config)
        count = len(used.idents)
        _http_filters(manager, patch, used)
        if len(used.idents) > count:
            network_filter.typed_config.CopyFrom(pack(manager))


def _http_filters(manager: Any, patch: Compiled, used: _Applied) -> None:
    filter_name = matches.http_filter(patch.match)
    filters = manager.http_filters
    if patch.operation == "ADD" and patch.filter_class in _PRECEDING:
        preceding = [i for i, f in enumerate(filters) if f.name in _PRECEDING[patch.filter_class]]
        _insert(filters, max(preceding, default=-1) + 1, patch.value)
        used.note(patch)
        return
    if patch.operation == "ADD" or (not filter_name and patch.operation == "INSERT_AFTER"):
        index = next((i for i, f in enumerate(filters) if f.name == _ROUTER), len(filters))
        _insert(filters, index, patch.value)
        used.note(patch)
        return
    anchor = _ANCHORS.get(filter_name or "")
    if anchor is not None and patch.operation.startswith("INSERT") and all(f.name != filter_name for f in filters):
        index = next((i for i, f in enumerate(filters) if f.name == anchor), 0) if anchor else 0
        _insert(filters, index, patch.value)
        used.note(patch)
        return
    _edit(filters, patch, used, partial(_is_named, filter_name))


def _inline_routes(message: Any, patch: Compiled, used: _Applied) -> None:
    """Patch the routes of inbound listeners, which are inline in the listener."""
    for chain in _chains(message):
        for network_filter in chain.filters:
            if network_filter.name != _MANAGER:
                continue
            manager: Any = unpack(network_filter.typed_config)
            count = len(used.idents)
            port = chain.filter_chain_match.destination_port.value
            if matches.route_configuration(patch.match, manager.route_config.name, frozenset({port})):
                _edit_routes(manager.route_config, [patch], used)
            if len(used.idents) > count:
                network_filter.typed_config.CopyFrom(pack(manager))


def _is_named(name: str | None, message: Any) -> bool:
    return matches.same_name(name, message.name)


def _edit(messages: Any, patch: Compiled, used: _Applied, is_match: Callable[[Any], bool]) -> None:
    """Apply one operation to a list of named messages."""
    operation, value = patch.operation, patch.value
    if operation == "ADD":
        messages.append(value)
        used.note(patch)
        return
    if operation == "INSERT_FIRST":
        _insert(messages, 0, value)
        used.note(patch)
        return
    indexes = [i for i, message in enumerate(messages) if is_match(message)]
    if not indexes:
        return
    used.note(patch)
    if operation == "REMOVE":
        for index in reversed(indexes):
            del messages[index]
    elif operation in ("INSERT_BEFORE", "INSERT_AFTER"):
        _insert(messages, indexes[0] + (operation == "INSERT_AFTER"), value)
    elif operation == "REPLACE":
        for index in indexes:
            messages[index].CopyFrom(value)
    elif value is not None:
        for index in indexes:
            merge(messages[index], value, operation == "MERGE_AND_REPLACE_LIST")


def _insert(messages: Any, index: int, value: Message | None) -> None:
    if value is None:
        return
    following = [type(message).FromString(message.SerializeToString()) for message in messages[index:]]
    del messages[index:]
    messages.append(value)
    messages.extend(following)


def _patched(unpatched: EnvoyResource, message: Any, used: _Applied) -> EnvoyResource:
    if not used.idents:
        return unpatched
    sources = (*unpatched.sources, *(key for key, _ in used.idents))
    plain = resource(unpatched.name, encode(message), unpatched.clusters, sources, unpatched.endpoints)
    return _with_applied(plain, tuple(used.idents))


def _with_applied(patched: EnvoyResource, idents: tuple[Any, ...]) -> EnvoyResource:
    return replace(patched, applied=idents)
