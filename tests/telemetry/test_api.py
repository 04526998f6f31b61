"""The HTTP API: what it answers, beside a real Prometheus where there is one, and what it refuses."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from sailcloth.telemetry.api import Api, Info
from sailcloth.telemetry.exposition import Metadata
from sailcloth.telemetry.metrics.store import NewRow, Store

from . import prometheus
from .dataset import MINUTES, START, load, mesh

END = START + MINUTES * 60_000
Client = TestClient[Any, Any]

REQUESTS: list[tuple[str, dict[str, Any]]] = [
    ("query", {"query": "sum(up)", "time": END / 1000}),
    ("query", {"query": "up", "time": "2023-11-14T22:20:00Z"}),
    ("query", {"query": "up", "time": "2023-11-14T23:20:00.500+01:00"}),
    ("query", {"query": "up", "time": "yesterday"}),
    ("query", {"query": ""}),
    ("query", {"query": "sum(", "time": 1}),
    ("query", {"query": "nofunction(up)", "time": 1}),
    ("query", {"query": "up", "time": 1, "timeout": "5s"}),
    ("query", {"query": "up", "time": 1, "timeout": "x"}),
    ("query", {"query": "up[1m]", "time": START / 1000 + 100}),
    ("query", {"query": "1.5", "time": 1.25}),
    ("query", {"query": '"text"', "time": 2}),
    ("query", {"query": "1e-7 * 1e30 or vector(1e-7)", "time": 2}),
    ("query", {"query": "vector(1e-7)", "time": 2}),
    ("query", {"query": "vector(123456789012345680000000)", "time": 2}),
    ("query", {"query": "vector(0.00001) + 1e20", "time": 2}),
    ("query", {"query": "vector(0.00001)", "time": 2}),
    ("query", {"query": "vector(-1/0)", "time": 2}),
    ("query_range", {"query": "sum(up)", "start": START / 1000, "end": END / 1000, "step": "60s"}),
    ("query_range", {"query": "sum(up)", "start": START / 1000, "end": END / 1000, "step": 33.5}),
    ("query_range", {"query": "time()", "start": 1.1, "end": 2.3, "step": 0.1}),
    ("query_range", {"query": "up", "start": 10, "end": 5, "step": 1}),
    ("query_range", {"query": "up", "start": 10, "end": 20, "step": 0}),
    ("query_range", {"query": "up", "start": 10, "end": 20, "step": -1}),
    ("query_range", {"query": "up", "start": 10, "end": 20, "step": "x"}),
    ("query_range", {"query": "up", "start": 10, "end": 20}),
    ("query_range", {"query": "up", "start": 0, "end": 11001, "step": 1}),
    ("query_range", {"query": "up", "end": 11001, "step": 1}),
    ("query_range", {"query": "up[5m]", "start": 0, "end": 10, "step": 1}),
    ("query_range", {"query": '"text"', "start": 0, "end": 10, "step": 1}),
    ("query_range", {"query": "up + up{", "start": 0, "end": 10, "step": 1}),
    ("query_range", {"query": "up * on (job) up", "start": START / 1000, "end": END / 1000, "step": 60}),
    ("series", {"match[]": "up"}),
    ("series", {"match[]": ["up", 'pilot_xds_pushes{type=~"c.*"}']}),
    ("series", {"match[]": "nothing"}),
    ("series", {}),
    ("series", {"match[]": "sum(up)"}),
    ("series", {"match[]": "{}"}),
    ("series", {"match[]": "up", "start": "x"}),
    ("labels", {}),
    ("labels", {"match[]": 'up{job="istiod"}'}),
    ("labels", {"match[]": "foo("}),
    ("format_query", {"query": "up+1"}),
    ("format_query", {"query": "up+"}),
]
GETS = [
    "label/job/values",
    "label/__name__/values",
    "label/nothing/values",
    "label/pod/values?match[]=up",
    "label/pod/values?match[]=up(",
    "label/no-name/values",
    "rules",
    "alerts",
    "alertmanagers",
    "query?query=up%20or%20nothing&time=1700000600",
]


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    store, metadata = Store(), Metadata()
    load(mesh(), store)
    metadata.types["up"] = "gauge"
    metadata.help["up"] = "Whether it is."
    async with TestClient(TestServer(Api(store, metadata, Info(), lambda: END).application())) as one:
        yield one


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[prometheus.Prometheus]:
    if prometheus.PROGRAM is None:
        pytest.skip("no prometheus on PATH (Debian: apt install prometheus)")
    with prometheus.running(tmp_path_factory.mktemp("prometheus")) as server:
        server.write(mesh())
        yield server


def _comparable(status: int, body: Any) -> Any:
    """The answer without the wording of errors, and in one order."""
    if status != 200:
        return status, body["status"], body["errorType"]
    data = body["data"]
    if isinstance(data, str):
        return data.replace("{}", "")
    if isinstance(data, dict) and isinstance(data.get("result"), list) and data["resultType"] in ("vector", "matrix"):
        return data["resultType"], sorted(json.dumps(row, sort_keys=True) for row in data["result"])
    return sorted(json.dumps(one, sort_keys=True) for one in data) if isinstance(data, list) else data


@pytest.mark.parametrize(("path", "query"), REQUESTS, ids=[f"{p}-{i}" for i, (p, _) in enumerate(REQUESTS)])
async def test_answers_are_those_of_prometheus(
    client: Client, real: prometheus.Prometheus, path: str, query: dict[str, Any]
) -> None:
    theirs = await asyncio.to_thread(real.get, f"/api/v1/{path}", **query)
    form = [(k, str(one)) for k, v in query.items() for one in (v if isinstance(v, list) else [v])]
    for answer in (await client.post(f"/api/v1/{path}", data=form), await client.get(f"/api/v1/{path}", params=form)):
        ours = answer.status, await answer.json()
        assert _comparable(*ours) == _comparable(*theirs), (ours, theirs)


@pytest.mark.parametrize("path", GETS)
async def test_pages_are_those_of_prometheus(client: Client, real: prometheus.Prometheus, path: str) -> None:
    theirs = await asyncio.to_thread(real.fetch, f"/api/v1/{path}")
    answer = await client.get(f"/api/v1/{path}")
    assert _comparable(answer.status, await answer.json()) == _comparable(*theirs)


async def test_unsupported_is_said(client: Client) -> None:
    answer = await client.get("/api/v1/query", params={"query": "info(up)"})
    assert (answer.status, await answer.json()) == (
        422,
        {"status": "error", "errorType": "execution", "error": "unsupported function: info"},
    )


@pytest.mark.parametrize(
    "query",
    [
        "(" * 100_000,
        "(" * 5000 + "1" + ")" * 5000,
        "-" * 5000 + "1",
        "2^" * 3000 + "2",
        "1" + "+1" * 3000,
        "1" + "+1" * 240,
        "up " + "or up " * 3000,
        "sum(" * 150 + "up" + ")" * 150,
        "x" * 100_000,
        "up @ 1e300",
        "up offset 1000000y",
        "rate(up[99999999999y])",
        "max_over_time(up[5y:1s])",
        'up{a=~"' + "(a|b)*" * 2000 + '"}',
        "\x00",
        'up{a="\\xff"}',
        "vector(1) % 0 ^ 1e308",
        "topk(1e300, up)",
        "quantile(NaN, up)",
        "minute(vector(1e300))",
        "count_over_time(up[1m] @ -1e10)",
    ],
    ids=range(21),
)
async def test_hostile_queries_are_answered(client: Client, query: str) -> None:
    answer = await client.post("/api/v1/query", data={"query": query})
    body = await answer.json()
    assert answer.status in (200, 400, 422, 503)
    assert body["status"] == ("success" if answer.status == 200 else "error")


async def test_costs_are_bounded() -> None:
    store = Store()
    for t in range(40):
        target = store.target(str(t))
        for i in range(120):
            new = [NewRow(r, {"__name__": "m", "t": str(t), "r": str(r)}, 1.0) for r in range(100)] if not i else []
            store.append(target, START + i * 5000, range(100) if i else [], [1.0] * 100 if i else [], new)
    async with TestClient(TestServer(Api(store, Metadata(), Info()).application())) as client:
        wide = {"query": "m", "start": START / 1000, "end": START / 1000 + 10_999, "step": 1}
        answer = await client.get("/api/v1/query_range", params=wide)
        assert (answer.status, (await answer.json())["errorType"]) == (422, "execution")
        slow = {"query": "m", "time": START / 1000, "timeout": 0.000001}
        answer = await client.get("/api/v1/query", params=slow)
        assert (answer.status, (await answer.json())["errorType"]) == (503, "timeout")
        many = [client.get("/api/v1/query", params={"query": "sum(m)"}) for _ in range(60)]
        statuses = [a.status for a in await asyncio.gather(*many)]
        assert set(statuses) <= {200, 503}
        assert statuses.count(200) >= 20


async def test_metadata_and_status(client: Client) -> None:
    answer = await (await client.get("/api/v1/metadata?metric=up")).json()
    assert answer["data"] == {"up": [{"type": "gauge", "help": "Whether it is.", "unit": ""}]}
    for page in ("buildinfo", "config", "flags", "runtimeinfo", "tsdb"):
        answer = await client.get(f"/api/v1/status/{page}")
        assert (answer.status, (await answer.json())["status"]) == (200, "success")
    assert (await (await client.get("/api/v1/status/tsdb")).json())["data"]["headStats"]["numSeries"] > 400
    assert await (await client.get("/-/ready")).text() == "Prometheus Server is Ready.\n"
    assert "prometheus_tsdb_head_series 4" in await (await client.get("/metrics")).text()


async def test_federation_is_scraped_again(client: Client) -> None:
    from sailcloth.telemetry.exposition import parse

    answer = await client.get("/federate", params={"match[]": '{__name__=~"istio_.*|up"}'})
    page = parse(await answer.read(), {})
    assert answer.content_type == "text/plain"
    assert {s.labels["__name__"] for s in page.new} > {"up", "istio_requests_total"}
    assert all(math.isfinite(s.value) for s in page.new)
    assert (await client.get("/federate")).status == 400
