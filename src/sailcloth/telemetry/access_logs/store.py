"""Lines of access logs in SQLite partitions, with what they are looked for by. Each line is kept once, however often its file is read.

Positions in the files are written after the lines, so a crash reads some lines again; their place in the file tells that they are there.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import apsw

from sailcloth.lib import access_log_lines
from sailcloth.telemetry.partitions import PARTITION_US, Name, Partition, Partitions

from .files import Chunk, Position

log = logging.getLogger(__name__)

MAX_BYTES = 256 << 20
MAX_AGE_S = 86_400.0
_BUDGET_S = 2.0  # of a search
_SCHEMA = """
create table if not exists name(number integer primary key, pod text, file text, unique(pod, file));
create table if not exists line(start integer, file integer, place integer, inbound integer, status integer, flags text, request text,
  peer text, text text, primary key(start, file, place)) without rowid;
"""
_POSITIONS = "create table if not exists position(name text primary key, inode integer, place integer) without rowid"
Row = tuple[int, Name, int, bool, int, str, str, str, str]
Fields = access_log_lines.Fields


@dataclass(frozen=True)
class Query:
    """Which requests: those that have all of this. Times in microseconds; empty, zero and None mean any. `pods` and `peers`: whether a
    NAMESPACE/NAME is meant. `status`: the least and the greatest."""

    pods: Callable[[str], bool] | None = None
    peers: Callable[[str], bool] | None = None
    start_us: int = 0
    end_us: int = 0
    status: tuple[int, int] = (0, 999)
    inbound: bool | None = None
    flags: str = ""
    failed: bool = False
    requests: Collection[str] | None = None
    method: str = ""
    path: str = ""
    authority: str = ""
    limit: int = 100


class LogStore:
    """The lines in one folder. Calls come one after the other, from whatever thread."""

    def __init__(self, folder: Path, max_bytes: int = MAX_BYTES, max_age_s: float = MAX_AGE_S) -> None:
        self._partitions = Partitions(folder, "access-logs", _SCHEMA, max_bytes, max_age_s)
        self._positions = apsw.Connection(str(folder / "positions.db"))
        (folder / "positions.db").chmod(0o600)
        list(self._positions.execute("pragma journal_mode = wal; pragma synchronous = normal"))
        self._positions.execute(_POSITIONS)
        self.stored = self.dropped = 0

    def positions(self) -> dict[str, Position]:
        """How far each file was read."""
        return {name: Position(i, o) for name, i, o in self._positions.execute("select * from position")}

    def keep(self, chunks: Iterable[Chunk], peers: Mapping[str, str], now_us: int) -> None:
        """Store the lines of chunks, and that they were read. peers: pods (NAMESPACE/NAME) by their addresses, as they are now."""
        rows: dict[int, list[Row]] = {}
        positions = []
        for chunk in chunks:
            name = f"{chunk.namespace}/{chunk.pod}", f"{chunk.name}:{chunk.start.inode}"
            positions.append((chunk.name, chunk.end.inode, chunk.end.offset))
            for place, written, text in _records(chunk):
                summary = access_log_lines.summary(text)
                if summary is None:
                    continue  # what the proxy says of itself
                start = summary.start_us or access_log_lines.micros(written)
                if not self._partitions.holds(start, now_us):
                    self.dropped += 1
                    continue
                peer = peers.get(summary.peer, summary.peer)
                row = (
                    start,
                    name,
                    place,
                    summary.inbound,
                    summary.status,
                    summary.flags,
                    summary.request_id,
                    peer,
                    text,
                )
                rows.setdefault(start // PARTITION_US, []).append(row)
        for number, of in rows.items():
            self._write(number, of)
        with self._positions:
            self._positions.executemany("insert or replace into position values(?,?,?)", positions)

    def tidy(self, names: Collection[str], now_us: int) -> None:
        """Remove what is too old or too much, and the positions in files that are gone."""
        self._partitions.trim(now_us)
        gone = [(name,) for name, *_ in self._positions.execute("select name from position") if name not in names]
        if gone:
            with self._positions:
                self._positions.executemany("delete from position where name = ?", gone)

    def find(self, query: Query) -> tuple[list[tuple[str, str, Fields]], bool]:
        """The latest requests, the latest first, as (pod, peer, fields), and whether all were looked at: a search ends after two
        seconds."""
        out: list[tuple[str, str, Fields]] = []
        end = time.monotonic() + _BUDGET_S
        for pod, peer, text in self._candidates(query):
            fields = access_log_lines.parse(text)
            if fields is not None and _matches(fields, query):
                out.append((pod, peer, fields))
                if len(out) >= query.limit:
                    break
            if time.monotonic() > end:
                return out, False
        return out, True

    def size(self) -> int:
        """Bytes on disk."""
        return self._partitions.size()

    def close(self) -> None:
        """Close all files."""
        self._partitions.close()
        self._positions.close()

    def _candidates(self, query: Query) -> Iterator[tuple[str, str, str]]:
        where, values = ["status between ? and ?"], list[object](query.status)
        for clause, value in (
            ("start >= ?", query.start_us),
            ("start <= ?", query.end_us),
            ("instr(flags, ?)", query.flags),
            ("instr(text, ?)", query.path),
            ("instr(text, ?)", query.authority),
        ):
            if value:
                where.append(clause)
                values.append(value)
        where += [f"inbound = {int(query.inbound)}"] if query.inbound is not None else []
        where += ["(status >= 400 or status = 0 and flags != '')"] if query.failed else []
        if query.requests is not None:
            where.append(f"request in ({','.join('?' * len(query.requests))})")
            values += query.requests
        for partition in self._partitions.latest_first(query.start_us, query.end_us):
            files = {n: pod for (pod, _), n in partition.names.items() if query.pods is None or query.pods(pod)}
            of = [f"file in ({','.join(map(str, files))})"] if query.pods is not None else []
            text = f"select file, peer, text from line where {' and '.join(where + of)} order by start desc"  # noqa: S608  values are bound
            for number, peer, line in partition.db.execute(text, values):
                if query.peers is None or query.peers(peer):
                    yield files[number], peer, line

    def _write(self, number: int, rows: list[Row]) -> None:
        def insert(partition: Partition) -> None:
            partition.number(row[1] for row in rows)
            numbers = partition.names
            placed = ((row[0], numbers[row[1]], *row[2:]) for row in rows)
            partition.db.executemany("insert or ignore into line values(?,?,?,?,?,?,?,?,?)", placed)

        try:
            self._partitions.write(number, insert)
            self.stored += len(rows)
        except apsw.Error as error:
            self.dropped += len(rows)
            log.error("%d lines of access logs were not stored: %s", len(rows), error)


def _records(chunk: Chunk) -> Iterator[tuple[int, str, str]]:
    """(place in the file, time of the record, text) of the whole lines of a chunk that may be of an access log."""
    place = chunk.start.offset
    for record in chunk.records.split(b"\n"):
        parts = record.split(b" ", 3)
        if len(parts) == 4 and parts[2] == b"F" and parts[3][:1] in (b"[", b"{"):
            yield place, parts[0].decode(errors="replace"), parts[3].decode(errors="replace")
        place += len(record) + 1


def _matches(fields: Fields, query: Query) -> bool:
    return (
        str(fields.get("path") or "").startswith(query.path)
        and query.authority in ("", fields.get("authority"))
        and query.method in ("", fields.get("method"))
        and (not query.flags or query.flags in str(fields.get("response_flags") or "").split(","))
    )
