"""The options that a workload's proxy starts with: the mesh's, and the ProxyConfigs over them. Injection asks for them; a change
takes effect when a pod starts. Source: istio.md 1.10."""

from __future__ import annotations

import json
from typing import Any

from sailcloth.api.meta import Key
from sailcloth.api.workload_group import ProxyConfig
from sailcloth.lib.incremental import Graph

from . import endpoints, registry


def options(graph: Graph, namespace: str, labels: dict[str, str]) -> dict[str, Any]:
    """Options of a workload's proxy, as `defaultConfig` has them: the mesh's, then the root namespace's ProxyConfig, the
    namespace's, and the one that selects the workload, each over those before; the oldest of several."""
    config = registry.config(graph)
    out: dict[str, Any] = json.loads(config.proxy_defaults)
    pairs = tuple(labels.items())
    found = [_of(graph, config.root_namespace, None)]
    if namespace != config.root_namespace:
        found.append(_of(graph, namespace, None))
    found.append(_of(graph, namespace, pairs))
    for obj in found:
        if obj is not None:
            out = _over(out, obj)
    return out


def _of(graph: Graph, namespace: str, labels: tuple[tuple[str, str], ...] | None) -> ProxyConfig | None:
    """The oldest ProxyConfig for a whole namespace, or (with labels) that selects a workload of it."""
    best: tuple[str, Key, ProxyConfig] | None = None
    for key in registry.select(graph, ("proxy-configs", namespace)):
        obj: ProxyConfig = registry.read(graph, key)
        wanted = obj.spec.selector.match_labels if obj.spec.selector is not None else {}
        if bool(wanted) != (labels is not None) or (labels and not endpoints.has_labels(wanted, labels)):
            continue
        entry = (obj.metadata.creation_timestamp or "", key, obj)
        best = min(best, entry, key=lambda e: e[:2]) if best is not None else entry
    return best[2] if best is not None else None


def _over(options: dict[str, Any], obj: ProxyConfig) -> dict[str, Any]:
    out = dict(options)
    if obj.spec.concurrency is not None:
        out["concurrency"] = obj.spec.concurrency
    if obj.spec.image is not None and obj.spec.image.image_type:
        out["image"] = {"imageType": obj.spec.image.image_type}
    if obj.spec.environment_variables:
        out["proxyMetadata"] = {**(out.get("proxyMetadata") or {}), **obj.spec.environment_variables}
    return out
