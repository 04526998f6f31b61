"""One watch of one client: events as its selection sees them, tables, bookmarks, and an end that lets it resume."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import orjson
from aiohttp import web

from ..registry import ApiResource
from ..storage import Event, Store
from . import protobuf, tables
from .negotiation import PROTOBUF, Media
from .responses import bare

Object = dict[str, Any]
_QUEUE = 10_000
_BOOKMARK_S = 60.0
_TOGETHER = 100  # of the objects that there are when a watch begins


class Watcher:
    """Writes one watch: selectors, tables, bookmarks."""

    def __init__(
        self,
        store: Store,
        resource: ApiResource,
        namespace: str,
        match: Callable[[Object], bool],
        query: dict[str, str],
        media: Media,
        since: int,
    ) -> None:
        self._store, self._served, self._namespace, self._match = store, resource, namespace, match
        self._query, self._media, self._since = query, media, since
        self._table = media.shape == "Table"
        self._heads = True
        self._queue: deque[tuple[str, Event]] = deque()
        self._wake: asyncio.Future[None] | None = None
        self._over = False
        self.abort: Callable[[], None] = lambda: None  # cuts the connection

    def tell(self, event: Event) -> None:
        """For the store: an event to report, if it is one that this watch selects."""
        kind = self._kind(event) if event.revision > self._since and not self._over else ""
        if not kind:
            return
        if len(self._queue) >= _QUEUE:
            # Too slow. The connection is cut, so that nothing is held for it; the client resumes from what it has.
            self._queue.clear()
            self.end()
            self.abort()
            return
        self._queue.append((kind, event))
        self._awake()

    def end(self) -> None:
        """End the watch after what is queued."""
        self._over = True
        self._awake()

    def _awake(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def _something(self, seconds: float) -> bool:
        """Wait for an event or the end. False if there was neither in that time."""
        loop = asyncio.get_running_loop()
        self._wake = loop.create_future()
        if self._queue or self._over:
            return True
        timer = loop.call_later(seconds, self._awake)
        try:
            await self._wake
        finally:
            timer.cancel()
        return bool(self._queue or self._over)

    def _wanted(self, obj: Object | None) -> bool:
        if obj is None or (self._namespace and obj["metadata"].get("namespace", "") != self._namespace):
            return False
        return self._match(obj)

    def _shape(self, obj: Object) -> Object:
        obj = self._served.shown(obj)
        if not self._table:
            return bare(obj) if self._media.shape else obj
        include = self._query.get("includeObject", "Metadata")
        made = tables.table(
            self._served.columns, [obj], obj["metadata"]["resourceVersion"], heads=self._heads, include=include
        )
        self._heads = False
        return made

    @property
    def content_type(self) -> str:
        return self._media.type + (";stream=watch" if self._media.type == PROTOBUF else "")

    def _encode(self, kind: str, obj: Object) -> bytes:
        if self._media.type == PROTOBUF:
            return protobuf.frame(kind, obj)
        return orjson.dumps({"type": kind, "object": obj}) + b"\n"

    def _line(self, event: Event, kind: str) -> bytes:
        if self._table:
            return self._encode(kind, self._shape(event.obj))
        key = (kind, self._served.gv, self._media)
        return event.encoded(key, lambda: self._encode(kind, self._shape(event.obj)))

    def _bookmark(self, end: bool = False) -> bytes:
        metadata: Object = {"resourceVersion": str(self._store.revision)}
        if end:
            metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
        obj = {"kind": self._served.kind, "apiVersion": self._served.gv, "metadata": metadata}
        return self._encode("BOOKMARK", bare(obj) if self._media.shape == "Metadata" else obj)

    async def run(self, response: web.StreamResponse, initial: bool, seconds: float) -> None:
        store, queue, write = self._store, self._queue, response.write
        if initial:
            found = [o for o in store.all(self._served.gr, self._namespace or None) if self._wanted(o)]
            for at in range(0, len(found), _TOGETHER):
                await write(b"".join(self._encode("ADDED", self._shape(o)) for o in found[at : at + _TOGETHER]))
            if self._query.get("sendInitialEvents") == "true":
                await response.write(self._bookmark(end=True))
        bookmarks = self._query.get("allowWatchBookmarks") == "true" and not self._table
        end = time.monotonic() + seconds
        while True:
            left = end - time.monotonic()
            if left <= 0:
                return
            if not await self._something(min(_BOOKMARK_S, left)):
                if bookmarks:
                    await write(self._bookmark())
                continue
            lines = [self._line(event, kind) for kind, event in queue]
            queue.clear()
            if lines:
                await write(b"".join(lines))
            if self._over and not queue:
                return

    def _kind(self, event: Event) -> str:
        """The event as this watch sees it: an object may enter or leave its selection."""
        before, after = self._wanted(event.prev), self._wanted(event.obj)
        if event.type == "DELETED":
            return "DELETED" if before else ""
        if after:
            return "MODIFIED" if before else "ADDED"
        return "DELETED" if before else ""
