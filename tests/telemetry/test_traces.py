"""Spans in by Zipkin and OTLP, and out by the APIs of Jaeger, Zipkin and Tempo, over real HTTP and gRPC."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from sailcloth.lib.connections import ConnectionLimits, Connections, listen
from sailcloth.lib.grpc_server import GrpcServer
from sailcloth.telemetry.traces import otlp, traceql, zipkin
from sailcloth.telemetry.traces.model import BadSpans, Span
from sailcloth.telemetry.traces.server import MAX_BODY, Traces
from sailcloth.telemetry.traces.store import PARTITION_US, Query, TraceStore

Object = dict[str, Any]
NOW = 1_900_000_000_000_000
TRACE = "463ac35c9f6413ad48485a3953bb6124"


def span(number: int, service: str, parent: int = 0, **fields: Any) -> Object:
    made = {
        "traceId": TRACE,
        "id": f"{number:016x}",
        "name": f"{service}.default.svc.cluster.local:9080/*",
        "kind": "SERVER",
        "timestamp": NOW + number,
        "duration": 1000 * number,
        "localEndpoint": {"serviceName": f"{service}.default"},
        "tags": {"http.status_code": "200", "istio.namespace": "default"},
    }
    return {**made, **({"parentId": f"{parent:016x}"} if parent else {}), **fields}


def bookinfo() -> list[Object]:
    return [
        span(1, "productpage"),
        span(2, "details", 1),
        span(3, "reviews", 1, kind="CLIENT"),
        span(4, "ratings", 3, tags={"http.status_code": "503"}),
    ]


class Server:
    """The receivers and APIs of all protocols on one port, and OTLP over gRPC on another."""

    def __init__(self, folder: Path) -> None:
        self.now = NOW + 10_000_000
        self.traces = Traces(TraceStore(folder), lambda: self.now)

    async def __aenter__(self) -> Server:
        app = web.Application(client_max_size=2 * MAX_BODY)
        traces = self.traces
        app.add_routes([*traces.receivers(), *traces.jaeger(), *traces.zipkin(), *traces.tempo()])
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self._url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        self._session = aiohttp.ClientSession()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()
        await self._runner.cleanup()
        self.traces.store.close()

    async def post(self, path: str, body: bytes, kind: str = "application/json", **headers: str) -> tuple[int, str]:
        async with self._session.post(self._url + path, data=body, headers={"Content-Type": kind, **headers}) as answer:
            return answer.status, await answer.text()

    async def get(self, path: str, status: int = 200, **parameters: str) -> Any:
        async with self._session.get(self._url + path, params=parameters) as answer:
            body = await answer.read()
            assert answer.status == status, body
            return json.loads(body) if answer.content_type == "application/json" else body

    async def protobuf(self, path: str) -> ExportTraceServiceRequest:
        headers = {"Accept": "application/protobuf"}
        async with self._session.get(self._url + path, headers=headers) as answer:
            return ExportTraceServiceRequest.FromString(await answer.read())


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with Server(tmp_path) as made:
        assert (await made.post("/api/v2/spans", json.dumps(bookinfo()).encode()))[0] == 202
        yield made


@pytest.mark.parametrize("flushed", [False, True])
async def test_jaeger_finds_and_shows_a_trace(server: Server, flushed: bool) -> None:
    if flushed:
        server.traces.store.flush(server.now)
    services = await server.get("/api/services")
    assert services["data"] == ["details.default", "productpage.default", "ratings.default", "reviews.default"]
    found = await server.get("/api/traces", service="ratings.default", tags='{"error":"true"}')
    ((trace,),) = (found["data"],)
    assert (trace["traceID"], len(trace["spans"])) == (TRACE, 4)
    last = trace["spans"][3]
    assert last["references"] == [{"refType": "CHILD_OF", "traceID": TRACE, "spanID": "0000000000000003"}]
    assert {"key": "error", "type": "bool", "value": True} in last["tags"]
    assert trace["processes"][last["processID"]]["serviceName"] == "ratings.default"
    assert (await server.get(f"/api/traces/{TRACE}"))["data"][0] == trace
    assert (await server.get("/api/traces", service="details.default", minDuration="1s"))["data"] == []
    assert (await server.get("/api/traces", service="details.default", tag="http.status_code:200"))["data"]
    assert (await server.get("/api/traces/12ab", 404))["errors"][0]["msg"] == "trace not found"
    assert "service" in (await server.get("/api/traces", 400))["errors"][0]["msg"]
    operations = await server.get("/api/operations", service="reviews.default", spanKind="client")
    assert operations["data"] == [{"name": "reviews.default.svc.cluster.local:9080/*", "spanKind": "client"}]


async def test_who_calls_whom(server: Server) -> None:
    server.traces.store.flush(server.now)
    links = (await server.get("/api/dependencies", endTs=str(server.now // 1000), lookback="3600000"))["data"]
    assert {(link["parent"].split(".")[0], link["child"].split(".")[0], link["callCount"]) for link in links} == {
        ("productpage", "details", 1),
        ("productpage", "reviews", 1),
        ("reviews", "ratings", 1),
    }


async def test_zipkin_gives_back_what_it_got(server: Server) -> None:
    assert await server.get(f"/api/v2/trace/{TRACE}") == bookinfo()
    end = str(server.now // 1000)
    assert await server.get("/api/v2/traces", serviceName="details.default", endTs=end) == [bookinfo()]


async def test_tempo_searches_with_traceql(server: Server) -> None:
    kiali = '{.service.name="ratings.default" && .http.status_code!="200"} && {} | select(status, .http.method)'
    (found,) = (await server.get("/api/search", q=kiali))["traces"]
    assert (found["traceID"], found["rootServiceName"]) == (TRACE, "productpage.default")
    assert found["spanSets"][0]["matched"] == 1
    assert (await server.get("/api/search", q='{resource.service.name="details.default"} && {duration > 1h}'))[
        "traces"
    ] == []
    assert (await server.get("/api/search", tags='service.name="reviews.default"'))["traces"]
    assert b"rate" in await server.get("/api/search", 400, q="{} | rate()")
    message = await server.protobuf(f"/api/traces/{TRACE}")
    assert len(message.resource_spans) == 4
    values = await server.get("/api/v2/search/tag/resource.service.name/values")
    assert {"type": "string", "value": "reviews.default"} in values["tagValues"]
    assert await server.get("/api/echo") == b"echo"


def exported() -> ExportTraceServiceRequest:
    request = ExportTraceServiceRequest()
    of = request.resource_spans.add()
    of.resource.attributes.add(key="service.name").value.string_value = "echo.default"
    made = of.instrumentation_library_spans.add().spans.add(
        trace_id=bytes.fromhex(TRACE),
        span_id=b"\0" * 7 + b"\7",
        name="GET",
        kind=2,
        start_time_unix_nano=NOW * 1000,
        end_time_unix_nano=NOW * 1000 + 5_000_000,
    )
    made.attributes.add(key="http.status_code").value.int_value = 500
    return request


async def test_otlp_by_http_and_json(server: Server) -> None:
    body = gzip.compress(exported().SerializeToString())
    assert (await server.post("/v1/traces", body, "application/x-protobuf", **{"Content-Encoding": "gzip"}))[0] == 200
    found = server.traces.store.find(Query("echo.default"))[0]
    (ours,) = (s for s in found if s.service == "echo.default")
    assert (ours.kind, ours.duration_us, ours.error, ours.tags) == ("server", 5000, True, {"http.status_code": "500"})
    as_json = {
        "resourceSpans": [
            {
                "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "json"}}]},
                "scopeSpans": [
                    {"spans": [{"traceId": TRACE, "spanId": "00000000000000ff", "startTimeUnixNano": str(NOW * 1000)}]}
                ],
            }
        ]
    }
    assert (await server.post("/v1/traces", json.dumps(as_json).encode()))[0] == 200
    assert "json" in server.traces.store.services()


async def test_otlp_by_grpc(server: Server) -> None:
    connections = Connections("a test", ConnectionLimits(unauthenticated=8, unauthenticated_s=None))
    made = GrpcServer(server.traces.methods(), {}, connections)
    socket = listen("127.0.0.1", 0)
    task = asyncio.create_task(connections.serve(socket, made.protocol, None))
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{socket.getsockname()[1]}") as channel:
            call = channel.unary_unary(otlp.EXPORT)
            assert await call(exported().SerializeToString()) == b""
            with pytest.raises(grpc.aio.AioRpcError, match="ExportTraceServiceRequest"):
                await call(b"\xff\xff\xff")
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await made.close()
    assert "echo.default" in server.traces.store.services()


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"{", "no JSON"),
        (b"{}", "JSON list"),
        (b"[1]", "[0]"),
        (b'[{"traceId": "xyz", "id": "1"}]', "traceId"),
        (b'[{"traceId": "0000", "id": "1"}]', "traceId"),
        (b'[{"traceId": "1", "id": "1", "timestamp": -5}]', "timestamp"),
    ],
)
async def test_what_is_no_span_is_refused(server: Server, body: bytes, problem: str) -> None:
    status, text = await server.post("/api/v2/spans", body)
    assert (status, problem in text) == (400, True), text


async def test_a_bomb_is_refused(server: Server) -> None:
    bomb = gzip.compress(b" " * (MAX_BODY + 1))
    status, text = await server.post("/api/v2/spans", bomb, **{"Content-Encoding": "gzip"})
    assert (status, "longer than" in text) == (400, True)
    assert (await server.post("/api/v2/spans", b"[]", "text/plain"))[0] == 415


# -- the store ------------------------------------------------------------------------------------------


def made(number: int, at: int = NOW, **fields: Any) -> Span:
    return Span(f"{number:032x}", f"{number:016x}", "svc", "op", at + number, **fields)


def test_spans_survive_a_restart(tmp_path: Path) -> None:
    store = TraceStore(tmp_path)
    store.add(made(i, tags={"n": str(i)}) for i in range(1, 50))
    store.flush(NOW)
    store.close()
    again = TraceStore(tmp_path)
    assert again.trace(f"{7:032x}") == [made(7, tags={"n": "7"})]
    assert len(again.find(Query("svc", limit=100))) == 49
    assert [path.stat().st_mode & 0o777 for path in tmp_path.glob("*.db")] == [0o600]
    again.close()


def test_the_oldest_go_when_there_is_too_much_or_they_are_too_old(tmp_path: Path) -> None:
    store = TraceStore(tmp_path, max_bytes=1, max_age_s=3 * 86_400)
    for part in range(4):
        store.add([made(part + 1, NOW + part * PARTITION_US)])
        store.flush(NOW + part * PARTITION_US)
    assert [trace[0].trace for trace in store.find(Query("svc"))] == [f"{4:032x}"]
    store.flush(NOW + 4 * 86_400_000_000)
    assert store.find(Query("svc")) == []
    store.add([made(9, NOW - 10 * 86_400_000_000)])  # from a clock that is wrong
    store.flush(NOW)
    assert store.dropped == 1
    store.close()


def test_a_damaged_file_is_left_alone(tmp_path: Path) -> None:
    number = NOW // PARTITION_US
    (tmp_path / f"traces-{number}.db").write_bytes(b"no database")
    store = TraceStore(tmp_path)
    store.add([made(1)])
    store.flush(NOW)
    assert store.dropped == 1
    store.add([made(2, NOW + PARTITION_US)])
    store.flush(NOW + PARTITION_US)
    assert len(store.find(Query("svc"))) == 1
    store.close()


# -- queries and messages -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("{}", True),
        ('{ .a = "1" }', True),
        ('{ span.a = "2" }', False),
        ('{ .a = "1" && name = "op" || false }', True),
        ("{ .a = 1 }", True),
        ("{ .a >= 2 }", False),
        ("{ duration > 4ms && duration <= 5ms }", True),
        ('{ .a =~ "1|2" }', True),
        ('{ .a !~ "1|2" }', False),
        ("{ status = error }", False),
        ("{ kind = server }", True),
        ('{ .missing != "x" }', False),
        ('({ .a = "9" } || { .a = "1" }) && { resource.service.name = "svc" }', True),
    ],
)
def test_traceql(query: str, expected: bool) -> None:
    one = made(1, duration_us=5000, kind="server", tags={"a": "1"})
    some, whole = traceql.parse(query)
    assert whole([one]) == expected
    assert not expected or some(one)


@pytest.mark.parametrize(
    "query", ["", "{", '{ .a = "1"', "{ a = 1 }", "{} | avg(duration)", "{} >> {}", '{ .a =~ "(" }', "(" * 200]
)
def test_traceql_that_is_not_understood_is_refused(query: str) -> None:
    with pytest.raises(traceql.Unsupported):
        traceql.parse(query)


@given(st.binary(max_size=300))
def test_any_bytes_are_spans_or_refused(body: bytes) -> None:
    for read in (zipkin.read, otlp.read, otlp.read_json):
        with contextlib.suppress(BadSpans):
            assert all(len(s.trace) == 32 for s in read(body))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda s: (
            st.lists(s)
            | st.dictionaries(
                st.sampled_from(
                    ["traceId", "id", "resourceSpans", "scopeSpans", "spans", "tags", "kind", "attributes", "timestamp"]
                ),
                s,
            )
        ),
        max_leaves=20,
    )
)
def test_any_json_is_spans_or_refused(value: Any) -> None:
    body = json.dumps(value).encode()
    for read in (zipkin.read, otlp.read_json):
        with contextlib.suppress(BadSpans):
            read(body)
