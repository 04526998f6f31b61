"""Programs that speak to Prometheus speak to us: promtool, and another Prometheus that federates."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestServer

from sailcloth.telemetry.api import Api, Info
from sailcloth.telemetry.exposition import Metadata
from sailcloth.telemetry.metrics.store import Store

from . import prometheus
from .dataset import MINUTES, START, load, mesh

END = START + MINUTES * 60_000
PROMTOOL = shutil.which("promtool")
DEADLINE_S = 30


@pytest.fixture
async def server() -> AsyncIterator[Any]:
    store = Store()
    load(mesh(), store)
    async with TestServer(Api(store, Metadata(), Info(), lambda: END).application()) as one:
        yield one


async def _promtool(*arguments: str) -> tuple[int, list[str]]:
    assert PROMTOOL is not None
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(PROMTOOL, "query", *arguments, stdout=pipe, stderr=pipe)
    out, error = await process.communicate()
    return process.returncode or 0, sorted((out + error).decode().splitlines())


COMMANDS = [
    ("instant", f"--time={END // 1000}", "{url}", "round(sum(rate(istio_requests_total[1m])) by (pod), 0.001)"),
    ("instant", f"--time={END // 1000}", "{url}", "up[30s]"),
    ("range", f"--start={START // 1000}", f"--end={END // 1000}", "--step=60s", "{url}", "sum(up)"),
    ("series", f"--start={START // 1000}", f"--end={END // 1000}", "--match=up", "{url}"),
    ("labels", "{url}", "pod"),
]


@pytest.mark.skipif(PROMTOOL is None or prometheus.PROGRAM is None, reason="no prometheus and promtool on PATH")
async def test_promtool_sees_no_difference(server: Any, tmp_path: Path) -> None:
    with prometheus.running(tmp_path) as real:
        await asyncio.to_thread(real.write, mesh())
        for command in COMMANDS:
            answers = [
                await _promtool(*(part.format(url=url) for part in command))
                for url in (str(server.make_url("")), real.url)
            ]
            assert answers[0] == answers[1]
            assert answers[0][0] == 0


@pytest.mark.skipif(prometheus.PROGRAM is None, reason="no prometheus on PATH (Debian: apt install prometheus)")
async def test_another_prometheus_federates(server: Any, tmp_path: Path) -> None:
    config = f"""
scrape_configs:
- job_name: federate
  scrape_interval: 1s
  honor_labels: true
  honor_timestamps: false
  metrics_path: /federate
  params: {{'match[]': ['{{__name__=~"istio_.*"}}']}}
  static_configs: [{{targets: ['{server.host}:{server.port}']}}]
"""
    with prometheus.running(tmp_path, config) as real:
        end, data = time.monotonic() + DEADLINE_S, []
        while not data and time.monotonic() < end:
            await asyncio.sleep(0.1)
            _, body = await asyncio.to_thread(real.get, "/api/v1/query", query='count({__name__=~"istio_.*"}) by (pod)')
            data = body["data"]["result"]
    assert len(data) == 6, f"{data} after {DEADLINE_S} s"
