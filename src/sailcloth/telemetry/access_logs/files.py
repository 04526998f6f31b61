"""Follows the log files of containers of one name, and says how far it has read, so that the next process goes on there.

A file that is rotated is read to its end before its successor; of one that is removed with its pod, what is left is read too. Lines are
whole: what has no end yet waits. What is rotated twice while nobody reads is lost.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

_STEP = 1 << 18  # bytes of one read
_MAX_RECORD = 1 << 17  # what is longer and has no end is passed over
_MAX_FILES = 4096


@dataclass(frozen=True)
class Position:
    """How far a file was read: its inode, since a path names one file after the other, and the bytes."""

    inode: int
    offset: int


@dataclass(frozen=True)
class Chunk:
    """Whole records of one file, and where they begin and end. `name`: the path within the folder."""

    namespace: str
    pod: str
    name: str
    start: Position
    records: bytes

    @property
    def end(self) -> Position:
        return Position(self.start.inode, self.start.offset + len(self.records))


@dataclass
class _Followed:
    name: str
    path: Path
    file: BinaryIO | None = None
    at: Position = field(default_factory=lambda: Position(0, 0))


class LogFiles:
    """The files of a folder. `positions`: where an earlier process has stopped, by name. Reads only as it is asked to."""

    def __init__(self, folder: Path, container: str, positions: Mapping[str, Position]) -> None:
        self._folder, self._container, self._positions = folder, container, dict(positions)
        self._files: dict[str, _Followed] = {}

    def chunks(self) -> Iterator[Chunk]:
        """What has come since the last call, file by file."""
        present = self._discover()
        for followed in list(self._files.values()):
            yield from self._new(followed)
            if followed.name not in present:
                self._close(self._files.pop(followed.name))

    def names(self) -> set[str]:
        """The files that are followed."""
        return set(self._files)

    def close(self) -> None:
        """Close all files."""
        for followed in self._files.values():
            self._close(followed)

    def _discover(self) -> set[str]:
        names: set[str] = set()
        for pod in _listed(self._folder):
            for path in _listed(self._folder / pod / self._container):
                if path.endswith(".log") and len(names) < _MAX_FILES:
                    names.add(f"{pod}/{self._container}/{path}")
        for name in names - self._files.keys():
            self._files[name] = _Followed(name, self._folder / name, at=self._positions.pop(name, Position(0, 0)))
        return names

    def _new(self, followed: _Followed) -> Iterator[Chunk]:
        if followed.file is None and followed.at.inode:  # of an earlier process; the file may have been rotated since
            self._open(followed, Path(f"{followed.path}.old"), followed.at.inode)
        yield from self._read(followed)
        try:
            named = followed.path.stat().st_ino
        except OSError:
            return
        if followed.file is None or named != followed.at.inode:
            yield from self._read(followed)  # what was written between the read above and the rotation
            self._open(followed, followed.path)
            yield from self._read(followed)

    def _open(self, followed: _Followed, path: Path, inode: int = 0) -> None:
        """Open a file at where it was read to; nothing if it is not the one with the inode, which 0 does not ask for."""
        try:
            file = path.open("rb")
        except OSError:
            return
        status = os.fstat(file.fileno())
        if inode and status.st_ino != inode:
            file.close()
            return
        self._close(followed)
        same = status.st_ino == followed.at.inode and status.st_size >= followed.at.offset
        followed.file, followed.at = file, followed.at if same else Position(status.st_ino, 0)
        file.seek(followed.at.offset)

    def _read(self, followed: _Followed) -> Iterator[Chunk]:
        pod_folder = followed.name.partition("/")[0]
        namespace, _, rest = pod_folder.partition("_")
        while followed.file is not None:
            followed.file.seek(followed.at.offset)
            data = followed.file.read(_STEP)
            whole = data.rfind(b"\n") + 1
            if not whole and len(data) < _MAX_RECORD:
                return
            chunk = Chunk(namespace, rest.rpartition("_")[0], followed.name, followed.at, data[: whole or len(data)])
            followed.at = chunk.end
            yield chunk

    @staticmethod
    def _close(followed: _Followed) -> None:
        if followed.file is not None:
            followed.file.close()
            followed.file = None


def _listed(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []
