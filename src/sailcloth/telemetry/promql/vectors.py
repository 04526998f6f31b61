"""Values of expressions: vectors over all steps, with their labels as columns of integers. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..metrics.labels import NAME, Bools, Index, Ints, Strings, group
from .errors import QueryError

Floats = npt.NDArray[np.float64]
Scalar = Floats  # shape (steps,)
_OWN = 1 << 28  # numbers of texts that only a query knows begin here


class QueryStrings:
    """The store's strings, and those that a query made."""

    def __init__(self, base: Strings) -> None:
        self._base, self._own = base, Strings()

    def id(self, text: str) -> int:
        """The number of a text, which is added if it is new."""
        known = self._base.find(text)
        return known if known >= 0 else _OWN + self._own.id(text)

    def text(self, number: int) -> str:
        return self._own.texts[number - _OWN] if number >= _OWN else self._base.texts[number]


class Labels:
    """The labels of `count` series. Columns of a store's series are read when they are needed."""

    def __init__(
        self,
        strings: QueryStrings,
        count: int,
        columns: dict[str, Ints],
        base: tuple[Index, Ints] | None = None,
        hidden: frozenset[str] = frozenset(),
    ) -> None:
        self.strings, self.count = strings, count
        self._columns, self._base, self._hidden = columns, base, hidden

    def column(self, name: str) -> Ints:
        """The number of each series' value; 0 where the label is absent."""
        known = self._columns.get(name)
        if known is None:
            if self._base is None or name in self._hidden:
                return np.zeros(self.count, np.int32)
            index, refs = self._base
            known = self._columns[name] = index.column(name)[refs]
        return known

    def names(self) -> list[str]:
        """Names that any of the series may have, sorted."""
        out = set(self._columns)
        if self._base is not None:
            out.update(self._base[0].names(self._base[1]))
        return sorted(n for n in out - self._hidden if self.column(n).any())

    def take(self, rows: npt.NDArray[np.int64]) -> Labels:
        """The labels of some rows."""
        base = None if self._base is None else (self._base[0], self._base[1][rows])
        columns = {n: c[rows] for n, c in self._columns.items()}
        return Labels(self.strings, len(rows), columns, base, self._hidden)

    def without(self, names: Iterable[str]) -> Labels:
        """All labels but these."""
        gone = frozenset(names)
        columns = {n: c for n, c in self._columns.items() if n not in gone}
        return Labels(self.strings, self.count, columns, self._base, self._hidden | gone)

    def only(self, names: Iterable[str]) -> Labels:
        """These labels."""
        return Labels(self.strings, self.count, {n: self.column(n) for n in names})

    def replaced(self, name: str, column: Ints) -> Labels:
        """The labels with another column."""
        columns = {**self._columns, name: column}
        return Labels(self.strings, self.count, columns, self._base, self._hidden - {name})

    def group(self, names: Iterable[str] | None = None) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Series with equal values of these labels (default: all): (group of each, first of each group)."""
        return group([self.column(n) for n in (self.names() if names is None else names)], self.count)

    def dicts(self) -> list[dict[str, str]]:
        """The labels of each series, sorted by name."""
        out: list[dict[str, str]] = [{} for _ in range(self.count)]
        text = self.strings.text
        for name in self.names():
            column = self.column(name)
            texts = {value: text(value) for value in np.unique(column).tolist()}
            for labels, value in zip(out, column.tolist(), strict=True):
                if value:
                    labels[name] = texts[value]
        return out

    def mapped(self, name: str, change: Callable[[str], str]) -> Ints:
        """A column with each distinct value of a label changed."""
        values, places = np.unique(self.column(name), return_inverse=True)
        made = [self.strings.id(change(self.strings.text(v))) for v in values.tolist()]
        return np.array(made, np.int32)[places.reshape(-1)]


def empty_labels(strings: QueryStrings, count: int) -> Labels:
    """Series without labels."""
    return Labels(strings, count, {})


def joined(parts: Sequence[Labels]) -> Labels:
    """The labels of several vectors, one after the other."""
    names = {n for part in parts for n in part.names()}
    columns = {n: np.concatenate([part.column(n) for part in parts]) for n in names}
    return Labels(parts[0].strings, sum(part.count for part in parts), columns)


@dataclass(slots=True)
class Vector:
    """Values and presence of each series at each step: shape (series, steps). Absent values are undefined numbers."""

    labels: Labels
    values: Floats
    present: Bools

    def rows(self, rows: npt.NDArray[np.int64]) -> Vector:
        """Some of the series."""
        return Vector(self.labels.take(rows), self.values[rows], self.present[rows])

    def compact(self) -> Vector:
        """Without the series that are nowhere present."""
        used = self.present.any(axis=1)
        return self if used.all() else self.rows(np.flatnonzero(used))

    def nameless(self) -> Vector:
        """Without the metric name; series that become the same are one. Raises QueryError if they are at the same step."""
        out = Vector(self.labels.without((NAME,)), self.values, self.present)
        names = self.labels.column(NAME)
        return out if not len(names) or (names == names[0]).all() else merged(out)


def merged(vector: Vector, error: str = "vector cannot contain metrics with the same labelset") -> Vector:
    """Series with equal labels as one. Raises QueryError if two of them are present at the same step."""
    groups, first = vector.labels.group()
    if len(first) == len(groups):
        return vector
    return combined(vector, groups, first, error)


def combined(vector: Vector, groups: npt.NDArray[np.int64], first: npt.NDArray[np.int64], error: str) -> Vector:
    """One series a group, with the labels of its first. Raises QueryError(error) if two are present at the same step."""
    steps = vector.values.shape[1]
    values, counts = np.zeros((len(first), steps)), np.zeros((len(first), steps), np.int32)
    for row in range(len(groups)):
        here = vector.present[row]
        values[groups[row], here] = vector.values[row, here]
        counts[groups[row]] += here
    if (counts > 1).any():
        raise QueryError(error)
    return Vector(vector.labels.take(first), values, counts > 0)
