"""A proxy's node metadata as a value with equality, because derived values may read it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


class NodeMetadata(Mapping[str, str]):
    """The scalar fields of node metadata as text; objects and lists are left out. Immutable and hashable."""

    __slots__ = ("_hash", "_values")

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = {k: str(v) for k, v in values.items() if isinstance(v, (str, int, float, bool))}
        self._hash = hash(frozenset(self._values.items()))

    def __getitem__(self, key: str) -> str:
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NodeMetadata) and self._hash == other._hash and self._values == other._values

    def __repr__(self) -> str:
        return f"NodeMetadata({self._values!r})"
