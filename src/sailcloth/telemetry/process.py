"""Metrics as a process: scraper, store, disk and HTTP API. Must not know the embedded cluster."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import time
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
from aiohttp import web

from sailcloth.kube import Client
from sailcloth.lib.connections import ConnectionLimits, Connections, listen

from .api import Api, Info
from .exposition import Metadata
from .metrics.disk import Disk
from .metrics.store import Store
from .scraper import Scraper

log = logging.getLogger(__name__)

_FLUSH_S = 300.0
_POST_S = 30.0
_KEEPALIVE_S = 60.0
_LIMITS = ConnectionLimits(unauthenticated=256, unauthenticated_s=None)


@dataclass(frozen=True)
class Config:
    """Settings of the process, from its JSON file."""

    kubeconfig: str = ""
    address: str = "127.0.0.1"
    port: int = 9090
    listen_fd: int = -1  # a listening socket instead of address and port
    folder: str = ""  # where metrics outlive a restart; empty: nowhere
    interval_s: float = 5.0
    max_series: int = 100_000
    accept_remote_write: bool = False
    remote_write: tuple[str, ...] = ()  # URLs of stores that get a copy of everything
    ready_fd: int = -1


def load_config(path: str) -> Config:
    """Settings from a JSON file. Raises msgspec.ValidationError for wrong types."""
    with open(path, "rb") as file:
        return msgspec.json.decode(file.read(), type=Config)


async def serve(config: Config) -> None:
    """Run until SIGTERM or SIGINT."""
    while config.kubeconfig and not Path(config.kubeconfig).exists():  # noqa: ASYNC110
        await asyncio.sleep(0.1)  # the API server, which starts at the same time, writes the file
    client = Client.from_kubeconfig(config.kubeconfig) if config.kubeconfig else Client.load()
    async with client:
        task = asyncio.create_task(_run(client, config))
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _run(client: Client, config: Config) -> None:
    store, metadata = Store(config.max_series), Metadata()
    disk = Disk(Path(config.folder), store) if config.folder else None
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
            Api(store, metadata, info).application(), access_log=None, keepalive_timeout=_KEEPALIVE_S
        )
        await runner.setup()
        assert runner.server is not None
        connections = Connections("the metrics API", _LIMITS)
        work = (
            connections.serve(_listener(config), runner.server, None),
            scraper.run(client),
            _keep(store, disk),
            *_forwarding(store, session, config.remote_write),
        )
        tasks = [asyncio.create_task(one) for one in work]
        log.info("serving metrics")
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
            if disk is not None:
                disk.close()


def _forwarding(
    store: Store, session: aiohttp.ClientSession, urls: Sequence[str]
) -> Iterator[Coroutine[Any, Any, None]]:
    if urls:
        from .forwarder import Forwarder  # imports protobuf

        for url in urls:
            yield Forwarder(store, partial(post, session, url), _now_ms()).run()


def _listener(config: Config) -> socket.socket:
    return socket.socket(fileno=config.listen_fd) if config.listen_fd >= 0 else listen(config.address, config.port)


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


async def post(session: aiohttp.ClientSession, url: str, body: bytes) -> int:
    """The status of a remote write. Raises OSError or TimeoutError."""
    headers = {
        "Content-Encoding": "snappy",
        "Content-Type": "application/x-protobuf",
        "X-Prometheus-Remote-Write-Version": "0.1.0",
    }
    try:
        async with asyncio.timeout(_POST_S), session.post(url, data=body, headers=headers) as response:
            return response.status
    except aiohttp.ClientError as error:
        raise OSError(str(error) or type(error).__name__) from None


def _now_ms() -> int:
    return int(time.time() * 1000)
