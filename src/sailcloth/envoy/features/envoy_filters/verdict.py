"""The verdict on an EnvoyFilter: which patches cannot be applied, and which are counted."""

from __future__ import annotations

from sailcloth.api.meta import Key
from sailcloth.lib.incremental import Graph
from sailcloth.mesh.verdict import Verdict

from .policy import compiled


def verdict(graph: Graph, key: Key) -> Verdict:
    """Not accepted if one patch is wrong; the other patches are still applied."""
    patches = graph.get(compiled, key)
    wrong = [f"configPatches[{i}]: {p}" for i, p in enumerate(patches) if isinstance(p, str)]
    parts = tuple((i, f"configPatches[{i}]") for i, p in enumerate(patches) if not isinstance(p, str))
    if wrong:
        return Verdict(False, "PatchInvalid", "; ".join(wrong), parts=parts)
    return Verdict(parts=parts)
