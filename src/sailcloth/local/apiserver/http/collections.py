"""Requests to collections: create, consistent paged lists, watches, deletion by selector."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable
from dataclasses import replace

from aiohttp import web

from .. import field_selectors, label_selectors
from ..errors import StatusError, bad_request, expired
from ..registry import ApiResource
from ..request_info import RequestInfo
from ..storage import Expired, Store
from ..unstructured import Unstructured
from ..writes.rest_storage import RestStorage
from . import bodies, list_options
from .responses import SUCCESS, negotiated_media, respond, respond_list, respond_object
from .watches import Watcher

Match = Callable[[Unstructured], bool]


def match_all(_: Unstructured) -> bool:
    """The selector of a request without selectors."""
    return True


class CollectionRequests:
    """Requests to collections."""

    def __init__(self, store: Store, storage: RestStorage) -> None:
        self._store, self._storage = store, storage
        self._watchers: set[Watcher] = set()

    async def serve(self, request: web.Request, info: RequestInfo) -> web.StreamResponse:
        """Respond to a request to a collection. Raises StatusError."""
        if request.method == "POST":
            return await self._create(request, info)
        if request.method == "DELETE":
            return await self._delete(request, info)
        if request.method != "GET":
            raise StatusError(
                405, "MethodNotAllowed", "the server does not allow this method on the requested resource"
            )
        query = dict(request.query.items())
        if query.get("watch") in ("true", "1"):
            return await self._watch(request, info.resource, info.namespace, query)
        return await self._list(request, info.resource, info.namespace, query)

    async def _create(self, request: web.Request, info: RequestInfo) -> web.Response:
        info = replace(info, options=bodies.write_options(request, "CreateOptions"))
        body = await bodies.read_body(request)
        if not isinstance(body.value, dict):
            raise bad_request("the body is not an object")
        if info.resource.namespaced and not info.namespace:
            info = replace(info, namespace=str((body.value.get("metadata") or {}).get("namespace") or "default"))
        obj, warnings = await self._storage.create(info, body.value, body.duplicates)
        return respond_object(request, info.resource, obj, 201, warnings)

    async def _delete(self, request: web.Request, info: RequestInfo) -> web.Response:
        query, resource = dict(request.query.items()), info.resource
        options, match = (
            bodies.delete_options(query, (await bodies.read_body(request)).value),
            _matcher(resource, query),
        )
        for obj in self._store.all(resource.group_resource, info.namespace or None):
            if match(obj):
                metadata = obj["metadata"]
                one = replace(info, namespace=metadata.get("namespace", ""), name=metadata["name"], options=options)
                try:
                    await self._storage.delete(one)
                except StatusError as error:
                    if error.code != 404:  # another request was faster
                        raise
        return respond(request, SUCCESS, warnings=resource.warnings)

    async def _list(
        self, request: web.Request, resource: ApiResource, namespace: str, query: dict[str, str]
    ) -> web.Response:
        match, limit, start = _matcher(resource, query), bodies.non_negative(query, "limit"), query.get("continue")
        wanted, after = list_options.list_revision(query, self._store.revision), ("", "")
        revision = self._store.revision if wanted is None else wanted
        try:
            if start:
                words, _, place = bytes.fromhex(start).decode().partition(":")
                within, name = place.split("/", 1)
                revision, after = int(words), (within, name)
            snapshot = self._store.snapshot(resource.group_resource, namespace or None, revision, after)
        except ValueError:
            raise bad_request("continue key is not valid") from None
        except Expired:
            raise (expired() if start else expired(f"too old resource version: {revision}")) from None
        metadata: Unstructured = {"resourceVersion": str(revision)}
        objects = [o for o in map(snapshot.read, snapshot.names) if match(o)] if not limit else []
        for at, key in enumerate(snapshot.names if limit else ()):
            obj = snapshot.read(key)
            if not match(obj):
                continue
            if len(objects) == limit:
                last = objects[-1]["metadata"]
                metadata["continue"] = f"{revision}:{last.get('namespace', '')}/{last['name']}".encode().hex()
                if match is match_all:  # the number of further matches of a selector is unknown
                    metadata["remainingItemCount"] = len(snapshot.names) - at
                break
            objects.append(obj)
        return await respond_list(request, resource, metadata, objects)

    async def _watch(
        self, request: web.Request, resource: ApiResource, namespace: str, query: dict[str, str]
    ) -> web.StreamResponse:
        list_options.check_watch(query)
        revision = query.get("resourceVersion") or ""
        initial = query.get("sendInitialEvents") == "true" or revision in ("", "0")
        start = self._store.revision if initial else bodies.non_negative(query, "resourceVersion")
        seconds = bodies.non_negative(query, "timeoutSeconds") or random.uniform(1800, 3600)
        watcher = Watcher(
            self._store, resource, namespace, _matcher(resource, query), query, negotiated_media(request), start
        )
        try:
            stop = self._store.watch(resource.group_resource, start, watcher.notify)
        except Expired:
            raise expired(f"too old resource version: {revision} ({self._store.floor})") from None
        response = web.StreamResponse(headers={"Content-Type": watcher.content_type})
        response.enable_chunked_encoding()
        self._watchers.add(watcher)
        try:
            watcher.abort = request.transport.abort if request.transport is not None else watcher.abort
            await response.prepare(request)
            with contextlib.suppress(ConnectionResetError):
                await watcher.run(response, initial, seconds)
        finally:
            stop()
            self._watchers.discard(watcher)
        return response

    async def end(self, _: web.Application) -> None:
        """End all watches in order when the process stops, so that clients resume at once."""
        for watcher in self._watchers:
            watcher.end()


def _matcher(resource: ApiResource, query: dict[str, str]) -> Match:
    """Raises StatusError for selectors that cannot be read."""
    if not query.get("labelSelector") and not query.get("fieldSelector"):
        return match_all
    by_label = label_selectors.parse(query.get("labelSelector"))
    by_field = field_selectors.parse(
        query.get("fieldSelector"), resource.record.field_selectors if resource.record is not None else {}
    )
    return lambda o: by_label(o["metadata"].get("labels") or {}) and by_field(o)
