"""What pods left behind that were deleted while no node process ran: their processes, folders and logs.

It must run only when every pod of this node is known: others it terminates.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Iterable
from pathlib import Path

from sailcloth.local import zygote

from . import sandbox_client, volumes

log = logging.getLogger(__name__)


async def collect(pods: Path, logs: Path, uids: Iterable[str]) -> None:
    """Terminate the processes, and delete the files and logs, of all pods but those with these UIDs."""
    wanted = set(uids)
    short = {uid[:12] for uid in wanted}
    # Both are listed before the first await: what appears later belongs to new pods.
    ended = [d for d in _folders(pods) if d.name not in short]
    logged = [d for d in _folders(logs) if d.name.rpartition("_")[2] not in wanted]
    if ended:
        log.info("removing orphaned pods %s", ", ".join(d.name for d in ended))
    await asyncio.gather(*(kill_sandbox(str(d / zygote.SOCKET)) for d in ended))
    for directory in [*ended, *logged]:
        await asyncio.to_thread(volumes.remove, directory)


async def kill_sandbox(path: str) -> None:
    """Terminate the pod whose PID 1 listens at `path`, if there is one."""
    if not os.path.exists(path):
        return
    link = sandbox_client.SandboxClient(path, lambda _: None)
    with contextlib.suppress(OSError, TimeoutError):
        await link.connect(0.3)
        link.send({"op": "shutdown"})
    link.close()


def _folders(parent: Path) -> list[Path]:
    return [p for p in parent.iterdir() if p.is_dir()] if parent.is_dir() else []
