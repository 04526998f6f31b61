"""Writes the conditions `Accepted`, `Programmed` (with Envoy's error message if a proxy rejected the object) and `PassedAnalysis` of user
objects.

Joins an object's verdict and findings with the ACKs and NACKs of the proxies that have its resources. Writes only changed statuses, and for
one object at most once per `INTERVAL_S`. Must not evaluate objects; `verdicts` and
`analysis` do.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sailcloth.analysis.analyzers import live
from sailcloth.api.kinds import Kind
from sailcloth.api.meta import Finding, Key
from sailcloth.kube import RETRIABLE
from sailcloth.lib.clock import MONOTONIC, Clock
from sailcloth.lib.work_queue import WorkQueue

from . import analysis_status, conditions, verdicts
from .connected_proxies import ConnectedProxies, ConnectedProxy
from .verdicts import CONDITION_KINDS, ObjectVerdict

INTERVAL_S = 0.05
Status = dict[str, Any]
Conditions = list[dict[str, Any]]
_OWN = ("Accepted", "Programmed", "PassedAnalysis")


class StatusApi(Protocol):
    """Reads and writes statuses of objects. Both methods raise the errors in `kube.RETRIABLE`."""

    async def read(self, kind: Kind, key: Key) -> Status:
        """An object's status; empty if the object does not exist."""

    async def write(self, kind: Kind, key: Key, status: Status) -> None:
        """Merge into an object's status. Does nothing if the object no longer exists."""


class OtherReplicas(Protocol):
    """The proxies of other replicas, by their ids: those that have something made of an object, those that have not acknowledged everything,
    and what some refused."""

    def holders(self, key: Key) -> set[str]: ...

    @property
    def behind(self) -> set[str]: ...

    @property
    def refused(self) -> dict[str, str]: ...


class _Alone:
    """For a replica that is the only one."""

    def holders(self, key: Key) -> set[str]:
        return set()

    @property
    def behind(self) -> set[str]:
        return set()

    @property
    def refused(self) -> dict[str, str]:
        return {}


_ALONE = _Alone()


@dataclass(frozen=True)
class _ProxyStates:
    """The sync state of the connected proxies at a time; computed once for all objects that are updated together."""

    at: float
    in_sync: frozenset[ConnectedProxy]
    rejections: dict[ConnectedProxy, str]

    @classmethod
    def of(cls, proxies: ConnectedProxies, now: float) -> _ProxyStates:
        in_sync, rejections = [], {}
        for client in proxies.clients.values():
            stream = client.connection.stream
            if stream.in_sync:
                in_sync.append(client)
            if error := stream.last_error:
                rejections[client] = error
        return cls(now, frozenset(in_sync), rejections)


@dataclass(frozen=True)
class _Programmed:
    """The condition `Programmed`. `pending`: whether some proxies have not acknowledged yet, or have refused."""

    met: bool
    reason: str
    message: str
    pending: bool


class StatusWriter:
    """Observes verdicts and proxies; `run` writes until cancelled."""

    def __init__(
        self,
        proxies: ConnectedProxies,
        api: StatusApi,
        clock: Clock = MONOTONIC,
        now: Callable[[], dt.datetime] = conditions.utc_now,
        replicas: OtherReplicas = _ALONE,
    ) -> None:
        self._proxies, self._api, self._clock, self._now, self._replicas = proxies, api, clock, now, replicas
        self._graph = proxies.graph
        self.queue = WorkQueue(
            self._reconcile, name="status", retry=RETRIABLE, delay=INTERVAL_S, workers=4, clock=clock
        )
        self._watched: set[Key] = set()
        self._pending: set[Key] = set()  # not yet acknowledged by all
        self._written: dict[Key, tuple[str, Status]] = {}  # (uid of the object, its status)
        self._proxy_states: _ProxyStates | None = None
        self._responses_since = False  # whether a proxy has responded since those were read
        self._may_write = False
        self.on_programmed: Callable[[Key], None] | None = (
            None  # called with objects that all their proxies have accepted
        )
        self.on_findings: Callable[[Kind, Key, str, Sequence[Finding]], None] | None = (
            None  # called with an object's uid and its findings when they have changed
        )

    def start_writing(self) -> None:
        """Start to write statuses: the proxies of the previous process have reconnected, so their number is right."""
        self._may_write = True
        self.proxies_changed()

    def flush(self, touched: Iterable[tuple[Callable[..., Any], tuple[Any, ...]]]) -> None:
        """Queue the objects whose verdicts or findings may have changed. `touched`: the result of `Graph.touched`."""
        self._proxy_states = None
        self.queue.add_all(args[0] for fn, args in touched if fn is verdicts.verdict or fn is live.findings)

    def follow(self, key: Key) -> None:
        """An object was added, changed or deleted."""
        if key.kind not in CONDITION_KINDS:
            return
        if key not in self._watched:
            self._watched.add(key)
            self._graph.watch(verdicts.verdict, key)
            self._graph.watch(live.findings, key)
        self.queue.add(key)

    def holders_changed(self, keys: Iterable[Key]) -> None:
        """Resources from these objects appeared or disappeared, or apply other parts of them."""
        self.queue.add_all(key for key in keys if key in self._watched)

    def proxy_responded(self) -> None:
        """A proxy acknowledged or rejected a response."""
        self._responses_since = True
        self.queue.add_all(self._pending)

    def proxies_changed(self) -> None:
        """Proxies connected or disconnected."""
        self._proxy_states = None
        self.queue.add_all(self._watched)

    async def run(self) -> None:
        """Write until cancelled. Another replica may have written meanwhile, so what was written before is read again."""
        self.reread()
        await self.queue.run()

    def reread(self) -> None:
        """Others may have written: read all statuses again, and write those that differ."""
        self._written.clear()
        self.queue.add_all(self._watched)

    async def _reconcile(self, key: Key) -> None:
        verdict = self._graph.get(verdicts.verdict, key)
        if verdict is None:
            self._forget(key)
            return
        if not self._may_write:
            return  # `start_writing` adds all keys again
        kind = CONDITION_KINDS[key.kind]
        written = self._written.get(key)
        old = written[1] if written is not None and written[0] == verdict.uid else await self._api.read(kind, key)
        if (verdict := self._graph.get(verdicts.verdict, key)) is None:
            return  # deleted in the meantime; the change has added the key again
        programmed = self._programmed(key, verdict)
        if programmed.pending:
            self._pending.add(key)
            if self._responses_since:
                self.queue.add(key)  # what was read is too old to wait for the next response
        else:
            self._pending.discard(key)
        if programmed.reason == "Programmed" and self.on_programmed is not None:
            self.on_programmed(key)
        findings = self._graph.get(live.findings, key)
        new = self._status(verdict, programmed, findings, old)
        if new != {name: old.get(name) or [] for name in new}:
            await self._api.write(kind, key, {**new, "observedGeneration": verdict.generation})
            if self.on_findings is not None and new["validationMessages"] != (old.get("validationMessages") or []):
                self.on_findings(kind, key, verdict.uid, findings)
        self._written[key] = verdict.uid, new

    def _forget(self, key: Key) -> None:
        if key in self._watched:
            self._watched.discard(key)
            self._graph.unpin(verdicts.verdict, key)
            self._graph.unpin(live.findings, key)
            if self.on_findings is not None:
                self.on_findings(CONDITION_KINDS[key.kind], key, "", ())
        self._pending.discard(key)
        self._written.pop(key, None)

    def _status(
        self, verdict: ObjectVerdict, programmed: _Programmed, findings: Sequence[Finding], old: Status
    ) -> Status:
        accepted, now = verdict.verdict, self._now()
        old_conditions: Conditions = old.get("conditions") or []
        values = {
            "Accepted": (accepted.accepted, accepted.reason, accepted.message),
            "Programmed": (programmed.met, programmed.reason, programmed.message),
            "PassedAnalysis": analysis_status.passed(findings),
        }
        if accepted.reason == "Invalid":  # then findings are about its previous version
            values["PassedAnalysis"] = values["Accepted"]
        own = [conditions.condition(kind, *values[kind], verdict.generation, old_conditions, now) for kind in _OWN]
        others = [c for c in old_conditions if c.get("type") not in _OWN]
        return {"conditions": own + others, "validationMessages": analysis_status.messages(findings)}

    def _programmed(self, key: Key, verdict: ObjectVerdict) -> _Programmed:
        count, holders, pending, rejected = self._count((key,))
        if rejected:
            name = min(rejected)
            return _Programmed(False, "Refused", f"{count}; {name}: {rejected[name]}", True)
        if not verdict.in_force and verdict.verdict.reason == "Refused":
            return _Programmed(False, "Refused", verdict.verdict.message, pending)
        if not verdict.in_force:
            return _Programmed(False, "NotAccepted", count if holders else "not applied", pending)
        if pending:
            return _Programmed(False, "Pending", count, True)
        message = "; ".join([count, *self._effects(key, verdict), *verdict.verdict.notes])
        if not verdict.verdict.accepted and not holders:
            return _Programmed(False, "NotAccepted", message, False)
        return _Programmed(True, "Programmed" if holders else "NotNeeded", message, False)

    def counted(self, keys: Iterable[Key]) -> str:
        """How many proxies have all that is made of some objects, such as `2/3 proxies`, and what one of them refused; empty without any."""
        count, holders, _, refused = self._count(keys)
        return "" if not holders else f"{count}; {min(refused)}: {refused[min(refused)]}" if refused else count

    def _count(self, keys: Iterable[Key]) -> tuple[str, int, bool, dict[str, str]]:
        """(in words, how many proxies have something made of objects, whether some have not acknowledged all yet, what some refused), over all
        replicas."""
        states, others, listed = self._current_proxy_states(), self._replicas, list(keys)
        own = set().union(*(self._proxies.holders(key) for key in listed))
        holders = {c.proxy.id for c in own}.union(*(others.holders(key) for key in listed))
        behind = {c.proxy.id for c in own - states.in_sync} | (others.behind & holders)
        refused = {c.proxy.id: error for c, error in states.rejections.items() if c in own}
        refused |= {proxy: text for proxy, text in others.refused.items() if proxy in holders}
        synced = len(holders) - len(behind)
        count = f"{max(0, synced - len(refused))}/{len(holders)} proxies"
        return count, len(holders), bool(behind), refused

    def _effects(self, key: Key, verdict: ObjectVerdict) -> list[str]:
        """How often each part of an object took effect."""
        if not verdict.verdict.parts:
            return []
        counts = self._proxies.applied_counts(key)
        return [f"{name} matched {counts[part] or 'nothing'}" for part, name in verdict.verdict.parts]

    def _current_proxy_states(self) -> _ProxyStates:
        now = self._clock.time()
        if self._proxy_states is None or now - self._proxy_states.at >= INTERVAL_S:
            self._proxy_states, self._responses_since = _ProxyStates.of(self._proxies, now), False
        return self._proxy_states
