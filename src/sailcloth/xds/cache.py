"""Responses that many streams get, kept as bytes within a budget.

Must not know what a response means; a key says all that decides its bytes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable

BUDGET = 32 << 20  # bytes; a response of a thousand services is about 1 MB


class ResponseCache:
    """The most recently used responses, each with the names in it, at most `budget` bytes of them (and always the last)."""

    def __init__(self, budget: int = BUDGET) -> None:
        self._budget = budget
        self._held: OrderedDict[Hashable, tuple[bytes, frozenset[str]]] = OrderedDict()
        self.size = 0

    def get(self, key: Hashable) -> tuple[bytes, frozenset[str]] | None:
        found = self._held.get(key)
        if found is not None:
            self._held.move_to_end(key)
        return found

    def put(self, key: Hashable, body: bytes, names: frozenset[str]) -> tuple[bytes, frozenset[str]]:
        """Keep a response, and let go of the least recently used ones beyond the budget. Returns what is kept."""
        old = self._held.pop(key, None)
        self.size += len(body) - (len(old[0]) if old else 0)
        made = self._held[key] = body, names
        while self.size > self._budget and len(self._held) > 1:
            _, (gone, _) = self._held.popitem(last=False)
            self.size -= len(gone)
        return made
