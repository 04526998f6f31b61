"""Laws of the store: whatever is appended is read back exactly, from open and closed chunks, and limits hold."""

from __future__ import annotations

import math
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sailcloth.telemetry.metrics import chunks
from sailcloth.telemetry.metrics.chunks import MISSING, MISSING_BITS, STALE, STALE_BITS
from sailcloth.telemetry.metrics.labels import Index, Matcher, group
from sailcloth.telemetry.metrics.store import COARSE_MS, FINE_MS, NewRow, OutOfOrder, Store, StoredChunk, View

from . import unhurried

_INTEGERS = st.one_of(st.integers(0, 5), st.integers(0, 2**53 - 1), st.integers(-300, 40_000)).map(float)
_VALUES = st.one_of(_INTEGERS, st.floats(width=32), st.floats(), st.sampled_from([float(STALE), math.inf, -0.0]))


def _bits(value: float) -> int:
    return int(struct.unpack("<Q", struct.pack("<d", value))[0])


def append(store: Store, name: str, time_ms: int, values: dict[str, float], ends: bool = True) -> None:
    """Append a column of series that differ in one label."""
    target = store.target(name)
    keys = {hash(k): (k, v) for k, v in values.items()}
    old = {k: v for k, (_, v) in keys.items() if k in target.rows}
    new = [NewRow(k, {"__name__": "m", "x": x, "target": name}, v) for k, (x, v) in keys.items() if k not in old]
    store.append(target, time_ms, [target.rows[k] for k in old], list(old.values()), new, ends)


def read(store: Store, start: int, end: int, *matchers: Matcher) -> dict[tuple[str, str], list[tuple[int, int]]]:
    """(ms, bits) of what is there, by target and label."""
    index, _, batches = store.select(matchers, start, end)
    out = {}
    for batch in batches:
        for ref, row in zip(batch.refs.tolist(), chunks.bits(batch.values).tolist(), strict=True):
            labels = index.labels(ref)
            kept = [(t, v) for t, v in zip(batch.times.tolist(), row, strict=True) if v != MISSING_BITS]
            if kept:
                out[labels["target"], labels["x"]] = kept
    return out


_COLUMNS = st.lists(
    st.tuples(
        st.sampled_from(["t1", "t2"]),
        st.integers(1, 400_000),  # ms since the last column
        st.dictionaries(st.sampled_from("abcd"), _VALUES, max_size=4),
        st.booleans(),  # close the chunk
    ),
    max_size=90,
)


@unhurried
@given(_COLUMNS, st.integers(0, 3_000_000), st.integers(0, 3_000_000))
def test_what_is_read_is_what_was_appended(
    columns: list[tuple[str, int, dict[str, float], bool]], start: int, length: int
) -> None:
    store = Store()
    model: dict[tuple[str, str], list[tuple[int, int]]] = {}
    now = {"t1": 0, "t2": 0}
    for name, gap, values, close in columns:
        now[name] += gap
        append(store, name, now[name], values)
        for x in "abcd":
            if x in values:
                model.setdefault((name, x), []).append((now[name], _bits(values[x])))
            elif (name, x) in model:
                model[name, x].append((now[name], STALE_BITS))  # it has ended, and stays so
        if close:
            store.seal(store.target(name))

    def wanted(key: tuple[str, str]) -> list[tuple[int, int]]:
        return [(t, v) for t, v in model[key] if start <= t <= start + length]

    result = read(store, start, start + length)
    # Before its first sample a series may be told as ended: that changes no query.
    trimmed = {k: [p for p in v if p[0] >= model[k][0][0]] for k, v in result.items()}
    assert {k: v for k, v in trimmed.items() if v} == {k: wanted(k) for k in model if wanted(k)}


@unhurried
@given(st.lists(st.lists(_VALUES, min_size=1, max_size=8), min_size=1, max_size=6))
def test_chunks_are_exact(rows: list[list[float]]) -> None:
    columns = min(map(len, rows))
    values = np.array([row[:columns] for row in rows])
    values[0, 0] = MISSING
    times = np.cumsum(np.arange(1, columns + 1, dtype=np.int64)) + 1_700_000_000_000
    chunk = chunks.encode(times, values)
    for one in (chunk, chunks.from_bytes(chunk.to_bytes())):
        decoded = one.decode(np.arange(len(rows) + 1))
        assert (chunks.bits(decoded[:-1]) == chunks.bits(values)).all()
        assert (chunks.bits(decoded[-1]) == MISSING_BITS).all()
        assert (one.times == times).all()


def test_counters_are_small_and_exact_to_2_to_the_53() -> None:
    values = np.cumsum(np.full((100, 60), 3.0), axis=1) + 2.0**53 - 1000
    chunk = chunks.encode(np.arange(60), values)
    assert (chunk.decode(np.arange(100)) == values).all()
    assert chunk.nbytes() < 100 * 80
    assert chunks.encode(np.arange(60), np.zeros((100, 60))).nbytes() < 100 * 15 + 500


@pytest.mark.parametrize("data", [b"", b"12345678", struct.pack("<II", 1 << 31, 1 << 31) + b"x"])
def test_damaged_chunks_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="damaged"):
        chunks.from_bytes(data)


def test_a_minute_keeps_its_last_samples() -> None:
    values = np.array([[1.0, 2.0, 3.0, 4.0], [1.0, MISSING, 7.0, MISSING]])
    times, thin = chunks.thinned(np.array([0, 59_000, 60_000, 61_000]), values, 60_000)
    assert times.tolist() == [59_000, 61_000]
    assert thin.tolist() == [[2.0, 4.0], [1.0, 7.0]]


def test_order_is_kept() -> None:
    store = Store()
    append(store, "t", 5, {"a": 1})
    for time_ms in (4, 5):
        with pytest.raises(OutOfOrder):
            append(store, "t", time_ms, {"a": 1})


def test_a_series_belongs_to_one_target() -> None:
    store = Store()
    for name in ("t1", "t2"):
        store.append(store.target(name), 5, [], [], [NewRow(1, {"__name__": "m", "x": "1"}, 1.0)])
    assert (len(store.index), store.conflicting) == (1, 1)


def test_idle_series_make_room_and_others_are_refused() -> None:
    store = Store(max_series=10)
    store.max_of_target = 10
    append(store, "old", 1000, {str(i): 1.0 for i in range(6)})
    append(store, "busy", 1000, {"a": 1.0, "b": 1.0})
    append(store, "busy", 400_000, {"a": 2.0, "b": 2.0})
    append(store, "new", 401_000, {str(i): 1.0 for i in range(5)})
    assert store.refused == 0
    assert store.evicted >= 1
    assert len(read(store, 0, 10**6, Matcher("target", "=", "busy"))) == 2
    assert len(read(store, 0, 10**6, Matcher("target", "=", "new"))) == 5
    append(store, "new", 402_000, {str(i): 1.0 for i in range(20)})
    assert store.refused > 0
    assert len(store.index) <= 10
    append(store, "busy", 405_000, {"a": 3.0, "b": 3.0})
    assert read(store, 0, 10**6, Matcher("target", "=", "busy"))["busy", "a"][-1] == (405_000, _bits(3.0))


@unhurried
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["t1", "t2", "t3"]),
            st.sampled_from([1000, 200_000, 400_000]),
            st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 9).map(float), max_size=6),
        ),
        max_size=40,
    )
)
def test_a_sample_is_there_or_its_series_was_refused(columns: list[tuple[str, int, dict[str, float]]]) -> None:
    store = Store(max_series=8)
    store.max_of_target = 5
    now = 0
    for name, gap, values in columns:
        now += gap
        refused = store.refused
        append(store, name, now, values)
        result = read(store, now, now, Matcher("target", "=", name))
        there = {x: points[0][1] for (_, x), points in result.items() if points[0][1] != STALE_BITS}
        assert len(there) + store.refused - refused == len(values)
        assert all(there[x] == _bits(values[x]) for x in there)
        assert len(store.index) <= 8
        assert all(target.live <= 5 for target in store.targets.values())


def test_old_columns_and_targets_end() -> None:
    store = Store()
    append(store, "t", 0, {"a": 1.0})
    store.seal(store.target("t"))
    append(store, "t", FINE_MS + 1000, {"a": 2.0})
    store.expire(FINE_MS + 1000)
    assert read(store, 0, 10**9) == {("t", "a"): [(FINE_MS + 1000, _bits(2.0))]}
    store.expire(FINE_MS + COARSE_MS + 2000)
    assert (len(store.index), store.targets) == (0, {})


def test_less_than_a_day_is_kept_where_that_is_wanted() -> None:
    store = Store(coarse_ms=7_200_000)
    append(store, "t", 0, {"a": 1.0})
    store.seal(store.target("t"))
    store.expire(7_200_000)
    assert len(store.index) == 1
    store.expire(7_200_001)
    assert (len(store.index), store.targets) == (0, {})


def test_older_times_come_from_the_coarse_tier() -> None:
    store = Store()
    for time_ms in (100_000, 200_000):
        append(store, "t", time_ms, {"a": 1.0})
    target = store.target("t")
    view = target.view
    coarse = chunks.encode(np.array([40_000, 99_999, 150_000]), np.array([[7.0, 8.0, 9.0]]))
    stored = StoredChunk(40_000, 150_000, lambda: coarse)
    target.view = View((stored,), view.fine, view.times, view.values, view.count)
    assert read(store, 0, 10**6)["t", "a"] == [
        (40_000, _bits(7)),
        (99_999, _bits(8)),
        (100_000, _bits(1)),
        (200_000, _bits(1)),
    ]


@pytest.mark.parametrize(
    ("op", "value", "numbers"),
    [
        ("=", "a", [0]),
        ("=", "", [3]),
        ("!=", "a", [1, 2, 3]),
        ("=~", "a|b", [0, 1]),
        ("=~", "a", [0]),
        ("=~", "", [3]),
        ("=~", ".+", [0, 1, 2]),
        ("!~", "a.*", [1, 3]),
        ("=", "zz", []),
    ],
)
def test_matchers(op: str, value: str, numbers: list[int]) -> None:
    index = Index()
    for row, x in enumerate(["a", "b", "aa", ""]):
        index.add({"__name__": "m", "x": x, "row": str(row)}, 0, row)
    assert index.select([Matcher("__name__", "=", "m"), Matcher("x", op, value)]).tolist() == numbers


@unhurried
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2**30)), max_size=30))
def test_groups_are_by_equality(rows: list[tuple[int, int]]) -> None:
    columns = [np.array([r[i] for r in rows], np.int32) for i in (0, 1)]
    of, first = group(columns, len(rows))
    assert [rows[first[g]] for g in of] == rows
    assert len(first) == len(set(rows))
    assert sorted(first.tolist()) == first.tolist()
