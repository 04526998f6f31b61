"""The ListenerSets of the Gateway API: which Gateway each names, whether that allows it, and its verdict. Pure.

Must not judge listeners; `gateway_listeners` and `merged_listeners` do. Source: the Gateway API's specification, ListenerSet (GEP-1713).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sailcloth.api.gateway_api import GROUP, KubernetesGateway, ListenerSet, ParentReference
from sailcloth.api.meta import Key, Object
from sailcloth.lib.relation import Relation

from .gateway_listeners import GATEWAY, LISTENER_SET, ListenerState, Verdict, selects
from .merged_listeners import Rank

KIND = LISTENER_SET


@dataclass(frozen=True)
class ListenerSetState:
    """A ListenerSet with its listeners; without any if its Gateway does not allow it. `accepted`: as (whether, reason, message)."""

    gateway: Key
    listeners: tuple[ListenerState, ...] = ()
    accepted: Verdict = (True, "Accepted", "")


class ListenerSets:
    """All ListenerSets, by the Gateways that they name."""

    def __init__(self) -> None:
        self._sets: dict[Key, ListenerSet] = {}
        self._gateways: Relation[Key, Key] = Relation()
        self._namespaces: Relation[Key, str] = Relation()

    def apply(self, key: Key, obj: Object | None) -> bool:
        """Add, replace or (None) remove a ListenerSet. Returns whether it is another one than before."""
        old = self._sets.pop(key, None)
        new = obj if isinstance(obj, ListenerSet) else None
        if new is not None:
            self._sets[key] = new
        gateway = _gateway(new.spec.parent_ref, key.namespace) if new is not None else None
        self._gateways.put(key, [gateway] if gateway is not None else [])
        self._namespaces.put(key, [key.namespace] if new is not None else [])
        return old != new

    def get(self, key: Key) -> ListenerSet | None:
        """A ListenerSet."""
        return self._sets.get(key)

    def gateway(self, key: Key) -> Key | None:
        """The Gateway that a ListenerSet names."""
        return next(iter(self._gateways.of(key)), None)

    def of_gateway(self, gateway: Key) -> list[Key]:
        """The ListenerSets that name a Gateway, sorted."""
        return sorted(self._gateways.at(gateway))

    def of_namespace(self, namespace: str) -> list[Key]:
        """The ListenerSets of a namespace, sorted."""
        return sorted(self._namespaces.at(namespace))

    def rank(self, key: Key) -> Rank:
        """Its precedence among those of a Gateway: the older ones come first, then by name."""
        return self._sets[key].metadata.creation_timestamp or "", key.namespace, key.name


def allows(gateway: KubernetesGateway, namespace: str, labels: Mapping[str, str]) -> bool:
    """Whether a Gateway takes ListenerSets of a namespace, which has labels."""
    return selects(gateway.spec.allowed_listeners.namespaces, gateway.metadata.namespace, namespace, labels)


def evaluate(gateway: Key, accepted: bool, allowed: bool, listeners: tuple[ListenerState, ...]) -> ListenerSetState:
    """The state of a ListenerSet. accepted, allowed: whether its Gateway is, and whether that allows it."""
    verdict = (True, "Accepted", "")
    if not allowed:
        text = "allowedListeners of the Gateway has no ListenerSets of this namespace"
        return ListenerSetState(gateway, (), (False, "NotAllowed", text))
    if not accepted:
        verdict = (False, "ParentNotAccepted", "the Gateway is not accepted")
    elif not any(s.serves for s in listeners):
        verdict = (False, "ListenersNotValid", "no listener can be opened; their conditions say why")
    return ListenerSetState(gateway, listeners, verdict)


def _gateway(parent: ParentReference, namespace: str) -> Key | None:
    if (parent.group, parent.kind) != (GROUP, "Gateway"):
        return None
    return Key(GATEWAY, parent.namespace or namespace, parent.name)
