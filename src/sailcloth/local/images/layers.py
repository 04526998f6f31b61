"""Applies image layers to a directory, safely for any archive.

Nothing is written outside the directory, and links are resolved within it. Device nodes, set-user-id bits and owners are
dropped; sizes and numbers of files are bounded. Source: the OCI image layer specification (changesets).
"""

from __future__ import annotations

import os
import shutil
import tarfile
from pathlib import Path
from typing import IO

_WHITEOUT, _OPAQUE = ".wh.", ".wh..wh..opq"
_LINKS = 40
_CHUNK = 1 << 20


class ArchiveError(ValueError):
    """An archive cannot be used; the text says what is wrong with it."""


class Tree:
    """A folder that layers are applied to, in order."""

    def __init__(self, root: Path, max_bytes: int, max_entries: int = 1_000_000) -> None:
        self.root = root
        self._bytes, self._entries = max_bytes, max_entries
        self._limit = max_bytes
        self.skipped: list[str] = []  # what a folder of an ordinary user cannot hold: devices, pipes

    def apply(self, layer: IO[bytes], name: str) -> None:
        """One layer, a tar stream, compressed or not. Raises ArchiveError, OSError."""
        items: set[str] = set()
        folders: list[tuple[str, int]] = []
        try:
            with tarfile.open(fileobj=layer, mode="r|*") as archive:
                for member in archive:
                    self._count(name)
                    self._one(archive, member, items, folders)
        except (tarfile.TarError, EOFError, ValueError) as error:
            if isinstance(error, ArchiveError):
                raise
            raise ArchiveError(
                f"layer {name} cannot be read: {error}; only tar, plain or compressed by gzip, bzip2 or xz, is understood"
            ) from None
        for path, mode in reversed(folders):
            if os.path.isdir(path) and not os.path.islink(path):
                os.chmod(path, mode)

    def _count(self, name: str) -> None:
        self._entries -= 1
        if self._entries < 0:
            raise ArchiveError(f"layer {name}: too many files")

    def _one(
        self, archive: tarfile.TarFile, member: tarfile.TarInfo, created: set[str], folders: list[tuple[str, int]]
    ) -> None:
        parts = [p for p in member.name.split("/") if p not in ("", ".")]
        if ".." in parts or "\0" in member.name:
            raise ArchiveError(f"path {member.name!r} leads out of the image")
        if not parts:
            return
        folder = self.resolve("/".join(parts[:-1]))
        os.makedirs(folder, exist_ok=True)
        base = parts[-1]
        if base == _OPAQUE:
            for entry in os.listdir(folder):
                if f"{folder}/{entry}" not in created:
                    _remove(f"{folder}/{entry}")
            return
        if base.startswith(_WHITEOUT):
            _remove(f"{folder}/{base.removeprefix(_WHITEOUT)}")
            return
        path = f"{folder}/{base}"
        for parent in _above(path, str(self.root)):
            created.add(parent)
        if member.isdir():
            if os.path.islink(path) or not os.path.isdir(path):
                _remove(path)
                os.mkdir(path)
            folders.append((path, member.mode & 0o777 | 0o700))
            os.chmod(path, 0o700)
            return
        if not (member.isfile() or member.issym() or member.islnk()):
            self.skipped.append(member.name)
            return
        if member.islnk():  # found before the old file goes: it may be the same
            target = self.resolve(member.linkname, last=False)
            if not os.path.lexists(target) or (os.path.isdir(target) and not os.path.islink(target)):
                raise ArchiveError(f"{member.name}: links to {member.linkname}, which is not there")
            if os.path.abspath(target) != path:
                _remove(path)
                os.link(target, path, follow_symlinks=False)
            return
        _remove(path)
        if member.issym():
            os.symlink(member.linkname, path)
        else:
            self._file(archive, member, path)

    def _file(self, archive: tarfile.TarFile, member: tarfile.TarInfo, path: str) -> None:
        source = archive.extractfile(member)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(fd, "wb") as out:
            while source is not None and (data := source.read(_CHUNK)):
                self._bytes -= len(data)
                if self._bytes < 0:
                    raise ArchiveError(
                        f"the image is larger than {self._limit >> 20} MiB; raise the limit with --max-size if it is meant to be"
                    )
                out.write(data)
            os.fchmod(out.fileno(), member.mode & 0o777)

    def resolve(self, path: str, last: bool = True) -> str:
        """Where a path of the image lies on the host; its links are followed within the tree, the last one if `last`."""
        return resolve(str(self.root), path, last)


def resolve(root: str, path: str, last: bool = True) -> str:
    """A path inside `root`, as a process would find it whose root that is. Parts need not exist."""
    rest = [p for p in path.split("/") if p not in ("", ".")][::-1]
    done: list[str] = []
    links = 0
    while rest:
        part = rest.pop()
        if part == "..":
            done = done[:-1]
            continue
        here = "/".join((root, *done, part))
        if os.path.islink(here) and (rest or last):
            links += 1
            if links > _LINKS:
                raise ArchiveError(f"path {path!r}: too many links")
            target = os.readlink(here)
            if target.startswith("/"):
                done = []
            rest += [p for p in target.split("/") if p not in ("", ".")][::-1]
        else:
            done.append(part)
    return "/".join((root, *done))


def _above(path: str, root: str) -> list[str]:
    """A path and the folders above it, up to the root."""
    out = []
    while path != root:
        out.append(path)
        path = os.path.dirname(path)
    return out


def _remove(path: str) -> None:
    if os.path.islink(path) or os.path.isfile(path):
        os.unlink(path)
    elif os.path.isdir(path):
        for folder, _, _ in os.walk(path):
            os.chmod(folder, 0o700)
        shutil.rmtree(path)
