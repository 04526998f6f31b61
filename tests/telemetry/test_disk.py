"""A restart: what a new process reads is what the old one had, whenever it ended."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sailcloth.telemetry.metrics.disk import HOUR_MS, Disk
from sailcloth.telemetry.metrics.labels import Matcher
from sailcloth.telemetry.metrics.store import COARSE_MS, FINE_MS, Store

from .test_store import append, read

START = 1_700_000_000_000 // HOUR_MS * HOUR_MS


_open: list[Disk] = []


def opened(folder: Path, now_ms: int = START, max_series: int = 1000) -> tuple[Store, Disk]:
    """A store as a new process has it."""
    store = Store(max_series)
    disk = Disk(folder, store)
    disk.load(now_ms)
    _open.append(disk)
    return store, disk


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    while _open:
        _open.pop().close()


def everything(store: Store) -> object:
    return read(store, 0, START + 10**9)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["t1", "t2"]), st.dictionaries(st.sampled_from("abcd"), st.floats(), max_size=3)),
        max_size=25,
    ),
    st.sets(st.integers(0, 24), max_size=4),
    st.sets(st.integers(0, 24), max_size=4),
)
def test_nothing_is_lost(
    tmp_path_factory: pytest.TempPathFactory,
    columns: list[tuple[str, dict[str, float]]],
    flushes: set[int],
    restarts: set[int],
) -> None:
    folder = tmp_path_factory.mktemp("data")
    store, disk = opened(folder)
    now = START
    for number, (name, values) in enumerate(columns):
        now += 20_000
        append(store, name, now, values)
        if number in flushes:
            list(disk.flush(now))
        if number in restarts:
            before = everything(store)
            disk.close()
            store, disk = opened(folder, now)
            assert everything(store) == before
    disk.close()


def test_a_day_has_a_column_every_20_s(tmp_path: Path) -> None:
    store, disk = opened(tmp_path)
    now = START
    for number in range(5 * 240):  # five hours, a column every 15 s
        now = START + number * 15_000
        append(store, "t", now, {"a": float(number), "b": 1.0} if number < 240 else {"a": float(number)})
        if number % 20 == 0:
            list(disk.flush(now))
    for one in (store, opened(tmp_path, now)[0]):
        samples = dict(read(one, 0, now))[("t", "a")]
        times = np.array([t for t, _ in samples])
        recent = times >= now - FINE_MS + 300_000
        assert set(np.diff(times[recent])) == {15_000}
        assert set(np.diff(times[times < now - FINE_MS - 660_000])) == {15_000, 30_000}
        assert times[0] == START + 15_000
        values = np.array([v for _, v in samples], np.uint64).view(np.float64)
        assert (values == (times - START) / 15_000).all()
        ended = [t for t, v in dict(read(one, 0, now))[("t", "b")] if v != 0x7FF0000000000002]
        assert START + HOUR_MS - 20_000 <= max(ended) < START + HOUR_MS
    disk.close()


def test_a_day_later_nothing_is_left(tmp_path: Path) -> None:
    store, disk = opened(tmp_path)
    append(store, "t", START, {"a": 1.0})
    for hours in range(27):
        list(disk.flush(START + hours * HOUR_MS))
    assert (len(store.index), store.targets) == (0, {})
    assert not list(tmp_path.glob("*.blk"))
    append(store, "t", START + 2 * COARSE_MS, {"b": 2.0})
    disk.close()
    assert list(read(opened(tmp_path, START + 2 * COARSE_MS)[0], 0, 10**15)) == [("t", "b")]


def test_rows_of_series_that_are_gone_are_used_again(tmp_path: Path) -> None:
    store, disk = opened(tmp_path)
    now = START
    for hours in range(60):
        now = START + hours * HOUR_MS
        append(store, "t", now, {"always": 1.0, f"x{hours}": float(hours)})
        list(disk.flush(now))
    assert store.target("t").count <= 30
    disk.close()
    again, _ = opened(tmp_path, now)
    assert everything(again) == everything(store)


def test_evicted_series_stay_away(tmp_path: Path) -> None:
    store, disk = opened(tmp_path, max_series=5)
    append(store, "old", START, {"a": 1.0, "b": 1.0, "c": 1.0, "d": 1.0})
    append(store, "new", START + 400_000, {"a": 1.0, "b": 2.0, "c": 3.0})
    list(disk.flush(START + 400_000))
    append(store, "old", START + 401_000, {"z": 5.0})
    list(disk.flush(START + 401_000))
    disk.close()
    again, _ = opened(tmp_path, START + 401_000, max_series=5)
    assert everything(again) == everything(store)
    assert len(again.index) <= 5


@pytest.mark.parametrize("name", ["series.log", "journal-*.log", "fine-*.blk"])
@pytest.mark.parametrize("damage", ["cut", "flip", "empty"])
def test_damaged_files_cost_history_only(tmp_path: Path, name: str, damage: str) -> None:
    store, disk = opened(tmp_path)
    for number in range(10):
        append(store, "t", START + number * 1000, {"a": float(number), str(number): 1.0})
        if number == 5:
            list(disk.flush(START + 6000))
    disk.close()
    for path in tmp_path.glob(name):
        data = bytearray(path.read_bytes())
        if damage == "flip" and data:
            data[len(data) // 2] ^= 255
        path.write_bytes({"cut": data[: len(data) * 2 // 3], "flip": data, "empty": b""}[damage])
    again, disk = opened(tmp_path, START + 20_000)
    kept = read(again, 0, START + 10**6)
    original = read(store, 0, START + 10**6)
    assert all(set(points) <= set(original[key]) for key, points in kept.items())
    append(again, "t", START + 20_000, {"fresh": 7.0})
    assert list(read(again, START + 20_000, START + 20_000, Matcher("x", "=", "fresh"))) == [("t", "fresh")]
    disk.close()


def test_a_disk_that_was_full_is_used_again(tmp_path: Path) -> None:
    class Full:
        """A file with room for a part of a record."""

        def write(self, data: bytes) -> int:
            return len(data) // 2

        def close(self) -> None:
            pass

    store, disk = opened(tmp_path)
    append(store, "t", START, {"a": 1.0})
    disk.close()
    disk._journal = disk._series = Full()  # type: ignore[assignment]
    append(store, "t", START + 1000, {"a": 2.0, "b": 1.0})
    append(store, "t", START + 2000, {"a": 3.0, "b": 1.0})
    assert disk.failures == 2
    list(disk.flush(START + 3000))
    append(store, "t", START + 4000, {"a": 4.0, "c": 1.0})
    assert everything(opened(tmp_path, START + 4000)[0]) == everything(store)


def test_a_disk_that_fails_costs_no_metrics(tmp_path: Path) -> None:
    store, disk = opened(tmp_path / "data")
    append(store, "t", START, {"a": 1.0})
    disk.folder = tmp_path / "data" / "series.log"  # a file: nothing can be made in it
    list(disk.flush(START + 1000))
    append(store, "t", START + 2000, {"a": 2.0})
    assert disk.failures > 0
    assert len(read(store, 0, START + 10**6)["t", "a"]) == 2
    disk.close()
