"""An incremental computation graph: recompute what a change affects, and nothing else.

Why it exists: nobody writes down by hand what depends on what. *Inputs* are set from outside. *Derived* values are pure
functions, memoised by their arguments; every value that they read while they run is recorded as a dependency, also reads of
absent inputs. Setting an input marks its readers. A derived value that recomputes to an equal result stops the change there
(early cut-off). Values are recomputed only when read.

Must not know the domain, do I/O, or run threads: one graph belongs to one thread.

    graph = Graph()
    graph.set(("price", "tea"), 3)

    @derived
    def total(graph: Graph, what: str) -> int:
        return sum(graph.read(("price", w)) or 0 for w in what.split())

    graph.get(total, "tea milk")    # 3, and depends on the absent ("price", "milk") too

Cost: about 0.8 kB and 2-5 µs a node, so a node should stand for something of the size of an Envoy resource.
"""

from __future__ import annotations

import bisect
import heapq
from collections.abc import Callable, Hashable, Iterable
from typing import Any, Concatenate, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_CLEAN, _MAYBE, _DIRTY = 0, 1, 2
_ABSENT: Any = object()


class CycleError(RuntimeError):
    """A derived value read itself, directly or through others. `path` names the values on the cycle."""

    def __init__(self, path: tuple[str, ...]) -> None:
        super().__init__("derived values depend on each other in a cycle: " + " -> ".join(path))
        self.path = path


class _Failure:
    """An exception kept as a derived value's result, so that failing work is not repeated until an input changes."""

    __slots__ = ("error",)

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, _Failure)
            and type(other.error) is type(self.error)
            and other.error.args == self.error.args
        )

    __hash__ = None  # type: ignore[assignment]


class _Node:
    __slots__ = ("deps", "fn", "height", "key", "pins", "rdeps", "settled", "state", "value", "watched")

    def __init__(self, key: Any, fn: Callable[..., Any] | None) -> None:
        self.key = key
        self.fn = fn  # None for an input
        self.value: Any = _ABSENT
        self.deps: dict[_Node, None] = {}
        self.rdeps: dict[_Node, None] = {}  # insertion-ordered, so that everything is deterministic
        self.state = _DIRTY
        self.pins = 0
        self.watched = False
        self.settled = fn in _SETTLED
        self.height = 0  # more than that of every dependency when it was computed last

    def name(self) -> str:
        if self.fn is None:
            return repr(self.key)
        return f"{self.fn.__name__}{self.key[1]!r}"


def derived(fn: Callable[P, T]) -> Callable[P, T]:
    """Mark a function as a derived value: `fn(graph, *args)` with hashable args, pure except for reads of the graph.

    The mark is documentation; `Graph.get` accepts any function.
    """
    return fn


_SETTLED: set[Callable[..., Any]] = set()


def settled(fn: Callable[P, T]) -> Callable[P, T]:
    """Mark a derived value that much depends on, and that seldom changes although what it reads does. After a change it is
    computed before its readers are marked, so that they are not visited at all if it stays the same. Only the cost differs."""
    _SETTLED.add(fn)
    return fn


class Graph:
    """Inputs, derived values and the recorded edges between them.

    Guarantees: `get` returns what a computation from scratch on the present inputs would return; a derived function is
    called only if something that it read last time has changed to an unequal value; exceptions of derived functions are
    memoised like values and raised to every reader.
    """

    def __init__(self) -> None:
        self._nodes: dict[Any, _Node] = {}
        self._current: dict[_Node, None] | None = None
        self._running: list[_Node] = []
        self.computed = 0  # number of computations so far, for tests and benchmarks
        self._touched: dict[_Node, None] = {}
        self._unsettled: dict[_Node, None] = {}  # settled values that are marked, and whose readers are not
        self.trace: Callable[[str], None] | None = None  # called with the name of each recomputed value

    # -- inputs ---------------------------------------------------------------------------------

    def set(self, key: Hashable, value: Any) -> bool:
        """Set an input. Returns whether it changed; an equal value changes nothing."""
        if self._current is not None:
            raise RuntimeError("a derived value may not set inputs")
        node = self._nodes.get(key)
        if node is None:
            node = self._nodes[key] = _Node(key, None)
            node.state = _CLEAN
        old = node.value
        if old is value or (old is not _ABSENT and value is not _ABSENT and old == value):
            return False
        node.value = value
        if node.rdeps:
            self._invalidate(node)
        elif value is _ABSENT:
            del self._nodes[key]
        return True

    def unset(self, key: Hashable) -> bool:
        """Remove an input; readers see None from then on."""
        if key not in self._nodes:
            return False
        return self.set(key, _ABSENT)

    def read(self, key: Hashable) -> Any:
        """The value of an input, or None if it is absent. Inside a derived value the read is recorded, absence too."""
        node = self._nodes.get(key)
        if node is None:
            if self._current is None:
                return None
            node = self._nodes[key] = _Node(key, None)
            node.state = _CLEAN
        if self._current is not None:
            self._current[node] = None
        return None if node.value is _ABSENT else node.value

    def _invalidate(self, changed: _Node) -> None:
        stack = []
        for reader in changed.rdeps:
            if reader.state != _DIRTY:
                if reader.state == _CLEAN:
                    stack.append(reader)
                reader.state = _DIRTY
        while stack:
            node = stack.pop()
            if node.watched:
                self._touched[node] = None
            if node.settled:
                self._unsettled[node] = None
                continue
            for reader in node.rdeps:
                if reader.state == _CLEAN:
                    reader.state = _MAYBE
                    stack.append(reader)

    def _settle(self) -> None:
        """Compute marked settled values, lowest first, since one may depend on others; mark the readers of those that change."""
        while self._unsettled:
            order = [(node.height, number, node) for number, node in enumerate(self._unsettled)]
            heapq.heapify(order)
            self._unsettled = {}
            while order and not self._unsettled:
                node = heapq.heappop(order)[2]
                if not node.state or not node.rdeps:
                    continue  # computed already, or when it is asked for
                try:
                    self._refresh(node)
                except CycleError:
                    self._invalidate(node)  # its readers meet the cycle, too
            self._unsettled.update((node, None) for _, _, node in order if node.state)

    # -- derived values -------------------------------------------------------------------------

    def get(self, fn: Callable[Concatenate[Graph, P], T], *args: P.args, **_: P.kwargs) -> T:
        """The value of `fn(graph, *args)`, computed only if something it depends on has changed."""
        if self._unsettled and self._current is None:
            self._settle()
        key = (fn, args)
        node = self._nodes.get(key)
        if node is None:
            node = self._nodes[key] = _Node(key, fn)
        if node.state:
            self._refresh(node)
        if self._current is not None:
            self._current[node] = None
        value = node.value
        if type(value) is _Failure:
            raise value.error
        return value  # type: ignore[no-any-return]

    def _refresh(self, node: _Node) -> None:
        if node in self._running:
            first = self._running.index(node)
            raise CycleError(tuple(n.name() for n in [*self._running[first:], node]))
        self._running.append(node)
        try:
            if node.state == _MAYBE:
                for dep in node.deps:
                    if dep.state:
                        self._refresh(dep)
                    if node.state == _DIRTY:
                        break
                else:
                    node.state = _CLEAN  # nothing below really changed
                    return
            self._compute(node)
        finally:
            self._running.pop()

    def _compute(self, node: _Node) -> None:
        assert node.fn is not None
        outer, self._current = self._current, {}
        self.computed += 1
        if self.trace is not None:
            self.trace(node.name())
        value: Any
        try:
            value = node.fn(self, *node.key[1])
        except CycleError:
            self._current = outer
            raise
        except Exception as error:
            value = _Failure(error)
        reads, self._current = self._current, outer
        for dep in node.deps:
            if dep not in reads:
                dep.rdeps.pop(node, None)
        height = 0
        for dep in reads:
            dep.rdeps[node] = None
            if dep.height > height:
                height = dep.height
        grown = height >= node.height
        node.deps, node.height = reads, height + 1
        node.state = _CLEAN
        changed = value != node.value
        if changed:
            node.value = value
        if node.settled and (changed or grown):  # a value that has grown may depend on one of its readers by now
            self._invalidate(node)
        elif changed:
            for reader in node.rdeps:
                reader.state = _DIRTY

    # -- lifetime -------------------------------------------------------------------------------

    def pin(self, fn: Callable[..., Any], *args: Any) -> None:
        """Keep a derived value, and what it depends on, through `collect`. Pins are counted."""
        key = (fn, args)
        node = self._nodes.get(key)
        if node is None:
            node = self._nodes[key] = _Node(key, fn)
        node.pins += 1

    def unpin(self, fn: Callable[..., Any], *args: Any) -> None:
        """Undo one `pin` or `watch`. The next `collect` drops values that are no longer needed."""
        node = self._nodes.get((fn, args))
        if node is not None and node.pins:
            node.pins -= 1
            if not node.pins:
                node.watched = False
                self._touched.pop(node, None)

    def watch(self, fn: Callable[..., Any], *args: Any) -> None:
        """Pin a derived value and report it in `touched` whenever one of its dependencies changes."""
        self.pin(fn, *args)
        self._nodes[fn, args].watched = True

    def touched(self) -> list[tuple[Callable[..., Any], tuple[Any, ...]]]:
        """Watched values that may have changed since the last call, as (fn, args), in order of first touch. `get` shows whether a
        value really has changed. Costs as much as the changes affect, independent of the size of the graph."""
        self._settle()
        keys = [node.key for node in self._touched]
        self._touched.clear()
        return keys

    def collect(self) -> int:
        """Drop all derived values that no pinned value depends on, and absent inputs without readers.

        Returns how many nodes were dropped. Cost is linear in the graph: call it when proxies leave, not on each change.
        """
        self._settle()
        live: set[_Node] = set()
        stack = [n for n in self._nodes.values() if n.pins]
        while stack:
            node = stack.pop()
            if node not in live:
                live.add(node)
                stack.extend(node.deps)
        dead = [
            node for node in self._nodes.values() if node not in live and (node.fn is not None or node.value is _ABSENT)
        ]
        dead_set = set(dead)
        for node in dead:
            del self._nodes[node.key]
            for dep in node.deps:
                if dep not in dead_set:
                    dep.rdeps.pop(node, None)
        return len(dead)

    # -- introspection --------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._nodes)

    @property
    def stale(self) -> int:
        """How many derived values a change has marked that were not read since. Linear in the graph; for tests."""
        return sum(1 for node in self._nodes.values() if node.state and node.value is not _ABSENT)

    def depends_on(self, fn: Callable[..., Any], *args: Any) -> list[str]:
        """Names of the inputs that a derived value currently depends on, transitively, sorted. For explanations only."""
        node = self._nodes.get((fn, args))
        names: set[str] = set()
        seen: set[_Node] = set()
        stack: list[_Node] = [] if node is None else [node]
        while stack:
            current = stack.pop()
            if current in seen:
                continue
            seen.add(current)
            if current.fn is None:
                names.add(current.name())
            stack.extend(current.deps)
        return sorted(names)


class Index:
    """A family of graph inputs keyed by slices: `index.put(id, slices)` keeps, for each slice, the sorted tuple of ids.

    Reading an empty slice records a dependency on it, too. Used for questions such as "which rules name this host in this
    namespace", so that a change of an unrelated object does not invalidate the reader.
    """

    def __init__(self, graph: Graph, name: str) -> None:
        self._graph = graph
        self._name = name
        self._slices: dict[Hashable, tuple[Any, ...]] = {}
        self._slices_of: dict[Any, frozenset[Hashable]] = {}

    def put(self, ident: Any, slices: Iterable[Hashable]) -> None:
        """Put an id in exactly these slices (an empty iterable removes it)."""
        new = frozenset(slices)
        old = self._slices_of.get(ident, frozenset())
        if new == old:
            return
        for s in old - new:
            members = self._slices.pop(s)
            at = bisect.bisect_left(members, ident)
            members = members[:at] + members[at + 1 :]
            if members:
                self._slices[s] = members
                self._graph.set((self._name, s), members)
            else:
                self._graph.unset((self._name, s))
        for s in new - old:
            members = self._slices.get(s, ())
            at = bisect.bisect_left(members, ident)
            self._slices[s] = members = (*members[:at], ident, *members[at:])
            self._graph.set((self._name, s), members)
        if new:
            self._slices_of[ident] = new
        else:
            self._slices_of.pop(ident, None)

    def read(self, slice_: Hashable) -> tuple[Any, ...]:
        """The ids in a slice, sorted; recorded like any read."""
        return self._graph.read((self._name, slice_)) or ()
