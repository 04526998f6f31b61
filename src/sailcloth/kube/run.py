"""Runs a process that works with one client until a signal ends it. Must not know what it does."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from .client import Client


async def until_signalled(kubeconfig: str, work: Callable[[Client], Coroutine[Any, Any, None]]) -> None:
    """Run until SIGTERM or SIGINT, with a client of a kubeconfig file, or of the usual places if that is empty."""
    while kubeconfig and not Path(kubeconfig).exists():  # noqa: ASYNC110
        await asyncio.sleep(0.1)  # the API server, which starts at the same time, writes the file
    client = Client.from_kubeconfig(kubeconfig) if kubeconfig else Client.load()
    async with client:
        task = asyncio.create_task(work(client))
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await task
