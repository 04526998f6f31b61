"""The patches that hold for a proxy, ready to be applied."""

from __future__ import annotations

from dataclasses import dataclass

from sailcloth.api.envoy_filter import EnvoyFilter
from sailcloth.api.meta import Key
from sailcloth.lib.incremental import Graph, derived
from sailcloth.mesh import envoy_filters, registry
from sailcloth.view.policies import Policies

from .compiled import Compiled, PatchError, compile_patch


@dataclass(frozen=True)
class Patches:
    """In the order in which they are applied. Resources name the patches that took effect themselves, so it has no sources."""

    patches: tuple[Compiled, ...] = ()
    sources: tuple[Key, ...] = ()


@derived
def compiled(graph: Graph, key: Key) -> tuple[Compiled | str, ...]:
    """The patches of an EnvoyFilter, each ready or with the reason why it cannot be applied."""
    obj = registry.read(graph, EnvoyFilter, key)
    out: list[Compiled | str] = []
    for index, patch in enumerate(obj.spec.config_patches if obj else ()):
        try:
            out.append(compile_patch(key, index, patch))
        except PatchError as error:
            out.append(str(error))
    return tuple(out)


def resolve(graph: Graph, policies: Policies) -> Patches:
    """Those of a proxy's patches that can be applied."""
    refs = graph.get(envoy_filters.patches, policies.of(EnvoyFilter), policies.metadata)
    found = (graph.get(compiled, key)[index] for key, index in refs)
    return Patches(tuple(p for p in found if isinstance(p, Compiled)))
