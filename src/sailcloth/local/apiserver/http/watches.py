"""One watch of one client: selected events, tables, bookmarks, and an orderly end from which the client can resume."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

import orjson
from aiohttp import web

from ..registry import ApiResource
from ..storage import Event, Store
from ..unstructured import Unstructured
from . import protobuf, tables
from .negotiation import PROTOBUF, Media
from .responses import partial_metadata

_QUEUE = 10_000
_BOOKMARK_S = 60.0
_BATCH = 100  # of the objects that there are when a watch begins


class Watcher:
    """Writes one watch: selectors, tables, bookmarks."""

    def __init__(
        self,
        store: Store,
        resource: ApiResource,
        namespace: str,
        match: Callable[[Unstructured], bool],
        query: dict[str, str],
        media: Media,
        since: int,
    ) -> None:
        self._store, self._resource, self._namespace, self._match = store, resource, namespace, match
        self._query, self._media, self._since = query, media, since
        self._table = media.shape == "Table"
        self._columns_pending = True
        self._queue: deque[tuple[str, Event]] = deque()
        self._wake: asyncio.Future[None] | None = None
        self._ended = False
        self.abort: Callable[[], None] = lambda: None  # cuts the connection

    def notify(self, event: Event) -> None:
        """Called by the store: queue an event if this watch selects it."""
        kind = self._kind(event) if event.revision > self._since and not self._ended else ""
        if not kind:
            return
        if len(self._queue) >= _QUEUE:
            # Too slow. The connection is cut, so that nothing is held for it; the client resumes from what it has.
            self._queue.clear()
            self.end()
            self.abort()
            return
        self._queue.append((kind, event))
        self._wake_up()

    def end(self) -> None:
        """End the watch after what is queued."""
        self._ended = True
        self._wake_up()

    def _wake_up(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def _wait_for_event(self, seconds: float) -> bool:
        """Wait for an event or the end. False if there was neither in that time."""
        loop = asyncio.get_running_loop()
        self._wake = loop.create_future()
        if self._queue or self._ended:
            return True
        timer = loop.call_later(seconds, self._wake_up)
        try:
            await self._wake
        finally:
            timer.cancel()
        return bool(self._queue or self._ended)

    def _selects(self, obj: Unstructured | None) -> bool:
        if obj is None or (self._namespace and obj["metadata"].get("namespace", "") != self._namespace):
            return False
        return self._match(obj)

    def _shape(self, obj: Unstructured) -> Unstructured:
        obj = self._resource.from_storage(obj)
        if not self._table:
            return partial_metadata(obj) if self._media.shape else obj
        include = self._query.get("includeObject", "Metadata")
        table = tables.table(
            self._resource.columns,
            [obj],
            obj["metadata"]["resourceVersion"],
            heads=self._columns_pending,
            include=include,
        )
        self._columns_pending = False
        return table

    @property
    def content_type(self) -> str:
        return self._media.type + (";stream=watch" if self._media.type == PROTOBUF else "")

    def _encode(self, kind: str, obj: Unstructured) -> bytes:
        if self._media.type == PROTOBUF:
            return protobuf.encode_watch_event(kind, obj)
        return orjson.dumps({"type": kind, "object": obj}) + b"\n"

    def _line(self, event: Event, kind: str) -> bytes:
        if self._table:
            return self._encode(kind, self._shape(event.obj))
        key = (kind, self._resource.group_version, self._media)
        return event.encoded(key, lambda: self._encode(kind, self._shape(event.obj)))

    def _bookmark(self, end: bool = False) -> bytes:
        metadata: Unstructured = {"resourceVersion": str(self._store.revision)}
        if end:
            metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
        obj = {"kind": self._resource.kind, "apiVersion": self._resource.group_version, "metadata": metadata}
        return self._encode("BOOKMARK", partial_metadata(obj) if self._media.shape == "Metadata" else obj)

    async def run(self, response: web.StreamResponse, initial: bool, seconds: float) -> None:
        store, queue, write = self._store, self._queue, response.write
        if initial:
            initial_objects = [
                o for o in store.all(self._resource.group_resource, self._namespace or None) if self._selects(o)
            ]
            for at in range(0, len(initial_objects), _BATCH):
                await write(b"".join(self._encode("ADDED", self._shape(o)) for o in initial_objects[at : at + _BATCH]))
            if self._query.get("sendInitialEvents") == "true":
                await response.write(self._bookmark(end=True))
        bookmarks = self._query.get("allowWatchBookmarks") == "true" and not self._table
        end = time.monotonic() + seconds
        while True:
            left = end - time.monotonic()
            if left <= 0:
                return
            if not await self._wait_for_event(min(_BOOKMARK_S, left)):
                if bookmarks:
                    await write(self._bookmark())
                continue
            lines = [self._line(event, kind) for kind, event in queue]
            queue.clear()
            if lines:
                await write(b"".join(lines))
            if self._ended and not queue:
                return

    def _kind(self, event: Event) -> str:
        """The event as this watch sees it: an object may enter or leave its selection."""
        before, after = self._selects(event.prev), self._selects(event.obj)
        if event.type == "DELETED":
            return "DELETED" if before else ""
        if after:
            return "MODIFIED" if before else "ADDED"
        return "DELETED" if before else ""
