"""Takes back changes that Envoy refuses, so that one object does not keep its neighbours' changes from the proxies.

A proxy that refuses a resource, such as a route configuration with the rules of many objects, keeps the previous one as a whole.
Here the object that is to blame is found among those that changed since they were in force: the newest first, each back to its
previous version, until the proxy accepts the resource; those that were not to blame take effect again. A version that any proxy
has accepted is not taken back, since then the proxy that refuses it is the odd one.

Validation is the first wall, this is the second. Must not decide what a proxy gets in other ways than through `Activation`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from sailcloth.api.meta import Key, Object

from .activation import Activation
from .connected_proxies import ConnectedProxies, ConnectedProxy
from .verdicts import CONDITION_KINDS

log = logging.getLogger(__name__)

_MOST_CHANGES = 1_000  # remembered, of those that are not in force everywhere


class Refusals:
    """`applied` records changes, `result` the answers of proxies, `in_force` that a change needs no watching any more.
    `settle` is called after changes of the activation, and pushes them in the next turn of the event loop."""

    def __init__(self, activation: Activation, proxies: ConnectedProxies, settle: Callable[[], None]) -> None:
        self._activation, self._proxies, self._settle = activation, proxies, settle
        self._previous: dict[
            Key, Object | None
        ] = {}  # changed objects in their order, with the version in force before
        self._suspects: list[Key] = []  # taken back since a proxy refused something, the last one last
        self._cleared: set[Key] = set()  # about to take effect again, after a refusal that no change explains
        self._scheduled = False

    def applied(self, key: Key, previous: Object | None) -> None:
        """A version of an object has taken effect; `previous` is the one before."""
        if key in self._cleared:
            self._cleared.discard(key)
        elif key.kind in CONDITION_KINDS:
            self._previous[key] = self._previous.pop(key, previous)
            if len(self._previous) > _MOST_CHANGES:
                del self._previous[next(iter(self._previous))]

    def in_force(self, key: Key) -> None:
        """All proxies that have an object's resources have accepted them."""
        self._previous.pop(key, None)

    def result(self, error: str) -> None:
        """A proxy has acknowledged (empty error) or refused a response."""
        if (error and self._previous) or self._suspects:
            self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._search)

    def _search(self) -> None:
        self._scheduled = False
        refusing = next((c for c in self._proxies.clients.values() if c.connection.stream.errors), None)
        if refusing is None:
            self._finish(to_blame=1)
            return
        if not refusing.connection.stream.in_sync:
            return  # it has not answered to the last step yet
        url, error = next(iter(refusing.connection.stream.errors.items()))
        suspect = next((k for k in reversed(self._previous) if self._may_be_to_blame(k, refusing, url)), None)
        if suspect is None:
            self._finish(to_blame=0)
            return
        log.warning("%s: taken back, because %s refuses it: %s", suspect, refusing.proxy.id, error)
        self._suspects.append(suspect)
        previous = self._previous.pop(suspect)
        self._activation.take_back(suspect, previous, ("Refused", f"{refusing.proxy.id} refuses it: {error}"))
        self._settle()
        self._schedule()  # after the settling; there is no answer if nothing changes for the proxy

    def _may_be_to_blame(self, key: Key, refusing: ConnectedProxy, url: str) -> bool:
        """Whether a refused type's resources are made from an object, and no proxy has accepted its version."""
        if not any(key in live.sources for live in refusing.collections.get(url, ())):
            return False
        streams = [c.connection.stream for c in self._proxies.holders(key)]
        return not any(s.in_sync and url not in s.errors for s in streams)

    def _finish(self, to_blame: int) -> None:
        """End a search: the last `to_blame` of the suspects stay taken back, the others take effect again."""
        suspects, self._suspects = self._suspects, []
        for key in suspects[: len(suspects) - to_blame]:
            self._activation.try_again(key)
            if not to_blame:
                self._cleared.add(key)
        if len(suspects) > to_blame:
            self._settle()
