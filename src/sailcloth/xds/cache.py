"""Responses that many streams get, kept as bytes for as long as they can be asked for, within a budget.

Must not know what a response means; its key says all that decides its bytes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import NamedTuple

BUDGET = 32 << 20  # bytes; a response of a thousand services is about 1 MB
_ENTRY = 1 << 10  # bytes that an entry takes besides its response, about


class Key(NamedTuple):
    """What decides a response: what it tells of, in which version, and to whom."""

    subject: Hashable
    version: Hashable  # of the subject: what was said of another one is never asked for again
    asked: Hashable  # what the client has, and wants


class ResponseCache:
    """Responses, each with the names in it: of each subject those of its last version, and of all of them the most recently
    used, at most `budget` bytes (and always the last)."""

    def __init__(self, budget: int = BUDGET) -> None:
        self._budget = budget
        self._held: OrderedDict[Key, tuple[bytes, frozenset[str]]] = OrderedDict()
        self._last: dict[Hashable, dict[Key, None]] = {}  # by subject, all of one version
        self.size = 0

    def __len__(self) -> int:
        return len(self._held)

    def get(self, key: Key) -> tuple[bytes, frozenset[str]] | None:
        found = self._held.get(key)
        if found is not None:
            self._held.move_to_end(key)
        return found

    def put(self, key: Key, body: bytes, names: frozenset[str]) -> None:
        """Keep a response, and let go of what it outdates and of the least recently used ones beyond the budget."""
        known = self._last.get(key.subject)
        if known and next(iter(known)).version != key.version:
            for outdated in list(known):
                self._drop(outdated)
        if key in self._held:
            self._drop(key)
        self._held[key] = body, names
        self._last.setdefault(key.subject, {})[key] = None
        self.size += len(body) + _ENTRY
        while self.size > self._budget and len(self._held) > 1:
            self._drop(next(iter(self._held)))

    def _drop(self, key: Key) -> None:
        body, _ = self._held.pop(key)
        self.size -= len(body) + _ENTRY
        of_subject = self._last[key.subject]
        del of_subject[key]
        if not of_subject:
            del self._last[key.subject]
