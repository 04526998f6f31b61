"""Objects of a Kubernetes API server: one collection per kind, which decodes only the fields that the types declare."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from sailcloth.api.kinds import Kind
from sailcloth.api.meta import Finding, Key, Object, ObjectMeta
from sailcloth.api.nulls import without_nulls
from sailcloth.kube import Client, Informer
from sailcloth.kube.resources import CRDS

from . import Change
from .collection import WHOLE_CLUSTER, Collection

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
    wait for the kinds in `optional`.

    With `root`, first only namespaces are read, and the ConfigMaps of that namespace; when all of them have been reported, `select`
    is asked which namespaces else to read of: None for the whole cluster. `reselect` asks again.
    """

    def __init__(
        self,
        client: Client,
        kinds: Sequence[Kind],
        optional: Sequence[Kind] = (),
        root: str = "",
        select: Callable[[], frozenset[str] | None] = lambda: None,
    ) -> None:
        self._root, self._select = root, select
        made = {kind: Collection(client, kind, decoder(kind)) for kind in (*kinds, *optional)}
        self._needed = {f"{kind.plural}.{kind.group}".rstrip("."): made[kind] for kind in kinds}
        self._by_name = {(kind.group, kind.plural): one for kind, one in made.items()}
        self._namespaced = [one for kind, one in made.items() if kind.namespaced]
        for kind, one in made.items():
            if not kind.namespaced:
                one.read(WHOLE_CLUSTER)
        self._definitions = Informer(client, CRDS, msgspec.json.Decoder(_Definition).decode)
        self._first = [self._needed["namespaces"], self._needed["configmaps"]] if root else []
        self._scheduled = self._selecting = False

    async def run(self, change: Change) -> None:
        def report(event: str, item: tuple[Key, Object | Finding], _: object = None) -> None:
            key, obj = item
            change(key, None if event == "DELETED" else obj)

        async with asyncio.TaskGroup() as group:
            for collection in self._by_name.values():
                group.create_task(collection.run(report))
            group.create_task(self._definitions.run(self._defined))
            for collection in self._first[1:]:
                collection.read(frozenset((self._root,)))
            for collection in self._first:
                await collection.synced()
            self._selecting = True
            self._read()

    def reselect(self) -> None:
        """`select` may have another answer: ask it soon."""
        if self._selecting and not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._read)

    def _read(self) -> None:
        self._scheduled = False
        selected = self._select()
        namespaces = WHOLE_CLUSTER if selected is None else selected | {self._root}
        for collection in self._namespaced:
            collection.read(namespaces)

    def _defined(self, _: str, definition: _Definition, __: Any) -> None:
        collection = self._by_name.get((definition.spec.group, definition.spec.names.plural))
        if collection is not None:
            collection.notify_defined()

    async def synced(self) -> None:
        """Wait for the kinds that are not optional. Logs every few seconds which are missing, and why."""
        while waiting := [name for name, one in self._needed.items() if not one.is_synced]:
            pending = [asyncio.create_task(self._needed[name].synced()) for name in waiting]
            _, late = await asyncio.wait(pending, timeout=_LOG_WAITING_S)
            for task in late:
                task.cancel()
            for name in waiting:
                if late and not self._needed[name].is_synced:
                    log.warning(
                        "waiting for %s: %s", name.partition(".")[0], self._needed[name].problem or "no answer yet"
                    )
