"""Which patches of EnvoyFilters apply to a proxy, and in which order. Source: istio.md 1.7."""

from __future__ import annotations

import re
from collections.abc import Mapping

from sailcloth.api.envoy_filter import EnvoyFilter, ProxyMatch
from sailcloth.api.meta import Key
from sailcloth.lib.incremental import Graph, derived

from . import registry
from .kinds.envoy_filter import PROXY_VERSION

PatchRef = tuple[Key, int]  # (EnvoyFilter, index of a patch in it)
Metadata = tuple[tuple[str, str], ...]


@derived
def patches(graph: Graph, filters: tuple[Key, ...], metadata: Metadata) -> tuple[PatchRef, ...]:
    """The patches of some EnvoyFilters whose `match.proxy` matches, in order: by priority, then those of the root namespace, then by
    age. `filters`: in the order of `selection`; `metadata`: the proxy's node metadata that they match on."""
    root = registry.config(graph).root_namespace
    objects = [(key, obj) for key in filters if (obj := registry.read(graph, EnvoyFilter, key)) is not None]
    objects.sort(
        key=lambda item: (item[1].spec.priority, item[0].namespace != root)
    )  # stable, so equal keys stay ordered by age
    node_metadata = dict(metadata)
    return tuple(
        (key, index)
        for key, obj in objects
        for index, patch in enumerate(obj.spec.config_patches)
        if _matches_proxy(patch.match.proxy if patch.match else None, node_metadata)
    )


def _matches_proxy(match: ProxyMatch | None, metadata: Mapping[str, str]) -> bool:
    if match is None:
        return True
    if any(metadata.get(k) != v for k, v in match.metadata.items()):
        return False
    if not match.proxy_version:
        return True
    try:
        return re.search(match.proxy_version, metadata.get(PROXY_VERSION, "")) is not None
    except re.error:
        return False
