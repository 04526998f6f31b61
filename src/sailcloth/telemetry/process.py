"""Telemetry as a process: metrics (scraper, store, disk, HTTP API), traces (receivers, store, query APIs) and access logs (files, store,
API). Must not know the embedded cluster."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Coroutine, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
from aiohttp import web

from sailcloth.kube import Client
from sailcloth.kube.run import until_signalled
from sailcloth.lib.connections import ConnectionLimits, Connections, listen
from sailcloth.lib.grpc_server import GrpcServer

from .access_logs.files import LogFiles
from .access_logs.server import AccessLogs
from .access_logs.store import LogStore
from .api import Api, Info
from .exposition import Metadata
from .metrics.disk import Disk
from .metrics.store import COARSE_MS, Store
from .scraper import Scraper
from .traces.forwarding import SpanForwarder
from .traces.server import MAX_BODY, Traces
from .traces.store import MAX_AGE_S, MAX_BYTES, TraceStore
from .upstreams import Upstreams

log = logging.getLogger(__name__)

_FLUSH_S = 300.0
_COPY_S = 15.0  # between remote writes of a copy
_REMOTE_WRITE = {
    "Content-Encoding": "snappy",
    "Content-Type": "application/x-protobuf",
    "X-Prometheus-Remote-Write-Version": "0.1.0",
}
_KEEPALIVE_S = 60.0
_LIMITS = ConnectionLimits(unauthenticated=256, unauthenticated_s=None)


@dataclass(frozen=True)
class Config:
    """Settings of the process, from its JSON file."""

    kubeconfig: str = ""
    address: str = "127.0.0.1"
    port: int = 9090  # Prometheus' API
    zipkin_port: int = 9411  # these receive spans, 0: not
    otlp_grpc_port: int = 4317
    otlp_http_port: int = 4318
    jaeger_port: int = 16686  # these answer questions
    tempo_port: int = 3200
    access_log_port: int = 3100
    folder: str = ""  # where metrics outlive a restart; empty: nowhere; traces and access logs are kept with it only
    pod_logs: str = ""  # the folder of the pods' logs, as a kubelet keeps it; empty: no access logs
    proxy_container: str = "istio-proxy"
    after: str = ""  # a file to wait for before the start
    interval_s: float = 5.0
    max_series: int = 100_000
    retention_s: float = MAX_AGE_S  # of metrics and traces; metrics are kept for a day at most
    max_trace_bytes: int = MAX_BYTES
    accept_remote_write: bool = False
    remote_write: tuple[str, ...] = ()  # URLs of stores that get a copy of everything
    prometheus: str = ""  # a store that takes our place: it gets everything, and answers on our port
    tracing: str = ""  # a tracing system that takes our place: it answers on the ports of Jaeger, Tempo and Zipkin
    spans: str = ""  # where that system takes spans; the path says in which protocol
    forward_spans: tuple[str, ...] = ()  # where tracing systems take spans that get a copy of everything
    sockets: dict[str, str] = field(default_factory=dict)  # Unix sockets that lead to servers, by origin
    ready_fd: int = -1


def load_config(path: str) -> Config:
    """Settings from a JSON file. Raises msgspec.ValidationError for wrong types."""
    with open(path, "rb") as file:
        return msgspec.json.decode(file.read(), type=Config)


async def serve(config: Config) -> None:
    """Run until SIGTERM or SIGINT."""
    await until_signalled(config.kubeconfig, lambda client: _run(client, config))


async def _run(client: Client, config: Config) -> None:
    store = Store(config.max_series, min(int(config.retention_s * 1000), COARSE_MS))
    metadata = Metadata()
    disk = Disk(Path(config.folder), store) if config.folder and not config.prometheus else None
    upstreams = Upstreams(config.sockets)
    if disk is not None:
        disk.load(_now_ms())
    async with aiohttp.ClientSession(auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()) as session:
        scraper = Scraper(
            store, metadata, lambda url, limit_s, most: get(session, url, limit_s, most), config.interval_s
        )

        def numbers() -> dict[str, float]:
            return {
                "sailcloth_telemetry_targets": len(scraper.targets()),
                "sailcloth_telemetry_scrape_failures_total": scraper.failures,
                "sailcloth_telemetry_scrapes_out_of_order_total": scraper.out_of_order,
                "sailcloth_telemetry_disk_failures_total": disk.failures if disk is not None else 0,
            }

        info = Info(scraper.targets, numbers, config.interval_s, config.accept_remote_write)
        runner = web.AppRunner(
            Api(store, metadata, info).application(upstreams.handler(config.prometheus) if config.prometheus else None),
            access_log=None,
            keepalive_timeout=_KEEPALIVE_S,
        )
        await runner.setup()
        assert runner.server is not None
        connections = Connections("the metrics API", _LIMITS)
        work: list[Coroutine[Any, Any, None]] = [
            connections.serve(listen(config.address, config.port), runner.server, None),
            scraper.run(client),
            _keep(store, disk),
            *_forwarding(store, upstreams, config),
        ]
        traces = TraceServer(config, scraper.pods, upstreams) if config.folder else None
        work += await traces.start() if traces is not None else []
        tasks = [asyncio.create_task(one) for one in work]
        log.info("serving metrics on %s:%d", config.address, config.port)
        if config.ready_fd >= 0:
            os.write(config.ready_fd, b"1")
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await runner.cleanup()
            await upstreams.close()
            if traces is not None:
                await traces.close()
            if disk is not None:
                disk.close()


def _forwarding(store: Store, upstreams: Upstreams, config: Config) -> Iterator[Coroutine[Any, Any, None]]:
    writes = [(url, _COPY_S) for url in config.remote_write]
    if config.prometheus:
        writes.append((f"{config.prometheus.rstrip('/')}/api/v1/write", config.interval_s))
    for url, interval_s in writes:
        from .forwarder import Forwarder  # imports protobuf

        yield Forwarder(store, partial(upstreams.post, url, headers=_REMOTE_WRITE), _now_ms(), interval_s).run()


class TraceServer:
    """The ports of traces and access logs. pods: NAMESPACE/NAME by address."""

    def __init__(self, config: Config, pods: Mapping[str, str], upstreams: Upstreams) -> None:
        self._config, self._upstreams = config, upstreams
        urls = (*([config.spans] if config.tracing else []), *config.forward_spans)
        self._forwarders = [SpanForwarder(url, upstreams.post) for url in urls]
        forward, folder = [f.take for f in self._forwarders], Path(config.folder)
        kept = TraceStore(folder / "traces", config.max_trace_bytes, config.retention_s)
        self._traces = Traces(kept, forward=forward, keep=not config.tracing)
        self._logs: AccessLogs | None = None
        if config.pod_logs:
            store = LogStore(folder / "access-logs")
            files = LogFiles(Path(config.pod_logs), config.proxy_container, store.positions())
            self._logs = AccessLogs(store, files, pods, self._request_ids)
        self._runners: list[web.AppRunner] = []
        self._grpc: GrpcServer | None = None

    def _request_ids(self, trace: str) -> set[str]:
        if self._config.tracing:
            raise ValueError("trace: traces are kept elsewhere (--tracing)")
        return self._traces.store.request_ids(trace)

    async def start(self) -> list[Coroutine[Any, Any, None]]:
        """What is to run."""
        config, traces = self._config, self._traces
        ready = [web.get("/ready", _ready), web.get("/health", _ready)]
        if config.tracing:
            zipkin = jaeger = tempo = [web.route("*", "/{path:.*}", self._upstreams.handler(config.tracing))]
        else:
            zipkin, jaeger = [*traces.zipkin(), *ready], [*traces.jaeger(), *ready]
            tempo = [*traces.tempo(), web.get("/api/traces/{id}", traces.trace_by_id), *ready]
        ports = {
            config.zipkin_port: [*traces.receivers(), *zipkin],
            config.otlp_http_port: [*traces.receivers(), *ready],
            config.jaeger_port: jaeger,
            config.tempo_port: tempo,
        }
        work: list[Coroutine[Any, Any, None]] = [traces.run(), *(f.run() for f in self._forwarders)]
        if self._logs is not None:
            ports[config.access_log_port] = [*self._logs.routes(), *ready]
            work.append(self._logs.run())
        for port, routes in ports.items():
            if not port:
                continue
            application = web.Application(client_max_size=2 * MAX_BODY)
            application.add_routes(routes)
            runner = web.AppRunner(application, access_log=None, keepalive_timeout=_KEEPALIVE_S)
            await runner.setup()
            self._runners.append(runner)
            assert runner.server is not None
            connections = Connections(f"port {port} of telemetry", _LIMITS)
            work.append(connections.serve(listen(config.address, port), runner.server, None))
        if config.otlp_grpc_port:
            connections = Connections("OTLP over gRPC", _LIMITS)
            self._grpc = GrpcServer(traces.methods(), {}, connections)
            work.append(connections.serve(listen(config.address, config.otlp_grpc_port), self._grpc.protocol, None))
        return work

    async def close(self) -> None:
        """Close everything; what was received is on disk."""
        for runner in self._runners:
            await runner.cleanup()
        if self._grpc is not None:
            await self._grpc.close()
        self._traces.store.close()
        if self._logs is not None:
            self._logs.close()


async def _ready(_: web.Request) -> web.Response:
    return web.Response(text="ok\n")


async def _keep(store: Store, disk: Disk | None) -> None:
    """Write what was scraped, and drop what is too old."""
    while True:
        await asyncio.sleep(_FLUSH_S)
        if disk is None:
            store.expire(_now_ms())
            continue
        for _ in disk.flush(_now_ms()):
            await asyncio.sleep(0)


async def get(session: aiohttp.ClientSession, url: str, limit_s: float, most: int) -> bytes:
    """A page. Raises OSError, TimeoutError or ValueError."""
    headers = {"Accept": "text/plain;version=0.0.4", "Accept-Encoding": "identity"}
    try:
        async with (
            asyncio.timeout(limit_s),
            session.get(url, headers=headers, allow_redirects=False) as response,
        ):
            if response.status != 200:
                raise ValueError(f"server returned HTTP status {response.status}")
            body = bytearray()
            async for part in response.content.iter_any():
                body += part
                if len(body) > most:
                    raise ValueError(f"more than {most >> 20} MiB")
            return bytes(body)
    except TimeoutError:
        raise TimeoutError(f"no answer within {limit_s:g} s") from None
    except aiohttp.ClientError as error:
        raise OSError(str(error) or type(error).__name__) from None


def _now_ms() -> int:
    return int(time.time() * 1000)
