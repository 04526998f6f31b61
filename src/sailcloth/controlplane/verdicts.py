"""What is to be said of each user object, as a derived value: whoever changes what a verdict rests on has it judged again.

Rests on the object as it was received, on what holds it back, and on what its kind's feature says. What proxies answered is not
known here; `status` adds it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from sailcloth.api.kinds import MESH_KINDS
from sailcloth.api.meta import Finding, Key, Object
from sailcloth.envoy import pipeline
from sailcloth.lib.incremental import Graph, derived
from sailcloth.mesh import destination_rules, virtual_services
from sailcloth.mesh.verdict import ACCEPTED, Verdict
from sailcloth.view import gateways

CONDITION_KINDS = {k.name: k for k in MESH_KINDS if k.conditions}
"""The kinds that get a status, by name."""

_JUDGES: dict[str, Callable[[Graph, Key], Verdict]] = {
    "VirtualService": virtual_services.verdict,
    "DestinationRule": destination_rules.verdict,
    "Gateway": gateways.verdict,
    **{feature.kind.__name__: feature.verdict for feature in pipeline.POLICIES},
}


@dataclass(frozen=True, slots=True)
class Received:
    """An object as the API server has it: which version, and the first error in it."""

    uid: str
    generation: int
    finding: Finding | None = None


@dataclass(frozen=True, slots=True)
class ObjectVerdict:
    """`in_force`: whether this version of the object has taken effect."""

    uid: str
    generation: int
    verdict: Verdict
    in_force: bool = True


def received(graph: Graph, key: Key, obj: Object | None, finding: Finding | None = None) -> bool:
    """Note an object that came (or, with None and no finding, went). Returns whether anything about it is new.

    One that could not even be read is told of as the version before.
    """
    if key.kind not in CONDITION_KINDS:
        return False
    if obj is None and finding is None:
        return graph.unset(("received", key))
    before = cast("Received | None", graph.read(("received", key)))
    if obj is not None:
        uid, generation = obj.metadata.uid, obj.metadata.generation
    else:
        uid, generation = (before.uid, before.generation) if before is not None else ("", 1)
    return graph.set(("received", key), Received(uid, generation, finding))


def hold(graph: Graph, key: Key, why: tuple[str, str] | None) -> None:
    """Note what holds an object back, as (reason, message); None: nothing."""
    if why is None:
        graph.unset(("held", key))
    else:
        graph.set(("held", key), why)


@derived
def verdict(graph: Graph, key: Key) -> ObjectVerdict | None:
    """What is to be said of an object; None if there is none."""
    known = cast("Received | None", graph.read(("received", key)))
    if known is None:
        return None
    held = cast("tuple[str, str] | None", graph.read(("held", key)))
    if known.finding is not None:
        path = f"{known.finding.path}: " if known.finding.path else ""
        refused = Verdict(False, "Invalid", f"{path}{known.finding.text}")
    elif held is not None:
        refused = Verdict(False, *held)
    else:
        judge = _JUDGES.get(key.kind)
        return ObjectVerdict(known.uid, known.generation, judge(graph, key) if judge is not None else ACCEPTED)
    return ObjectVerdict(known.uid, known.generation, refused, in_force=False)
