"""Validates objects: findings are errors where Istio's admission rejects an object, and warnings where Istio warns.

One module per kind with `validate(report, object)`, and modules by subject for parts that kinds share. Each object is validated
alone: must not check whether references exist, raise for any object, or depend on anything else.

`check` validates objects as users write them, `validate` decoded objects.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from sailcloth.api import kinds
from sailcloth.api.meta import Finding, Key, Object
from sailcloth.api.nulls import without_nulls

from . import (
    authorization_policy,
    codes,
    destination_rule,
    envoy_filter,
    extensions,
    gateway,
    metadata,
    mixer,
    peer_authentication,
    rate_limit,
    request_authentication,
    service_entry,
    shape,
    sidecar,
    telemetry,
    virtual_service,
    workload_entry,
    workload_group,
)
from .report import Report

Validate = Callable[[Report, Any], None]

_RULES: dict[str, Validate] = {
    "AuthorizationPolicy": authorization_policy.validate,
    "DestinationRule": destination_rule.validate,
    "EnvoyFilter": envoy_filter.validate,
    "Gateway": gateway.validate,
    "PeerAuthentication": peer_authentication.validate,
    "RateLimit": rate_limit.validate,
    "ProxyConfig": workload_group.validate_proxy_config,
    "RequestAuthentication": request_authentication.validate,
    "ServiceEntry": service_entry.validate,
    "Sidecar": sidecar.validate,
    "Telemetry": telemetry.validate,
    "TrafficExtension": extensions.validate_traffic_extension,
    "VirtualService": virtual_service.validate,
    "WasmPlugin": extensions.validate_wasm_plugin,
    "WorkloadEntry": workload_entry.validate,
    "WorkloadGroup": workload_group.validate,
}
KINDS = tuple(_RULES)  # names of the kinds that have rules

_RULES |= dict.fromkeys(mixer.KINDS, mixer.validate)
_BY_GROUP_KIND = {(k.group, k.name): k for k in kinds.SERVED_KINDS + kinds.LATER_KINDS if k.name in _RULES}


def validate(key: Key, obj: Object) -> tuple[Finding, ...]:
    """Findings about a decoded object, errors first; none for kinds without rules."""
    report = Report(key)
    rules = _RULES.get(key.kind)
    if rules is not None:
        metadata.check(report, obj.metadata)
        rules(report, obj)
    return report.findings()


def check(obj: dict[str, Any], namespace: str = "default") -> tuple[Finding, ...]:
    """Findings about an object in JSON form: about its schema, and if it can be decoded, about its content.

    `namespace`: the namespace of objects without one. Objects of unknown kinds have no findings.
    """
    group = str(obj.get("apiVersion", "")).rpartition("/")[0]
    kind = _BY_GROUP_KIND.get((group, str(obj.get("kind", ""))))
    if kind is None:
        return ()
    meta = obj.get("metadata")
    meta = meta if isinstance(meta, dict) else {}
    object_namespace = str(meta.get("namespace") or namespace) if kind.namespaced else ""
    key = Key(kind.name, object_namespace, str(meta.get("name") or meta.get("generateName") or ""))
    report = Report(key)
    if not shape.check(report, kind, obj):
        return report.findings()
    try:
        typed = msgspec.convert({"metadata": _metadata(meta), **_body(obj)}, kind.type)
    except (msgspec.ValidationError, TypeError) as error:  # what a schema cannot express
        text, _, path = str(error).partition(" - at `$.")
        report.error(codes.TYPE, path.rstrip("`"), text, "See kubectl explain.")
        return report.findings()
    metadata.check(report, typed.metadata)
    _RULES[kind.name](report, typed)
    return report.findings()


def _body(obj: dict[str, Any]) -> dict[str, Any]:
    spec = without_nulls(obj.get("spec"))
    return {} if spec is None else {"spec": spec}


def _metadata(meta: dict[str, Any]) -> dict[str, Any]:
    """The metadata that rules read, without malformed parts; the API server validates the rest."""
    metadata: dict[str, Any] = {}
    for field in ("name", "namespace"):
        if isinstance(meta.get(field), str):
            metadata[field] = meta[field]
    for field in ("labels", "annotations"):
        value = meta.get(field)
        if isinstance(value, dict):
            metadata[field] = {str(k): str(v) for k, v in value.items()}
    return metadata
