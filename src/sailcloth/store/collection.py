"""The objects of one kind, of the whole cluster or of some namespaces, which may change: one informer for each part that is read.

What changes hands between informers is not reported again, and what no informer reads any more is reported as deleted. Must not know
why a namespace is read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from sailcloth.api.kinds import Kind
from sailcloth.api.meta import Finding, Key, Object
from sailcloth.kube import Client, Informer, Resource

Item = tuple[Key, Object | Finding]
Decode = Callable[[bytes], Item]
Report = Callable[[str, Item, object], None]
WHOLE_CLUSTER = frozenset(("",))


class Collection:
    """`read` says which namespaces; before that, none is. `run` reports until cancelled."""

    def __init__(self, client: Client, kind: Kind, decode: Decode) -> None:
        self._client, self._kind, self._decode = client, kind, decode
        self._resource = Resource(kind.group, kind.versions[0], kind.plural, kind.name, kind.namespaced)
        self._informers: dict[str, Informer[Item]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._group = asyncio.TaskGroup()
        self._report: Report | None = None
        self._chosen, self._changed = False, asyncio.Event()

    async def run(self, report: Report) -> None:
        """Report events until cancelled."""
        async with self._group:
            self._report = report
            for namespace, informer in self._informers.items():
                self._tasks[namespace] = self._group.create_task(informer.run(report))
            await asyncio.Event().wait()

    def read(self, namespaces: frozenset[str]) -> None:
        """From now on read these namespaces only. Not to be called from within `report`."""
        self._chosen = True
        self._changed.set()
        kept: dict[tuple[str, str], tuple[str, Item]] = {}
        for namespace in self._informers.keys() - namespaces:
            kept |= self._informers.pop(namespace).cache
            if task := self._tasks.pop(namespace, None):
                task.cancel()
        for namespace in sorted(namespaces - self._informers.keys()):
            informer = Informer(
                self._client, self._resource, self._decode, namespace, field_selector=self._kind.field_selector
            )
            informer.cache = {i: kept.pop(i) for i in [*kept] if namespace in ("", i[0])}
            self._informers[namespace] = informer
            if self._report is not None:
                self._tasks[namespace] = self._group.create_task(informer.run(self._report))
        for ident, (_, item) in kept.items():
            assert self._report is not None, "nothing is in a cache before `run`"
            self._report("DELETED", item, ident)

    def notify_defined(self) -> None:
        """Retry at once: the kind's CustomResourceDefinition has appeared or changed."""
        for informer in self._informers.values():
            informer.notify_defined()

    @property
    def is_synced(self) -> bool:
        return self._chosen and all(i.synced.is_set() for i in self._informers.values())

    @property
    def problem(self) -> str:
        """Why the last request failed."""
        return next((i.problem for i in self._informers.values() if i.problem), "")

    async def synced(self) -> None:
        """Wait until all objects have been reported."""
        while not self.is_synced:
            self._changed.clear()
            waits = [
                asyncio.create_task(e.wait())
                for e in (self._changed, *(i.synced for i in self._informers.values() if not i.synced.is_set()))
            ]
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in waits:
                    task.cancel()
