"""Folders of PersistentVolumeClaims: they outlive pods and the cluster's stops, and go with their claims."""

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
_AGAIN_S = 1.0


def folder(pods_dir: Path, claim: Object) -> Path:
    """A claim's folder, beside the API server's database; made if need be. A later claim of its name gets another."""
    metadata = claim["metadata"]
    older = _parent(pods_dir) / f"{metadata['namespace']}_{metadata['name']}"  # of states from before there were uids
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


async def follow(client: Client, pods_dir: Path) -> None:
    """Remove the folders of claims that are gone, those from before this process began too, until cancelled.

    The API server lets a claim go only when no pod uses it.
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

    async def sweep() -> None:
        await informer.synced.wait()
        parent = _parent(pods_dir)
        while True:
            changed.clear()
            wanted = {_name(m) for m in known.values()} | {f"{namespace}_{name}" for namespace, name in known}
            try:
                for entry in [e for e in parent.iterdir() if e.name not in wanted] if parent.is_dir() else ():
                    if not await _claimed(client, entry.name):  # else it is newer than what has been told
                        log.info("removing %s: its claim is gone", entry)
                        await asyncio.to_thread(shutil.rmtree, entry, ignore_errors=True)
            except (ApiError, OSError) as error:
                log.debug("folders of claims are looked at again: %s", error)
                asyncio.get_running_loop().call_later(_AGAIN_S, changed.set)
            await changed.wait()

    await asyncio.gather(informer.run(on_change), sweep())


async def _claimed(client: Client, name: str) -> bool:
    """Ask whether there is the claim that a folder is named for."""
    found, _ = await client.list(CLAIMS, name.split("_")[0])
    return name in {_name(c["metadata"]) for c in found}
