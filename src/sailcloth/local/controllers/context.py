"""What controllers do to the cluster: read the store, write through admission and validation like any client."""

from __future__ import annotations

import contextlib
import zlib
from typing import Any

from sailcloth.local.apiserver.auth.authentication import User
from sailcloth.local.apiserver.errors import StatusError
from sailcloth.local.apiserver.request_info import RequestInfo
from sailcloth.local.apiserver.times import now
from sailcloth.local.apiserver.unstructured import Unstructured
from sailcloth.local.apiserver.writes.rest_storage import RestStorage

_USER = User("system:kube-controller-manager", ("system:masters",))


class ControllerContext:
    """What controllers may do: read the store, write through admission and all the rules."""

    def __init__(self, storage: RestStorage) -> None:
        self._storage = storage
        self.store = storage.store

    def _info(self, group_resource: str, namespace: str = "", name: str = "", sub: str = "") -> RequestInfo:
        resource = next(r for r in self._storage.registry.resources.values() if r.group_resource == group_resource)
        return RequestInfo(resource, _USER, namespace, name, sub, "kube-controller-manager")

    def owned(self, group_resource: str, owner: Unstructured) -> list[Unstructured]:
        """Objects of the owner's namespace that refer to it."""
        uid = owner["metadata"]["uid"]
        return [
            obj
            for obj in self.store.all(group_resource, owner["metadata"]["namespace"])
            if any(r.get("uid") == uid for r in obj["metadata"].get("ownerReferences") or ())
        ]

    async def create(self, group_resource: str, obj: Unstructured) -> Unstructured | None:
        """Create; None if it exists already. Raises StatusError for anything else."""
        try:
            created, _ = await self._storage.create(
                self._info(group_resource, obj["metadata"].get("namespace", "")), obj
            )
        except StatusError as error:
            if error.reason == "AlreadyExists":
                return None
            raise
        return created

    async def update(
        self, group_resource: str, namespace: str, name: str, mutate: Any, sub: str = ""
    ) -> Unstructured | None:
        """Change by a function of a copy; None if the object is gone."""

        def unconditionally(live: Unstructured) -> Unstructured:
            live["metadata"].pop("resourceVersion", None)
            return mutate(live)  # type: ignore[no-any-return]

        try:
            changed, _ = await self._storage.update(self._info(group_resource, namespace, name, sub), unconditionally)
        except StatusError as error:
            if error.code == 404:
                return None
            raise
        return changed

    async def delete(self, group_resource: str, namespace: str, name: str) -> None:
        with contextlib.suppress(StatusError):
            await self._storage.delete(self._info(group_resource, namespace, name))

    async def event(self, about: Unstructured, component: str, reason: str, text: str, kind: str = "Normal") -> None:
        """Record an Event for `kubectl describe` and `kubectl events`; a repeated one increments its count."""
        metadata, stamp = about["metadata"], now()
        digest = zlib.crc32(f"{metadata['uid']} {reason} {text}".encode())
        name = f"{metadata['name']}.{digest:08x}"
        namespace = metadata.get("namespace") or "default"
        involved = {k: about[k] for k in ("kind", "apiVersion")}
        involved |= {k: metadata[k] for k in ("name", "namespace", "uid", "resourceVersion") if k in metadata}

        def increment(live: Unstructured) -> Unstructured:
            return {**live, "count": int(live.get("count", 1)) + 1, "lastTimestamp": stamp}

        with contextlib.suppress(StatusError):  # the namespace may be going away
            if await self.update("events", namespace, name, increment) is None:
                await self.create(
                    "events",
                    {
                        "metadata": {"name": name, "namespace": namespace},
                        "involvedObject": involved,
                        "reason": reason,
                        "message": text,
                        "type": kind,
                        "source": {"component": component},
                        "reportingComponent": component,
                        "firstTimestamp": stamp,
                        "lastTimestamp": stamp,
                        "count": 1,
                    },
                )
