"""SQLite files of ten minutes each, the oldest removed when all together are too large or too old. Traces and access logs are kept so.

Dropping a file costs nothing, where deleting rows would cost a scan. Strings that repeat are numbered in a table `name` of each file.
All calls come one after the other. Must not know what the rows are.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import apsw

PARTITION_US = 600_000_000
Name = tuple[str, str]


@dataclass
class Partition:
    """One open file. `names`: the numbers of its table `name`."""

    db: apsw.Connection
    names: dict[Name, int] = field(default_factory=dict)

    def number(self, names: Iterable[Name]) -> None:
        """Give numbers to names that have none; within a transaction."""
        for name in dict.fromkeys(name for name in names if name not in self.names):
            self.db.execute("insert into name values(null, ?, ?)", name)
            self.names[name] = self.db.last_insert_rowid()


class Partitions:
    """The files STEM-NUMBER.db of a folder. The schema has a table `name` of a number and two texts."""

    def __init__(self, folder: Path, stem: str, schema: str, max_bytes: int, max_age_s: float) -> None:
        self._folder, self._stem, self._schema = folder, stem, schema
        self._max_bytes, self._max_age_us = max_bytes, int(max_age_s * 1e6)
        self.open: dict[int, Partition] = {}
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in sorted(folder.glob(f"{stem}-*.db")):
            number = path.stem.removeprefix(f"{stem}-")
            if number.isdigit():
                with contextlib.suppress(apsw.Error):
                    self._opened(int(number))

    def holds(self, time_us: int, now_us: int) -> bool:
        """Whether a row of this time is kept: it is neither too old, nor of a clock that is far ahead."""
        return now_us - self._max_age_us < time_us < now_us + PARTITION_US

    def write(self, number: int, work: Callable[[Partition], None]) -> None:
        """Do something with a partition as one transaction. Raises apsw.Error; then nothing is written, and the file is opened anew."""
        try:
            partition = self._opened(number)
            with partition.db:
                work(partition)
        except apsw.Error:
            broken = self.open.pop(number, None)
            if broken is not None:
                broken.db.close()
            raise

    def latest_first(self, start_us: int = 0, end_us: int = 0) -> Iterator[Partition]:
        """The partitions that may have rows of a time; zero means any."""
        for number in sorted(self.open, reverse=True):
            begin, end = number * PARTITION_US, (number + 1) * PARTITION_US
            if not (start_us and end < start_us) and not (end_us and begin > end_us):
                yield self.open[number]

    def trim(self, now_us: int) -> None:
        """Remove the oldest files; the newest stays, however large it is."""
        sizes = {number: _size(self._path(number)) for number in sorted(self.open)}
        total = sum(sizes.values())
        for number, size in sizes.items():
            too_old = (number + 1) * PARTITION_US < now_us - self._max_age_us
            if not too_old and (total <= self._max_bytes or len(self.open) == 1):
                break
            self.open.pop(number).db.close()
            for suffix in ("", "-wal", "-shm"):
                Path(f"{self._path(number)}{suffix}").unlink(missing_ok=True)
            total -= size

    def size(self) -> int:
        """Bytes on disk."""
        return sum(_size(self._path(number)) for number in self.open)

    def close(self) -> None:
        """Close all files."""
        for partition in self.open.values():
            partition.db.close()
        self.open.clear()

    def _path(self, number: int) -> Path:
        return self._folder / f"{self._stem}-{number}.db"

    def _opened(self, number: int) -> Partition:
        if number not in self.open:
            path = self._path(number)
            db = apsw.Connection(str(path))
            path.chmod(0o600)
            list(db.execute("pragma journal_mode = wal; pragma synchronous = normal"))  # the first gives a row
            db.execute(self._schema)
            self.open[number] = Partition(db, {(a, b): n for n, a, b in db.execute("select * from name")})
        return self.open[number]


def _size(path: Path) -> int:
    return sum(os.path.getsize(p) for p in (path, Path(f"{path}-wal")) if p.exists())
