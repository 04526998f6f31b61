"""Remote write in both directions: what one store sends, another has."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import numpy as np
import pytest
from aiohttp.test_utils import TestClient, TestServer

from sailcloth.telemetry import remote_write
from sailcloth.telemetry.api import Api, Info
from sailcloth.telemetry.exposition import Metadata
from sailcloth.telemetry.forwarder import Forwarder
from sailcloth.telemetry.metrics.chunks import STALE, STALE_BITS, bits
from sailcloth.telemetry.metrics.disk import Disk
from sailcloth.telemetry.metrics.store import NewRow, Store
from sailcloth.telemetry.promql import evaluate, parsing, results

from . import prometheus
from .dataset import MINUTES, START, load, mesh

END = START + MINUTES * 60_000
_STEPS = np.arange(START, END, 45_000, dtype=np.int64)
_QUERIES = ["sum(rate(istio_requests_total[1m])) by (pod)", "count({__name__=~'.+'})", "up"]


def answers(store: Store) -> list[object]:
    return [results.over_range(evaluate.evaluate(store, parsing.parse(q), _STEPS), _STEPS) for q in _QUERIES]


def test_what_is_encoded_is_decoded() -> None:
    series = [({"__name__": "m", "x": "é"}, [(1, 1.5), (2, float(STALE))]), ({"__name__": "n"}, [])]
    ((labels, samples), other) = remote_write.decode(remote_write.encode(series))
    assert (labels, samples[0], other) == (series[0][0], (1, 1.5), series[1])
    assert bits(np.array([samples[1][1]]))[0] == STALE_BITS


@pytest.mark.parametrize("body", [b"", b"x", b"\xff" * 50, b"\xff\xff\xff\xff\x0f1234"])
def test_bad_bodies_are_refused(body: bytes) -> None:
    with contextlib.suppress(ValueError):
        assert remote_write.decode(body) == []


async def test_a_copy_has_everything() -> None:
    source, copy = Store(), Store()
    load(mesh(), source)
    app = Api(copy, Metadata(), Info(accepts_writes=True)).application()
    async with TestClient(TestServer(app)) as client:

        async def post(body: bytes) -> int:
            return (await client.post("/api/v1/write", data=body)).status

        forwarder = Forwarder(source, post, 0)
        assert await forwarder.round()
        assert forwarder.refused == 0
        assert answers(copy) == answers(source)
        sent = forwarder.sent
        assert await forwarder.round()
        assert forwarder.sent == sent
        target = next(iter(source.targets.values()))
        source.append(target, target.last_ms + 5000, [0], [7.0])
        assert await forwarder.round()
        assert forwarder.sent > sent


async def test_prometheus_takes_it(tmp_path: Path) -> None:
    if prometheus.PROGRAM is None:
        pytest.skip("no prometheus on PATH (Debian: apt install prometheus)")
    source = Store()
    load(mesh()[:1], source)
    with prometheus.running(tmp_path) as real:
        forwarder = Forwarder(source, lambda body: asyncio.to_thread(real.post, body), 0)
        assert await forwarder.round()
        query = "count(istio_requests_total)"
        at = START + 600_000
        status, body = await asyncio.to_thread(real.get, "/api/v1/query", query=query, time=at / 1000)
        value = evaluate.evaluate(source, parsing.parse(query), np.array([at]))
        assert (status, body["data"]) == (200, results.instant(value, at))


async def test_failures_are_tried_again_and_refusals_are_not() -> None:
    store = Store()
    store.append(store.target("t"), 1000, [], [], [NewRow(1, {"__name__": "m"}, 1.0)])
    outcomes: list[int | Exception] = [OSError("refused"), TimeoutError(), 503, 429, 400, 204]

    async def post(_: bytes) -> int:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    forwarder = Forwarder(store, post, 0)
    assert [await forwarder.round() for _ in range(5)] == [False] * 4 + [True]
    assert (forwarder.failures, forwarder.refused, forwarder.sent) == (4, 1, 0)
    assert await forwarder.round()
    assert outcomes == [204]


def test_samples_of_one_time_in_two_requests(tmp_path: Path) -> None:
    store = Store()
    disk = Disk(tmp_path, store)
    disk.load(START)

    def receive(time_ms: int, **values: float) -> int:
        made = [({"__name__": "m", "job": "j", "x": x}, [(time_ms, v)]) for x, v in values.items()]
        return remote_write.receive(store, made)

    assert receive(START, a=1, b=1) == 0
    assert receive(START + 1000, a=2) == 0
    assert receive(START + 1000, b=2) == 0
    assert receive(START + 1000, c=2) == 0  # new in this request: a target of its own
    assert receive(START + 500, a=9) == 1
    disk.close()
    again = Store()
    other = Disk(tmp_path, again)
    other.load(START + 1000)
    for one in (store, again):
        value = evaluate.evaluate(one, parsing.parse("sum(m)"), np.array([START + 1000]))
        assert results.instant(value, START)["result"][0]["value"][1] == "6"
    other.close()


def test_scraped_series_are_not_overwritten() -> None:
    store = Store()
    store.append(store.target("pod"), 1000, [], [], [NewRow(1, {"__name__": "m"}, 1.0)])
    remote_write.receive(store, [({"__name__": "m"}, [(2000, 5.0)])])
    assert store.conflicting == 1
    with pytest.raises(ValueError, match="no name"):
        remote_write.receive(store, [({"x": "y"}, [(2000, 5.0)])])


async def test_writes_are_off_unless_asked_for() -> None:
    async with TestClient(TestServer(Api(Store(), Metadata(), Info()).application())) as client:
        assert (await client.post("/api/v1/write", data=b"")).status == 404
