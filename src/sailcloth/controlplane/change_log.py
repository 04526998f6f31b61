"""The last changes of the mesh and how far each has come: its objects, the control plane's time, every proxy's answers.

Kept in memory for the page `/debug/changez`, which `sailctl x trace-change` shows. Must cost a change and an answer next to nothing:
an answer is one tuple, and nothing is formatted before somebody asks.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from sailcloth.api.meta import Key, Object
from sailcloth.view.proxy import Proxy
from sailcloth.xds.types import SHORT

CHANGES = 256
ANSWERS = 20_000  # over all changes; the oldest changes go first
_ANSWERS_OF_ONE = 5_000


@dataclass(eq=False, slots=True)
class Change:
    """What was pushed together. `objects`: their generation by key, 0 if deleted or not counted. `previous`: the versions of users' objects
    that were replaced, None for new ones. Times are monotonic, in seconds."""

    received: float  # when the first of the objects came
    objects: dict[Key, int] = field(default_factory=dict)
    previous: dict[Key, Object | None] = field(default_factory=dict)
    number: int = 0
    computed: float = 0.0  # when the new resources were ready to be sent
    answers: list[tuple[Proxy, str, str, float, bool]] = field(default_factory=list)
    """(proxy, type URL, error, time, whether the proxy then has everything)."""

    def answered(self, proxy: Proxy, type_url: str, error: str, now: float, complete: bool) -> None:
        """A proxy has acknowledged a response that it was sent since this change, or refused it."""
        if len(self.answers) < _ANSWERS_OF_ONE:
            self.answers.append((proxy, type_url, error, now, complete))


class ChangeLog:
    """The changes, oldest first."""

    def __init__(self) -> None:
        self._changes: deque[Change] = deque(maxlen=CHANGES)
        self._count = 0
        self._epoch = time.time() - time.monotonic()

    def __iter__(self) -> Iterator[Change]:
        return iter(self._changes)

    def add(self, change: Change) -> None:
        """Keep a change that has objects."""
        if not change.objects:
            return
        self._count += 1
        change.number = self._count
        kept = sum(len(c.answers) for c in self._changes)
        while kept > ANSWERS:
            kept -= len(self._changes.popleft().answers)
        self._changes.append(change)

    def page(self, change: Change, allowed: str, waiting: list[str], previous: bool = False) -> dict[str, Any]:
        """A change in JSON: times in milliseconds since it was received. `allowed`: the namespace whose objects and proxies are shown,
        `*` for all. `previous`: whether with the versions that it has replaced, for who may see all namespaces."""

        def ms(at: float) -> float:
            return round((at - change.received) * 1e3, 3)

        answers = [
            {"proxy": proxy.id, "type": SHORT.get(url, url), "ms": ms(at), "complete": complete, "error": error}
            for proxy, url, error, at, complete in change.answers
            if allowed in ("*", proxy.namespace)
        ]
        return {
            "number": change.number,
            "received": round(self._epoch + change.received, 6),
            "objects": [
                {"kind": key.kind, "namespace": key.namespace, "name": key.name, "generation": generation}
                | (
                    {"previous": _json(change.previous[key])}
                    if previous and allowed == "*" and key in change.previous
                    else {}
                )
                for key, generation in change.objects.items()
                if allowed in ("*", key.namespace)
            ],
            "computedMs": ms(change.computed),
            "answers": answers,
            "waiting": waiting,
        }


def _json(obj: Object | None) -> Any:
    return msgspec.json.decode(msgspec.json.encode(obj))
