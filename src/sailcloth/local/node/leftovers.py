"""What pods left behind that were deleted while no node process ran: their processes, folders and logs.

It must run only once every pod of this node is known, or it would end pods that are wanted.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Iterable
from pathlib import Path

from sailcloth.local import zygote

from . import podlink, volumes

log = logging.getLogger(__name__)


async def sweep(pods: Path, logs: Path, uids: Iterable[str]) -> None:
    """End and remove everything that belongs to none of the pods with these uids."""
    wanted = set(uids)
    short = {uid[:12] for uid in wanted}
    # Both are read before the first wait: what appears later belongs to pods that are new.
    ended = [d for d in _folders(pods) if d.name not in short]
    logged = [d for d in _folders(logs) if d.name.rpartition("_")[2] not in wanted]
    if ended:
        log.info("removing what is left of pods %s", ", ".join(d.name for d in ended))
    await asyncio.gather(*(end(str(d / zygote.SOCKET)) for d in ended))
    for directory in [*ended, *logged]:
        await asyncio.to_thread(volumes.remove, directory)


async def end(path: str) -> None:
    """End the pod whose PID 1 listens at `path`, if one does."""
    if not os.path.exists(path):
        return
    link = podlink.PodLink(path, lambda _: None)
    with contextlib.suppress(OSError, TimeoutError):
        await link.connect(0.3)
        link.send({"op": "shutdown"})
    link.close()


def _folders(parent: Path) -> list[Path]:
    return [p for p in parent.iterdir() if p.is_dir()] if parent.is_dir() else []
