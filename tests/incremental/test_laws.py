"""The laws of the incremental graph: equal to a rebuild, recomputes only what is affected, leaks nothing."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sailcloth.lib.incremental import CycleError, Graph, Index, settled

KEYS = "abcdef"


def leaf(graph: Graph, key: str) -> int:
    """Reads one input, absent ones as -1."""
    value = graph.read(key)
    return -1 if value is None else int(value)


def parity(graph: Graph, key: str) -> int:
    """Loses information, so that early cut-off has something to cut."""
    return graph.get(leaf, key) % 2


def chosen(graph: Graph, a: str, b: str, c: str) -> int:
    """Reads b or c depending on a: its dependencies change with the data."""
    return graph.get(leaf, b) if graph.get(parity, a) else graph.get(leaf, c) + 100


def whole(graph: Graph) -> tuple[int, ...]:
    return tuple(graph.get(chosen, a, b, c) for a in KEYS for b in KEYS[:3] for c in KEYS[3:])


EVENTS = st.lists(st.tuples(st.sampled_from(KEYS), st.one_of(st.none(), st.integers(0, 3)), st.booleans()), max_size=40)


@given(EVENTS)
@settings(max_examples=200, deadline=None)
def test_incremental_equals_rebuild(events: list[tuple[str, int | None, bool]]) -> None:
    graph = Graph()
    inputs: dict[str, int] = {}
    for key, value, look in events:
        if value is None:
            graph.unset(key)
            inputs.pop(key, None)
        else:
            graph.set(key, value)
            inputs[key] = value
        if look:
            fresh = Graph()
            for k, v in inputs.items():
                fresh.set(k, v)
            assert graph.get(whole) == fresh.get(whole)


@settled
def low(graph: Graph, key: str) -> int:
    return graph.get(leaf, key) // 2


def middle(graph: Graph, a: str, b: str) -> int:
    return graph.get(low, a) * 10 + graph.get(parity, b)


@settled
def high(graph: Graph, a: str, b: str, c: str) -> int:
    """Reads a settled value through one that is not, and chooses what it reads."""
    return graph.get(middle, b, c) if graph.get(low, a) else graph.get(leaf, c) // 3


def seen(graph: Graph, a: str, b: str, c: str) -> tuple[int, int]:
    return graph.get(high, a, b, c), graph.get(low, b)


ALL = [(a, b, c) for a in KEYS[:3] for b in KEYS[2:5] for c in KEYS[3:]]


@given(EVENTS)
@settings(max_examples=200, deadline=None)
def test_settled_values_change_the_cost_only(events: list[tuple[str, int | None, bool]]) -> None:
    graph = Graph()
    inputs: dict[str, int] = {}
    for each in ALL:
        graph.watch(seen, *each)
    known = {each: graph.get(seen, *each) for each in ALL}
    for key, value, look in events:
        if value is None:
            graph.unset(key)
            inputs.pop(key, None)
        else:
            graph.set(key, value)
            inputs[key] = value
        if look:
            fresh = Graph()
            for k, v in inputs.items():
                fresh.set(k, v)
            touched = {args for _, args in graph.touched()}
            for each in ALL:
                before, known[each] = known[each], graph.get(seen, *each)
                assert known[each] == fresh.get(seen, *each)
                assert before == known[each] or each in touched


def test_readers_of_a_settled_value_that_stays_the_same_are_not_visited() -> None:
    graph = Graph()
    graph.set("a", 2)

    def above(graph: Graph, number: int) -> int:
        return graph.get(low, "a") + number

    for number in range(3):
        graph.watch(above, number)
        graph.get(above, number)
    graph.touched()
    graph.set("a", 3)
    assert graph.touched() == []
    graph.set("a", 4)
    assert len(graph.touched()) == 3
    assert graph.get(above, 1) == 3


def test_a_cycle_through_a_settled_value_is_told_to_every_reader() -> None:
    graph = Graph()

    @settled
    def one(graph: Graph) -> int:
        return graph.get(other) if graph.read("a") else 1

    def other(graph: Graph) -> int:
        return graph.get(one)

    def reader(graph: Graph) -> int:
        return graph.get(other)

    assert graph.get(reader) == 1
    graph.set("a", 1)
    for _ in range(2):
        with pytest.raises(CycleError):
            graph.get(reader)
    graph.set("a", 0)
    assert graph.get(reader) == 1


@given(EVENTS)
@settings(max_examples=100, deadline=None)
def test_order_of_inputs_does_not_matter(events: list[tuple[str, int | None, bool]]) -> None:
    final = {k: v for k, v, _ in events if v is not None}
    one, other = Graph(), Graph()
    for key, value in final.items():
        one.set(key, value)
    for key, value in reversed(final.items()):
        other.set(key, value)
    assert one.get(whole) == other.get(whole)


def test_equal_result_stops_the_change() -> None:
    graph = Graph()
    graph.set("a", 1)

    def above(graph: Graph) -> int:
        return graph.get(parity, "a")

    graph.get(above)
    before = graph.computed
    graph.set("a", 3)
    graph.get(above)
    assert graph.computed - before == 2  # leaf and parity, not above


def test_absence_is_a_dependency() -> None:
    graph = Graph()
    assert graph.get(leaf, "nobody") == -1
    graph.set("nobody", 7)
    assert graph.get(leaf, "nobody") == 7


def test_unrelated_change_recomputes_nothing() -> None:
    graph = Graph()
    for key in KEYS:
        graph.set(key, 1)
    graph.get(leaf, "a")
    before = graph.computed
    graph.set("b", 2)
    graph.get(leaf, "a")
    assert graph.computed == before


def test_errors_are_kept_and_heal() -> None:
    graph = Graph()

    def fails(graph: Graph) -> int:
        if graph.read("a") is None:
            raise ValueError("a is missing")
        return 1

    for _ in range(2):
        with pytest.raises(ValueError, match="a is missing"):
            graph.get(fails)
    assert graph.computed == 1
    graph.set("a", 1)
    assert graph.get(fails) == 1


def test_cycle_names_its_path() -> None:
    graph = Graph()

    def one(graph: Graph) -> int:
        return graph.get(other)

    def other(graph: Graph) -> int:
        return graph.get(one)

    with pytest.raises(CycleError, match=r"one.*other.*one"):
        graph.get(one)


def test_collect_forgets_what_nobody_pins() -> None:
    graph = Graph()
    graph.set("a", 1)
    for n in range(50):
        graph.get(leaf, f"absent{n}")
    graph.pin(leaf, "a")
    graph.get(leaf, "a")
    graph.collect()
    assert len(graph) == 2  # the input and its pinned reader
    graph.unpin(leaf, "a")
    graph.collect()
    assert len(graph) == 1
    assert graph.get(leaf, "a") == 1


def test_touched_reports_watched_values_only() -> None:
    graph = Graph()
    for key in "ab":
        graph.watch(parity, key)
        graph.get(parity, key)
    graph.set("a", 1)
    assert graph.touched() == [(parity, ("a",))]
    assert graph.touched() == []


def test_depends_on_explains() -> None:
    graph = Graph()
    graph.set("a", 1)
    graph.get(chosen, "a", "b", "c")
    assert graph.depends_on(chosen, "a", "b", "c") == ["'a'", "'b'"]


@given(st.lists(st.tuples(st.integers(0, 5), st.frozensets(st.sampled_from("xyz"))), max_size=30))
def test_index_equals_a_plain_map(puts: list[tuple[int, frozenset[str]]]) -> None:
    graph = Graph()
    index = Index(graph, "i")
    plain: dict[int, frozenset[str]] = {}
    for ident, slices in puts:
        index.put(ident, slices)
        plain[ident] = slices
        for s in "xyz":
            assert index.read(s) == tuple(sorted(i for i, ss in plain.items() if s in ss))


def test_setting_inputs_from_a_derived_value_is_refused() -> None:
    graph = Graph()

    def bad(graph: Graph) -> Any:
        return graph.set("a", 1)

    with pytest.raises(RuntimeError, match="may not set inputs"):
        graph.get(bad)
