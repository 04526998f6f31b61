"""What writes to the API server, of which there is one in the mesh for each object: run by the replica that leads its revision, for what
is this revision's.

Must not know what is written.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from sailcloth.lib.work_queue import WorkQueue

Admits = Callable[[Any], bool]


class Writer(Protocol):
    """Writes the keys of its queue until cancelled; may be run again."""

    @property
    def queue(self) -> WorkQueue[Any]: ...

    async def run(self) -> None: ...


class Writers:
    """Writers by name, each with the keys that it may write."""

    def __init__(self, writers: Mapping[str, tuple[Writer, Admits]]) -> None:
        self._writers = {name: writer for name, (writer, _) in writers.items()}
        for writer, admits in writers.values():
            writer.queue.admits = admits

    def tasks(self) -> list[asyncio.Task[None]]:
        """A running task for each writer."""
        return [asyncio.create_task(writer.run(), name=name) for name, writer in self._writers.items()]

    async def lead(self) -> None:
        """Run the writers until cancelled."""
        tasks = self.tasks()
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()

    def readmit(self) -> None:
        """They may write other keys now."""
        for writer in self._writers.values():
            writer.queue.readmit()
