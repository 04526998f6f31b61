"""What `sailctl analyze` finds in the cluster's objects, kept current for the console.

The analyzers are run in a thread of their own, and rest in proportion to what they cost, so that a large mesh is analyzed less often. Must not
find anything itself.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

from sailcloth.analysis import analyzers
from sailcloth.analysis.analyzers import ObjectSet
from sailcloth.api.meta import Finding, Key
from sailcloth.kube.resources import Resource

log = logging.getLogger(__name__)

Object = Mapping[str, Any]
Found = Mapping[Key, Sequence[Finding]]
_REST = 20.0  # how many times as long as an analysis took it rests


class Findings:
    """The findings of the last analysis, by object. kinds: the resources of the lists that are given, by plural."""

    def __init__(self, kinds: Iterable[Resource]) -> None:
        self._kinds = {kind.plural: kind for kind in kinds}
        self._version, self._found, self._next = -1, dict[Key, list[Finding]](), 0.0
        self._running: asyncio.Task[None] | None = None

    async def of(
        self,
        version: int,
        lists: Mapping[str, Sequence[Object]],
        config: Sequence[Object],
        options: Callable[[], Awaitable[str]],
    ) -> Found:
        """The findings of objects of a version; of an earlier one while a new analysis runs, but for the first. options: reads the
        MeshConfig, in YAML."""
        if version != self._version and self._running is None and time.monotonic() >= self._next:
            documents = [
                {"kind": kind.kind, "apiVersion": kind.api_version, **obj}
                for plural, kind in self._kinds.items()
                for obj in lists.get(plural, ())
            ]
            self._running = asyncio.create_task(self._run(version, [*documents, *config], options))
        if self._running is not None and self._version < 0:
            await asyncio.shield(self._running)
        return self._found

    async def _run(self, version: int, objects: Sequence[Object], options: Callable[[], Awaitable[str]]) -> None:
        begin = time.monotonic()
        try:
            self._found = await asyncio.to_thread(analyze, objects, await options())
        except Exception:  # a fault of an analyzer must not take the pages with it
            log.exception("the analysis failed; its last findings stay")
        self._version, self._running = version, None
        self._next = time.monotonic() + _REST * (time.monotonic() - begin)


def visible(found: Found, hidden: Iterable[str]) -> Found:
    """Findings without those that name one of some namespaces."""
    names = "|".join(map(re.escape, hidden))
    if not names:
        return found
    word = re.compile(rf"(?<![\w-])(?:{names})(?![\w-])")
    return {key: [f for f in own if not word.search(f.text + f.fix)] for key, own in found.items()}


def analyze(objects: Iterable[Object], options: str) -> dict[Key, list[Finding]]:
    """The findings of objects, by object. What needs Secrets is not said: the console reads none."""
    documents = [analyzers.document(dict(obj)) for obj in objects]
    found: dict[Key, list[Finding]] = {}
    for finding in analyzers.run(ObjectSet(documents, mesh_config=options, unread=frozenset({"Secret"}))):
        found.setdefault(finding.resource, []).append(finding)
    return found
