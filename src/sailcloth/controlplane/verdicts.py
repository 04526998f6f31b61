"""The verdict on each user object, as a derived value, so that it is computed again whenever one of its inputs changes.

Inputs: the object as received, the reason why it is blocked, and the verdict function of its kind. Must not know what proxies
acknowledged; `status` adds that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import cast

from sailcloth.api.kinds import LEGACY_KINDS, SERVED_KINDS
from sailcloth.api.meta import Finding, Key, Object
from sailcloth.envoy import pipeline
from sailcloth.lib.incremental import Graph, derived
from sailcloth.mesh import destination_rules, legacy, registry, selection, virtual_services
from sailcloth.mesh.verdict import ACCEPTED, Verdict
from sailcloth.view import gateways

CONDITION_KINDS = {k.name: k for k in SERVED_KINDS if k.conditions}
"""The kinds that get a status, by name."""


def _of_policy(kind: type[Object], verdict_of_kind: Callable[[Graph, Key], Verdict], graph: Graph, key: Key) -> Verdict:
    """The verdict on a policy: whether what it references exists, then what its kind says."""
    obj = registry.read(graph, kind, key)
    problem = selection.target_problem(graph, key.namespace, selection.scope_of(obj)) if obj is not None else ""
    if problem:
        return Verdict(False, "TargetNotFound", f"not in force anywhere: {problem}")
    return verdict_of_kind(graph, key)


_VERDICT_FUNCTIONS: dict[str, Callable[[Graph, Key], Verdict]] = {
    "VirtualService": virtual_services.verdict,
    "DestinationRule": destination_rules.verdict,
    "Gateway": gateways.verdict,
    **{kind.name: legacy.verdict for kind in LEGACY_KINDS},
    **{f.kind.__name__: partial(_of_policy, f.kind, f.verdict) for f in pipeline.POLICIES},
}


@dataclass(frozen=True, slots=True)
class Received:
    """The version of an object in the API server, and its first error."""

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
    """Record a received object (or, with None and no finding, its deletion). Returns whether anything changed.

    An object that cannot be decoded keeps the uid and generation of its previous version.
    """
    if key.kind not in CONDITION_KINDS:
        return False
    if obj is None and finding is None:
        return graph.unset(("received", key))
    previous = cast("Received | None", graph.read(("received", key)))
    if obj is not None:
        uid, generation = obj.metadata.uid, obj.metadata.generation
    else:
        uid, generation = (previous.uid, previous.generation) if previous is not None else ("", 1)
    return graph.set(("received", key), Received(uid, generation, finding))


def set_blocked(graph: Graph, key: Key, reason: tuple[str, str] | None) -> None:
    """Record why an object is blocked, as (reason, message); None: it is not."""
    if reason is None:
        graph.unset(("blocked", key))
    else:
        graph.set(("blocked", key), reason)


@derived
def verdict(graph: Graph, key: Key) -> ObjectVerdict | None:
    """The verdict on an object; None if it does not exist."""
    version = cast("Received | None", graph.read(("received", key)))
    if version is None:
        return None
    blocked = cast("tuple[str, str] | None", graph.read(("blocked", key)))
    if version.finding is not None:
        path = f"{version.finding.path}: " if version.finding.path else ""
        rejected = Verdict(False, "Invalid", f"{path}{version.finding.text}")
    elif blocked is not None:
        rejected = Verdict(False, *blocked)
    else:
        verdict_of_kind = _VERDICT_FUNCTIONS.get(key.kind)
        return ObjectVerdict(
            version.uid, version.generation, verdict_of_kind(graph, key) if verdict_of_kind is not None else ACCEPTED
        )
    return ObjectVerdict(version.uid, version.generation, rejected, in_force=False)
