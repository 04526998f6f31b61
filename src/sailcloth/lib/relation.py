"""Pairs of items and places that are found from either side."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from typing import Generic, TypeVar

A = TypeVar("A", bound=Hashable)
B = TypeVar("B", bound=Hashable)


class Relation(Generic[A, B]):
    """Which items are at which places. Keeps nothing of items without places, or of places without items."""

    def __init__(self) -> None:
        self._places: dict[A, frozenset[B]] = {}
        self._items: dict[B, set[A]] = {}

    def put(self, item: A, places: Iterable[B] = ()) -> frozenset[B]:
        """Replace the places of an item. Returns the earlier ones."""
        old, new = self.of(item), frozenset(places)
        for place in old - new:
            self._items[place].discard(item)
            if not self._items[place]:
                del self._items[place]
        for place in new - old:
            self._items.setdefault(place, set()).add(item)
        if new:
            self._places[item] = new
        else:
            self._places.pop(item, None)
        return old

    def of(self, item: A) -> frozenset[B]:
        """The places of an item."""
        return self._places.get(item, frozenset())

    def at(self, place: B) -> frozenset[A]:
        """The items at a place."""
        return frozenset(self._items.get(place, ()))

    def count(self, place: B) -> int:
        """How many items are at a place."""
        return len(self._items.get(place, ()))

    def __iter__(self) -> Iterator[B]:
        """The places that have items."""
        return iter(list(self._items))
