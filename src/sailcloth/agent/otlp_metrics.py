"""Metrics of a proxy, pushed by OpenTelemetry's protocol (OTLP over HTTP) to collectors that do not scrape.

Envoy's own OpenTelemetry sink sends counters as Envoy names them, before Istio's labels are written out (decision 19). So the agent sends
the page that it also serves. Sums are cumulative: a push that fails loses nothing if a later one succeeds. Without a mark on the
connection the sidecar captures it, as it does the application's, so mutual TLS and routing rules apply.
https://opentelemetry.io/docs/specs/otel/protocol/exporter/
"""

from __future__ import annotations

import asyncio
import logging
import re
import socket
import time
import zlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any
from urllib.parse import unquote, urlsplit

from sailcloth.lib import http1
from sailcloth.lib.time_limit import within

from .bootstrap import ProxyIdentity
from .netns import socket_in

log = logging.getLogger(__name__)

ENDPOINT, INTERVAL, HEADERS = (
    "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
    "OTEL_METRIC_EXPORT_INTERVAL",
    "OTEL_EXPORTER_OTLP_METRICS_HEADERS",
)
_INTERVAL_S, _MIN_INTERVAL_S = 60.0, 1.0  # the default is OpenTelemetry's
_PUSH_S = 10.0
_MAX_ANSWER = 1 << 16
_RESTART_S = 3.0  # by which the start of Envoy, in whole seconds, has to move to be another
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)",?')
_HEADER = re.compile(r"[A-Za-z0-9-]+")
_UPTIME = re.compile(rb"^envoy_server_uptime(?:\{[^}]*\})? (\d+)", re.MULTILINE)


@dataclass(frozen=True)
class PushOptions:
    """Where metrics are pushed to. An empty host: nowhere."""

    host: str = ""
    port: int = 0
    path: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    interval_s: float = _INTERVAL_S

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> PushOptions:
        """By OpenTelemetry's variables. What is not understood is logged, without values, and nothing is pushed."""
        endpoint = env.get(ENDPOINT, "")
        if not endpoint:
            return cls()
        try:
            url = urlsplit(endpoint)
            host, port = url.hostname or "", url.port or 80
            interval_s = max(_MIN_INTERVAL_S, float(env.get(INTERVAL) or _INTERVAL_S * 1000) / 1000)
            headers = tuple(_header(pair) for pair in env.get(HEADERS, "").split(",") if pair.strip())
            path = (url.path or "/") + (f"?{url.query}" if url.query else "")
            if url.scheme != "http" or not host or not path.isascii() or not path.isprintable() or " " in path:
                raise ValueError
        except ValueError:
            log.warning(
                "%s, %s or %s is not understood: no metrics are pushed; use http://…", ENDPOINT, INTERVAL, HEADERS
            )
            return cls()
        return cls(host, port, path, headers, interval_s)


def _header(pair: str) -> tuple[str, str]:
    name, equals, value = pair.partition("=")
    name, value = name.strip(), unquote(value.strip())
    if not equals or not _HEADER.fullmatch(name) or not value.isprintable():
        raise ValueError
    return name, value


def resource(proxy: ProxyIdentity) -> dict[str, str]:
    """OpenTelemetry's attributes of a proxy."""
    instance = f"{proxy.name}.{proxy.namespace}"
    pod = {"k8s.namespace.name": proxy.namespace, "k8s.pod.name": proxy.name}
    return {"service.name": proxy.node_cluster, "service.instance.id": instance, **pod}


@dataclass
class MetricsPush:
    """Pushes the page of one pod. `resolve`: the address of a name of the cluster, empty for others."""

    options: PushOptions
    netns_fd: int
    resolve: Callable[[str], Awaitable[str]]
    page: Callable[[], Awaitable[bytes]]
    resource: Mapping[str, str]
    pushes: int = 0
    failures: int = 0
    _start_s: float = field(default=0.0, init=False)  # of Envoy: when its counters began

    async def run(self) -> None:
        """Push until cancelled, each pod at another moment of the interval."""
        name = "/".join(self.resource.values()).encode()
        await asyncio.sleep(self.options.interval_s * (zlib.crc32(name) % 1000) / 1000)
        while True:
            try:
                await within(_PUSH_S, self.push())
            except (TimeoutError, OSError, EOFError, ValueError, OverflowError) as error:
                self.failures += 1
                level = logging.WARNING if self.failures == 1 else logging.DEBUG
                log.log(level, "metrics are not pushed to %s: %s", self.options.host, error or "no answer in time")
            await asyncio.sleep(self.options.interval_s)

    async def push(self) -> None:
        """Push once. Raises OSError, TimeoutError, EOFError, or ValueError or OverflowError for a page that is not understood."""
        page, now_s = await self.page(), time.time()
        body = encode(page, self.resource, int(self._start(page, now_s) * 1e9), int(now_s * 1e9))
        options = self.options
        address = await self.resolve(options.host) or await _address(options.host, options.port)
        reader, writer = await asyncio.open_connection(sock=await socket_in(self.netns_fd, address, options.port))
        try:
            host = f"{options.host}:{options.port}"
            headers = (("Content-Type", "application/x-protobuf"), *options.headers)
            writer.write(http1.request("POST", options.path, host, headers, body))
            await writer.drain()
            status, _ = http1.parse(await reader.read(_MAX_ANSWER))
        finally:
            writer.close()
        if status // 100 != 2:
            raise OSError(f"status {status}")
        self.pushes += 1

    def _start(self, page: bytes, now_s: float) -> float:
        """When Envoy's counters began, the same until it is started again."""
        uptime = _UPTIME.search(page)
        start_s = now_s - int(uptime[1]) if uptime else self._start_s or now_s
        if abs(start_s - self._start_s) > _RESTART_S:
            self._start_s = start_s
        return self._start_s

    def metrics(self) -> str:
        """The agent's metrics about it, in Prometheus' text format."""
        counts = {"pushes": self.pushes, "push_failures": self.failures}
        names = {f"istio_agent_otlp_{what}_total": number for what, number in counts.items()}
        return "".join(f"# TYPE {name} counter\n{name} {number}\n" for name, number in names.items())


async def _address(host: str, port: int) -> str:
    loop = asyncio.get_running_loop()
    addresses = await loop.getaddrinfo(host, port, family=socket.AF_INET, type=socket.SOCK_STREAM)
    return str(addresses[0][4][0])


@dataclass
class _Histogram:
    bounds: list[float] = field(default_factory=list)
    counts: list[float] = field(default_factory=list)  # cumulative
    sum: float = 0.0
    count: float = 0.0


def encode(page: bytes, resource: Mapping[str, str], start_ns: int, now_ns: int) -> bytes:
    """An ExportMetricsServiceRequest of a page in Prometheus' text format, as `StandardMetrics` writes it."""
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
    from opentelemetry.proto.metrics.v1 import metrics_pb2

    request = ExportMetricsServiceRequest()
    of = request.resource_metrics.add()
    _attributes(of.resource.attributes, resource)
    metrics = of.instrumentation_library_metrics.add().metrics  # field 2, `scope_metrics` today
    kinds: dict[str, str] = {}
    by_name: dict[str, Any] = {}
    histograms: dict[tuple[str, str], _Histogram] = {}

    def metric(name: str) -> Any:
        if name not in by_name:
            by_name[name] = metrics.add(name=name)
        return by_name[name]

    for line in page.decode(errors="replace").splitlines():
        if line.startswith("#"):
            words = line.split(" ")
            if words[1:2] == ["TYPE"] and len(words) == 4:
                kinds[words[2]] = words[3]
            continue
        series, _, text = line.rpartition(" ")
        name, _, labels = series.partition("{")
        try:
            value = float(text)
        except ValueError:
            continue
        base, _, part = name.rpartition("_")
        if part in ("bucket", "sum", "count") and kinds.get(base) == "histogram":
            labels, _, bound = labels.removesuffix("}").partition('le="')
            histogram = histograms.setdefault((base, labels.rstrip(",")), _Histogram())
            if part == "bucket":
                histogram.bounds.append(float(bound.rstrip('"')))
                histogram.counts.append(value)
            else:
                setattr(histogram, part, value)
            continue
        if kinds.get(name) == "counter":
            target = metric(name).sum
            target.is_monotonic = True
            target.aggregation_temporality = metrics_pb2.AGGREGATION_TEMPORALITY_CUMULATIVE
            point = target.data_points.add(start_time_unix_nano=start_ns)
        else:
            point = metric(name).gauge.data_points.add()
        point.time_unix_nano, point.as_double = now_ns, value
        _attributes(point.attributes, _labels(labels))
    for (name, labels), histogram in histograms.items():
        target = metric(name).histogram
        target.aggregation_temporality = metrics_pb2.AGGREGATION_TEMPORALITY_CUMULATIVE
        below = [0.0, *histogram.counts]
        target.data_points.add(
            start_time_unix_nano=start_ns,
            time_unix_nano=now_ns,
            count=int(histogram.count),
            sum=histogram.sum,
            bucket_counts=[int(count - less) for less, count in pairwise(below)],
            explicit_bounds=[bound for bound in histogram.bounds if bound != float("inf")],
        )
        _attributes(target.data_points[-1].attributes, _labels(labels))
    return bytes(request.SerializeToString())


def _labels(text: str) -> dict[str, str]:
    return {m[1]: re.sub(r"\\(.)", lambda e: "\n" if e[1] == "n" else e[1], m[2]) for m in _LABEL.finditer(text)}


def _attributes(target: Any, given: Mapping[str, str]) -> None:
    for name, value in given.items():
        target.add(key=name).value.string_value = value
