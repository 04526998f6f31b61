"""The options that a workload's proxy starts with: the mesh's, and the ProxyConfigs over them. Injection asks for them; a change
takes effect when a pod starts. Source: istio.md 1.10."""

from __future__ import annotations

import json
from typing import Any

from sailcloth.api.workload_group import ProxyConfig
from sailcloth.lib.incremental import Graph

from . import registry, selection


def options(graph: Graph, namespace: str, labels: dict[str, str]) -> dict[str, Any]:
    """Options of a workload's proxy, as `defaultConfig` has them: the mesh's, then the root namespace's ProxyConfig, the
    namespace's, and the one that selects the workload, each over those before; the oldest of several."""
    out: dict[str, Any] = json.loads(registry.config(graph).proxy_defaults)
    levels = graph.get(selection.levels, ProxyConfig, namespace, tuple(sorted(labels.items())))
    for key in dict.fromkeys((levels.mesh, levels.namespace, levels.workload)):
        obj = registry.read(graph, ProxyConfig, key) if key is not None else None
        if obj is not None:
            out = _over(out, obj)
    return out


def _over(options: dict[str, Any], obj: ProxyConfig) -> dict[str, Any]:
    out = dict(options)
    if obj.spec.concurrency is not None:
        out["concurrency"] = obj.spec.concurrency
    if obj.spec.image is not None and obj.spec.image.image_type:
        out["image"] = {"imageType": obj.spec.image.image_type}
    if obj.spec.environment_variables:
        out["proxyMetadata"] = {**(out.get("proxyMetadata") or {}), **obj.spec.environment_variables}
    return out
