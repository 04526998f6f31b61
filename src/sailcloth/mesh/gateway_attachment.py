"""Whether a route of the Gateway API is attached to a parent of listeners, a Gateway or a ListenerSet. Pure.

Must not know what is in conflict: a route may be attached to listeners that do not serve. Source: the Gateway API's specification,
ParentReference.
"""

from __future__ import annotations

from collections.abc import Iterable

from sailcloth.api.gateway_api import GROUP, HTTPRoute, ParentReference
from sailcloth.api.meta import Key

from .gateway_listeners import GATEWAY, LISTENER_SET, ListenerState, Verdict, overlap

_KINDS = {"Gateway": GATEWAY, "ListenerSet": LISTENER_SET}


def parent(reference: ParentReference, namespace: str) -> Key | None:
    """The Gateway or ListenerSet that an object of a namespace refers to; None if it is something else."""
    kind = _KINDS.get(reference.kind)
    if reference.group != GROUP or kind is None:
        return None
    return Key(kind, reference.namespace or namespace, reference.name)


def parents(key: Key, route: HTTPRoute | None) -> list[Key]:
    """The Gateways and ListenerSets that a route names."""
    references = route.spec.parent_refs if route is not None else ()
    return list(dict.fromkeys(p for r in references if (p := parent(r, key.namespace)) is not None))


def named(reference: ParentReference, listeners: Iterable[ListenerState]) -> list[ListenerState]:
    """Those of a parent's listeners that a reference names."""
    return [
        s
        for s in listeners
        if reference.section_name in (None, s.listener.name) and reference.port in (None, s.listener.port)
    ]


def accepted(
    reference: ParentReference,
    listeners: tuple[ListenerState, ...],
    allowed: list[ListenerState],
    key: Key,
    route: HTTPRoute,
) -> Verdict:
    """Whether a route is attached by a reference. listeners: of the parent; allowed: those that the reference names and that let the route in."""
    if not listeners and reference.kind == LISTENER_SET:
        return False, "NoMatchingParent", "the ListenerSet is not accepted by its Gateway; its conditions say why"
    meant = named(reference, listeners)
    if not meant:
        what = f"listener {reference.section_name}" if reference.section_name else f"listener on port {reference.port}"
        return False, "NoMatchingParent", f"the {reference.kind} has no {what}"
    takers = [s for s in meant if key.kind in s.kinds]
    if takers and not any(overlap(s, route.spec.hostnames) for s in takers):
        return False, "NoMatchingListenerHostname", "no listener has a host name in common with the route"
    if not any(overlap(s, route.spec.hostnames) for s in allowed):
        text = f"allowedRoutes of no listener has {key.kind}s of namespace {key.namespace}"
        return False, "NotAllowedByListeners", text
    return True, "Accepted", ""
