"""Brings a store through a restart, which loses at most what was not written yet: the last scrape.

    series.log         the labels of every series, by target and row
    journal-N.log      each column as it comes, as differences to the one before
    fine-<ms>.blk      every five minutes: the chunks closed since; then the journal starts anew
    coarse-<ms>.blk    every hour: a column every 20 s, read when a query needs it

All files are sequences of records with a check sum; what follows a damaged one is ignored. A disk that fails costs history, not
metrics: the store goes on in memory.
"""

from __future__ import annotations

import errno
import logging
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import BinaryIO

import msgspec
import numpy as np

from . import chunks
from .chunks import MISSING_BITS, Chunk, Floats
from .labels import Index
from .store import FINE_MS, Store, StoredChunk, Target, View, columns

log = logging.getLogger(__name__)

HOUR_MS = 3_600_000
COARSE_STEP_MS = 20_000  # three columns in the minute over which dashboards take rates
_FRAME = struct.Struct("<II")  # length, CRC-32
_COLUMN = struct.Struct("<IqII")  # target, ms, rows, changed rows
_MAX_RECORD = 256 << 20


class _Series(msgspec.Struct, array_like=True):
    """Rows of a target. strings: those that no record before has, from number `first` on."""

    target: int
    name: str
    first: int
    strings: list[str]
    rows: list[tuple[int, bytes]]  # row, packed labels


class _Span(msgspec.Struct, array_like=True):
    """What a chunk is of. rows: one bit for each row that has samples."""

    target: int
    first_ms: int
    last_ms: int
    rows: bytes


class Disk:
    """The files of one store, in a folder. Must be loaded before anything is appended."""

    def __init__(self, folder: Path, store: Store) -> None:
        self.folder, self.store = folder, store
        self.failures = 0
        self._series: BinaryIO | None = None
        self._journal: BinaryIO | None = None
        self._number = 0
        self._strings = 1  # of the store's, how many are written
        self._last: dict[int, Floats] = {}  # the column before, by target
        self._flushed: dict[int, int] = {}  # ms of the last column that is in a block
        self._rewrite = False

    # -- while running --------------------------------------------------------------------------

    def series(self, target: Target, rows: Sequence[int]) -> None:
        """Write the labels of new rows."""
        if self._series is None:
            return
        try:
            _write(self._series, self._record(target, rows))
        except OSError as error:
            self._failed(error)
            self._series.close()
            self._series, self._rewrite = None, True

    def column(self, target: Target, time_ms: int, column: Floats) -> None:
        """Write a column."""
        before = self._last.get(target.number)
        if before is None or len(before) < len(column):
            padded = np.full(len(column), chunks.MISSING)
            padded[: len(before) if before is not None else 0] = before if before is not None else 0
            before = padded
        changed = np.flatnonzero(chunks.bits(before) != chunks.bits(column)).astype(np.int32)
        head = _COLUMN.pack(target.number, time_ms, len(column), len(changed))
        self._last[target.number] = column
        if self._journal is None:
            return
        try:
            _write(self._journal, head + changed.tobytes() + column[changed].tobytes())
        except OSError as error:  # what follows a torn record would not be read
            self._failed(error)
            self._journal.close()
            self._journal = None

    def evicted(self) -> None:
        """Series are gone: the next flush writes the labels anew."""
        self._rewrite = True

    def _failed(self, error: OSError) -> None:
        log.log(
            logging.DEBUG if self.failures else logging.WARNING,
            "%s: %s; metrics are kept in memory only",
            self.folder,
            error,
        )
        self.failures += 1

    def _record(self, target: Target, rows: Sequence[int]) -> bytes:
        index, texts = self.store.index, self.store.index.strings.texts
        first, self._strings = self._strings, len(texts)
        packed = [(row, index.packed(int(target.refs[row])).tobytes()) for row in rows if target.refs[row] >= 0]
        return msgspec.msgpack.encode(_Series(target.number, target.name, first, texts[first:], packed))

    # -- every five minutes ---------------------------------------------------------------------

    def flush(self, now_ms: int) -> Iterator[None]:
        """Close all chunks and write them, then what an hour adds up to; drops what is too old. Yields between targets."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            old = sorted(self.folder.glob("journal-*.log"))
            self._start_journal()
            yield from self._write_block(now_ms)
            for path in old:
                path.unlink()
            for hour in self._missing_hours(now_ms):
                yield from self._write_hour(hour)
            for path in self.folder.glob("*.blk"):
                tier, _, start = path.stem.partition("-")
                if int(start) < now_ms - (
                    FINE_MS + HOUR_MS // 12 if tier == "fine" else self.store.coarse_ms + HOUR_MS
                ):
                    path.unlink()
        except OSError as error:
            self._failed(error)
            for target in self.store.targets.values():
                self.store.seal(target)
        self.store.expire(now_ms)
        if self._rewrite:
            self._rewrite_series()

    def _start_journal(self) -> None:
        if self._journal is not None:
            self._journal.close()
        self._number += 1
        self._last.clear()
        self._journal = (self.folder / f"journal-{self._number:08}.log").open("ab", buffering=0)

    def _write_block(self, now_ms: int) -> Iterator[None]:
        with _replacing(self.folder / f"fine-{now_ms}.blk") as file:
            for target in list(self.store.targets.values()):
                self.store.seal(target)
                since = self._flushed.get(target.number, -(1 << 62))
                for chunk in target.view.fine:
                    if chunk.times[0] > since:
                        _write(file, _chunk_record(target, chunk))
                self._flushed[target.number] = target.last_ms
                yield

    def _missing_hours(self, now_ms: int) -> list[int]:
        """Hours that are over, are there as scraped, and have no block."""
        ends = {int(t) // HOUR_MS for g in self.store.targets.values() for c in g.view.fine for t in c.times[[0, -1]]}
        complete = (h * HOUR_MS for h in ends if (h + 1) * HOUR_MS <= now_ms)
        return sorted(h for h in complete if not (self.folder / f"coarse-{h}.blk").exists())

    def _write_hour(self, hour_ms: int) -> Iterator[None]:
        path = self.folder / f"coarse-{hour_ms}.blk"
        with _replacing(path) as file:
            for target in list(self.store.targets.values()):
                parts = list(_fine(target, hour_ms, hour_ms + HOUR_MS - 1))
                if parts:
                    times, values = np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts], axis=1)
                    thin = chunks.encode(*chunks.thinned(times, values, COARSE_STEP_MS))
                    _write(file, _chunk_record(target, thin))
                yield
        for span, load in _spans(path):
            self._attach(span, load)

    def _attach(self, span: _Span, load: partial[Chunk]) -> None:
        target = self.store.targets.get(span.target)
        if target is not None:
            view, stored = target.view, StoredChunk(span.first_ms, span.last_ms, load)
            coarse = tuple(sorted((*view.coarse, stored), key=lambda c: c.first_ms))
            target.view = View(coarse, view.fine, view.times, view.values, view.count)

    def _rewrite_series(self) -> None:
        """Write the labels of all series that are left."""
        self._rewrite, self._strings = False, 1
        try:
            with _replacing(self.folder / "series.log", empty=True) as file:
                for target in self.store.targets.values():
                    _write(file, self._record(target, range(target.count)))
            if self._series is not None:
                self._series.close()
            self._series = (self.folder / "series.log").open("ab", buffering=0)
        except OSError as error:
            self._failed(error)
            self._rewrite = True

    # -- at the start ---------------------------------------------------------------------------

    def load(self, now_ms: int) -> None:
        """Read what an earlier process left, and start to write. Raises OSError if the folder cannot be used."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in self.folder.glob("*.part"):
            path.unlink()
        self._load_series()
        for path in sorted(self.folder.glob("coarse-*.blk")):
            for span, load in _spans(path):
                self._seen(span)
                self._attach(span, load)
        for path in sorted(self.folder.glob("fine-*.blk"), key=lambda p: int(p.stem.partition("-")[2])):
            for span, load in _spans(path):
                target = self.store.targets.get(span.target)
                if target is not None and span.first_ms > target.last_ms:
                    self._seen(span)
                    view = target.view
                    target.view = View(view.coarse, (*view.fine, load()), view.times, view.values, view.count)
                    target.last_ms = self._flushed[target.number] = span.last_ms
        for path in sorted(self.folder.glob("journal-*.log")):
            self._number = max(self._number, int(path.stem.partition("-")[2]))
            self._replay(path)
        self.store.expire(now_ms)
        self._rewrite_series()
        self._start_journal()
        self.store.journal = self

    def close(self) -> None:
        """Close the files."""
        for file in (self._series, self._journal):
            if file is not None:
                file.close()
        self._series = self._journal = None

    def _load_series(self) -> None:
        store = self.store
        index, strings = store.index, store.index.strings
        for payload in _records(self.folder / "series.log"):
            record = msgspec.msgpack.decode(payload, type=_Series)
            if record.first != len(strings.texts):
                log.warning("%s: a record is missing", self.folder / "series.log")
                break
            for text in record.strings:
                strings.id(text)
            target = store.target(record.name, record.target)
            for row, data in record.rows:
                ref, _ = index.add_packed(np.frombuffer(data, np.int32).reshape(-1, 2), target.number, row)
                index.owner[ref], index.row[ref] = target.number, row
                store.restore_row(target, row, ref)
        if 2 * _used(index) < len(strings.texts):  # without the strings of series that are long gone
            store.index = Index()
            for ref in range(len(index)):
                store.index.add(index.labels(ref), int(index.owner[ref]), int(index.row[ref]))

    def _seen(self, span: _Span) -> None:
        """Note when the series of a chunk had samples. Rows whose labels are lost are not given to others."""
        target = self.store.targets.get(span.target)
        if target is None:
            return
        rows = np.flatnonzero(np.unpackbits(np.frombuffer(span.rows, np.uint8)))
        if len(rows) and rows[-1] >= target.count:
            self.store.restore_row(target, int(rows[-1]), -1)
        refs = target.refs[rows]
        refs = refs[refs >= 0]
        seen = self.store.index.last_seen
        seen[refs] = np.maximum(seen[refs], span.last_ms)

    def _replay(self, path: Path) -> None:
        before: dict[int, Floats] = {}
        for payload in _records(path):
            number, time_ms, rows, changed = _COLUMN.unpack_from(payload)
            column = np.full(rows, chunks.MISSING)
            old = before.get(number)
            if old is not None:
                column[: len(old)] = old
            places = np.frombuffer(payload, np.int32, changed, _COLUMN.size)
            column[places] = np.frombuffer(payload, np.float64, changed, _COLUMN.size + places.nbytes)
            before[number] = column
            target = self.store.targets.get(number)
            if target is None or time_ms < target.last_ms:
                continue
            view = target.view
            if time_ms > target.last_ms:
                self.store.take(target, time_ms, column[: target.count])
            elif view.count:  # the column was amended
                view.values[: min(len(column), target.count), view.count - 1] = column[: target.count]


def _write(file: BinaryIO, payload: bytes) -> None:
    """Append a record. Raises OSError, also if there is room for a part of it only."""
    record = _FRAME.pack(len(payload), zlib.crc32(payload)) + payload
    if file.write(record) != len(record):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _used(index: Index) -> int:
    """How many strings the series have."""
    names = index.names()
    return 1 + len(names) + sum(len(np.unique(index.column(name))) for name in names)


def _fine(target: Target, start_ms: int, end_ms: int) -> Iterator[tuple[chunks.Times, Floats]]:
    view = target.view
    only = View((), view.fine, view.times, view.values, view.count)
    return columns(only, np.arange(target.count, dtype=np.int32), start_ms, end_ms)


def _chunk_record(target: Target, chunk: Chunk) -> bytes:
    raw = chunks.bits(chunk.first)
    ended = (chunk.forms <= 1) & ((raw == chunks.STALE_BITS) | (raw == MISSING_BITS))
    rows = np.packbits(~ended).tobytes()
    head = msgspec.msgpack.encode(_Span(target.number, int(chunk.times[0]), int(chunk.times[-1]), rows))
    return struct.pack("<I", len(head)) + head + chunk.to_bytes()


def _spans(path: Path) -> Iterator[tuple[_Span, partial[Chunk]]]:
    """What a block holds, and how to load it."""
    at = 0
    for payload in _records(path):
        (length,) = struct.unpack_from("<I", payload)
        yield msgspec.msgpack.decode(payload[4 : 4 + length], type=_Span), partial(_load, path, at, len(payload))
        at += _FRAME.size + len(payload)


def _load(path: Path, at: int, length: int) -> Chunk:
    with path.open("rb") as file:
        file.seek(at + _FRAME.size)
        payload = file.read(length)
    (head,) = struct.unpack_from("<I", payload)
    return chunks.from_bytes(payload[4 + head :])


def _records(path: Path) -> Iterator[bytes]:
    """The records of a file up to the first that is damaged."""
    if not path.exists():
        return
    with path.open("rb") as file:
        while len(frame := file.read(_FRAME.size)) == _FRAME.size:
            length, checksum = _FRAME.unpack(frame)
            payload = file.read(length) if length <= _MAX_RECORD else b""
            if len(payload) < length or length > _MAX_RECORD or zlib.crc32(payload) != checksum:
                log.warning("%s: damaged after %d bytes", path, file.tell())
                return
            yield payload


class _replacing:
    """A file that takes its name when it is complete. empty: also if nothing was written."""

    def __init__(self, path: Path, empty: bool = False) -> None:
        self._path, self._part, self._empty = path, path.with_suffix(".part"), empty

    def __enter__(self) -> BinaryIO:
        self._file = self._part.open("wb")
        return self._file

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        written = self._file.tell()
        self._file.close()
        if kind is None and (written or self._empty):
            os.replace(self._part, self._path)
        else:
            self._part.unlink(missing_ok=True)
