"""The kinds of objects that the mesh reads, one module each. Adding a kind takes a module and its name here."""

from __future__ import annotations

from typing import Any

from . import (
    authorization_policy,
    destination_rule,
    endpoint_slice,
    envoy_filter,
    gateway,
    peer_authentication,
    pod,
    proxy_config,
    rate_limit,
    request_authentication,
    secret,
    service,
    service_entry,
    sidecar,
    telemetry,
    virtual_service,
    workload_entry,
)
from .record import Exports, MeshKind, Slice, Traffic, of_namespace

__all__ = ["KINDS", "POLICIES", "Exports", "MeshKind", "Slice", "Traffic", "of_namespace"]

KINDS: dict[str, MeshKind[Any]] = {
    module.KIND.name: module.KIND
    for module in (
        authorization_policy,
        destination_rule,
        endpoint_slice,
        envoy_filter,
        gateway,
        peer_authentication,
        pod,
        proxy_config,
        rate_limit,
        request_authentication,
        secret,
        service,
        service_entry,
        sidecar,
        telemetry,
        virtual_service,
        workload_entry,
    )
}

POLICIES: tuple[MeshKind[Any], ...] = tuple(kind for kind in KINDS.values() if kind.selector is not None)
"""Kinds whose objects select the workloads that they apply to."""
