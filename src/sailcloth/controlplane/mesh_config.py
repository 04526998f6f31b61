"""MeshConfig: the ConfigMap `istio`, key `mesh`, as far as it is read. Unknown options are ignored, as old meshes have many."""

from __future__ import annotations

from typing import Any

import yaml

from sailcloth.api.meta import duration_ms
from sailcloth.mesh.model import MeshConfig


def parse(text: str, base: MeshConfig | None = None) -> MeshConfig:
    """The options of a MeshConfig text over defaults. Raises ValueError with the option that is wrong."""
    try:
        given: Any = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise ValueError(f"MeshConfig is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(given, dict):
        raise ValueError("MeshConfig must be a YAML object")
    old = base or MeshConfig()
    policy = given.get("outboundTrafficPolicy")
    inbound = given.get("inboundTrafficPolicy") or {}
    # An outboundTrafficPolicy without a mode is REGISTRY_ONLY: that is the first value of Istio's enumeration.
    mode = old.outbound_mode if policy is None else str((policy or {}).get("mode", "REGISTRY_ONLY"))
    if mode not in ("REGISTRY_ONLY", "ALLOW_ANY", "ALLOW_ANY_DYNAMIC_DNS"):
        raise ValueError(f"MeshConfig outboundTrafficPolicy.mode: {mode!r}; use REGISTRY_ONLY or ALLOW_ANY")
    timeout = given.get("connectTimeout")
    try:
        connect = duration_ms(str(timeout)) if timeout is not None else old.connect_timeout_ms
    except ValueError as error:
        raise ValueError(f"MeshConfig connectTimeout: {error}") from None
    detection = given.get("protocolDetectionTimeout")
    try:
        detect = duration_ms(str(detection)) if detection is not None else old.detection_timeout_ms
    except ValueError as error:
        raise ValueError(f"MeshConfig protocolDetectionTimeout: {error}") from None
    return MeshConfig(
        trust_domain=str(given.get("trustDomain") or old.trust_domain),
        domain=old.domain,
        root_namespace=str(given.get("rootNamespace") or old.root_namespace),
        enable_auto_mtls=bool(given.get("enableAutoMtls", old.enable_auto_mtls)),
        outbound_mode=mode,
        inbound_mode=str(inbound.get("mode") or old.inbound_mode),
        connect_timeout_ms=connect or old.connect_timeout_ms,
        access_log_file=str(given.get("accessLogFile", old.access_log_file) or ""),
        access_log_format=str(given.get("accessLogFormat", old.access_log_format) or ""),
        detection_timeout_ms=detect or 0.0,
        merge_virtual_services=_merging(given.get("virtualServiceMerging"), old.merge_virtual_services),
        ingress_service=str(given.get("ingressService") or old.ingress_service),
        default_export=tuple(given.get("defaultServiceExportTo") or old.default_export),
    )


def _merging(given: Any, old: bool) -> bool:
    """Ours alone: what several VirtualServices for one host mean in the mesh."""
    if given is None:
        return old
    if given not in ("MERGE", "OLDEST_WINS"):
        raise ValueError(f"MeshConfig virtualServiceMerging: {given!r}; use MERGE or OLDEST_WINS")
    return bool(given == "MERGE")
