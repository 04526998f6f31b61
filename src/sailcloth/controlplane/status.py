"""Says on each user object where it is applied: `Accepted` and `Programmed` conditions, with Envoy's own words on refusal.

Joins an object's verdict with what the proxies that hold it have answered. Written only when something in it has changed, and
never more often than every `INTERVAL_S` for one object.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from sailcloth.api.kinds import Kind
from sailcloth.api.meta import Key
from sailcloth.kube import RETRIABLE
from sailcloth.lib.clock import MONOTONIC, Clock
from sailcloth.lib.work_queue import WorkQueue

from . import conditions, verdicts
from .connected_proxies import ConnectedProxies, ConnectedProxy
from .verdicts import CONDITION_KINDS, ObjectVerdict

INTERVAL_S = 0.05
Conditions = list[dict[str, Any]]


class StatusApi(Protocol):
    """The statuses of objects. Both raise what `kube.RETRIABLE` names."""

    async def read(self, kind: Kind, key: Key) -> Conditions:
        """The conditions that an object has; none if there is no such object."""

    async def write(self, kind: Kind, key: Key, status: dict[str, Any]) -> None:
        """Merge into an object's status; an object that is gone is no error."""


@dataclass(frozen=True)
class _Answers:
    """What the connected proxies have answered so far: looked at once, for all objects that are judged together."""

    at: float
    in_sync: frozenset[ConnectedProxy]
    refusals: dict[ConnectedProxy, str]

    @classmethod
    def of(cls, proxies: ConnectedProxies, now: float) -> _Answers:
        clients = proxies.clients.values()
        refusals = {c: e for c in clients for e in c.connection.stream.errors.values()}
        return cls(now, frozenset(c for c in clients if c.connection.stream.in_sync), refusals)


@dataclass(frozen=True)
class _Programmed:
    """The condition `Programmed`; `pending`: whether answers are still to come."""

    holds: bool
    reason: str
    message: str
    pending: bool


class StatusWriter:
    """Follows verdicts and answers; `run` writes until cancelled."""

    def __init__(
        self,
        proxies: ConnectedProxies,
        api: StatusApi,
        clock: Clock = MONOTONIC,
        now: Callable[[], dt.datetime] = conditions.utc_now,
    ) -> None:
        self._proxies, self._api, self._clock, self._now = proxies, api, clock, now
        self._graph = proxies.graph
        self._queue = WorkQueue(
            self._reconcile, name="status", retry=RETRIABLE, delay=INTERVAL_S, workers=4, clock=clock
        )
        self._watched: set[Key] = set()
        self._pending: set[Key] = set()  # not yet acknowledged by all
        self._written: dict[Key, tuple[str, Conditions]] = {}  # the uid of an object, and its conditions
        self._answers: _Answers | None = None
        self._assembled = False

    def assembled(self) -> None:
        """The proxies that were there before this process are connected: from now on their number means something, and
        statuses are written."""
        self._assembled = True
        self.proxies_changed()

    def flush(self, touched: Iterable[tuple[Callable[..., Any], tuple[Any, ...]]]) -> None:
        """Judge the objects again whose verdicts may have changed, of what `Graph.touched` has said."""
        self._answers = None
        self._queue.add_all(args[0] for fn, args in touched if fn is verdicts.verdict)

    def follow(self, key: Key) -> None:
        """An object came, changed or went."""
        if key.kind not in CONDITION_KINDS:
            return
        if key not in self._watched:
            self._watched.add(key)
            self._graph.watch(verdicts.verdict, key)
        self._queue.add(key)

    def holders_changed(self, keys: Iterable[Key]) -> None:
        """Resources that come from these objects are there, or no longer, or apply other parts of them."""
        self._queue.add_all(key for key in keys if key in self._watched)

    def answered(self) -> None:
        """Some proxy accepted or refused a response."""
        self._answers = None
        self._queue.add_all(self._pending)

    def proxies_changed(self) -> None:
        """Proxies came or went."""
        self._answers = None
        self._queue.add_all(self._watched)

    async def run(self) -> None:
        """Write until cancelled."""
        await self._queue.run()

    async def _reconcile(self, key: Key) -> None:
        verdict = self._graph.get(verdicts.verdict, key)
        if verdict is None:
            self._forget(key)
            return
        if not self._assembled:
            return  # `assembled` adds all keys again
        kind = CONDITION_KINDS[key.kind]
        known = self._written.get(key)
        before = known[1] if known is not None and known[0] == verdict.uid else await self._api.read(kind, key)
        if (verdict := self._graph.get(verdicts.verdict, key)) is None:
            return  # gone meanwhile; the change has added the key again
        programmed = self._programmed(key, verdict)
        if programmed.pending:
            self._pending.add(key)
        else:
            self._pending.discard(key)
        after = self._conditions(verdict, programmed, before)
        if after != before:
            await self._api.write(kind, key, {"conditions": after, "observedGeneration": verdict.generation})
        self._written[key] = verdict.uid, after

    def _forget(self, key: Key) -> None:
        if key in self._watched:
            self._watched.discard(key)
            self._graph.unpin(verdicts.verdict, key)
        self._pending.discard(key)
        self._written.pop(key, None)

    def _conditions(self, verdict: ObjectVerdict, programmed: _Programmed, before: Conditions) -> Conditions:
        said, now = verdict.verdict, self._now()
        ours = [
            conditions.condition("Accepted", said.accepted, said.reason, said.message, verdict.generation, before, now),
            conditions.condition(
                "Programmed", programmed.holds, programmed.reason, programmed.message, verdict.generation, before, now
            ),
        ]
        return ours + [c for c in before if c.get("type") not in ("Accepted", "Programmed")]

    def _programmed(self, key: Key, verdict: ObjectVerdict) -> _Programmed:
        answers = self._current_answers()
        holders = self._proxies.holders(key)
        refused = {c.proxy.id: error for c, error in answers.refusals.items() if c in holders}
        done = len(holders & answers.in_sync)
        pending = done < len(holders)
        count = f"{max(0, done - len(refused))}/{len(holders)} proxies"
        if refused:
            name = min(refused)
            return _Programmed(False, "Refused", f"{count}; {name}: {refused[name]}", pending)
        if not verdict.in_force:
            return _Programmed(False, "NotAccepted", count if holders else "not applied", pending)
        if pending:
            return _Programmed(False, "Pending", count, True)
        message = "; ".join([count, *self._effects(key, verdict), *verdict.verdict.notes])
        if not verdict.verdict.accepted and not holders:
            return _Programmed(False, "NotAccepted", message, False)
        return _Programmed(True, "Programmed" if holders else "NotNeeded", message, False)

    def _effects(self, key: Key, verdict: ObjectVerdict) -> list[str]:
        """How often each part of an object took effect."""
        if not verdict.verdict.parts:
            return []
        counts = self._proxies.applied_counts(key)
        return [f"{name} matched {counts[part] or 'nothing'}" for part, name in verdict.verdict.parts]

    def _current_answers(self) -> _Answers:
        now = self._clock.time()
        if self._answers is None or now - self._answers.at >= INTERVAL_S:
            self._answers = _Answers.of(self._proxies, now)
        return self._answers
