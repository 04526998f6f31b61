"""Spans in SQLite: a file for each ten minutes, the oldest removed when all together are too large or too old.

Spans are written in batches by the thread that asks for it; a crash loses what came since the last batch. Strings that repeat
(services, operations) are kept once a file, tags are packed. Must not know protocols.
"""

from __future__ import annotations

import contextlib
import logging
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import apsw
import orjson

from .model import KINDS, Span

log = logging.getLogger(__name__)

PARTITION_US = 600_000_000
MAX_BYTES = 512 << 20
MAX_AGE_S = 86_400.0
_SCHEMA = """
create table if not exists name(number integer primary key, service text, operation text, unique(service, operation));
create table if not exists span(trace blob, id blob, parent blob, name integer, kind integer, start integer, duration integer,
  error integer, packed blob);
create index if not exists by_trace on span(trace);
create index if not exists by_name on span(name, start);
"""
_COLUMNS = "trace, id, parent, service, operation, kind, start, duration, error, packed"


@dataclass(frozen=True)
class Query:
    """Which traces: those with a span that has all of this. Times in microseconds; zero and empty mean any."""

    service: str = ""
    operation: str = ""
    start_us: int = 0
    end_us: int = 0
    min_us: int = 0
    max_us: int = 0
    error: bool | None = None
    tags: Mapping[str, str] | None = None
    matches: Callable[[Span], bool] | None = None
    limit: int = 20


class TraceStore:
    """Spans in one folder. All calls come from one thread; a query of a day's spans takes milliseconds."""

    def __init__(self, folder: Path, max_bytes: int = MAX_BYTES, max_age_s: float = MAX_AGE_S) -> None:
        self._folder, self._max_bytes, self._max_age_us = folder, max_bytes, int(max_age_s * 1e6)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._open: dict[int, apsw.Connection] = {}
        self._names: dict[int, dict[tuple[str, str], int]] = {}
        self._pending: list[Span] = []
        self.received = self.dropped = 0
        for path in sorted(folder.glob("traces-*.db")):
            number = path.stem.removeprefix("traces-")
            if number.isdigit():
                with contextlib.suppress(apsw.Error):
                    self._partition(int(number))

    def add(self, spans: Iterable[Span]) -> None:
        """Keep spans in memory until `flush`."""
        before = len(self._pending)
        self._pending.extend(spans)
        self.received += len(self._pending) - before

    def flush(self, now_us: int) -> None:
        """Write what has come, and remove what is too old or too much."""
        pending, self._pending = self._pending, []
        by_partition: dict[int, list[Span]] = {}
        for span in pending:
            if now_us - self._max_age_us < span.start_us < now_us + PARTITION_US:
                by_partition.setdefault(span.start_us // PARTITION_US, []).append(span)
            else:
                self.dropped += 1  # a clock is wrong
        for number, spans in by_partition.items():
            self._write(number, spans)
        self._trim(now_us)

    def close(self) -> None:
        """Close all files."""
        for connection in self._open.values():
            connection.close()
        self._open.clear()

    # -- reading ------------------------------------------------------------------------------------

    def trace(self, identifier: str) -> list[Span]:
        """The spans of a trace, the earliest first. Ids of 64 bits name the traces that end with them."""
        key = bytes.fromhex(identifier.rjust(32, "0"))
        rows = f"select {_COLUMNS} from span join name on span.name = name.number where trace = ?"
        found = [_span(row) for db in self._open.values() for row in db.execute(rows, (key,))]
        found += [span for span in self._pending if span.trace == key.hex()]
        unique = {(s.id, s.kind, s.service): s for s in found}
        return sorted(unique.values(), key=lambda s: (s.start_us, s.id))

    def services(self) -> list[str]:
        """Names of services, sorted."""
        found = {row[0] for db in self._open.values() for row in db.execute("select distinct service from name")}
        return sorted(found | {span.service for span in self._pending})

    def operations(self, service: str) -> list[tuple[str, str]]:
        """(operation, kind) of a service, sorted."""
        rows = "select distinct operation, kind from span join name on span.name = name.number where service = ?"
        found = {(o, KINDS[k]) for db in self._open.values() for o, k in db.execute(rows, (service,))}
        return sorted(found | {(s.name, s.kind) for s in self._pending if s.service == service})

    def find(self, query: Query) -> list[list[Span]]:
        """Whole traces, the latest first, each with its spans in order."""
        seen: dict[str, None] = {}
        for span in self._matching(query):
            seen.setdefault(span.trace)
            if len(seen) >= query.limit:
                break
        return [self.trace(identifier) for identifier in seen]

    def tag_values(self, tag: str, limit: int = 200) -> list[str]:
        """Values of a tag in the latest spans, sorted."""
        found: dict[str, None] = {}
        for number, span in enumerate(self._matching(Query())):
            if tag in span.tags:
                found.setdefault(span.tags[tag])
            if len(found) >= limit or number > 20_000:
                break
        return sorted(found)

    def tag_names(self) -> list[str]:
        """Names of tags in the latest spans, sorted."""
        found: set[str] = set()
        for number, span in enumerate(self._matching(Query())):
            found |= span.tags.keys()
            if number > 5_000:
                break
        return sorted(found)

    def dependencies(self, start_us: int, end_us: int) -> dict[tuple[str, str], int]:
        """How often one service has called another: spans with a parent in another service."""
        out: dict[tuple[str, str], int] = {}
        rows = (
            "select a.service, b.service, count(*) from span s join span p on p.trace = s.trace and p.id = s.parent"
            " join name a on a.number = p.name join name b on b.number = s.name"
            " where a.service != b.service and s.start between ? and ? group by 1, 2"
        )
        for db in self._open.values():
            for caller, called, count in db.execute(rows, (start_us, end_us)):
                out[caller, called] = out.get((caller, called), 0) + count
        return out

    def size(self) -> int:
        """Bytes on disk."""
        return sum(_size(self._path(number)) for number in self._open)

    def _matching(self, query: Query) -> Iterator[Span]:
        """Spans, roughly the latest first."""
        yield from (s for s in reversed(self._pending) if _matches(s, query))
        where, values = ["1"], []
        for clause, value in (
            ("service = ?", query.service),
            ("operation = ?", query.operation),
            ("start >= ?", query.start_us),
            ("start <= ?", query.end_us),
            ("duration >= ?", query.min_us),
            ("duration <= ?", query.max_us),
        ):
            if value:
                where.append(clause)
                values.append(value)
        if query.error is not None:
            where.append(f"error = {int(query.error)}")
        rows = f"select {_COLUMNS} from span join name on span.name = name.number where {' and '.join(where)} order by start desc"
        for number in sorted(self._open, reverse=True):
            begin, end = number * PARTITION_US, (number + 1) * PARTITION_US
            if (query.start_us and end < query.start_us) or (query.end_us and begin > query.end_us):
                continue
            for row in self._open[number].execute(rows, values):
                span = _span(row)
                if _matches(span, query):
                    yield span

    # -- writing ------------------------------------------------------------------------------------

    def _path(self, number: int) -> Path:
        return self._folder / f"traces-{number}.db"

    def _partition(self, number: int) -> apsw.Connection:
        db = self._open.get(number)
        if db is None:
            path = self._path(number)
            db = apsw.Connection(str(path))
            path.chmod(0o600)
            db.execute("pragma journal_mode = wal; pragma synchronous = normal")
            db.execute(_SCHEMA)
            self._open[number] = db
            self._names[number] = {(s, o): i for i, s, o in db.execute("select number, service, operation from name")}
        return db

    def _write(self, number: int, spans: list[Span]) -> None:
        try:
            db = self._partition(number)
            names = self._names[number]
            with db:
                new = dict.fromkeys((s.service, s.name) for s in spans if (s.service, s.name) not in names)
                for key in new:
                    db.execute("insert into name(service, operation) values(?, ?)", key)
                    names[key] = db.last_insert_rowid()
                db.executemany("insert into span values(?,?,?,?,?,?,?,?,?)", (_row(s, names) for s in spans))
        except apsw.Error as error:
            self.dropped += len(spans)
            self._names.pop(number, None)
            stale = self._open.pop(number, None)
            if stale is not None:
                stale.close()
            log.error("%d spans were not stored: %s", len(spans), error)

    def _trim(self, now_us: int) -> None:
        """Remove the oldest files."""
        sizes = {number: _size(self._path(number)) for number in sorted(self._open)}
        total = sum(sizes.values())
        for number, size in sizes.items():
            too_old = (number + 1) * PARTITION_US < now_us - self._max_age_us
            if not too_old and (total <= self._max_bytes or len(self._open) == 1):
                break
            self._open.pop(number).close()
            self._names.pop(number, None)
            for suffix in ("", "-wal", "-shm"):
                Path(f"{self._path(number)}{suffix}").unlink(missing_ok=True)
            total -= size


def _row(span: Span, names: Mapping[tuple[str, str], int]) -> tuple[object, ...]:
    packed = zlib.compress(orjson.dumps([dict(span.tags), span.events]), 1)
    parent = bytes.fromhex(span.parent) if span.parent else None
    ids = bytes.fromhex(span.trace), bytes.fromhex(span.id), parent
    number = names[span.service, span.name]
    return *ids, number, KINDS.index(span.kind), span.start_us, span.duration_us, int(span.error), packed


def _span(row: tuple[object, ...]) -> Span:
    trace, identifier, parent, service, operation, kind, start, duration, error, packed = row
    assert isinstance(trace, bytes)
    assert isinstance(identifier, bytes)
    assert isinstance(packed, bytes)
    tags, events = orjson.loads(zlib.decompress(packed))
    return Span(
        trace.hex(),
        identifier.hex(),
        str(service),
        str(operation),
        int(str(start)),
        int(str(duration)),
        parent.hex() if isinstance(parent, bytes) else "",
        KINDS[int(str(kind))],
        bool(error),
        tags,
        tuple((at, text) for at, text in events),
    )


def _matches(span: Span, query: Query) -> bool:
    return (
        query.service in ("", span.service)
        and query.operation in ("", span.name)
        and (not query.start_us or span.start_us >= query.start_us)
        and (not query.end_us or span.start_us <= query.end_us)
        and (not query.min_us or span.duration_us >= query.min_us)
        and (not query.max_us or span.duration_us <= query.max_us)
        and (query.error is None or span.error == query.error)
        and all(span.tags.get(k) == v for k, v in (query.tags or {}).items())
        and (query.matches is None or query.matches(span))
    )


def _size(path: Path) -> int:
    return sum(os.path.getsize(p) for p in (path, Path(f"{path}-wal")) if p.exists())
