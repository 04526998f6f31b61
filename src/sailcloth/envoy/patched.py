"""Resources after users' patches: derived values between what features make and what is delivered.

A view without EnvoyFilters never comes here.
"""

from __future__ import annotations

from sailcloth.api.envoy_filter import EnvoyFilter
from sailcloth.api.meta import Key
from sailcloth.lib.incremental import Graph, derived
from sailcloth.mesh import registry
from sailcloth.mesh.envoy_filters import PatchRef

from .patches import apply
from .patches.compiled import Compiled, PatchError, compile_patch
from .resource import EnvoyResource

Refs = tuple[PatchRef, ...]


@derived
def compiled(graph: Graph, key: Key) -> tuple[Compiled | str, ...]:
    """The patches of an EnvoyFilter, each ready or with the reason why it cannot be applied."""
    obj: EnvoyFilter | None = registry.read(graph, key)
    out: list[Compiled | str] = []
    for index, patch in enumerate(obj.spec.config_patches if obj else ()):
        try:
            out.append(compile_patch(key, index, patch))
        except PatchError as error:
            out.append(str(error))
    return tuple(out)


@derived
def patches(graph: Graph, refs: Refs) -> tuple[Compiled, ...]:
    """Those of a proxy's patches that can be applied, in order."""
    found = (graph.get(compiled, key)[index] for key, index in refs if index < len(graph.get(compiled, key)))
    return tuple(p for p in found if isinstance(p, Compiled))


@derived
def added_names(graph: Graph, kind: str, contexts: tuple[str, ...], refs: Refs) -> tuple[str, ...]:
    """Names of the resources of a kind that patches add."""
    found = graph.get(patches, refs)
    return tuple(dict.fromkeys(name for c in contexts for name, _ in apply.added(found, kind, c)))


@derived
def added(graph: Graph, kind: str, contexts: tuple[str, ...], refs: Refs, name: str) -> EnvoyResource | None:
    """A resource that a patch adds."""
    found = graph.get(patches, refs)
    return next((dict(a)[name] for c in contexts if name in dict(a := apply.added(found, kind, c))), None)


def cluster(
    graph: Graph, made: EnvoyResource | None, refs: Refs, context: str, hosts: tuple[str, ...] = ()
) -> EnvoyResource | None:
    """A cluster after patches."""
    return apply.clusters(made, graph.get(patches, refs), context, hosts) if made and refs else made


def listener(
    graph: Graph, made: EnvoyResource | None, refs: Refs, context: str, ports: frozenset[int]
) -> EnvoyResource | None:
    """A listener after patches."""
    return apply.listeners(made, graph.get(patches, refs), context, ports) if made and refs else made


def routes(
    graph: Graph, made: EnvoyResource | None, refs: Refs, context: str, ports: frozenset[int]
) -> EnvoyResource | None:
    """A route configuration after patches."""
    return apply.routes(made, graph.get(patches, refs), context, ports) if made and refs else made
