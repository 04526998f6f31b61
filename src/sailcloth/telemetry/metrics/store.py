"""The store: the last hour as it was scraped, and a day at one column a minute.

One thread appends; others may select at the same time, since what a reader takes of a target is replaced, never changed. The number of
series is limited: when it is reached, series without samples for the longest time go first, and then new ones are refused. Must
not touch the disk (`disk` does).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from .chunks import MISSING, STALE, Chunk, Floats, Times, encode, present
from .labels import Bools, Index, Ints, Matcher, grown

log = logging.getLogger(__name__)

WIDTH = 60  # columns of an open chunk
FINE_MS = 65 * 60_000  # how long columns are kept as they were scraped
COARSE_MS = 24 * 3_600_000  # how long one column a minute is kept
LOOKBACK_MS = 300_000  # a series without samples for so long may make room
_RETRY_MS = 60_000  # between two searches for room


class OutOfOrder(ValueError):
    """A column is not later than the one before."""


class TooManySamples(ValueError):
    """A query would read more samples than it may."""


@dataclass(frozen=True, slots=True)
class NewRow:
    """A series that a target has for the first time. key: what its row is known by from now on."""

    key: int
    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True, slots=True)
class StoredChunk:
    """A chunk that is read when it is needed. Times in ms."""

    first_ms: int
    last_ms: int
    load: Callable[[], Chunk]


@dataclass(frozen=True, slots=True)
class View:
    """What a reader sees of a target: chunks by time, then the open one's arrays and its number of columns."""

    coarse: tuple[StoredChunk, ...]
    fine: tuple[Chunk, ...]
    times: Times
    values: Floats
    count: int

    @property
    def fine_since_ms(self) -> int:
        """The first column that is kept as it was scraped."""
        if self.fine:
            return int(self.fine[0].times[0])
        return int(self.times[0]) if self.count else 1 << 62


def _open(rows: int) -> tuple[Times, Floats]:
    return np.zeros(WIDTH, np.int64), np.full((rows, WIDTH), MISSING)


@dataclass(eq=False)
class Target:
    """Series that are read together. refs: the series of each row; -1 if it is gone. rows: by key."""

    number: int
    name: str
    refs: Ints = field(default_factory=lambda: np.zeros(0, np.int32))
    count: int = 0  # rows
    rows: dict[int, int] = field(default_factory=dict)
    free: list[int] = field(default_factory=list)  # rows whose series and samples are gone
    view: View = field(default_factory=lambda: View((), (), *_open(0), 0))
    last_ms: int = -(1 << 62)


class Journal(Protocol):
    """Is told what the store takes, in order."""

    def series(self, target: Target, rows: Sequence[int]) -> None: ...

    def column(self, target: Target, time_ms: int, column: Floats) -> None: ...

    def evicted(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Batch:
    """Samples of one target: refs (n), times in ms (k), values (n, k) with markers where there is no sample."""

    refs: Ints
    times: Times
    values: Floats


class Store:
    """Series of all targets. max_series: how many there may be, those without recent samples included."""

    def __init__(self, max_series: int = 100_000) -> None:
        self.index = Index()
        self.targets: dict[int, Target] = {}
        self.max_series = max_series
        self.journal: Journal | None = None
        self.appended = self.refused = self.conflicting = self.evicted = 0  # samples, series, series, series
        self._names: dict[str, Target] = {}
        self._next = 0
        self._full_until_ms = 0

    # -- writing --------------------------------------------------------------------------------

    def target(self, name: str, number: int = -1) -> Target:
        """The target of a name; it is made if there is none."""
        existing = self._names.get(name)
        if existing is None:
            existing = Target(self._next if number < 0 else number, name)
            self._next = max(self._next, existing.number + 1)
            self._names[name] = self.targets[existing.number] = existing
        return existing

    def append(
        self,
        target: Target,
        time_ms: int,
        rows: Sequence[int],
        values: Sequence[float],
        new: Iterable[NewRow] = (),
        ends: bool = True,
    ) -> None:
        """Take a column: what a target said at a time. ends: whether a series that is not in it has ended.

        Raises OutOfOrder if it is not later than the target's last column.
        """
        if time_ms <= target.last_ms:
            raise OutOfOrder(f"{target.name}: {time_ms} is not later than {target.last_ms}")
        if target.number not in self.targets:  # it was evicted; chunks of its old number may still be stored
            target.number, self._next = self._next, self._next + 1
            self.targets[target.number] = self._names[target.name] = target
        fresh: list[tuple[int, float]] = []
        added: list[int] = []
        for item in new:
            row = self._row(target, item, time_ms, added)
            if row is not None:
                fresh.append((row, item.value))
        if added and self.journal is not None:
            self.journal.series(target, added)
        column = np.full(target.count, STALE if ends else MISSING)
        column[np.asarray(rows, np.int64)] = values
        if fresh:
            column[[row for row, _ in fresh]] = [value for _, value in fresh]
        self.take(target, time_ms, column)
        if self.journal is not None:
            self.journal.column(target, time_ms, column)

    def amend(self, target: Target, time_ms: int, rows: Sequence[int], values: Sequence[float]) -> None:
        """Add samples to the newest column. Raises OutOfOrder if that is of another time, or its chunk is closed."""
        view = target.view
        if time_ms != target.last_ms or not view.count:
            raise OutOfOrder(f"{target.name}: {time_ms} is not later than {target.last_ms}")
        at = np.asarray(rows, np.int64)
        view.values[at, view.count - 1] = values
        self.index.last_seen[target.refs[at]] = time_ms
        self.appended += len(at)
        if self.journal is not None:
            self.journal.column(target, time_ms, view.values[: target.count, view.count - 1].copy())

    def take(self, target: Target, time_ms: int, column: Floats) -> None:
        """Append one value for each row, markers included."""
        if target.view.count == WIDTH:
            self.seal(target)
        view = target.view
        if len(column) > len(view.values):
            roomy = np.full((len(column) + len(column) // 16, WIDTH), MISSING)
            roomy[: len(view.values)] = view.values
            view = View(view.coarse, view.fine, view.times, roomy, view.count)
        view.values[: len(column), view.count] = column
        view.times[view.count] = time_ms
        target.last_ms = time_ms
        refs = target.refs[: len(column)][present(column)]
        self.index.last_seen[refs[refs >= 0]] = time_ms
        self.appended += len(refs)
        target.view = View(view.coarse, view.fine, view.times, view.values, view.count + 1)

    def _row(self, target: Target, item: NewRow, time_ms: int, added: list[int]) -> int | None:
        """The row of a series, which is added to the list if it is new. None: refused."""
        if len(self.index) >= self.max_series:
            self._make_room(time_ms)
            if len(self.index) >= self.max_series:
                self.refused += 1
                return None
        row = target.free[-1] if target.free else target.count
        ref, is_new = self.index.add(item.labels, target.number, row)
        if not is_new:
            if self.index.owner[ref] != target.number:
                self.conflicting += 1
                return None
            row = int(self.index.row[ref])
        else:
            if target.free:
                target.free.pop()
            self.restore_row(target, row, ref)
            added.append(row)
            self.index.last_seen[ref] = time_ms
        target.rows[item.key] = row
        return row

    def restore_row(self, target: Target, row: int, ref: int) -> None:
        """Give a row its series."""
        target.refs = grown(target.refs, row + 1, -1)
        target.refs[row] = ref
        target.count = max(target.count, row + 1)

    def seal(self, target: Target) -> Chunk | None:
        """Close the open chunk, if it has columns."""
        view = target.view
        if not view.count:
            return None
        chunk = encode(view.times[: view.count], view.values[: target.count, : view.count])
        target.view = View(view.coarse, (*view.fine, chunk), *_open(target.count), 0)
        return chunk

    def expire(self, now_ms: int) -> None:
        """Drop what is older than it is kept, and targets that have nothing left."""
        for target in list(self.targets.values()):
            view = target.view
            fine = tuple(c for c in view.fine if c.times[-1] >= now_ms - FINE_MS)
            coarse = tuple(c for c in view.coarse if c.last_ms >= now_ms - COARSE_MS)
            if (fine, coarse) != (view.fine, view.coarse):
                target.view = View(coarse, fine, view.times, view.values, view.count)
        old = self.index.last_seen[: len(self.index)] < now_ms - COARSE_MS
        if old.any():
            self._evict(old, reuse=True)

    def _make_room(self, now_ms: int) -> None:
        if now_ms < self._full_until_ms:
            return
        self._full_until_ms = now_ms + _RETRY_MS
        seen = self.index.last_seen[: len(self.index)]
        idle = np.flatnonzero(seen < now_ms - LOOKBACK_MS)
        wanted = max(len(seen) - self.max_series * 9 // 10, 1)
        if len(idle):
            gone = np.zeros(len(seen), np.bool_)
            gone[idle[np.argsort(seen[idle], kind="stable")][:wanted]] = True
            self._evict(gone)
            self._full_until_ms = 0

    def _evict(self, gone: Bools, reuse: bool = False) -> None:
        """Forget series. reuse: their samples are gone too."""
        self.evicted += int(gone.sum())
        self.index, mapping = self.index.without(gone)
        for target in list(self.targets.values()):
            refs = target.refs.copy()
            refs[refs >= 0] = mapping[refs[refs >= 0]]
            dead = refs < 0
            if reuse:
                target.free += np.flatnonzero(dead & (target.refs >= 0)).tolist()
            target.refs, target.rows = refs, {key: row for key, row in target.rows.items() if not dead[row]}
            if dead[: target.count].all():
                del self.targets[target.number], self._names[target.name]
                target.refs, target.count, target.rows, target.free = np.zeros(0, np.int32), 0, {}, []
                target.view = View((), (), *_open(0), 0)
        if self.journal is not None:
            self.journal.evicted()

    # -- reading --------------------------------------------------------------------------------

    def select(
        self, matchers: Iterable[Matcher], start_ms: int, end_ms: int, limit: int = 1 << 62
    ) -> tuple[Index, Ints, Iterator[Batch]]:
        """The series that satisfy all matchers and their samples from start to end, both included.

        The references are of the returned index. limit: samples. Raises lib.regex.BadRegex, and while reading TooManySamples.
        """
        index, targets = self.index, dict(self.targets)
        refs = index.select(matchers)
        return index, refs, _batches(index, targets, refs, start_ms, end_ms, limit)


def _batches(
    index: Index, targets: Mapping[int, Target], refs: Ints, start_ms: int, end_ms: int, limit: int
) -> Iterator[Batch]:
    if not len(refs):
        return
    refs = refs[np.argsort(index.owner[refs], kind="stable")]
    owners, begins = np.unique(index.owner[refs], return_index=True)
    for owner, begin, end in zip(owners.tolist(), begins.tolist(), [*begins[1:].tolist(), len(refs)], strict=True):
        target = targets.get(owner)
        if target is None:
            continue
        rows = index.row[refs[begin:end]]
        parts = list(columns(target.view, rows, start_ms, end_ms))
        if not parts:
            continue
        times = np.concatenate([t for t, _ in parts]) if len(parts) > 1 else parts[0][0]
        limit -= len(times) * len(rows)
        if limit < 0:
            raise TooManySamples("query processing would load too many samples into memory in query execution")
        values = np.concatenate([v for _, v in parts], axis=1) if len(parts) > 1 else parts[0][1]
        yield Batch(refs[begin:end], times, values)


def columns(view: View, rows: Ints, start_ms: int, end_ms: int) -> Iterator[tuple[Times, Floats]]:
    """The samples of some rows from start to end, both included, chunk by chunk."""
    since = view.fine_since_ms
    for stored in view.coarse:
        if stored.last_ms >= start_ms and stored.first_ms <= min(end_ms, since - 1):
            try:
                chunk = stored.load()
            except (OSError, ValueError) as error:
                log.warning("a chunk from %d to %d is lost: %s", stored.first_ms, stored.last_ms, error)
                continue
            first, last = np.searchsorted(chunk.times, (start_ms, min(end_ms + 1, since)))
            if last > first:
                yield chunk.times[first:last], chunk.decode(rows)[:, first:last]
    for chunk in view.fine:
        if chunk.times[-1] >= start_ms and chunk.times[0] <= end_ms:
            first, last = np.searchsorted(chunk.times, (start_ms, end_ms + 1))
            if last > first:
                yield chunk.times[first:last], chunk.decode(rows)[:, first:last]
    first, last = np.searchsorted(view.times[: view.count], (start_ms, end_ms + 1))
    if last > first:
        inside = rows < len(view.values)
        values = view.values[np.where(inside, rows, 0), first:last] if len(view.values) else np.empty((0, last - first))
        if not inside.all():
            padded = np.full((len(rows), last - first), MISSING)
            padded[inside] = values[inside] if len(view.values) else MISSING
            values = padded
        yield view.times[first:last], values
