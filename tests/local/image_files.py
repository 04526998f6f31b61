"""Images made of the host's own shell, in every form in which images are kept in files."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import re
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

Object = dict[str, Any]
PROGRAMS = ("sh", "cat", "ls", "id", "mkdir", "sleep", "touch", "rm", "stat", "tar", "tty", "sleep", "env", "grep")
MACHINE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


def shell_root(folder: Path) -> Path:
    """A root file system with a shell, some programs and the libraries that they need."""
    (folder / "bin").mkdir(parents=True)
    for name in ("etc", "tmp", "proc"):
        (folder / name).mkdir()
    (folder / "etc" / "passwd").write_text("root:x:0:0::/root:/bin/sh\nme:x:1234:2345::/home/me:/bin/sh\n")
    (folder / "etc" / "mark").write_text("of the image\n")
    for name in dict.fromkeys(PROGRAMS):
        found = shutil.which(name)
        assert found is not None, f"this machine has no {name}"
        shutil.copy(found, folder / "bin" / name)
        said = subprocess.run(["ldd", found], capture_output=True, text=True, check=False).stdout
        for library in re.findall(r"(/\S+)", said):
            target = folder / library.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(library, target)
    return folder


def layer(files: dict[str, str | tarfile.TarInfo], folder: Path | None = None, compress: bool = True) -> bytes:
    """A layer of these files, on top of those of a folder."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz" if compress else "w") as archive:
        if folder is not None:
            archive.add(folder, ".")
        for name, content in files.items():
            if isinstance(content, tarfile.TarInfo):
                content.name = name
                archive.addfile(content)
            else:
                info = tarfile.TarInfo(name)
                info.size, info.mode = len(content), 0o644
                archive.addfile(info, io.BytesIO(content.encode()))
    return out.getvalue()


def special(kind: bytes, target: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo()
    made.type, made.linkname, made.mode = kind, target, 0o755
    return made


def layout(folder: Path, layers: list[bytes], config: Object, name: str = "") -> Path:
    """An OCI image layout."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def blob(data: bytes) -> Object:
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {"digest": f"sha256:{digest}", "size": len(data)}

    manifest = {"config": blob(json.dumps({"config": config}).encode()), "layers": [blob(each) for each in layers]}
    other = {"digest": "sha256:" + "0" * 64, "platform": {"architecture": "other", "os": "linux"}}
    mine = {**blob(json.dumps(manifest).encode()), "platform": {"architecture": MACHINE, "os": "linux"}}
    index = blob(json.dumps({"manifests": [other, mine]}).encode())
    if name:
        index["annotations"] = {"org.opencontainers.image.ref.name": name}
    (folder / "index.json").write_text(json.dumps({"manifests": [index]}))
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return folder


def saved(folder: Path, layers: list[bytes], config: Object, tags: list[str]) -> Path:
    """What `docker save` wrote before it used layouts."""
    folder.mkdir(parents=True)
    names = []
    for number, data in enumerate(layers):
        (folder / f"{number}").mkdir()
        (folder / f"{number}" / "layer.tar").write_bytes(data)
        names.append(f"{number}/layer.tar")
    (folder / "config.json").write_text(json.dumps({"config": config}))
    (folder / "manifest.json").write_text(json.dumps([{"Config": "config.json", "RepoTags": tags, "Layers": names}]))
    return folder


def packed(folder: Path, target: Path) -> Path:
    """A folder as a tar file."""
    with tarfile.open(target, "w") as archive:
        for entry in sorted(folder.iterdir()):
            archive.add(entry, entry.name)
    return target
