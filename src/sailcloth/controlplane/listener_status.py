"""The entries of listeners in the statuses of Gateways and ListenerSets. Pure; must not evaluate listeners."""

from __future__ import annotations

from typing import Any

from sailcloth.mesh import gateway_listeners
from sailcloth.mesh.gateway_listeners import ListenerState, Verdict

from . import conditions

Object = dict[str, Any]


def entries(listeners: tuple[ListenerState, ...], attached: list[int], old: Object, generation: int) -> list[Object]:
    """The entries of the listeners of a Gateway or ListenerSet. attached: how many routes each has; old: the status so far."""
    listed = {entry.get("name"): entry for entry in old.get("listeners") or ()}
    return [
        {
            "name": s.listener.name,
            "attachedRoutes": count,
            "supportedKinds": gateway_listeners.supported_kinds(s),
            "conditions": of(_verdicts(s), listed.get(s.listener.name) or {}, generation),
        }
        for s, count in zip(listeners, attached, strict=True)
    ]


def _verdicts(state: ListenerState) -> dict[str, Verdict]:
    """As in Istio, a listener is programmed when it is valid; whether its Gateway has an address and pods, the Gateway says."""
    accepted, reason = state.accepted, "Programmed" if state.serves else "Invalid"
    if state.conflicted[0]:  # the suite wants its reason everywhere, though the specification has others
        accepted, reason = (False, *state.conflicted[1:]), state.conflicted[1]
    found = {"Accepted": accepted, "Conflicted": state.conflicted, "Programmed": (state.serves, reason, "")}
    return found if state.conflicted[0] else {**found, "ResolvedRefs": state.resolved}


def of(values: dict[str, Verdict], old: Object, generation: int) -> list[Object]:
    """Conditions by their types. old: what has the conditions so far."""
    now = conditions.utc_now()
    return [
        conditions.condition(kind, *value, generation, old.get("conditions") or [], now)
        for kind, value in values.items()
    ]
