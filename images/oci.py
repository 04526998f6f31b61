"""Writes images as archives of the OCI image layout, which containerd, podman, docker and skopeo read.

The same layers and settings give the same bytes. Must not know what is in an image.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import platform
import shutil
import tarfile
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_CREATED = "1970-01-01T00:00:00Z"
_IMAGE = "application/vnd.oci.image"
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Image:
    """What an archive has. `name`: in full, with registry and tag. `layers`: tar files, not compressed, the lowest first."""

    name: str
    layers: tuple[Path, ...]
    entrypoint: tuple[str, ...]
    user: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)


def write(image: Image, archive: Path) -> None:
    """Write an image. The archive has its name only when it is whole."""
    unfinished = archive.with_name(f".{archive.name}.unfinished")
    with tempfile.TemporaryDirectory(dir=archive.parent) as folder, tarfile.open(unfinished, "w") as out:
        layers = [_layer(layer, Path(folder, str(i))) for i, layer in enumerate(image.layers)]
        config = _blob(f"{_IMAGE}.config.v1+json", _config(image, [layer.diff_id for layer in layers]))
        descriptors = [layer.descriptor for layer in layers]
        document = {"schemaVersion": 2, "mediaType": f"{_IMAGE}.manifest.v1+json", "config": config.descriptor}
        manifest = _blob(f"{_IMAGE}.manifest.v1+json", {**document, "layers": descriptors})
        names = {"io.containerd.image.name": image.name, "org.opencontainers.image.ref.name": image.name}
        index = {"schemaVersion": 2, "manifests": [{**manifest.descriptor, "annotations": names}]}
        _add(out, "oci-layout", _json({"imageLayoutVersion": "1.0.0"}))
        _add(out, "index.json", _json(index))
        for blob in (config, manifest):
            _add(out, _path(blob.descriptor), blob.content)
        for layer in layers:
            if _path(layer.descriptor) in out.getnames():
                continue
            entry = tarfile.TarInfo(_path(layer.descriptor))
            entry.size = layer.file.stat().st_size
            with layer.file.open("rb") as opened:
                out.addfile(entry, opened)
    unfinished.rename(archive)


def layer(file: Path, entries: Iterable[tuple[str, Path]]) -> None:
    """Write a tar of files, folders with all they contain, and links, each under a path in the image, owned by root."""
    with tarfile.open(file, "w") as out:
        for path, source in entries:
            for each in [source, *sorted(source.rglob("*"))] if source.is_dir() else [source]:
                name = path.strip("/") + ("" if each == source else f"/{each.relative_to(source)}")
                _add_file(out, name, each)


def _add_file(out: tarfile.TarFile, name: str, source: Path) -> None:
    entry = out.gettarinfo(source, name)
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = ""
    entry.mode &= 0o755  # no rights to write but the owner's
    entry.type = tarfile.REGTYPE if entry.islnk() else entry.type
    if entry.isreg():
        entry.size = source.stat().st_size
        with source.open("rb") as opened:
            out.addfile(entry, opened)
    else:
        out.addfile(entry)


@dataclass(frozen=True)
class _Blob:
    descriptor: dict[str, Any]
    content: bytes


@dataclass(frozen=True)
class _Layer:
    descriptor: dict[str, Any]
    diff_id: str  # digest of the tar before compression
    file: Path


def _layer(tar: Path, compressed: Path) -> _Layer:
    # No time and no name in the head of what is packed: its bytes depend on the content alone.
    with (
        tar.open("rb") as source,
        compressed.open("wb") as target,
        gzip.GzipFile("", "wb", compresslevel=6, fileobj=target, mtime=0) as packed,
    ):
        shutil.copyfileobj(source, packed, _BLOCK)
    media = f"{_IMAGE}.layer.v1.tar+gzip"
    with tar.open("rb") as source, compressed.open("rb") as packed_file:
        descriptor = {"mediaType": media, "digest": _digest(packed_file), "size": compressed.stat().st_size}
        return _Layer(descriptor, _digest(source), compressed)


def _digest(file: IO[bytes]) -> str:
    return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"  # type: ignore[arg-type]


def _config(image: Image, diff_ids: list[str]) -> dict[str, Any]:
    settings: dict[str, Any] = {"Entrypoint": list(image.entrypoint), "WorkingDir": "/"}
    settings |= {"User": image.user} if image.user else {}
    settings |= {"Env": [f"{name}={value}" for name, value in image.environment.items()]} if image.environment else {}
    settings |= {"Labels": dict(image.labels)} if image.labels else {}
    return {
        "created": _CREATED,
        "architecture": ARCHITECTURES.get(platform.machine(), platform.machine()),
        "os": "linux",
        "config": settings,
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": [{"created": _CREATED, "created_by": "sailcloth"} for _ in diff_ids],
    }


def _blob(media: str, document: dict[str, Any]) -> _Blob:
    content = _json(document)
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    return _Blob({"mediaType": media, "digest": digest, "size": len(content)}, content)


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document, indent=1, sort_keys=True).encode()


def _path(descriptor: dict[str, Any]) -> str:
    return f"blobs/{descriptor['digest'].replace(':', '/')}"


def _add(out: tarfile.TarFile, path: str, content: bytes) -> None:
    entry = tarfile.TarInfo(path)
    entry.size = len(content)
    out.addfile(entry, io.BytesIO(content))
