"""The compiled patches of a proxy."""

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
    """Patches in the order of application. Has no sources: resources name the patches that took effect themselves."""

    patches: tuple[Compiled, ...] = ()
    sources: tuple[Key, ...] = ()


@derived
def compiled(graph: Graph, key: Key) -> tuple[Compiled | str, ...]:
    """The patches of an EnvoyFilter, each compiled or the reason why it cannot be applied."""
    obj = registry.read(graph, EnvoyFilter, key)
    patches: list[Compiled | str] = []
    for index, patch in enumerate(obj.spec.config_patches if obj else ()):
        try:
            patches.append(compile_patch(key, index, patch))
        except PatchError as error:
            patches.append(str(error))
    return tuple(patches)


def resolve(graph: Graph, policies: Policies) -> Patches:
    """The patches of a proxy that can be applied."""
    refs = graph.get(envoy_filters.patches, policies.of(EnvoyFilter), policies.metadata)
    patches = (graph.get(compiled, key)[index] for key, index in refs)
    return Patches(tuple(p for p in patches if isinstance(p, Compiled)))
