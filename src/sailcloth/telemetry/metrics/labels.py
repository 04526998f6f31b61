"""Series and their labels, as numbers: each name and value is one integer, each series a row.

Selecting and grouping work on columns of integers (one per label name), which are made on first use and extended as series
come. Pure; one thread adds, others may read.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sailcloth.lib import regex

Ints = npt.NDArray[np.int32]
Bools = npt.NDArray[np.bool_]
NAME = "__name__"
_MAX_COLUMNS = 96  # cached; each takes 4 bytes a series


class Strings:
    """Numbers for texts; 0 is the empty text, which means that a label is absent."""

    def __init__(self) -> None:
        self.texts: list[str] = [""]
        self._ids: dict[str, int] = {"": 0}

    def id(self, text: str) -> int:
        """The number of a text, which is added if it is new."""
        existing = self._ids.get(text)
        if existing is None:
            existing = len(self.texts)
            self.texts.append(text)
            self._ids[text] = existing
        return existing

    def find(self, text: str) -> int:
        """The number of a text; -1 if it is not known."""
        return self._ids.get(text, -1)


@dataclass(frozen=True)
class Matcher:
    """A condition on one label. op: `=`, `!=`, `=~` or `!~`; regular expressions are RE2 and match whole values."""

    name: str
    op: str
    value: str

    def predicate(self) -> Callable[[str], bool]:
        """Whether a value satisfies it. Raises lib.regex.BadRegex."""
        value = self.value
        if self.op == "=":
            return lambda text: text == value
        if self.op == "!=":
            return lambda text: text != value
        match = regex.compiled(f"^(?:{value})$").search
        if self.op == "=~":
            return lambda text: match(text) is not None
        return lambda text: match(text) is None


def grown(array: npt.NDArray[Any], size: int, fill: float = 0) -> npt.NDArray[Any]:
    """The array, or a copy with space for at least `size` rows."""
    if size <= len(array):
        return array
    out = np.full((max(size, len(array) * 3 // 2, 16), *array.shape[1:]), fill, array.dtype)
    out[: len(array)] = array
    return out


class Index:
    """The series of a store. A series is known by its reference, a row number; `owner` and `row` say where its samples are."""

    def __init__(self) -> None:
        self.strings = Strings()
        self.owner: Ints = np.zeros(0, np.int32)
        self.row: Ints = np.zeros(0, np.int32)
        self.last_seen: npt.NDArray[np.int64] = np.zeros(0, np.int64)  # ms
        self._refs: dict[bytes, int] = {}
        self._ends: npt.NDArray[np.int64] = np.zeros(1, np.int64)  # of each series' labels in the next two
        self._names: Ints = np.zeros(0, np.int32)
        self._values: Ints = np.zeros(0, np.int32)
        self._count = 0
        self._columns: dict[str, Ints] = {}
        self._lock = threading.RLock()

    def __len__(self) -> int:
        return self._count

    def add(self, labels: Mapping[str, str], owner: int, row: int) -> tuple[int, bool]:
        """The reference of the series with these labels, and whether it is new."""
        with self._lock:
            string = self.strings.id
            pairs = sorted((string(n), string(v)) for n, v in labels.items() if v)
            return self.add_packed(np.array(pairs, np.int32).reshape(-1, 2), owner, row)

    def add_packed(self, packed: Ints, owner: int, row: int) -> tuple[int, bool]:
        """The same for labels as numbers of this index: shape (labels, 2), names and values, sorted."""
        with self._lock:
            key = _key(packed)
            existing = self._refs.get(key)
            if existing is not None:
                return existing, False
            ref, begin, end = self._count, int(self._ends[self._count]), int(self._ends[self._count]) + len(packed)
            self._names, self._values = grown(self._names, end), grown(self._values, end)
            self._names[begin:end], self._values[begin:end] = packed[:, 0], packed[:, 1]
            self._ends = grown(self._ends, ref + 2)
            self._ends[ref + 1] = end
            self.owner, self.row = grown(self.owner, ref + 1), grown(self.row, ref + 1)
            self.last_seen = grown(self.last_seen, ref + 1)
            self.owner[ref], self.row[ref] = owner, row
            self._refs[key] = ref
            self._count += 1
            return ref, True

    def labels(self, ref: int) -> dict[str, str]:
        """The labels of a series."""
        texts, span = self.strings.texts, slice(int(self._ends[ref]), int(self._ends[ref + 1]))
        return {
            texts[n]: texts[v] for n, v in zip(self._names[span].tolist(), self._values[span].tolist(), strict=True)
        }

    def find(self, labels: Mapping[str, str]) -> int:
        """The reference of the series with these labels; -1 if there is none."""
        with self._lock:
            pairs = sorted((self.strings.find(n), self.strings.find(v)) for n, v in labels.items() if v)
            return self._refs.get(_key(np.array(pairs, np.int32).reshape(-1, 2)), -1)

    def packed(self, ref: int) -> Ints:
        """The labels of a series as numbers: shape (labels, 2)."""
        span = slice(int(self._ends[ref]), int(self._ends[ref + 1]))
        return np.stack((self._names[span], self._values[span]), axis=1)

    def column(self, name: str) -> Ints:
        """The number of each series' value of a label; 0 where it has none."""
        with self._lock:
            known = self._columns.pop(name, None)
            if known is None or len(known) < self._count:
                begin = 0 if known is None else len(known)
                part = np.zeros(self._count - begin, np.int32)
                first, last = int(self._ends[begin]), int(self._ends[self._count])
                hits = np.flatnonzero(self._names[first:last] == self.strings.find(name)) + first
                part[np.searchsorted(self._ends[begin + 1 : self._count + 1], hits, side="right")] = self._values[hits]
                known = part if known is None else np.concatenate((known, part))
                if len(self._columns) >= _MAX_COLUMNS:
                    self._columns.pop(next(iter(self._columns)))
            self._columns[name] = known
            return known

    def names(self, refs: Ints | None = None) -> list[str]:
        """The label names that any of the series has."""
        with self._lock:
            if refs is None:
                used = np.unique(self._names[: self._ends[self._count]])
            else:
                begins, ends = self._ends[refs], self._ends[refs + 1]
                used = np.unique(self._names[ranges(begins, ends)])
            return [self.strings.texts[i] for i in used.tolist()]

    def select(self, matchers: Iterable[Matcher]) -> Ints:
        """References of the series that satisfy all matchers, in order of appearance. Raises lib.regex.BadRegex."""
        mask: Bools | None = None
        for matcher in sorted(matchers, key=lambda m: (m.op != "=", m.name != NAME)):
            column = self.column(matcher.name)
            if matcher.op == "=":
                hits = column == self.strings.find(matcher.value)
            else:
                hits = self._matching(matcher, column)
            if mask is None:
                mask = hits
            else:
                length = min(len(mask), len(hits))  # series may come between two columns
                mask = mask[:length] & hits[:length]
        if mask is None:
            return np.arange(len(self), dtype=np.int32)
        return np.flatnonzero(mask).astype(np.int32)

    def _matching(self, matcher: Matcher, column: Ints) -> Bools:
        satisfies, texts = matcher.predicate(), self.strings.texts
        table = np.zeros(len(texts), np.bool_)
        for value in np.unique(column).tolist():
            table[value] = satisfies(texts[value])
        return table[column]

    def without(self, dead: Bools) -> tuple[Index, Ints]:
        """A copy that lacks some series, and the new reference of each old one (-1: gone)."""
        with self._lock:
            out, count = Index(), self._count
            kept = np.flatnonzero(~dead[:count])
            mapping = np.full(count, -1, np.int32)
            mapping[kept] = np.arange(len(kept))
            begins, ends = self._ends[kept], self._ends[kept + 1]
            rows = ranges(begins, ends)
            out.strings, out._count = self.strings, len(kept)
            out._names, out._values = self._names[rows], self._values[rows]
            out._ends = np.concatenate((np.zeros(1, np.int64), np.cumsum(ends - begins)))
            out.owner, out.row, out.last_seen = self.owner[kept], self.row[kept], self.last_seen[kept]
            out._refs = {key: int(mapping[ref]) for key, ref in self._refs.items() if mapping[ref] >= 0}
            return out, mapping


def _key(packed: Ints) -> bytes:
    return hashlib.blake2b(packed.tobytes(), digest_size=16).digest()


def ranges(begins: npt.NDArray[Any], ends: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """The numbers of all half-open ranges, one after the other."""
    lengths = np.maximum(ends - begins, 0).astype(np.int64)
    total = int(lengths.sum())
    offsets = np.repeat(begins.astype(np.int64) - (np.cumsum(lengths) - lengths), lengths)
    return offsets + np.arange(total, dtype=np.int64)


def group(columns: Sequence[Ints], count: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Rows with equal values in all columns: (group of each row, first row of each group), groups in order of appearance."""
    key, size = np.zeros(count, np.int64), 1
    for column in columns:
        ranks, distinct = _ranks(column)
        if size > (1 << 62) // max(distinct, 1):
            key, size = _ranks(key)
        key = key * distinct + ranks
        size *= distinct
    _, first, groups = np.unique(key, return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    return place[groups.reshape(-1)], first[order]


def _ranks(column: npt.NDArray[Any]) -> tuple[npt.NDArray[np.int64], int]:
    """Small numbers for the values of a column, and how many there are."""
    if not len(column):
        return column.astype(np.int64), 1
    top = int(column.max())
    if top > 4 * len(column) + 1024:
        values, ranks = np.unique(column, return_inverse=True)
        return ranks.reshape(-1).astype(np.int64), len(values)
    used = np.zeros(top + 1, np.int64)
    used[column] = 1
    places = np.cumsum(used) - 1
    return places[column], int(places[-1]) + 1
