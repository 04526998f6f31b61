"""A live set of resources that many streams share, with a numbered log of its changes.

A stream remembers one sequence number per collection, not one version per name. Streams at the same number share the bytes
of their next response. Must not know what a resource means.
"""

from __future__ import annotations

import itertools
from collections import Counter, deque
from collections.abc import Callable, Hashable
from typing import Any

from sailcloth.lib.incremental import Graph

from .types import Resource

_numbers = itertools.count(1)
_LOG = 256  # entries in the log of changes; a stream further behind gets all resources


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
        self.on_demand = on_demand  # whether clients get only resources that they subscribe to by name
        self.number = next(_numbers)  # unique in the process, unlike id(), which Python reuses
        self._names: dict[Hashable, str | None] = {}  # id -> name of its resource
        self.resources: dict[str, Resource] = {}
        self.sources: Counter[Any] = Counter()  # how many resources came from each user object
        self._changed_sources: set[Hashable] = set()  # since the last `pop_changed_sources`
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
        """Read the list of ids again, and the resources of new ids. Returns the names of changed resources."""
        listed = dict.fromkeys(self._graph.get(self._ids, *self.args))
        changed: set[str] = set()
        for ident in [i for i in self._names if i not in listed]:
            self._graph.unpin(self._resource, *self.args, ident)
            name = self._names.pop(ident)
            if name is not None and self._drop(name):
                changed.add(name)
        for ident in listed:
            if ident not in self._names:
                self._graph.watch(self._resource, *self.args, ident)
                self._names[ident] = None
                changed |= self._recompute(ident)
        return self._record(changed)

    def refresh(self, idents: list[Hashable]) -> frozenset[str]:
        """Read resources that may have changed again. Returns the names of those that did."""
        changed: set[str] = set()
        for ident in idents:
            if ident in self._names:
                changed |= self._recompute(ident)
        return self._record(changed)

    def _recompute(self, ident: Hashable) -> set[str]:
        new = self._graph.get(self._resource, *self.args, ident)
        name = self._names[ident]
        changed = set()
        if name is not None and (new is None or new.name != name):
            self._drop(name)
            changed.add(name)
        self._names[ident] = new.name if new is not None else None
        if new is not None:
            old = self.resources.get(new.name)
            self.resources[new.name] = new
            if old is None or old.sources != new.sources:
                self._changed_sources.update(s for s in new.sources if not self.sources[s])
                self.sources.update(new.sources)
                if old is not None:
                    self._release_sources(old)
            if new.applied or (old is not None and old.applied):
                self._note_applied(old, new)
            if old is None or old.version != new.version:
                changed.add(new.name)
        return changed

    def _drop(self, name: str) -> bool:
        old = self.resources.pop(name, None)
        if old is not None:
            self._release_sources(old)
        return old is not None

    def _release_sources(self, old: Resource) -> None:
        for source in old.sources:
            self.sources[source] -= 1
            if self.sources[source] <= 0:
                del self.sources[source]
                self._changed_sources.add(source)

    def _note_applied(self, old: Resource | None, new: Resource) -> None:
        before = Counter(old.applied if old is not None else ())
        changed = (before - Counter(new.applied)) + (Counter(new.applied) - before)
        self._changed_sources.update(source for source, _ in changed)

    def pop_changed_sources(self) -> set[Hashable]:
        """User objects that gained their first resource, lost their last one, or apply other parts than before, since the last
        call."""
        moved, self._changed_sources = self._changed_sources, set()
        return moved

    def _record(self, changed: set[str]) -> frozenset[str]:
        if changed:
            self.seq += 1
            self._log.append((self.seq, frozenset(changed)))
        return frozenset(changed)

    def since(self, seq: int) -> frozenset[str] | None:
        """Names that changed after `seq`; None if the log does not reach back to `seq`, or `seq` is 0 (nothing sent)."""
        if seq == self.seq:
            return frozenset()
        if seq <= 0 or not self._log or self._log[0][0] > seq + 1:
            return None
        return frozenset().union(*(names for at, names in self._log if at > seq))

    def close(self) -> None:
        """Unpin all nodes; the next `Graph.collect` removes them."""
        self._graph.unpin(self._ids, *self.args)
        for ident in self._names:
            self._graph.unpin(self._resource, *self.args, ident)
