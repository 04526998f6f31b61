"""Writes the statuses of ListenerSets of the Gateway API. Must not evaluate them; `mesh.kubernetes_gateways` does.

A ListenerSet is `Programmed` when it is accepted, which takes a listener that serves, and its Gateway is programmed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sailcloth.api.gateway_api import GROUP
from sailcloth.api.meta import Key
from sailcloth.kube import RETRIABLE, ApiError, Client, Resource
from sailcloth.lib.work_queue import WorkQueue
from sailcloth.mesh.gateway_listeners import Verdict
from sailcloth.mesh.kubernetes_gateways import KubernetesGateways
from sailcloth.mesh.listener_sets import ListenerSetState

from . import listener_status
from .status_api import merge_status

LISTENER_SETS = Resource(GROUP, "v1", "listenersets", "ListenerSet")
Object = dict[str, Any]


class ListenerSetStatus:
    """Call `enqueue_evaluated` after changes; `run` writes until cancelled. `programmed`: the Programmed condition of a Gateway, None while it
    is not known yet; call `gateway_changed` when it changes."""

    def __init__(
        self, client: Client, gateways: KubernetesGateways, programmed: Callable[[Key], Verdict | None]
    ) -> None:
        self._client, self._gateways, self._programmed = client, gateways, programmed
        self._written: set[Key] = set()
        self.queue = WorkQueue(self._reconcile, name="status of ListenerSets", retry=RETRIABLE)

    def enqueue_evaluated(self) -> None:
        """Queue what was evaluated again since the last call."""
        self.queue.add_all(sorted(self._gateways.sets_evaluated))
        self._gateways.sets_evaluated.clear()

    def gateway_changed(self, gateway: Key) -> None:
        """Queue the ListenerSets of a Gateway."""
        self.queue.add_all(self._gateways.sets_of(gateway))

    async def run(self) -> None:
        """Write until cancelled."""
        await self.queue.run()

    async def _reconcile(self, key: Key) -> None:
        state = self._gateways.sets.get(key)
        if state is None and key not in self._written:
            return  # its Gateway is another controller's, or does not exist yet
        try:
            obj = await self._client.get(LISTENER_SETS, key.name, key.namespace)
        except ApiError as error:
            if error.status != 404:
                raise
            self._written.discard(key)
            return
        old = obj.get("status") or {}
        generation = int(obj["metadata"].get("generation") or 1)
        if state is None:
            self._written.discard(key)
            gone = ListenerSetState(key, accepted=(False, "ParentNotAccepted", "the Gateway does not exist any more"))
            new = self._status(gone, None, old, generation)
        else:
            programmed = self._programmed(state.gateway)
            if programmed is None and state.accepted[0]:
                return  # it is queued again once this is known
            self._written.add(key)
            new = self._status(state, programmed, old, generation)
        if new != {name: old.get(name) for name in new}:
            await merge_status(self._client, LISTENER_SETS, key, new)

    def _status(self, state: ListenerSetState, gateway: Verdict | None, old: Object, generation: int) -> Object:
        ready = gateway is not None and gateway[0]
        attached = [self._gateways.attached(state.gateway, s.ident) for s in state.listeners]
        verdicts = {"Accepted": state.accepted, "Programmed": _programmed(state, ready)}
        return {
            "conditions": listener_status.of(verdicts, old, generation),
            "listeners": listener_status.entries(state.listeners, attached, old, generation),
        }


def _programmed(state: ListenerSetState, ready: bool) -> Verdict:
    """ready: whether the Gateway is programmed."""
    if not state.accepted[0]:
        reason = "ParentNotProgrammed" if state.accepted[1] == "ParentNotAccepted" else state.accepted[1]
        return False, reason, state.accepted[2]
    if not ready:
        return False, "ParentNotProgrammed", "the Gateway is not programmed yet"
    return True, "Programmed", ""
