"""Objects of a Kubernetes API server: one informer a kind, decoded in part and straight from bytes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from typing import Any

import msgspec

from sailcloth.api.kinds import Kind
from sailcloth.api.meta import Finding, Key, Object, ObjectMeta
from sailcloth.kube import Client, Informer, Resource

from . import Change

log = logging.getLogger(__name__)

_OPTIONAL_S = 2.0  # between two looks whether an optional kind is served by now


class _Head(msgspec.Struct, frozen=True):
    metadata: ObjectMeta = ObjectMeta()


def decoder(kind: Kind) -> Any:
    """A function from an object's JSON bytes to (key, typed object or Finding)."""
    typed = msgspec.json.Decoder(kind.type)
    head = msgspec.json.Decoder(_Head)

    def decode(raw: bytes) -> tuple[Key, Object | Finding]:
        try:
            obj = typed.decode(raw)
        except msgspec.ValidationError as error:
            metadata = head.decode(raw).metadata
            key = Key(kind.name, metadata.namespace, metadata.name)
            text, _, path = str(error).partition(" - at `$.")
            return key, Finding(code="SAIL0001", severity="Error", resource=key, path=path.rstrip("`"), text=text)
        meta: ObjectMeta = obj.metadata
        return Key(kind.name, meta.namespace, meta.name), obj

    return decode


class KubernetesSource:
    """Follows the given kinds. A kind that the server does not serve is tried again until it does; nobody waits for those of
    `optional`."""

    def __init__(self, client: Client, kinds: Sequence[Kind], optional: Sequence[Kind] = ()) -> None:
        self._needed = [_informer(client, kind) for kind in kinds]
        self._informers = [*self._needed, *(_informer(client, kind, _OPTIONAL_S) for kind in optional)]

    async def run(self, change: Change) -> None:
        def report(event: str, item: tuple[Key, Object | Finding], _: Any = None) -> None:
            key, obj = item
            change(key, None if event == "DELETED" else obj)

        tasks = [asyncio.create_task(i.run(report)) for i in self._informers]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            for task in tasks:
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await task

    async def synced(self) -> None:
        for informer in self._needed:
            await informer.synced.wait()


def _informer(client: Client, kind: Kind, absent_s: float = 0.2) -> Informer[tuple[Key, Object | Finding]]:
    resource = Resource(kind.group, kind.versions[0], kind.plural, kind.name, kind.namespaced)
    return Informer(client, resource, decoder(kind), field_selector=kind.field_selector, absent_s=absent_s)
