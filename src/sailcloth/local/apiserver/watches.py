"""One watch of one client: events as its selection sees them, tables, bookmarks, and an end that lets it resume."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import orjson
from aiohttp import web

from . import tables
from .resources import Served
from .storage import Event, Store

Object = dict[str, Any]
_QUEUE = 10_000


class Watcher:
    """Writes one watch: selectors, tables, bookmarks."""

    def __init__(
        self,
        store: Store,
        served: Served,
        namespace: str,
        match: Callable[[Object], bool],
        query: dict[str, str],
        table: bool,
        since: int,
    ) -> None:
        self._store, self._served, self._namespace, self._match = store, served, namespace, match
        self._query, self._table, self._since = query, table, since
        self._heads = True
        self._queue: asyncio.Queue[Event | None] = asyncio.Queue()
        self._lost = False

    def tell(self, event: Event) -> None:
        """For the store: an event to report."""
        if self._queue.qsize() < _QUEUE:
            self._queue.put_nowait(event)
        else:
            self._lost = True  # too slow: the watch ends, the client lists again and resumes

    def end(self) -> None:
        """End the watch after what is queued."""
        self._queue.put_nowait(None)

    def _wanted(self, obj: Object | None) -> bool:
        if obj is None or (self._namespace and obj["metadata"].get("namespace", "") != self._namespace):
            return False
        return self._match(obj)

    def _shape(self, obj: Object) -> Object:
        obj = self._served.shown(obj)
        if not self._table:
            return obj
        include = self._query.get("includeObject", "Metadata")
        made = tables.table(
            self._served.columns, [obj], obj["metadata"]["resourceVersion"], heads=self._heads, include=include
        )
        self._heads = False
        return made

    def _line(self, event: Event, kind: str) -> bytes:
        if self._table:
            return orjson.dumps({"type": kind, "object": self._shape(event.obj)}) + b"\n"
        return event.encoded(kind, lambda: self._shape(event.obj), self._served.gv)

    def _bookmark(self, end: bool = False) -> bytes:
        metadata: Object = {"resourceVersion": str(self._store.revision)}
        if end:
            metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
        obj = {"kind": self._served.kind, "apiVersion": self._served.gv, "metadata": metadata}
        return orjson.dumps({"type": "BOOKMARK", "object": obj}) + b"\n"

    async def run(self, response: web.StreamResponse, initial: bool, seconds: float) -> None:
        store, queue = self._store, self._queue
        if initial:
            for obj in store.all(self._served.gr, self._namespace or None):
                if self._wanted(obj):
                    await response.write(orjson.dumps({"type": "ADDED", "object": self._shape(obj)}) + b"\n")
            if self._query.get("sendInitialEvents") == "true":
                await response.write(self._bookmark(end=True))
        bookmarks = self._query.get("allowWatchBookmarks") == "true" and not self._table
        end = time.monotonic() + seconds
        while True:
            left = end - time.monotonic()
            if left <= 0:
                return
            try:
                event = await asyncio.wait_for(queue.get(), min(60.0, left))
            except TimeoutError:
                if bookmarks:
                    await response.write(self._bookmark())
                continue
            lines: list[bytes] = []
            while event is not None:
                kind = self._kind(event) if event.revision > self._since else ""
                if kind:
                    lines.append(self._line(event, kind))
                if queue.empty():
                    break
                event = queue.get_nowait()
            if lines:
                await response.write(b"".join(lines))
            if event is None or (self._lost and queue.empty()):
                return

    def _kind(self, event: Event) -> str:
        """The event as this watch sees it: an object may enter or leave its selection."""
        before, after = self._wanted(event.prev), self._wanted(event.obj)
        if event.type == "DELETED":
            return "DELETED" if before else ""
        if after:
            return "MODIFIED" if before else "ADDED"
        return "DELETED" if before else ""
