"""Which patches of EnvoyFilters hold for a proxy, and in which order. Source: istio.md 1.7."""

from __future__ import annotations

import re
from collections.abc import Mapping

from sailcloth.api.envoy_filter import EnvoyFilter, ProxyMatch
from sailcloth.api.meta import Key
from sailcloth.lib.incremental import Graph, derived

from . import registry
from .kinds.envoy_filter import PROXY_VERSION

PatchRef = tuple[Key, int]  # an EnvoyFilter, and the place of a patch in it
Metadata = tuple[tuple[str, str], ...]


@derived
def patches(graph: Graph, filters: tuple[Key, ...], metadata: Metadata) -> tuple[PatchRef, ...]:
    """The patches of some EnvoyFilters whose conditions on the proxy hold, in order: by priority, then those of the root
    namespace, then by age. `filters` are in the order of `selection`, `metadata` is what they ask of the proxy."""
    root = registry.config(graph).root_namespace
    found = [(key, obj) for key in filters if (obj := registry.read(graph, EnvoyFilter, key)) is not None]
    found.sort(key=lambda item: (item[1].spec.priority, item[0].namespace != root))  # stable: age decides among equals
    known = dict(metadata)
    return tuple(
        (key, index)
        for key, obj in found
        for index, patch in enumerate(obj.spec.config_patches)
        if _holds(patch.match.proxy if patch.match else None, known)
    )


def _holds(wanted: ProxyMatch | None, metadata: Mapping[str, str]) -> bool:
    if wanted is None:
        return True
    if any(metadata.get(k) != v for k, v in wanted.metadata.items()):
        return False
    if not wanted.proxy_version:
        return True
    try:
        return re.search(wanted.proxy_version, metadata.get(PROXY_VERSION, "")) is not None
    except re.error:
        return False
