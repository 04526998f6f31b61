"""Objects of a Kubernetes API server: one informer per kind, which decodes only the fields that the types declare."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import msgspec

from sailcloth.api.kinds import Kind
from sailcloth.api.meta import Finding, Key, Object, ObjectMeta
from sailcloth.api.nulls import without_nulls
from sailcloth.kube import Client, Informer, Resource
from sailcloth.kube.resources import CRDS

from . import Change

log = logging.getLogger(__name__)

_LOG_WAITING_S = 5.0  # interval of log lines about kinds that are not served yet


class _Head(msgspec.Struct, frozen=True):
    metadata: ObjectMeta = ObjectMeta()


class _Names(msgspec.Struct, frozen=True):
    plural: str = ""


class _DefinitionSpec(msgspec.Struct, frozen=True):
    group: str = ""
    names: _Names = _Names()


class _Definition(msgspec.Struct, frozen=True):
    spec: _DefinitionSpec = _DefinitionSpec()


def decoder(kind: Kind) -> Any:
    """A function from an object's JSON bytes to (key, typed object or Finding).

    Null means the same as absent, as in Kubernetes: a Service without ready pods has slices with `endpoints: null`.
    """
    typed = msgspec.json.Decoder(kind.type)
    head = msgspec.json.Decoder(_Head)

    def decode(raw: bytes) -> tuple[Key, Object | Finding]:
        try:
            obj = typed.decode(raw)
        except msgspec.ValidationError:
            plain = without_nulls(msgspec.json.decode(raw))
            try:
                obj = msgspec.convert(plain, kind.type)
            except msgspec.ValidationError as error:
                metadata = head.decode(msgspec.json.encode(plain)).metadata
                key = Key(kind.key_kind, metadata.namespace, metadata.name)
                text, _, path = str(error).partition(" - at `$.")
                return key, Finding(code="SAIL0001", severity="Error", resource=key, path=path.rstrip("`"), text=text)
        meta: ObjectMeta = obj.metadata
        return Key(kind.key_kind, meta.namespace, meta.name), obj

    return decode


class KubernetesSource:
    """Watches the given kinds. Retries a kind that the server does not serve when its definition appears. `synced` does not
    wait for the kinds in `optional`."""

    def __init__(self, client: Client, kinds: Sequence[Kind], optional: Sequence[Kind] = ()) -> None:
        self._needed = {f"{kind.plural}.{kind.group}".rstrip("."): _informer(client, kind) for kind in kinds}
        informers = [*kinds, *optional]
        self._informers = {
            (kind.group, kind.plural): self._needed.get(f"{kind.plural}.{kind.group}".rstrip("."))
            or _informer(client, kind)
            for kind in informers
        }
        self._definitions = Informer(client, CRDS, msgspec.json.Decoder(_Definition).decode)

    async def run(self, change: Change) -> None:
        def report(event: str, item: tuple[Key, Object | Finding], _: Any = None) -> None:
            key, obj = item
            change(key, None if event == "DELETED" else obj)

        tasks = [asyncio.create_task(i.run(report)) for i in self._informers.values()]
        tasks.append(asyncio.create_task(self._definitions.run(self._defined)))
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _defined(self, _: str, definition: _Definition, __: Any) -> None:
        informer = self._informers.get((definition.spec.group, definition.spec.names.plural))
        if informer is not None:
            informer.notify_defined()

    async def synced(self) -> None:
        """Wait for the kinds that are not optional. Logs every few seconds which are missing, and why."""
        while waiting := [name for name, informer in self._needed.items() if not informer.synced.is_set()]:
            pending = [asyncio.create_task(self._needed[name].synced.wait()) for name in waiting]
            _, late = await asyncio.wait(pending, timeout=_LOG_WAITING_S)
            for task in late:
                task.cancel()
            for name in waiting:
                if late and not self._needed[name].synced.is_set():
                    log.warning(
                        "waiting for %s: %s", name.partition(".")[0], self._needed[name].problem or "no answer yet"
                    )


def _informer(client: Client, kind: Kind) -> Informer[tuple[Key, Object | Finding]]:
    resource = Resource(kind.group, kind.versions[0], kind.plural, kind.name, kind.namespaced)
    return Informer(client, resource, decoder(kind), field_selector=kind.field_selector)
