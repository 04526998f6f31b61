"""Volumes of pods: directories under the pod's directory, which containers bind-mount.

ConfigMap, Secret, downward API and projected volumes are updated while the pod runs, all files at once: a volume's files are
links into `..data`, a link that is switched to a new directory, as kubelet does it. The pod's directory is private to its owner.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import errno
import os
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sailcloth.lib import namespaces as ns

from . import persistent_volume_claims
from .environment import Fetch, Missing, expand, field, resource

Object = dict[str, Any]
Token = Callable[[list[str], int], Awaitable[str]]
"""(audiences, seconds) → a token for the pod's service account."""

_DATA = "..data"
_MODE = 0o644
_KINDS = {"configMap": "configmaps", "secret": "secrets"}
_AVAILABLE = (*_KINDS, "downwardAPI", "emptyDir", "ephemeral", "hostPath", "persistentVolumeClaim", "projected")
_TOKEN_REFRESH = 0.8  # share of a token's lifetime after which it is renewed


@dataclass(frozen=True)
class File:
    """One file of a volume."""

    content: bytes
    mode: int = _MODE


Files = dict[str, File]


class Volumes:
    """The volumes of one pod."""

    def __init__(self, directory: Path, fetch: Fetch, token: Token, *, host_paths: bool = False) -> None:
        self._directory, self._fetch, self._token, self._host_paths = directory, fetch, token, host_paths
        # By audience and lifetime: the token and when to renew it
        self._tokens: dict[tuple[str, ...], tuple[str, float]] = {}
        self._lock = asyncio.Lock()

    async def make(self, pod: Object, pod_ip: str, node_ip: str) -> dict[str, str]:
        """Set up every volume. Returns paths by name. Raises Missing for objects that do not exist (yet), OSError."""
        for volume in pod["spec"].get("volumes") or ():
            if "/" in volume["name"] or volume["name"] in (".", ".."):
                raise Missing(f'volume "{volume["name"]}" has a name that would lead out of the pod\'s folder')
            if kinds := volume.keys() - {"name", *_AVAILABLE}:
                raise Missing(f'volume "{volume["name"]}" is a {", ".join(kinds)}, which a local cluster does not have')
            if "hostPath" in volume and not self._host_paths:
                raise Missing(
                    f'volume "{volume["name"]}" is a hostPath, which is not allowed: use another kind of volume, '
                    "or start the cluster with `sailctl up --allow-privileged`"
                )
            if "hostPath" in volume:
                _host_path(volume["hostPath"])
            else:
                path = Path(_path(volume, self._directory))
                if "persistentVolumeClaim" in volume:
                    await self._link_claim(path, volume["persistentVolumeClaim"]["claimName"])
                else:
                    path.mkdir(mode=0o700, parents=True, exist_ok=True)
                    path.chmod(0o755 if _sources(volume) else 0o777)  # the pod's directory is closed to others
        await self.refresh(pod, pod_ip, node_ip)
        return paths(pod, self._directory)

    async def _link_claim(self, path: Path, name: str) -> None:
        obj = await self._fetch("persistentvolumeclaims", name)
        if obj is None:
            raise Missing(f'persistentvolumeclaim "{name}" not found')
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.symlink_to(persistent_volume_claims.directory(self._directory.parent, obj))

    async def refresh(self, pod: Object, pod_ip: str, node_ip: str) -> None:
        """Update volumes that have objects as their source. Raises Missing, OSError; the old files then stay."""
        async with self._lock:
            for volume in pod["spec"].get("volumes") or ():
                sources = _sources(volume)
                if sources:
                    files: Files = {}
                    for source, mode in sources:
                        files |= await self._files(source, mode, pod, pod_ip, node_ip)
                    await asyncio.to_thread(write_atomically, Path(_path(volume, self._directory)), files)

    def tokens_expire(self, now: float) -> bool:
        """Whether a token must be renewed."""
        return any(now >= until for _, until in self._tokens.values())

    async def _files(self, source: Object, mode: int, pod: Object, pod_ip: str, node_ip: str) -> Files:
        for kind, plural in _KINDS.items():
            if kind in source:
                return await self._config_map_or_secret(plural, source[kind], mode)
        if "serviceAccountToken" in source:
            wanted = source["serviceAccountToken"]
            token = await self._current_token(
                wanted.get("audience") or "", int(wanted.get("expirationSeconds") or 3600)
            )
            return {wanted["path"]: File(token.encode(), mode)}
        if "downwardAPI" in source:
            return _downward_api(source["downwardAPI"], mode, pod, pod_ip, node_ip)
        return {}

    async def _current_token(self, audience: str, seconds: int) -> str:
        key = (audience, str(seconds))
        known = self._tokens.get(key)
        now = time.monotonic()
        if known is None or now >= known[1]:
            created = await self._token([audience] if audience else [], seconds)
            known = self._tokens[key] = (created, now + seconds * _TOKEN_REFRESH)
        return known[0]

    async def _config_map_or_secret(self, plural: str, source: Object, mode: int) -> Files:
        name = source.get("name") or source.get("secretName") or ""
        obj = await self._fetch(plural, name)
        if obj is None:
            if source.get("optional"):
                return {}
            raise Missing(f'{plural[:-1]} "{name}" not found')
        data: dict[str, bytes] = {}
        for key, value in (obj.get("data") or {}).items():
            data[key] = base64.b64decode(value) if plural == "secrets" else str(value).encode()
        for key, value in (obj.get("binaryData") or {}).items():
            data[key] = base64.b64decode(value)
        if not source.get("items"):
            return {key: File(content, mode) for key, content in data.items()}
        out: Files = {}
        for item in source["items"]:
            if item["key"] in data:
                out[item["path"]] = File(data[item["key"]], int(item.get("mode") or mode))
            elif not source.get("optional"):
                raise Missing(f'{plural[:-1]} "{name}" has no key {item["key"]}')
        return out


def _sources(volume: Object) -> list[tuple[Object, int]]:
    """The API sources of a volume, each with the mode of its files; none for hostPath, emptyDir and claims."""
    if "projected" in volume:
        mode = int(volume["projected"].get("defaultMode") or _MODE)
        return [(source, mode) for source in volume["projected"].get("sources") or ()]
    for kind in (*_KINDS, "downwardAPI"):
        if kind in volume:
            return [(volume, int(volume[kind].get("defaultMode") or _MODE))]
    return []


def references(pod: Object) -> set[tuple[str, str]]:
    """(configmaps or secrets, name) of all objects that the pod's volumes refer to."""
    return {
        (plural, source[kind].get("name") or source[kind].get("secretName") or "")
        for volume in pod["spec"].get("volumes") or ()
        for source, _ in _sources(volume)
        for kind, plural in _KINDS.items()
        if kind in source
    }


def _host_path(source: Object) -> None:
    """Create or check a hostPath as its type says. Raises Missing."""
    path, kind = Path(source["path"]), source.get("type") or ""
    if kind == "DirectoryOrCreate":
        path.mkdir(parents=True, exist_ok=True)
    elif kind == "FileOrCreate":
        path.touch(exist_ok=True)
    tests: dict[str, Callable[[], bool]] = {
        "Directory": path.is_dir,
        "File": path.is_file,
        "Socket": path.is_socket,
        "CharDevice": path.is_char_device,
        "BlockDevice": path.is_block_device,
    }
    if kind in tests and not tests[kind]():
        raise Missing(f"hostPath type check failed: {path} is not a {kind.lower()}")


def _path(volume: Object, directory: Path) -> str:
    """The folder of a volume that is not a path of the host."""
    return str(directory / "volumes" / volume["name"])


def paths(pod: Object, directory: Path) -> dict[str, str]:
    """The folders of all volumes, by name."""
    return {
        v["name"]: v["hostPath"]["path"] if "hostPath" in v else _path(v, directory)
        for v in pod["spec"].get("volumes") or ()
    }


def _downward_api(source: Object, mode: int, pod: Object, pod_ip: str, node_ip: str) -> Files:
    out: Files = {}
    for item in source.get("items") or ():
        text = ""
        if "fieldRef" in item:
            text = field(pod, item["fieldRef"]["fieldPath"], pod_ip, node_ip)
        elif "resourceFieldRef" in item:
            reference = item["resourceFieldRef"]
            named = (c for c in pod["spec"]["containers"] if c["name"] == reference.get("containerName"))
            text = resource(next(named, {}), reference)
        out[item["path"]] = File(text.encode(), int(item.get("mode") or mode))
    return out


def write_atomically(folder: Path, files: Files) -> None:
    """Make a directory hold exactly these files, in one step."""
    files = {p: f for p, f in files.items() if not Path(p).is_absolute() and ".." not in Path(p).parts}
    if written(folder) == files:
        return
    created = Path(tempfile.mkdtemp(prefix="..", dir=folder))
    created.chmod(0o755)
    for path, file in files.items():
        target = created / path
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as out:
            out.write(file.content)
        target.chmod(file.mode & 0o777)
    data = folder / _DATA
    old = os.readlink(data) if data.is_symlink() else ""
    fresh = folder / f"{_DATA}_tmp"
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(created.name)
    fresh.rename(data)
    wanted = {Path(p).parts[0] for p in files}
    for name in wanted:
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(f"{_DATA}/{name}")
    for entry in folder.iterdir():
        if not entry.name.startswith("..") and entry.name not in wanted:
            entry.unlink()
    if old:
        shutil.rmtree(folder / old, ignore_errors=True)


def written(folder: Path) -> Files | None:
    """The files that `write_atomically` put into a directory; None if it never did."""
    data = folder / _DATA
    if not data.is_symlink():
        return None
    result = (p for p in data.resolve().rglob("*") if p.is_file())
    return {str(p.relative_to(data.resolve())): File(p.read_bytes(), p.stat().st_mode & 0o777) for p in result}


def mounts(container: Object, folders: dict[str, str], pod: Object, env: dict[str, str]) -> list[list[str]]:
    """[source, target, mode, path inside the source] for a container's volume mounts. Volumes with API sources are read-only.

    A subPath that is missing is created. Raises OSError for one that leads out of its volume, ValueError for one with `..`.
    """
    value = {v["name"] for v in pod["spec"].get("volumes") or () if _sources(v)}
    out = []
    for mount in container.get("volumeMounts") or ():
        source = folders.get(mount["name"])
        if source is None:
            continue
        inside = _sub_path(mount, env)
        if inside:
            _create_beneath(source, inside, mount["name"])
        mode = "ro" if mount.get("readOnly") or mount["name"] in value else "rw"
        out.append([source, mount["mountPath"], mode, inside])
    return sorted(out, key=lambda m: m[1].count("/"))


def _sub_path(mount: Object, env: dict[str, str]) -> str:
    """A mount's subPath or expanded subPathExpr. Raises ValueError."""
    path = str(mount.get("subPath") or expand(str(mount.get("subPathExpr") or ""), env))
    name = "subPath" if mount.get("subPath") else "subPathExpr"
    if "$(" in path and name == "subPathExpr":
        raise ValueError(
            f"subPathExpr {path!r} of volume {mount['name']} names a variable that the container does not have"
        )
    if os.path.isabs(path) or ".." in Path(path).parts:
        raise ValueError(f"{name} {path!r} of volume {mount['name']} must be a relative path without '..'")
    return path


def _create_beneath(folder: str, path: str, volume: str) -> None:
    """Create a folder in a volume if nothing is there. Raises OSError if the path leads out of the volume."""
    at = os.open(folder, os.O_PATH | os.O_CLOEXEC)
    try:
        for part in Path(path).parts:
            with contextlib.suppress(FileExistsError, NotADirectoryError):
                os.mkdir(part, 0o777, dir_fd=at)
            try:
                below = ns.open_beneath(at, part)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise OSError(error.errno, f"subPath {path!r} of volume {volume}: {error.strerror}") from None
                below = -1
            if below < 0:  # a link that leads up may still stay inside the volume
                break
            os.close(at)
            at = below
    finally:
        os.close(at)
    whole = os.open(folder, os.O_PATH | os.O_CLOEXEC)
    try:
        os.close(ns.open_beneath(whole, path))
    except OSError as error:
        text = "a link leads out of the volume" if error.errno == errno.EXDEV else str(error.strerror)
        raise OSError(error.errno, f"subPath {path!r} of volume {volume}: {text}") from None
    finally:
        os.close(whole)


def remove(directory: Path) -> None:
    """Delete a pod's directory."""
    shutil.rmtree(directory, ignore_errors=True)
