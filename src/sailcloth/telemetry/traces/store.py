"""Spans in SQLite: a file for each ten minutes, the oldest removed when all together are too large or too old.

Spans are written in batches by the thread that asks for it; a crash loses what came since the last batch. Strings that repeat
(services, operations) are kept once a file, tags are packed. Must not know protocols.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import apsw
import orjson

from sailcloth.telemetry.partitions import PARTITION_US, Name, Partition, Partitions

from .model import KINDS, Span

log = logging.getLogger(__name__)

MAX_BYTES = 512 << 20
MAX_AGE_S = 86_400.0
_REQUEST_ID = "guid:x-request-id"  # Envoy's tag
_SCHEMA = """
create table if not exists name(number integer primary key, service text, operation text, unique(service, operation));
create table if not exists span(trace blob, id blob, parent blob, name integer, kind integer, start integer, duration integer,
  error integer, packed blob);
create index if not exists by_trace on span(trace);
create index if not exists by_name on span(name, start);
"""
_TAG_VALUES = 200  # of a tag, at most
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
        self._partitions = Partitions(folder, "traces", _SCHEMA, max_bytes, max_age_s)
        self._pending: list[Span] = []
        self.received = self.dropped = 0

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
            if self._partitions.holds(span.start_us, now_us):
                by_partition.setdefault(span.start_us // PARTITION_US, []).append(span)
            else:
                self.dropped += 1  # a clock is wrong
        for number, spans in by_partition.items():
            self._write(number, spans)
        self._partitions.trim(now_us)

    def close(self) -> None:
        """Close all files."""
        self._partitions.close()

    # -- reading ------------------------------------------------------------------------------------

    def trace(self, identifier: str) -> list[Span]:
        """The spans of a trace, the earliest first. Ids of 64 bits name the traces that end with them."""
        key = bytes.fromhex(identifier.rjust(32, "0"))
        rows = f"select {_COLUMNS} from span join name on span.name = name.number where trace = ?"
        found = [_span(row) for p in self._partitions.latest_first() for row in p.db.execute(rows, (key,))]
        found += [span for span in self._pending if span.trace == key.hex()]
        unique = {(s.id, s.kind, s.service): s for s in found}
        return sorted(unique.values(), key=lambda s: (s.start_us, s.id))

    def request_ids(self, identifier: str) -> set[str]:
        """The values of x-request-id that the spans of a trace have, by which access logs name its requests."""
        return {span.tags[_REQUEST_ID] for span in self.trace(identifier) if _REQUEST_ID in span.tags}

    def services(self) -> list[str]:
        """Names of services, sorted."""
        found = {
            row[0] for p in self._partitions.latest_first() for row in p.db.execute("select distinct service from name")
        }
        return sorted(found | {span.service for span in self._pending})

    def operations(self, service: str) -> list[tuple[str, str]]:
        """(operation, kind) of a service, sorted."""
        rows = "select distinct operation, kind from span join name on span.name = name.number where service = ?"
        found = {(o, KINDS[k]) for p in self._partitions.latest_first() for o, k in p.db.execute(rows, (service,))}
        return sorted(found | {(s.name, s.kind) for s in self._pending if s.service == service})

    def find(self, query: Query) -> list[list[Span]]:
        """Whole traces, the latest first, each with its spans in order."""
        seen: dict[str, None] = {}
        for span in self._matching(query):
            seen.setdefault(span.trace)
            if len(seen) >= query.limit:
                break
        return [self.trace(identifier) for identifier in seen]

    def tag_values(self, tag: str) -> list[str]:
        """Values of a tag in the latest spans, sorted."""
        found: dict[str, None] = {}
        for number, span in enumerate(self._matching(Query())):
            if tag in span.tags:
                found.setdefault(span.tags[tag])
            if len(found) >= _TAG_VALUES or number > 20_000:
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
        for partition in self._partitions.latest_first(start_us, end_us):
            for caller, called, count in partition.db.execute(rows, (start_us, end_us)):
                out[caller, called] = out.get((caller, called), 0) + count
        return out

    def size(self) -> int:
        """Bytes on disk."""
        return self._partitions.size()

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
        for partition in self._partitions.latest_first(query.start_us, query.end_us):
            for row in partition.db.execute(rows, values):
                span = _span(row)
                if _matches(span, query):
                    yield span

    # -- writing ------------------------------------------------------------------------------------

    def _write(self, number: int, spans: list[Span]) -> None:
        def insert(partition: Partition) -> None:
            partition.number((s.service, s.name) for s in spans)
            rows = (_row(s, partition.names) for s in spans)
            partition.db.executemany("insert into span values(?,?,?,?,?,?,?,?,?)", rows)

        try:
            self._partitions.write(number, insert)
        except apsw.Error as error:
            self.dropped += len(spans)
            log.error("%d spans were not stored: %s", len(spans), error)


def _row(span: Span, names: Mapping[Name, int]) -> tuple[object, ...]:
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
