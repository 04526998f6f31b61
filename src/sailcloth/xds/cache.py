"""Caches serialised responses that several streams share, within a memory budget.

Must not interpret responses: a key holds everything that a response's bytes depend on.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import NamedTuple

BUDGET = 32 << 20  # bytes; a response of a thousand services is about 1 MB
_ENTRY = 1 << 10  # estimated overhead of an entry, in bytes


class Key(NamedTuple):
    """Everything that a response's bytes depend on."""

    subject: Hashable  # the type URL and the collections
    version: Hashable  # of the collections; responses of older versions are evicted
    subscription: Hashable  # what the client has received and subscribed to


class ResponseCache:
    """Responses with the names of their resources. Keeps only the newest version of a subject, and evicts the least recently
    used responses beyond `budget` bytes (but never the last one)."""

    def __init__(self, budget: int = BUDGET) -> None:
        self._budget = budget
        self._entries: OrderedDict[Key, tuple[bytes, frozenset[str]]] = OrderedDict()
        self._last: dict[Hashable, dict[Key, None]] = {}  # by subject, all of one version
        self.size = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Key) -> tuple[bytes, frozenset[str]] | None:
        entry = self._entries.get(key)
        if entry is not None:
            self._entries.move_to_end(key)
        return entry

    def put(self, key: Key, body: bytes, names: frozenset[str]) -> None:
        """Store a response. Evicts responses of older versions, and the least recently used ones beyond the budget."""
        last = self._last.get(key.subject)
        if last and next(iter(last)).version != key.version:
            for outdated in list(last):
                self._drop(outdated)
        if key in self._entries:
            self._drop(key)
        self._entries[key] = body, names
        self._last.setdefault(key.subject, {})[key] = None
        self.size += len(body) + _ENTRY
        while self.size > self._budget and len(self._entries) > 1:
            self._drop(next(iter(self._entries)))

    def clear(self) -> None:
        """Drop all responses."""
        self._entries.clear()
        self._last.clear()
        self.size = 0

    def types(self) -> list[str]:
        """The type URL of each response."""
        return [str(key.subject[0]) for key in self._entries if isinstance(key.subject, tuple)]

    def _drop(self, key: Key) -> None:
        body, _ = self._entries.pop(key)
        self.size -= len(body) + _ENTRY
        of_subject = self._last[key.subject]
        del of_subject[key]
        if not of_subject:
            del self._last[key.subject]
