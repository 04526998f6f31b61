"""Directories that back PersistentVolumeClaims. They outlive pods and restarts of the cluster, and go with their claims."""

from __future__ import annotations

import asyncio
import logging
import shutil
from pathlib import Path
from typing import Any

import orjson

from sailcloth.kube import ApiError, Client, Informer
from sailcloth.kube.resources import CLAIMS

log = logging.getLogger(__name__)

Object = dict[str, Any]
_RETRY_S = 1.0


def directory(pods_dir: Path, claim: Object) -> Path:
    """The directory of a claim, created if it is missing. A later claim of the same name gets another one."""
    metadata = claim["metadata"]
    older = _parent(pods_dir) / f"{metadata['namespace']}_{metadata['name']}"  # the name without uid, of older states
    out = older.with_name(_name(metadata))
    out.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if older.is_dir() and not out.exists():
        older.rename(out)
    out.mkdir(mode=0o700, exist_ok=True)
    return out


def _name(metadata: Object) -> str:
    return f"{metadata['namespace']}_{metadata['name']}_{metadata['uid']}"


def _parent(pods_dir: Path) -> Path:
    return pods_dir.parents[1] / "state" / "claims"


async def reclaim(client: Client, pods_dir: Path) -> None:
    """Delete the directories of deleted claims until cancelled, also of those deleted while this process did not run.

    The API server deletes a claim only when no pod uses it (finalizer kubernetes.io/pvc-protection).
    """
    informer: Informer[Object] = Informer(client, CLAIMS, lambda raw: orjson.loads(raw)["metadata"])
    known: dict[tuple[str, str], Object] = {}
    changed = asyncio.Event()

    def on_change(kind: str, metadata: Object, ident: tuple[str, str]) -> None:
        if kind == "DELETED":
            known.pop(ident, None)
        else:
            known[ident] = metadata
        changed.set()

    async def remove_orphans() -> None:
        await informer.synced.wait()
        parent = _parent(pods_dir)
        while True:
            changed.clear()
            wanted = {_name(m) for m in known.values()} | {f"{namespace}_{name}" for namespace, name in known}
            try:
                for entry in [e for e in parent.iterdir() if e.name not in wanted] if parent.is_dir() else ():
                    if not await _exists(client, entry.name):  # else the claim is newer than the informer's cache
                        log.info("removing %s: its claim is gone", entry)
                        await asyncio.to_thread(shutil.rmtree, entry, ignore_errors=True)
            except (ApiError, OSError) as error:
                log.debug("cleaning up directories of claims failed, trying again: %s", error)
                asyncio.get_running_loop().call_later(_RETRY_S, changed.set)
            await changed.wait()

    await asyncio.gather(informer.run(on_change), remove_orphans())


async def _exists(client: Client, name: str) -> bool:
    """Whether the claim that a directory is named after exists."""
    items, _ = await client.list(CLAIMS, name.split("_")[0])
    return name in {_name(c["metadata"]) for c in items}
