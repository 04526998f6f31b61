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
COARSE_MS = 24 * 3_600_000  # how long one column a minute is kept, at most
LOOKBACK_MS = 300_000  # a series without samples for so long may make room
_ROWS = 2000  # that are decoded at once
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
    live: int = 0  # rows with a series
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
    """Series of all targets. max_series: how many there may be, those without recent samples included; a quarter of them of one
    target, so that none takes the room of all. coarse_ms: how long one column a minute is kept."""

    def __init__(self, max_series: int = 100_000, coarse_ms: int = COARSE_MS) -> None:
        self.index = Index()
        self.targets: dict[int, Target] = {}
        self.max_series, self.max_of_target = max_series, max(max_series // 4, 1)
        self.coarse_ms = coarse_ms
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
        at = np.asarray(rows, np.int64)
        refs = target.refs[at]
        self.index.last_seen[refs[refs >= 0]] = time_ms
        fresh = self._add(target, list(new), time_ms)
        column = np.full(target.count, STALE if ends else MISSING)
        column[at] = values
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

    def _add(self, target: Target, new: list[NewRow], time_ms: int) -> list[tuple[int, float]]:
        """Give rows to series that a target has for the first time: (row, value) of those that are taken."""
        self._register(target)
        taken: list[tuple[int, float]] = []
        added: list[int] = []
        refused = [item for item in new if not self._row(target, item, time_ms, taken, added)]
        if refused and self._make_room(target, len(refused), time_ms):
            self._register(target)
            refused = [item for item in refused if not self._row(target, item, time_ms, taken, added)]
        self.refused += len(refused)
        if added and self.journal is not None:
            self.journal.series(target, added)
        return taken

    def _register(self, target: Target) -> None:
        if target.number not in self.targets:  # it was evicted; chunks of its old number may still be stored
            target.number, self._next = self._next, self._next + 1
            self.targets[target.number] = self._names[target.name] = target

    def _row(
        self, target: Target, item: NewRow, time_ms: int, taken: list[tuple[int, float]], added: list[int]
    ) -> bool:
        """Find or make the row of a series; False if there is no room."""
        row = target.free[-1] if target.free else target.count
        if len(self.index) >= self.max_series or target.live >= self.max_of_target:
            ref, is_new = self.index.find(item.labels), False
            if ref < 0:
                return False
        else:
            ref, is_new = self.index.add(item.labels, target.number, row)
        if is_new:
            if target.free:
                target.free.pop()
            self.restore_row(target, row, ref)
            added.append(row)
        elif self.index.owner[ref] != target.number:
            self.conflicting += 1
            return True
        row = int(self.index.row[ref])
        self.index.last_seen[ref] = time_ms
        target.rows[item.key] = row
        taken.append((row, item.value))
        return True

    def restore_row(self, target: Target, row: int, ref: int) -> None:
        """Give a row its series."""
        target.refs = grown(target.refs, row + 1, -1)
        target.live += int(ref >= 0) - int(target.refs[row] >= 0)
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
            coarse = tuple(c for c in view.coarse if c.last_ms >= now_ms - self.coarse_ms)
            if (fine, coarse) != (view.fine, view.coarse):
                target.view = View(coarse, fine, view.times, view.values, view.count)
        old = self.index.last_seen[: len(self.index)] < now_ms - self.coarse_ms
        if old.any():
            self._evict(old, reuse=True)

    def _make_room(self, target: Target, count: int, now_ms: int) -> bool:
        """Evict series that are idle: of the target, if it has its share, or else of all. Returns whether there were any."""
        if now_ms < self._full_until_ms:
            return False
        seen = self.index.last_seen[: len(self.index)]
        idle = seen < now_ms - LOOKBACK_MS
        if target.live >= self.max_of_target:
            idle &= self.index.owner[: len(seen)] == target.number
        else:
            count += self.max_series // 10
        places = np.flatnonzero(idle)
        if not len(places):
            self._full_until_ms = now_ms + _RETRY_MS
            return False
        gone = np.zeros(len(seen), np.bool_)
        gone[places[np.argsort(seen[places], kind="stable")][:count]] = True
        self._evict(gone)
        return True

    def _evict(self, gone: Bools, reuse: bool = False) -> None:
        """Forget series. reuse: their samples are gone too."""
        self.evicted += int(gone.sum())
        self.index, mapping = self.index.without(gone)
        for target in list(self.targets.values()):
            refs = target.refs.copy()
            refs[refs >= 0] = mapping[refs[refs >= 0]]
            dead = refs < 0
            target.live = int((~dead).sum())
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
        view = target.view
        for first in range(begin, end, _ROWS):
            part = refs[first : min(first + _ROWS, end)]
            parts = list(columns(view, index.row[part], start_ms, end_ms))
            if not parts:
                break
            times = np.concatenate([t for t, _ in parts]) if len(parts) > 1 else parts[0][0]
            limit -= len(times) * len(part)
            if limit < 0:
                raise TooManySamples("query processing would load too many samples into memory in query execution")
            values = np.concatenate([v for _, v in parts], axis=1) if len(parts) > 1 else parts[0][1]
            yield Batch(part, times, values)


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
