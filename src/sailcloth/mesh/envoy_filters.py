"""Which EnvoyFilters hold for a workload, and in which order. Source: istio.md 1.7."""

from __future__ import annotations

import re
from typing import Any

from sailcloth.api.envoy_filter import EnvoyFilter, ProxyMatch
from sailcloth.api.meta import Key
from sailcloth.lib.incremental import Graph, derived

from . import endpoints, registry

PatchRef = tuple[Key, int]  # an EnvoyFilter, and the place of a patch in it


@derived
def for_workload(graph: Graph, namespace: str, labels: tuple[tuple[str, str], ...]) -> tuple[Key, ...]:
    """EnvoyFilters of the root namespace and the workload's own that select it: by priority, the root's first, then by age."""
    root = registry.config(graph).root_namespace
    found = []
    for ns in dict.fromkeys((root, namespace)):
        for key in registry.select(graph, ("envoy-filters", ns)):
            obj: EnvoyFilter | None = registry.read(graph, key)
            if obj is None or obj.spec.target_refs:
                continue
            selector = obj.spec.workload_selector
            if selector is not None and not endpoints.has_labels(selector.labels, labels):
                continue
            age = obj.metadata.creation_timestamp or ""
            found.append((obj.spec.priority, ns != root, age, f"{key.name}.{ns}", key))
    return tuple(key for *_, key in sorted(found))


def refs(
    graph: Graph, namespace: str, labels: tuple[tuple[str, str], ...], metadata: dict[str, Any]
) -> tuple[PatchRef, ...]:
    """The patches for a proxy, in order: those of its EnvoyFilters whose conditions on the proxy itself hold."""
    out = []
    for key in graph.get(for_workload, namespace, labels):
        obj: EnvoyFilter | None = registry.read(graph, key)
        for index, patch in enumerate(obj.spec.config_patches if obj else ()):
            if _is_meant(patch.match.proxy if patch.match else None, metadata):
                out.append((key, index))
    return tuple(out)


def _is_meant(wanted: ProxyMatch | None, metadata: dict[str, Any]) -> bool:
    if wanted is None:
        return True
    if any(str(metadata.get(k)) != v for k, v in wanted.metadata.items()):
        return False
    if not wanted.proxy_version:
        return True
    try:
        return re.search(wanted.proxy_version, str(metadata.get("ISTIO_VERSION") or "")) is not None
    except re.error:
        return False
