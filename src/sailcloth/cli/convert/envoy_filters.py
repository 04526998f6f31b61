"""EnvoyFilters with `filters` (Istio 1.0 to 1.5): the same filters as patches.

Filters had Envoy's first names, and a configuration without a type. Envoy's own types of today check what is converted: must not pass on
a configuration that Envoy would reject.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

from .documents import Document, Losses, Scope, entries, mapping, placed, without_empty

_HCM = "envoy.filters.network.http_connection_manager"
_HTTP = "envoy.filters.http"
_NETWORK = "envoy.filters.network"
# First name: (name of today, package and message of its type).
_HTTP_FILTERS = {
    "envoy.buffer": ("buffer", "Buffer"),
    "envoy.cors": ("cors", "Cors"),
    "envoy.csrf": ("csrf", "CsrfPolicy"),
    "envoy.ext_authz": ("ext_authz", "ExtAuthz"),
    "envoy.fault": ("fault", "HTTPFault"),
    "envoy.grpc_http1_bridge": ("grpc_http1_bridge", "Config"),
    "envoy.grpc_json_transcoder": ("grpc_json_transcoder", "GrpcJsonTranscoder"),
    "envoy.grpc_web": ("grpc_web", "GrpcWeb"),
    "envoy.filters.http.header_to_metadata": ("header_to_metadata", "Config"),
    "envoy.health_check": ("health_check", "HealthCheck"),
    "envoy.ip_tagging": ("ip_tagging", "IPTagging"),
    "envoy.filters.http.jwt_authn": ("jwt_authn", "JwtAuthentication"),
    "envoy.lua": ("lua", "Lua"),
    "envoy.rate_limit": ("ratelimit", "RateLimit"),
    "envoy.filters.http.rbac": ("rbac", "RBAC"),
    "envoy.router": ("router", "Router"),
}
_NETWORK_FILTERS = {
    "envoy.ext_authz": ("ext_authz", "ExtAuthz"),
    "envoy.http_connection_manager": ("http_connection_manager", "HttpConnectionManager"),
    "envoy.mongo_proxy": ("mongo_proxy", "MongoProxy"),
    "envoy.ratelimit": ("ratelimit", "RateLimit"),
    "envoy.filters.network.rbac": ("rbac", "RBAC"),
    "envoy.redis_proxy": ("redis_proxy", "RedisProxy"),
    "envoy.tcp_proxy": ("tcp_proxy", "TcpProxy"),
}
_CONTEXTS = {"SIDECAR_INBOUND", "SIDECAR_OUTBOUND", "GATEWAY"}
_RELATIVE = {"BEFORE": "INSERT_BEFORE", "AFTER": "INSERT_AFTER"}


def convert(documents: list[Document], scope: Scope) -> list[Document]:
    """Rewrite the EnvoyFilters with `filters` or `workloadLabels`."""
    out = list(documents)
    for index, document in enumerate(documents):
        spec = document.spec
        if document.kind != "EnvoyFilter" or not {"filters", "workloadLabels"} & set(spec):
            continue
        losses = Losses(document.key(scope.namespace))
        patches = [_patch(f, f"spec.filters[{i}]", losses) for i, f in enumerate(entries(spec.get("filters")))]
        kept = {k: v for k, v in spec.items() if k not in ("filters", "workloadLabels", "configPatches")}
        labels = mapping(spec.get("workloadLabels"))
        if labels:
            kept["workloadSelector"] = {"labels": labels}
        kept["configPatches"] = [*entries(spec.get("configPatches")), *(p for p in patches if p is not None)]
        if kept["configPatches"]:
            body = {**document.body, "spec": kept}
            out[index] = Document(body, sources=(losses.key,), losses=(*document.losses, *losses.found))
        else:
            gone = Document({}, sources=(losses.key,), losses=(*document.losses, *losses.found))
            out = placed(out, {index}, [gone])
    return out


def _patch(one: dict[str, Any], path: str, losses: Losses) -> dict[str, Any] | None:
    http = str(one.get("filterType") or "HTTP") != "NETWORK"
    value = _value(one, http, path, losses)
    if value is None:
        return None
    match = mapping(one.get("listenerMatch"))
    wrong = {
        "portNamePrefix": "ports cannot be matched by name",
        "address": "listeners cannot be matched by address",
    }
    for field, text in wrong.items():
        if match.get(field):
            fix = "Match portNumber."
            losses.add(f"{path}.listenerMatch.{field}", f"the filter is left out: {text}", fix)
            return None
    protocol = str(match.get("listenerProtocol") or "ALL")
    if not http and protocol != "ALL":
        text = f"the filter is added to listeners of every protocol, not of {protocol} only"
        losses.add(f"{path}.listenerMatch.listenerProtocol", text, "Match portNumber.")
    if http and protocol == "TCP":
        losses.add(f"{path}.listenerMatch.listenerProtocol", "the filter is left out: TCP has no HTTP filters")
        return None
    position = mapping(one.get("insertPosition"))
    index = str(position.get("index") or "LAST")
    beside = str(position.get("relativeTo") or "")
    if index == "FIRST":
        operation, beside = "INSERT_FIRST", ""
    elif index in _RELATIVE and beside:
        operation, beside = _RELATIVE[index], _today(beside, http)
    else:
        operation, beside = "INSERT_BEFORE", f"{_HTTP}.router" if http else ""
        if not http:
            text = "the filter comes before the HTTP connection manager; listeners of other protocols do not get it"
            losses.add(
                f"{path}.insertPosition", text, "Add a patch that is relative to envoy.filters.network.tcp_proxy."
            )
            beside = _HCM
    chain: dict[str, Any] = {"filter": without_empty({"name": _HCM if http else beside})}
    if http and beside:
        chain["filter"]["subFilter"] = {"name": beside}
    kind = str(match.get("listenerType") or "ANY")
    listener = without_empty({"portNumber": match.get("portNumber"), "filterChain": chain if chain["filter"] else None})
    where = without_empty({"context": kind if kind in _CONTEXTS else "ANY", "listener": listener})
    applied = "HTTP_FILTER" if http else "NETWORK_FILTER"
    return {"applyTo": applied, "match": where, "patch": {"operation": operation, "value": value}}


def _today(name: str, http: bool) -> str:
    known = (_HTTP_FILTERS if http else _NETWORK_FILTERS).get(name)
    return f"{_HTTP if http else _NETWORK}.{known[0]}" if known else name


def _value(one: dict[str, Any], http: bool, path: str, losses: Losses) -> dict[str, Any] | None:
    """The filter with a typed configuration; None, with a loss, if Envoy of today does not take it."""
    name = str(one.get("filterName") or "")
    known = (_HTTP_FILTERS if http else _NETWORK_FILTERS).get(name)
    prefix = f"{_HTTP if http else _NETWORK}."
    if known is None and name.startswith(prefix):
        known = next((k for k in (_HTTP_FILTERS if http else _NETWORK_FILTERS).values() if prefix + k[0] == name), None)
    if known is None:
        text = (
            f"the filter is left out: the type of the configuration of {name or 'a filter without name'} is not known"
        )
        fix = "Write a configPatch with typed_config; a filter that Envoy no longer has needs another way."
        losses.add(f"{path}.filterName", text, fix)
        return None
    package, message = known
    config = mapping(one.get("filterConfig"))
    full = f"envoy.extensions.filters.{'http' if http else 'network'}.{package}.v3"
    if problem := _problem(full, message, config):
        text = f"the filter is left out: Envoy of today does not take its configuration: {problem}"
        losses.add(f"{path}.filterConfig", text, f"Write it as {full}.{message}.")
        return None
    return {"name": prefix + package, "typed_config": {"@type": f"type.googleapis.com/{full}.{message}", **config}}


def _problem(package: str, message: str, config: dict[str, Any]) -> str:
    """Why a configuration is not one of this message; empty if it is."""
    from google.protobuf import json_format

    folder = importlib.import_module(package)
    for module in pkgutil.iter_modules(folder.__path__):
        found = getattr(importlib.import_module(f"{package}.{module.name}"), message, None)
        if found is not None:
            try:
                json_format.ParseDict(config, found())
            except json_format.ParseError as error:
                return str(error).partition(" Available Fields")[0].rstrip(". \n")
            return ""
    return f"{package}.{message} is not known"
