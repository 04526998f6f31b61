"""What the status of an EnvoyFilter says: which patches cannot be applied, and how often each of the others was."""

from __future__ import annotations

from sailcloth.api.meta import Key
from sailcloth.lib.incremental import Graph
from sailcloth.mesh.verdict import Verdict

from .policy import compiled


def verdict(graph: Graph, key: Key) -> Verdict:
    """One wrong patch makes the object not accepted; the others hold all the same."""
    found = graph.get(compiled, key)
    wrong = [f"configPatches[{i}]: {p}" for i, p in enumerate(found) if isinstance(p, str)]
    parts = tuple((i, f"configPatches[{i}]") for i, p in enumerate(found) if not isinstance(p, str))
    if wrong:
        return Verdict(False, "PatchInvalid", "; ".join(wrong), parts=parts)
    return Verdict(parts=parts)
