"""Volumes of pods, as folders under the pod's directory that containers bind. Owner-only files where they hold secrets."""

from __future__ import annotations

import base64
import os
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from .environment import Fetch, Missing, field

Object = dict[str, Any]
Token = Callable[[list[str], int], Awaitable[str]]
"""(audiences, seconds) → a token for the pod's service account."""


async def make(pod: Object, directory: Path, fetch: Fetch, token: Token, pod_ip: str, node_ip: str) -> dict[str, str]:
    """Make every volume; returns folders by name. Raises Missing for what does not exist yet."""
    out: dict[str, str] = {}
    for volume in pod["spec"].get("volumes") or ():
        name = volume["name"]
        if "hostPath" in volume:
            out[name] = volume["hostPath"]["path"]
            continue
        if "persistentVolumeClaim" in volume:  # outlives the pod, and is kept as long as the cluster's state
            kept = Path(_place(pod, volume, directory))
            kept.mkdir(mode=0o700, parents=True, exist_ok=True)
            out[name] = str(kept)
            continue
        folder = directory / "volumes" / name
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        files: dict[str, bytes] = {}
        for kind in ("configMap", "secret"):
            if kind in volume:
                files |= await _projected(kind, volume[kind], fetch)
        if "downwardAPI" in volume:
            files |= _downward(volume["downwardAPI"], pod, pod_ip, node_ip)
        for source in (volume.get("projected") or {}).get("sources") or ():
            if "serviceAccountToken" in source:
                wanted = source["serviceAccountToken"]
                audience = [wanted["audience"]] if wanted.get("audience") else []
                made = await token(audience, int(wanted.get("expirationSeconds") or 3600))
                files[wanted["path"]] = made.encode()
            for kind in ("configMap", "secret"):
                if kind in source:
                    files |= await _projected(kind, source[kind], fetch)
            if "downwardAPI" in source:
                files |= _downward(source["downwardAPI"], pod, pod_ip, node_ip)
        _write(folder, files)
        out[name] = str(folder)
    return out


def _place(pod: Object, volume: Object, directory: Path) -> str:
    """The folder of a volume that is not a path of the host."""
    if "persistentVolumeClaim" in volume:
        claim = f"{pod['metadata']['namespace']}_{volume['persistentVolumeClaim']['claimName']}"
        return str(directory.parents[2] / "state" / "claims" / claim)  # beside the API server's database
    return str(directory / "volumes" / volume["name"])


def places(pod: Object, directory: Path) -> dict[str, str]:
    """The folders that `make` made, by name."""
    volumes = pod["spec"].get("volumes") or ()
    return {v["name"]: _place(pod, v, directory) for v in volumes if "hostPath" not in v}


async def _projected(kind: str, source: Object, fetch: Fetch) -> dict[str, bytes]:
    resource = "configmaps" if kind == "configMap" else "secrets"
    name = source.get("name") or source.get("secretName") or ""
    found = await fetch(resource, name)
    if found is None:
        if source.get("optional"):
            return {}
        raise Missing(f'{resource[:-1]} "{name}" not found')
    data: dict[str, bytes] = {}
    for key, value in (found.get("data") or {}).items():
        data[key] = base64.b64decode(value) if kind == "secret" else str(value).encode()
    for key, value in (found.get("binaryData") or {}).items():
        data[key] = base64.b64decode(value)
    items = source.get("items")
    if not items:
        return data
    out = {}
    for item in items:
        if item["key"] not in data:
            if source.get("optional"):
                continue
            raise Missing(f'{resource[:-1]} "{name}" has no key {item["key"]}')
        out[item["path"]] = data[item["key"]]
    return out


def _downward(source: Object, pod: Object, pod_ip: str, node_ip: str) -> dict[str, bytes]:
    out = {}
    for item in source.get("items") or ():
        if "fieldRef" in item:
            out[item["path"]] = field(pod, item["fieldRef"]["fieldPath"], pod_ip, node_ip).encode()
    return out


def _write(folder: Path, files: dict[str, bytes]) -> None:
    for path, content in files.items():
        target = folder / path
        if ".." in Path(path).parts or Path(path).is_absolute():
            continue
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = target.with_name(target.name + ".new")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        temporary.replace(target)


def mounts(container: Object, folders: dict[str, str]) -> list[list[str]]:
    """[source, target, mode] for a container's volume mounts."""
    out = []
    for mount in container.get("volumeMounts") or ():
        source = folders.get(mount["name"])
        if source is None:
            continue
        if mount.get("subPath"):
            source = f"{source}/{mount['subPath']}"
            if not os.path.exists(source):
                os.makedirs(source, exist_ok=True)
        out.append([source, mount["mountPath"], "ro" if mount.get("readOnly") else "rw"])
    return sorted(out, key=lambda m: m[1].count("/"))


def remove(directory: Path) -> None:
    """Forget a pod's files."""
    shutil.rmtree(directory, ignore_errors=True)
