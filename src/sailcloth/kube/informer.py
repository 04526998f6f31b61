"""Lists and watches a resource, and resumes after every interruption without missing a change.

Must not interpret objects beyond their metadata.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable
from typing import Any, Generic, Literal, TypeVar

import aiohttp
import msgspec

from .client import ApiError, Client, refusal
from .resources import Resource

log = logging.getLogger(__name__)

T = TypeVar("T")
EventKind = Literal["ADDED", "MODIFIED", "DELETED"]
ObjectId = tuple[str, str]  # namespace, name
_WATCH_S = 300  # `timeoutSeconds` of a watch: at least this, at most twice this
_SILENT_S = 2 * _WATCH_S + 30.0
_PAUSE_S = 0.05
_FAILED_S = 2.0  # the longest pause after a failure
_ABSENT_S = 30.0  # the longest pause while a kind is not served


class _Meta(msgspec.Struct, frozen=True):
    name: str = ""
    namespace: str = ""
    resourceVersion: str = ""


class _Head(msgspec.Struct, frozen=True):
    metadata: _Meta = _Meta()


class _ListMeta(msgspec.Struct, frozen=True):
    resourceVersion: str = ""
    continue_: str = msgspec.field(default="", name="continue")


class _List(msgspec.Struct):
    metadata: _ListMeta = _ListMeta()
    items: list[msgspec.Raw] | None = None


class _Event(msgspec.Struct):
    type: str
    object: msgspec.Raw


class _Expired(Exception):
    pass


class Informer(Generic[T]):
    """Reports the objects of one resource and their changes. `decode` parses an object's JSON bytes. Events of one object come
    in order."""

    def __init__(
        self,
        client: Client,
        resource: Resource,
        decode: Callable[[bytes], T],
        namespace: str = "",
        field_selector: str = "",
        label_selector: str = "",
    ) -> None:
        self._client, self._resource, self._decode = client, resource, decode
        self._namespace = namespace
        self._defined = asyncio.Event()
        self.problem = ""  # why the last request failed
        self._version = ""  # of the last event: however a watch ends, the next one does not repeat what was reported
        self._query = {"fieldSelector": field_selector, "labelSelector": label_selector}
        self.synced = asyncio.Event()
        self.cache: dict[ObjectId, tuple[str, T]] = {}  # what was reported, with its resourceVersion
        self._head = msgspec.json.Decoder(_Head)
        self._event = msgspec.json.Decoder(_Event)
        self._list = msgspec.json.Decoder(_List)

    async def run(self, on_event: Callable[[EventKind, T, ObjectId], None]) -> None:
        """Report events until cancelled."""
        delay = _PAUSE_S
        while True:
            self._defined.clear()
            try:
                if not self._version:
                    self._version = await self._relist(on_event)
                    self.synced.set()
                self.problem = ""
                await self._watch(on_event)
                delay = _PAUSE_S
                await asyncio.sleep(_PAUSE_S)  # limits the rate of requests to a server that ends each watch at once
            except _Expired:
                self._version = ""
            except (ApiError, OSError, aiohttp.ClientError, TimeoutError) as error:
                if isinstance(error, ApiError) and error.status == 410:
                    self._version = ""
                    continue
                previous, self.problem = self.problem, str(error) or type(error).__name__
                level = logging.INFO if delay > 0.4 and previous != self.problem else logging.DEBUG
                log.log(level, "%s: %s; trying again", self._resource.plural, error)
                # `notify_defined` ends the wait for a kind that was not served.
                absent = isinstance(error, ApiError) and error.status == 404
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(delay * (0.5 + random.random())):
                        await self._defined.wait()
                delay = min(delay * 2, _ABSENT_S if absent else _FAILED_S)

    def notify_defined(self) -> None:
        """Retry at once: the kind's CustomResourceDefinition has appeared or changed."""
        self._defined.set()

    async def _relist(self, on_event: Callable[[EventKind, T, ObjectId], None]) -> str:
        seen: set[ObjectId] = set()
        continue_token = ""
        while True:
            body = await self._client.call(
                "GET", self._resource.path(self._namespace), limit=500, **self._query, **{"continue": continue_token}
            )
            page = self._list.decode(body)
            for raw in page.items or ():
                seen.add(self._take(bytes(raw), on_event))
            continue_token = page.metadata.continue_
            if not continue_token:
                break
        for ident in [i for i in self.cache if i not in seen]:
            _, old = self.cache.pop(ident)
            on_event("DELETED", old, ident)
        return page.metadata.resourceVersion

    def _take(self, raw: bytes, on_event: Callable[[EventKind, T, ObjectId], None]) -> ObjectId:
        metadata = self._head.decode(raw).metadata
        ident = (metadata.namespace, metadata.name)
        old = self.cache.get(ident)
        if old is None or old[0] != metadata.resourceVersion:
            item = self._decode(raw)
            self.cache[ident] = (metadata.resourceVersion, item)
            on_event("ADDED" if old is None else "MODIFIED", item, ident)
        return ident

    async def _watch(self, on_event: Callable[[EventKind, T, ObjectId], None]) -> None:
        params = {k: v for k, v in self._query.items() if v}
        params |= {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": self._version,
            "timeoutSeconds": str(int(_WATCH_S * (1 + random.random()))),
        }
        path = self._resource.path(self._namespace)
        # The server ends each watch after `timeoutSeconds`; longer silence means a dead connection.
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=_SILENT_S)
        async with self._client.request("GET", path, params=params, timeout=timeout) as response:
            if response.status >= 400:
                raise refusal(response.status, await response.read())
            pending = b""
            async for chunk in response.content.iter_any():
                *lines, pending = (pending + chunk).split(b"\n")
                for line in lines:
                    if line:
                        self._on_line(line, on_event)

    def _on_line(self, line: bytes, on_event: Callable[[EventKind, T, ObjectId], None]) -> None:
        event = self._event.decode(line)
        raw = bytes(event.object)
        if event.type == "ERROR":
            failure: Any = msgspec.json.decode(raw)
            if failure.get("code") == 410:
                raise _Expired
            raise ApiError(
                int(failure.get("code", 500)), str(failure.get("reason", "")), str(failure.get("message", ""))
            )
        metadata = self._head.decode(raw).metadata
        if event.type == "DELETED":
            ident = (metadata.namespace, metadata.name)
            self.cache.pop(ident, None)
            on_event("DELETED", self._decode(raw), ident)
        elif event.type != "BOOKMARK":
            self._take(raw, on_event)
        self._version = metadata.resourceVersion or self._version
