"""What metrics cost: CPU and memory for 100 sidecars at five seconds, the disk, a restart, and queries beside a real Prometheus.

Pages have the labels of Istio's metrics; three in ten series grow between two scrapes. Ingestion is parsing and storing, journal included,
without HTTP. The last half hour is written to a Prometheus too, if there is one on PATH, and both answer the same queries over HTTP
in turn.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from sailcloth.telemetry import exposition, remote_write
from sailcloth.telemetry.metrics.chunks import Floats
from sailcloth.telemetry.metrics.disk import Disk
from sailcloth.telemetry.metrics.store import NewRow, Store

from . import machine

SIDECARS, SERIES, INTERVAL_MS, COLUMNS = 100, 600, 5000, 720
_ROUNDS, _ASKED, _SHARED = 8, 5, 360  # measured scrapes; repetitions of a query; columns that Prometheus has too
_BUCKETS = (
    0.5,
    1,
    5,
    10,
    25,
    50,
    100,
    250,
    500,
    1000,
    2500,
    5000,
    10000,
    30000,
    60000,
    300000,
    600000,
    1800000,
    3600000,
)
_QUERIES = {
    "graph": (
        "sum(rate(istio_requests_total[1m])) by (source_workload,source_workload_namespace,destination_workload,"
        "destination_workload_namespace,destination_service,response_code,request_protocol,response_flags)"
    ),
    "p95": (
        "histogram_quantile(0.95,sum(rate(istio_request_duration_milliseconds_bucket[1m])) by (le,destination_workload))"
    ),
    "workload": 'sum(rate(istio_requests_total{destination_workload="w5"}[1m])) by (source_workload,response_code)',
    "names": 'count({__name__=~".+"}) by (__name__)',
}


def _labels(reporter: str, source: int, destination: int, code: int) -> str:
    def side(name: str, n: int) -> str:
        values = {
            "workload": f"w{n}",
            "workload_namespace": f"ns{n % 10}",
            "principal": f"spiffe://cluster.local/ns/ns{n % 10}/sa/default",
            "app": f"w{n}",
            "version": "v1",
            "cluster": "Kubernetes",
            "canonical_service": f"w{n}",
            "canonical_revision": "v1",
        }
        return ",".join(f'{name}_{k}="{v}"' for k, v in values.items())

    host = f"w{destination}.ns{destination % 10}"
    return (
        f'reporter="{reporter}",{side("source", source)},{side("destination", destination)},'
        f'destination_service="{host}.svc.cluster.local",destination_service_name="w{destination}",'
        f'destination_service_namespace="ns{destination % 10}",request_protocol="http",response_code="{code}",'
        'grpc_response_status="",response_flags="-",connection_security_policy="mutual_tls"'
    )


def _lines(sidecar: int) -> list[str]:
    """A page's lines without their values."""
    out: list[str] = []
    for step in range(1, SIDECARS):
        other = (sidecar + step) % SIDECARS
        for reporter, source, destination in (("source", sidecar, other), ("destination", other, sidecar)):
            for code in (200, 503) if step == 1 else (200,):
                labels = _labels(reporter, source, destination, code)
                out.append(f"istio_requests_total{{{labels}}}")
                for name in ("request_duration_milliseconds", "request_bytes", "response_bytes"):
                    out += [f'istio_{name}_bucket{{{labels},le="{b:g}"}}' for b in (*_BUCKETS, float("inf"))]
                    out += [f"istio_{name}_sum{{{labels}}}", f"istio_{name}_count{{{labels}}}"]
        if len(out) >= SERIES:
            break
    return [line.replace('le="inf"', 'le="+Inf"') for line in out[:SERIES]]


class _Mesh:
    """Pages, and the state of their counters."""

    def __init__(self) -> None:
        self.random = np.random.default_rng(1)
        self.lines = [_lines(i) for i in range(SIDECARS)]
        busy = self.random.random((SIDECARS, SERIES)) < 0.3
        self.rates = busy * self.random.integers(1, 40, (SIDECARS, SERIES))
        self.state = np.zeros((SIDECARS, SERIES))

    def grow(self) -> None:
        self.state += self.random.poisson(self.rates)

    def pages(self) -> list[bytes]:
        return [
            "".join(f"{line} {value:.0f}\n" for line, value in zip(lines, row, strict=True)).encode()
            for lines, row in zip(self.lines, self.state, strict=True)
        ]


def _own(sidecar: int) -> dict[str, str]:
    return {
        "job": "kubernetes-pods",
        "instance": f"10.0.0.{sidecar}:15020",
        "namespace": f"ns{sidecar % 10}",
        "pod": f"w{sidecar}-5b6f7c8d9-x2x4z",
        "app": f"w{sidecar}",
        "version": "v1",
    }


def _scrape(store: Store, at: int, pages: list[bytes]) -> None:
    metadata = exposition.Metadata()
    for sidecar, body in enumerate(pages):
        target = store.target(f"sidecar/{sidecar}")
        page = exposition.parse(body, target.rows, metadata)
        new = [NewRow(n.key, {**_own(sidecar), **n.labels}, n.value) for n in page.new]
        store.append(target, at + sidecar, page.rows, page.values, new)


def _ask(url: str, path: str, **query: Any) -> tuple[float, Any]:
    """(ms, result) of a query."""
    begin = time.perf_counter()
    with urllib.request.urlopen(f"{url}/api/v1/{path}?{urllib.parse.urlencode(query)}", timeout=120) as answer:
        body = answer.read()
    return (time.perf_counter() - begin) * 1000, json.loads(body)["data"]["result"]


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def _process(command: list[str], url: str) -> Iterator[tuple[subprocess.Popen[bytes], float]]:
    """A server, and the seconds until it was ready."""
    begin = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            while True:
                try:
                    urllib.request.urlopen(f"{url}/-/ready", timeout=5).close()
                    break
                except OSError:
                    if time.perf_counter() - begin > 60 or process.poll() is not None:
                        raise
                    time.sleep(0.02)
            yield process, time.perf_counter() - begin
        finally:
            process.kill()
            process.wait()


def _write(url: str, store: Store, since: int) -> None:
    """Send what the store has since a time to a Prometheus."""
    index, _, batches = store.select([], since, 1 << 60)
    for batch in batches:
        labels = [index.labels(ref) for ref in batch.refs.tolist()]
        for first in range(0, len(batch.times), 60):
            times = batch.times[first : first + 60].tolist()
            rows = batch.values[:, first : first + 60].tolist()
            body = remote_write.encode(
                (m, list(zip(times, row, strict=True))) for m, row in zip(labels, rows, strict=True)
            )
            headers = {"Content-Encoding": "snappy", "Content-Type": "application/x-protobuf"}
            urllib.request.urlopen(urllib.request.Request(f"{url}/api/v1/write", body, headers), timeout=60).close()


def _largest_difference(ours: Any, theirs: Any) -> float:
    """The largest relative difference of two results; infinite if their series differ."""

    def points(result: Any) -> dict[str, Floats]:
        return {
            json.dumps(r["metric"], sort_keys=True): np.array(r.get("values") or [r["value"]], np.float64)
            for r in result
        }

    mine, other = points(ours), points(theirs)
    if mine.keys() != other.keys() or any(mine[k].shape != other[k].shape for k in mine):
        return float("inf")
    gaps = [np.max(np.abs(mine[k] - other[k]) / np.maximum(np.abs(other[k]), 1e-9), initial=0) for k in mine]
    return float(max(gaps, default=0))


def _fill(folder: Path, now: int) -> tuple[Store, dict[str, Any]]:
    """A store with an hour of metrics, and what it cost."""
    out: dict[str, Any] = {}
    mesh, store = _Mesh(), Store()
    gc.collect()
    before = machine.memory_mb(os.getpid())
    disk = Disk(folder, store)
    disk.load(now)
    at = now - COLUMNS * INTERVAL_MS
    pages = mesh.pages()
    out["page_kb"] = len(pages[0]) // 1000
    begin = time.process_time()
    _scrape(store, at, pages)
    out["first_scrape_cpu_ms"] = round((time.process_time() - begin) * 1000)
    costs = []
    for number in range(1, COLUMNS):
        mesh.grow()
        pages = mesh.pages() if number <= _ROUNDS else []
        begin = time.process_time()
        if pages:
            _scrape(store, at + number * INTERVAL_MS, pages)
            costs.append(time.process_time() - begin)
        else:
            rows = np.arange(SERIES)
            for sidecar in range(SIDECARS):
                target = store.target(f"sidecar/{sidecar}")
                store.append(target, at + number * INTERVAL_MS + sidecar, rows, mesh.state[sidecar])
        if number % 60 == 59:
            begin = time.process_time()
            for _ in disk.flush(at + number * INTERVAL_MS):
                pass
            out["flush_cpu_ms"] = round((time.process_time() - begin) * 1000)
    del mesh, pages
    gc.collect()
    out["scrape_of_all_cpu_ms"] = machine.spread((c * 1000 for c in costs), 1)
    per_second = statistics.median(costs) * 1000 / INTERVAL_MS + out["flush_cpu_ms"] / 1000 / 300
    out["share_of_a_core"] = round(per_second, 4)
    out["memory_mb"] = round(machine.memory_mb(os.getpid()) - before)
    out["chunks_mb"] = round(sum(c.nbytes() for t in store.targets.values() for c in t.view.fine) / 1e6)
    out["disk_mb"] = {
        kind: round(sum(p.stat().st_size for p in folder.glob(f"{kind}*")) / 1e6, 1)
        for kind in ("series", "fine", "coarse", "journal")
    }
    disk.close()
    store.journal = None
    return store, out


def _compare(ours: str, theirs: str | None, now: int) -> dict[str, Any]:
    times = {"time": now / 1000}
    span = {"start": (now - _SHARED * INTERVAL_MS) / 1000 + 120, "end": now / 1000, "step": 15}
    out: dict[str, Any] = {}
    for name, query in _QUERIES.items():
        for path, when in (("query", times), ("query_range", span)):
            if path == "query_range" and name == "names":
                continue
            servers = {"ours": ours} if theirs is None else {"ours": ours, "prometheus": theirs}
            taken: dict[str, list[float]] = {server: [] for server in servers}
            answers: dict[str, Any] = {}
            for _ in range(_ASKED):
                for server, url in servers.items():
                    ms, answers[server] = _ask(url, path, query=query, **when)
                    taken[server].append(ms)
            row: dict[str, Any] = {f"{server}_ms": round(statistics.median(ms), 1) for server, ms in taken.items()}
            if theirs is not None:
                row["difference"] = _largest_difference(answers["ours"], answers["prometheus"])
            out[f"{name} {'instant' if path == 'query' else 'range'}"] = row
    return out


def _measure() -> dict[str, Any]:
    now = int(time.time() * 1000)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        store, out = _fill(folder / "data", now)
        port, other_port = _free_port(), _free_port()
        url, other = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{other_port}"
        nothing = {"server": "http://127.0.0.1:1"}
        kubeconfig = {
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "c"}}],
            "clusters": [{"name": "c", "cluster": nothing}],
        }
        (folder / "kubeconfig").write_text(json.dumps(kubeconfig))
        settings = {"kubeconfig": str(folder / "kubeconfig"), "port": port, "folder": str(folder / "data")}
        (folder / "config.json").write_text(json.dumps(settings))
        command = [sys.executable, "-m", "sailcloth.telemetry", "--config", str(folder / "config.json")]
        program = shutil.which("prometheus")
        with _process(command, url) as (process, ready_s):
            out["restart_s"], out["restarted_mb"] = round(ready_s, 2), round(machine.memory_mb(process.pid))
            if program is None:
                out["queries"] = _compare(url, None, now)
            else:
                (folder / "prometheus.yml").write_text("global: {scrape_interval: 1h}\n")
                flags = ["--web.enable-remote-write-receiver", f"--web.listen-address=127.0.0.1:{other_port}"]
                paths = [f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'prometheus'}"]
                with _process([program, *paths, *flags], other) as (server, _):
                    _write(other, store, now - _SHARED * INTERVAL_MS - 90_000)
                    out["prometheus_mb"] = round(machine.memory_mb(server.pid))
                    out["queries"] = _compare(url, other, now)
            out["after_queries_mb"] = round(machine.memory_mb(process.pid))
    return out


async def run() -> dict[str, Any]:
    """Run it."""
    return await asyncio.to_thread(_measure)
