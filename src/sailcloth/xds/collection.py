"""A live set of resources that many streams share, with a numbered log of its changes.

A stream remembers one number per collection, not one version per name, and the bytes of "what changed since n" are made
once for all streams that stand at n.
"""

from __future__ import annotations

import itertools
from collections import Counter, deque
from collections.abc import Callable, Hashable
from typing import Any

from sailcloth.lib.incremental import Graph

from .types import Resource

_numbers = itertools.count(1)
_LOG = 256  # changes remembered; a stream further behind is sent everything


class LiveCollection:
    """Resources by name, kept up to date from derived values `ids(graph, *args)` and `resource(graph, *args, id)`."""

    def __init__(
        self,
        graph: Graph,
        ids: Callable[..., tuple[Any, ...]],
        resource: Callable[..., Resource | None],
        args: tuple[Any, ...],
        on_demand: bool = False,
    ) -> None:
        self._graph, self._ids, self._resource, self.args = graph, ids, resource, args
        self.on_demand = on_demand  # whether a client is told only of what it asks for by name
        self.number = next(_numbers)  # never used twice, unlike id(): what was sent of one is not taken for another's
        self._names: dict[Hashable, str | None] = {}  # id -> name of its resource
        self.resources: dict[str, Resource] = {}
        self.sources: Counter[Any] = Counter()  # how many resources came from each user object
        self._moved: set[Hashable] = set()  # user objects that came, went or apply otherwise since `take_moved`
        self.seq = 0
        self._log: deque[tuple[int, frozenset[str]]] = deque(maxlen=_LOG)
        graph.watch(ids, *args)
        self.refresh_ids()

    @property
    def node(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """Key of the node that lists the ids; the node of one id is (resource, (*args, id))."""
        return self._ids, self.args

    @property
    def resource(self) -> Callable[..., Any]:
        return self._resource

    def refresh_ids(self) -> frozenset[str]:
        """Take in a changed list of ids, and everything new in it. Returns the names that changed."""
        wanted = dict.fromkeys(self._graph.get(self._ids, *self.args))
        changed: set[str] = set()
        for ident in [i for i in self._names if i not in wanted]:
            self._graph.unpin(self._resource, *self.args, ident)
            name = self._names.pop(ident)
            if name is not None and self._drop(name):
                changed.add(name)
        for ident in wanted:
            if ident not in self._names:
                self._graph.watch(self._resource, *self.args, ident)
                self._names[ident] = None
                changed |= self._take(ident)
        return self._record(changed)

    def refresh(self, idents: list[Hashable]) -> frozenset[str]:
        """Take in resources that may have changed. Returns the names that did."""
        changed: set[str] = set()
        for ident in idents:
            if ident in self._names:
                changed |= self._take(ident)
        return self._record(changed)

    def _take(self, ident: Hashable) -> set[str]:
        made = self._graph.get(self._resource, *self.args, ident)
        name = self._names[ident]
        changed = set()
        if name is not None and (made is None or made.name != name):
            self._drop(name)
            changed.add(name)
        self._names[ident] = made.name if made is not None else None
        if made is not None:
            old = self.resources.get(made.name)
            self.resources[made.name] = made
            if old is None or old.sources != made.sources:
                self._moved.update(s for s in made.sources if not self.sources[s])
                self.sources.update(made.sources)
                if old is not None:
                    self._forget(old)
            if made.applied or (old is not None and old.applied):
                self._note_applied(old, made)
            if old is None or old.version != made.version:
                changed.add(made.name)
        return changed

    def _drop(self, name: str) -> bool:
        old = self.resources.pop(name, None)
        if old is not None:
            self._forget(old)
        return old is not None

    def _forget(self, old: Resource) -> None:
        for source in old.sources:
            self.sources[source] -= 1
            if self.sources[source] <= 0:
                del self.sources[source]
                self._moved.add(source)

    def _note_applied(self, old: Resource | None, made: Resource) -> None:
        before = Counter(old.applied if old is not None else ())
        changed = (before - Counter(made.applied)) + (Counter(made.applied) - before)
        self._moved.update(source for source, _ in changed)

    def take_moved(self) -> set[Hashable]:
        """User objects of which resources are here for the first time, or no longer, or apply other parts than before; since
        the last call."""
        moved, self._moved = self._moved, set()
        return moved

    def _record(self, changed: set[str]) -> frozenset[str]:
        if changed:
            self.seq += 1
            self._log.append((self.seq, frozenset(changed)))
        return frozenset(changed)

    def since(self, seq: int) -> frozenset[str] | None:
        """Names that changed after `seq`; None if that is further back than the log, or nothing was ever sent."""
        if seq == self.seq:
            return frozenset()
        if seq <= 0 or not self._log or self._log[0][0] > seq + 1:
            return None
        return frozenset().union(*(names for at, names in self._log if at > seq))

    def close(self) -> None:
        """Let go of every node; the next `Graph.collect` forgets them."""
        self._graph.unpin(self._ids, *self.args)
        for ident in self._names:
            self._graph.unpin(self._resource, *self.args, ident)
