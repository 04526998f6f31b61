"""Metrics pushed by OTLP: the same series as on the page, to the collector that the environment names."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from sailcloth.agent.otlp_metrics import ENDPOINT, HEADERS, INTERVAL, MetricsPush, PushOptions, encode

HERE = -1  # this process's own network namespace
RESOURCE = {"service.name": "web.shop", "service.instance.id": "web-1.shop"}
PAGE = b"""\
# TYPE istio_requests_total counter
istio_requests_total{path="a\\"b,c",reporter="source"} 3
istio_requests_total{reporter="destination"} 4
# TYPE envoy_server_uptime gauge
envoy_server_uptime{} 100
# TYPE istio_request_bytes histogram
istio_request_bytes_bucket{reporter="source",le="64"} 2
istio_request_bytes_bucket{reporter="source",le="256"} 5
istio_request_bytes_bucket{reporter="source",le="+Inf"} 6
istio_request_bytes_sum{reporter="source"} 999.5
istio_request_bytes_count{reporter="source"} 6
"""


def test_every_series_is_sent_with_its_kind() -> None:
    (of,) = ExportMetricsServiceRequest.FromString(encode(PAGE, RESOURCE, 1, 2)).resource_metrics
    assert {a.key: a.value.string_value for a in of.resource.attributes} == RESOURCE
    metrics = {m.name: m for m in of.instrumentation_library_metrics[0].metrics}
    assert set(metrics) == {"istio_requests_total", "envoy_server_uptime", "istio_request_bytes"}
    requests = metrics["istio_requests_total"].sum
    points = [({a.key: a.value.string_value for a in p.attributes}, p.as_double) for p in requests.data_points]
    assert points == [({"path": 'a"b,c', "reporter": "source"}, 3), ({"reporter": "destination"}, 4)]
    assert (requests.is_monotonic, requests.aggregation_temporality) == (True, 2)
    assert {(p.start_time_unix_nano, p.time_unix_nano) for p in requests.data_points} == {(1, 2)}
    assert metrics["envoy_server_uptime"].gauge.data_points[0].as_double == 100
    (histogram,) = metrics["istio_request_bytes"].histogram.data_points
    assert (list(histogram.explicit_bounds), list(histogram.bucket_counts)) == ([64, 256], [2, 3, 1])
    assert (histogram.count, histogram.sum) == (6, 999.5)


@given(st.text() | st.from_regex(r'(# TYPE a (counter|histogram)\n)?a(_bucket)?\{x="[^"]*"(,le="1")?\} [0-9]{1,3}\n'))
def test_pages_that_are_wrong_raise_what_is_expected(text: str) -> None:
    try:
        encode(text.encode(errors="replace"), RESOURCE, 1, 2)
    except (ValueError, OverflowError):
        assert "bucket" in text or "_sum" in text or "_count" in text


@pytest.mark.parametrize(
    ("env", "options"),
    [
        ({}, PushOptions()),
        ({ENDPOINT: "http://otel.obs:4318/v1/metrics"}, PushOptions("otel.obs", 4318, "/v1/metrics")),
        ({ENDPOINT: "http://otel", INTERVAL: "5000"}, PushOptions("otel", 80, "/", (), 5.0)),
        ({ENDPOINT: "http://otel", INTERVAL: "1"}, PushOptions("otel", 80, "/", (), 1.0)),
        ({ENDPOINT: "http://otel", HEADERS: "a=b%20c, d=e"}, PushOptions("otel", 80, "/", (("a", "b c"), ("d", "e")))),
        ({ENDPOINT: "https://otel"}, PushOptions()),
        ({ENDPOINT: "otel:4318"}, PushOptions()),
        ({ENDPOINT: "http://otel:99999"}, PushOptions()),
        ({ENDPOINT: "http://otel", INTERVAL: "often"}, PushOptions()),
        ({ENDPOINT: "http://otel", HEADERS: "a=b%0d%0aX: y"}, PushOptions()),
        ({ENDPOINT: "http://otel/a b"}, PushOptions()),
    ],
)
def test_options_from_the_environment(env: dict[str, str], options: PushOptions) -> None:
    assert PushOptions.from_env(env) == options


class Collector:
    """Answers with a status, and keeps what it got."""

    def __init__(self) -> None:
        self.status, self.port = 200, 0
        self.requests: list[tuple[bytes, bytes]] = []

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
        self.requests.append((head, await reader.readexactly(length)))
        writer.write(b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % self.status)
        writer.close()


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    made = Collector()
    async with await asyncio.start_server(made.answer, "127.0.0.1", 0) as server:
        made.port = server.sockets[0].getsockname()[1]
        yield made


async def test_a_push_reaches_the_collector_and_says_when_envoy_started(collector: Collector) -> None:
    page, asked = PAGE, list[str]()

    async def resolve(host: str) -> str:
        asked.append(host)
        return "127.0.0.1"

    async def read() -> bytes:
        return page

    options = PushOptions("otel.obs", collector.port, "/v1/metrics", (("api-key", "k"),))
    push = MetricsPush(options, HERE, resolve, read, RESOURCE)

    def start() -> int:
        (of,) = ExportMetricsServiceRequest.FromString(collector.requests[-1][1]).resource_metrics
        first = of.instrumentation_library_metrics[0].metrics[0].sum.data_points[0]
        return int(first.start_time_unix_nano)

    await push.push()
    head = collector.requests[0][0].lower()
    assert head.startswith(b"post /v1/metrics http/1.1\r\nhost: otel.obs:%d\r\n" % collector.port)
    assert b"\r\ncontent-type: application/x-protobuf\r\n" in head
    assert b"\r\napi-key: k\r\n" in head
    before = start()
    await push.push()
    assert start() == before
    page = PAGE.replace(b"uptime{} 100", b"uptime{} 0")
    await push.push()
    assert start() > before
    assert (asked, push.pushes) == (["otel.obs"] * 3, 3)
    collector.status = 503
    with pytest.raises(OSError, match="status 503"):
        await push.push()
    assert "istio_agent_otlp_pushes_total 3\n" in push.metrics()
