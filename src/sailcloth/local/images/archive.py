"""Images as people keep them in files: OCI image layouts and what `docker save` writes, as folder or as tar; a plain tar or
folder of a root file system. Nothing is fetched from anywhere."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Protocol

from .layers import ArchiveError, Tree

Object = dict[str, Any]
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
_DOCUMENT_LIMIT = 4 << 20  # bytes of a manifest, an index or a configuration
_NAMES = ("io.containerd.image.name", "org.opencontainers.image.ref.name")


@dataclass(frozen=True)
class Config:
    """What an image says of how it is run."""

    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)
    cwd: str = ""
    user: str = ""
    stop_signal: str = ""


class _Files(Protocol):
    """The files of an image archive."""

    def has(self, path: str) -> bool: ...
    def open(self, path: str) -> IO[bytes]: ...


class _Folder:
    def __init__(self, root: Path) -> None:
        self._root = root.resolve()

    def has(self, path: str) -> bool:
        return (self._root / path).is_file()

    def open(self, path: str) -> IO[bytes]:
        result = (self._root / path).resolve()
        if not result.is_relative_to(self._root):
            raise ArchiveError(f"{path} leads out of the archive")
        if not result.is_file():
            raise ArchiveError(f"the archive names {path}, and has no such file")
        return result.open("rb")


class _Tar:
    def __init__(self, archive: tarfile.TarFile) -> None:
        self._archive = archive
        self._members = {os.path.normpath(m.name): m for m in archive if m.isfile() or m.issym() or m.islnk()}

    def has(self, path: str) -> bool:
        return os.path.normpath(path) in self._members

    def open(self, path: str) -> IO[bytes]:
        member = self._members.get(os.path.normpath(path))
        result = self._archive.extractfile(member) if member is not None else None
        if result is None:
            raise ArchiveError(f"the archive names {path}, and has no such file")
        return result


def is_archive(path: Path) -> bool:
    """Whether an image has to be unpacked; else it is a folder that is a root file system as it is."""
    return path.is_file() or (path / "oci-layout").is_file() or (path / "manifest.json").is_file()


def unpack(source: Path, wanted: str, tree: Tree) -> Config:
    """Put the image at `source` into a tree; `wanted` chooses among several by name. Raises ArchiveError, OSError."""
    with _files(source) as files:
        if files.has("index.json"):
            manifest = _manifest(files, wanted)
            config = json.loads(_blob(files, manifest["config"]))
            layers = [(_blob_path(d), d["digest"]) for d in manifest["layers"]]
        elif files.has("manifest.json"):
            entry = _saved(files, wanted)
            config = json.loads(_document(files, entry["Config"]))
            layers = [(path, "") for path in entry["Layers"]]
        elif isinstance(files, _Tar):
            with source.open("rb") as whole:
                tree.apply(whole, source.name)
            return Config()
        else:
            raise ArchiveError(f"{source} has neither index.json nor manifest.json")
        for path, digest in layers:
            with files.open(path) as layer:
                checked = _Checked(layer, digest)
                tree.apply(checked, path)  # type: ignore[arg-type]
                checked.verify(path)
    return _config(config.get("config") or {})


@contextlib.contextmanager
def _files(source: Path) -> Iterator[_Files]:
    if source.is_dir():
        yield _Folder(source)
        return
    try:
        archive = tarfile.open(source, "r:*")  # noqa: SIM115 - closed below
    except (tarfile.TarError, EOFError) as error:
        raise ArchiveError(
            f"{source} is no tar archive ({error}); write one with `docker save`, `skopeo copy` or `tar -c`"
        ) from None
    with archive:
        yield _Tar(archive)


def _document(files: _Files, path: str) -> bytes:
    with files.open(path) as file:
        data = file.read(_DOCUMENT_LIMIT + 1)
    if len(data) > _DOCUMENT_LIMIT:
        raise ArchiveError(f"{path} is too large to be what it is called")
    return data


def _blob_path(descriptor: Object) -> str:
    kind, _, value = str(descriptor["digest"]).partition(":")
    if not kind.isalnum() or not value.isalnum():
        raise ArchiveError(f"{descriptor['digest']!r} is no digest")
    return f"blobs/{kind}/{value}"


def _blob(files: _Files, descriptor: Object) -> bytes:
    data = _document(files, _blob_path(descriptor))
    if descriptor["digest"].startswith("sha256:") and hashlib.sha256(data).hexdigest() != descriptor["digest"][7:]:
        raise ArchiveError(f"{descriptor['digest']} is damaged: its content has another digest")
    return data


def _manifest(files: _Files, wanted: str) -> Object:
    """The manifest of the image for this machine."""
    entries: list[Object] = json.loads(_document(files, "index.json")).get("manifests") or []
    names = {n: d for d in entries for n in ((d.get("annotations") or {}).get(k) for k in _NAMES) if n}
    if len(entries) > 1 and wanted in names:
        entries = [names[wanted]]
    for _ in range(4):  # an index may lead to indexes
        if len(entries) != 1:
            entries = _of_this_machine(entries, list(names))
        data: Object = json.loads(_blob(files, entries[0]))
        if "manifests" not in data:
            if not isinstance(data.get("layers"), list) or not isinstance(data.get("config"), dict):
                raise ArchiveError(f"{entries[0]['digest']} is no manifest of an image")
            return data
        entries = data["manifests"]
    raise ArchiveError("its indexes are nested too deeply")


def _of_this_machine(entries: list[Object], names: list[str]) -> list[Object]:
    machine = _MACHINES.get(platform.machine(), platform.machine())
    fit = [
        d
        for d in entries
        if (d.get("platform") or {}).get("architecture") == machine and d["platform"].get("os", "linux") == "linux"
    ]
    if len(fit) == 1:
        return fit
    if not fit and any(d.get("platform") for d in entries):
        has = ", ".join(sorted({(d.get("platform") or {}).get("architecture", "?") for d in entries}))
        raise ArchiveError(f"it has no image for linux/{machine}, only for {has}")
    raise ArchiveError(f"it holds several images ({', '.join(names) or 'unnamed'}): add one under its own name")


def _saved(files: _Files, wanted: str) -> Object:
    entries: list[Object] = json.loads(_document(files, "manifest.json"))
    if not isinstance(entries, list) or not all(
        isinstance(e, dict) and "Config" in e and "Layers" in e for e in entries
    ):
        raise ArchiveError("manifest.json is not one of `docker save`")
    named = [e for e in entries if wanted in (e.get("RepoTags") or ())]
    if len(entries) != 1 and len(named) != 1:
        tags = ", ".join(t for e in entries for t in e.get("RepoTags") or ())
        raise ArchiveError(f"it holds several images ({tags or 'unnamed'}): add one under its own name")
    return (named or entries)[0]


def _config(given: Object) -> Config:
    pairs = (str(v).partition("=") for v in given.get("Env") or ())
    return Config(
        tuple(given.get("Entrypoint") or ()),
        tuple(given.get("Cmd") or ()),
        {name: value for name, _, value in pairs},
        str(given.get("WorkingDir") or ""),
        str(given.get("User") or ""),
        str(given.get("StopSignal") or ""),
    )


class _Checked:
    """A stream that knows its digest once it is read."""

    def __init__(self, file: IO[bytes], digest: str) -> None:
        self._file, self._digest = file, digest
        self._sum = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._sum.update(data)
        return data

    def verify(self, path: str) -> None:
        """Raises ArchiveError if what was read is not what the manifest names."""
        while self.read(1 << 20):
            pass
        if self._digest.startswith("sha256:") and self._sum.hexdigest() != self._digest[7:]:
            raise ArchiveError(f"{path} is damaged: its content has another digest")
