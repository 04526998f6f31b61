"""Says on each user object where it is applied: `Accepted` and `Programmed` conditions, with Envoy's own words on refusal.

Written only when something in them has changed, and never more often than every `INTERVAL_S` for one object.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

from sailcloth.api.gateway import Gateway
from sailcloth.api.kinds import MESH_KINDS, Kind
from sailcloth.api.meta import Finding, Key
from sailcloth.envoy import patched
from sailcloth.mesh import credentials, destination_rules, registry, virtual_services

from .activation import Activation
from .audiences import Audiences, Client

log = logging.getLogger(__name__)

INTERVAL_S = 0.05
_BY_NAME: dict[str, Kind] = {k.name: k for k in MESH_KINDS if k.conditions}

Write = Callable[[Kind, Key, dict[str, Any]], Awaitable[None]]
"""Writes the status of an object; a missing object is no error."""


@dataclass(frozen=True)
class _Proxies:
    """What the connected proxies have answered so far: looked at once, for all objects that are judged together."""

    in_sync: frozenset[Client]
    refusals: dict[Client, str]

    @classmethod
    def of(cls, audiences: Audiences) -> _Proxies:
        clients = audiences.clients.values()
        refusals = {c: e for c in clients for e in c.connection.stream.errors.values()}
        return cls(frozenset(c for c in clients if c.connection.stream.in_sync), refusals)


class StatusWriter:
    """Follows audiences and activation. `touch` names objects whose state may have changed."""

    def __init__(self, audiences: Audiences, activation: Activation, write: Write) -> None:
        self._audiences, self._activation, self._write = audiences, activation, write
        self._dirty: dict[Key, None] = {}
        self._waiting: dict[Key, None] = {}  # not yet acknowledged by all
        self._written: dict[Key, tuple[Any, ...]] = {}
        self._since: dict[tuple[Key, str], tuple[str, str]] = {}  # (object, condition) -> (status, time)
        self._generation: dict[Key, int] = {}
        self._findings: dict[Key, Finding] = {}
        self._wake = asyncio.Event()
        self._assembled = False
        self.lacking: set[Key] = set()  # VirtualServices that name what does not exist

    def assembled(self) -> None:
        """The proxies that were there before this process are connected: from now on their number means something."""
        self._assembled = True
        self.everyone()

    def touch(self, key: Key, generation: int, finding: Finding | None = None) -> None:
        """An object came or changed."""
        if key.kind not in _BY_NAME:
            return
        self._generation[key] = generation
        if finding is not None:
            self._findings[key] = finding
        else:
            self._findings.pop(key, None)
        self._dirty[key] = None
        self._wake.set()

    def again(self, keys: Iterable[Key]) -> None:
        """Look at known objects once more: what holds them back, or the set of proxies, may have changed."""
        for key in keys:
            if key in self._generation:
                self._dirty[key] = None
        self._wake.set()

    def forget(self, key: Key) -> None:
        """An object is gone."""
        self.lacking.discard(key)
        for known in (self._dirty, self._waiting, self._written, self._generation, self._findings):
            known.pop(key, None)

    def answered(self) -> None:
        """Some proxy accepted or refused a response."""
        if self._waiting:
            self._dirty.update(self._waiting)
            self._wake.set()

    def everyone(self) -> None:
        """Proxies came or went."""
        self._dirty.update(dict.fromkeys(self._generation))
        self._wake.set()

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            await self._wake.wait()
            await asyncio.sleep(INTERVAL_S)
            self._wake.clear()
            if not self._assembled:
                continue
            dirty, self._dirty = self._dirty, {}
            proxies = _Proxies.of(self._audiences)
            for key in dirty:
                if key in self._generation:
                    await self._update(key, proxies)

    async def _update(self, key: Key, proxies: _Proxies) -> None:
        accepted, programmed, waiting = self._judge(key, proxies)
        if waiting:
            self._waiting[key] = None
        else:
            self._waiting.pop(key, None)
        generation = self._generation[key]
        state = (accepted, programmed, generation)
        if self._written.get(key) == state:
            return
        conditions = [self._condition(key, "Accepted", *accepted), self._condition(key, "Programmed", *programmed)]
        for condition in conditions:
            condition["observedGeneration"] = generation
        self._written[key] = state
        try:
            await self._write(_BY_NAME[key.kind], key, {"conditions": conditions, "observedGeneration": generation})
        except Exception as error:
            self._written.pop(key, None)
            log.info("status of %s not written yet: %s", key, error)
            with contextlib.suppress(RuntimeError):
                asyncio.get_running_loop().call_later(1.0, self.again, [key])

    def _judge(self, key: Key, proxies: _Proxies) -> tuple[tuple[str, str, str], tuple[str, str, str], bool]:
        """((status, reason, message) of Accepted, the same of Programmed, whether answers are still to come)."""
        finding = self._findings.get(key)
        held = self._activation.held.get(key)
        if finding is not None:
            accepted = ("False", "Invalid", f"{finding.path + ': ' if finding.path else ''}{finding.text}")
        elif held is not None:
            accepted = ("False", held[0], held[1])
        else:
            accepted = self._beside_others(key)
        holders = self._audiences.holders(key)
        refused = {c.proxy.id: e for c, e in proxies.refusals.items() if c in holders}
        done = len(holders & proxies.in_sync)
        count = f"{done - len(refused) if done >= len(refused) else 0}/{len(holders)} proxies"
        if refused:
            name = min(refused)
            return accepted, ("False", "Refused", f"{count}; {name}: {refused[name]}"), done < len(holders)
        if held is not None or finding is not None:
            return accepted, ("False", "NotAccepted", count if holders else "not applied"), done < len(holders)
        if done < len(holders):
            return accepted, ("False", "Pending", count), True
        if key.kind == "EnvoyFilter":
            accepted, count = self._patches(key, accepted, count)
        if key.kind == "Gateway":
            count = "; ".join([count, *self._without_secrets(key, holders)])
        if key.kind == "VirtualService":
            lacking = virtual_services.lacking(self._audiences.graph, key)
            (self.lacking.add if lacking else self.lacking.discard)(key)
            count = "; ".join([count, *lacking])
        return accepted, ("True", "Programmed" if holders else "NotNeeded", count), False

    def _beside_others(self, key: Key) -> tuple[str, str, str]:
        """What other objects make of one that is accepted."""
        graph = self._audiences.graph
        if key.kind == "VirtualService" and (lost := virtual_services.conflict(graph, key)):
            return "True", "Conflict", lost
        if key.kind == "DestinationRule":
            return "True", "Accepted", destination_rules.beside(graph, key)
        return "True", "Accepted", ""

    def _without_secrets(self, key: Key, holders: set[Client]) -> list[str]:
        """Which servers of a Gateway have no certificate: their port is open, and every handshake on it fails."""
        graph = self._audiences.graph
        gateway: Gateway | None = registry.read(graph, key)
        return [
            f"servers[{i}].tls: {text}"
            for i, server in enumerate(gateway.spec.servers if gateway else ())
            for namespace in sorted({c.proxy.namespace for c in holders})
            for text in (credentials.lacking(graph, namespace, server.tls) if server.tls else ())
        ]

    def _patches(self, key: Key, accepted: tuple[str, str, str], count: str) -> tuple[tuple[str, str, str], str]:
        """An EnvoyFilter also says which of its patches cannot be applied, and how often each of the others was."""
        compiled = self._audiences.graph.get(patched.compiled, key)
        wrong = [f"configPatches[{i}]: {p}" for i, p in enumerate(compiled) if isinstance(p, str)]
        if wrong:
            accepted = ("False", "PatchInvalid", "; ".join(wrong))
        used = self._audiences.patch_counts(key)
        told = [
            f"configPatches[{i}] matched {used[i] or 'nothing'}"
            for i, p in enumerate(compiled)
            if not isinstance(p, str)
        ]
        return accepted, "; ".join([count, *told])

    def _condition(self, key: Key, kind: str, status: str, reason: str, message: str) -> dict[str, Any]:
        known = self._since.get((key, kind))
        if known is None or known[0] != status:
            now = dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            known = self._since[key, kind] = (status, now)
        return {
            "type": kind,
            "status": status,
            "reason": reason,
            "message": message,
            "lastTransitionTime": known[1],
        }
