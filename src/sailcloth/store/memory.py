"""A source for tests and for offline use: objects are put by hand."""

from __future__ import annotations

import asyncio

from sailcloth.api.meta import Finding, Key, Object

from . import Change


class MemorySource:
    """Holds objects in memory; `put` and `delete` report at once while `run` is active."""

    def __init__(self) -> None:
        self._objects: dict[Key, Object | Finding] = {}
        self._change: Change | None = None
        self._synced = asyncio.Event()

    def put(self, key: Key, obj: Object | Finding) -> None:
        self._objects[key] = obj
        if self._change is not None:
            self._change(key, obj)

    def delete(self, key: Key) -> None:
        if self._objects.pop(key, None) is not None and self._change is not None:
            self._change(key, None)

    async def run(self, change: Change) -> None:
        self._change = change
        for key, obj in list(self._objects.items()):
            change(key, obj)
        self._synced.set()
        try:
            await asyncio.Event().wait()
        finally:
            self._change = None

    async def synced(self) -> None:
        await self._synced.wait()
