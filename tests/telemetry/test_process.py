"""The process: it scrapes the pods of an API server, answers queries, and remembers after it was killed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

DEADLINE_S = 30


class Cluster:
    """An API server with pods on 127.0.0.1, and their page."""

    def __init__(self) -> None:
        self.scrapes = 0
        self.port = 0

    def pod(self, name: str) -> dict[str, Any]:
        annotations = {"prometheus.io/scrape": "true", "prometheus.io/port": str(self.port)}
        return {
            "metadata": {"name": name, "namespace": "default", "resourceVersion": "1", "annotations": annotations},
            "status": {"podIP": "127.0.0.1", "phase": "Running"},
        }

    async def pods(self, request: web.Request) -> web.StreamResponse:
        if request.query.get("watch") == "true":
            await asyncio.Event().wait()
        return web.json_response({"metadata": {"resourceVersion": "1"}, "items": [self.pod("a")]})

    async def page(self, _: web.Request) -> web.Response:
        self.scrapes += 1
        return web.Response(text=f'# TYPE requests_total counter\nrequests_total{{code="200"}} {self.scrapes}\n')


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    one, app = Cluster(), web.Application()
    app.router.add_get("/api/v1/pods", one.pods)
    app.router.add_get("/metrics", one.page)
    async with TestServer(app) as server:
        assert server.port is not None
        one.port = server.port
        yield one


@contextlib.asynccontextmanager
async def running(folder: Path, cluster: Cluster) -> AsyncIterator[str]:
    """The process; gives its URL. Ends by SIGKILL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    kubeconfig = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c"}}],
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{cluster.port}"}}],
    }
    (folder / "kubeconfig").write_text(json.dumps(kubeconfig))
    settings = {
        "kubeconfig": str(folder / "kubeconfig"),
        "port": port,
        "folder": str(folder / "data"),
        "interval_s": 0.1,
    }
    (folder / "config.json").write_text(json.dumps(settings))
    command = [sys.executable, "-m", "sailcloth.telemetry", "--config", str(folder / "config.json")]
    process = await asyncio.create_subprocess_exec(*command)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _result(url: str, query: str) -> list[Any]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{url}/api/v1/query", params={"query": query}) as answer,
    ):
        return list((await answer.json())["data"]["result"])


async def _until(url: str, query: str, least: float) -> float:
    """The value of a query when it has reached one."""
    value = -1.0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(DEADLINE_S):
            while value < least:
                with contextlib.suppress(aiohttp.ClientError):
                    rows = await _result(url, query)
                    value = float(rows[0]["value"][1]) if rows else -1.0
                await asyncio.sleep(0.05)
    assert value >= least, f"{query} is {value} after {DEADLINE_S} s, and not {least}"
    return value


async def test_metrics_outlive_the_process(tmp_path: Path, cluster: Cluster) -> None:
    count = "count_over_time(requests_total[1h])"
    async with running(tmp_path, cluster) as url:
        before = await _until(url, count, 10)
        assert await _until(url, "up", 1) == 1
        labels = (await _result(url, "requests_total"))[0]["metric"]
        assert labels == {
            "__name__": "requests_total",
            "code": "200",
            "job": "kubernetes-pods",
            "instance": f"127.0.0.1:{cluster.port}",
            "namespace": "default",
            "pod": "a",
        }
    async with running(tmp_path, cluster) as url:
        assert await _until(url, count, before + 5) >= before + 5
        first = await _result(url, "min_over_time(requests_total[1h])")
        assert first[0]["value"][1] == "1"
        assert await _until(url, "increase(requests_total[1m])", 10) > 0
