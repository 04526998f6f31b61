"""The embedded API server under load: many objects, many watchers, many that write at once. All of it shares the machine.

`spread` is the usual case, where a watcher follows one of fifty namespaces; in `all` every watcher gets every event. Writers
send the next write when the last is answered; a fifty-first client lists meanwhile, page by page.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import yaml

from sailcloth.kube import resources
from sailcloth.kube.client import ApiError, Client

from . import machine

OBJECTS, WATCHERS, WRITERS, NAMESPACES = 20_000, 300, 50, 50
SECONDS = 10.0
TEXT = "x" * 700


class Server:
    """The process, with its state in a directory that goes with it."""

    def __init__(self, durability: str = "normal") -> None:
        self.root = Path(tempfile.mkdtemp(prefix="sailcloth-bench-"))
        self.kubeconfig = self.root / "kubeconfig"
        listen = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port = int(listen.getsockname()[1])
        read, write = os.pipe()
        config = {
            "db": str(self.root / "api.db"),
            "pki_dir": str(self.root / "pki"),
            "listen": [{"fd": listen.fileno()}],
            "public_url": f"https://127.0.0.1:{self.port}",
            "kubeconfig": str(self.kubeconfig),
            "durability": durability,
            "ready_fd": write,
        }
        (self.root / "config.json").write_text(json.dumps(config))
        command = [sys.executable, "-m", "sailcloth.local.apiserver", "--config", str(self.root / "config.json")]
        self.process = subprocess.Popen(command, pass_fds=(listen.fileno(), write), stderr=subprocess.DEVNULL)
        listen.close()
        os.close(write)
        ready = select.select([read], [], [], 20)[0] and os.read(read, 1)
        os.close(read)
        if ready != b"1":
            self.close()
            raise TimeoutError("the API server was not ready in 20 s")

    def client(self) -> Client:
        return Client.from_kubeconfig(str(self.kubeconfig))

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss_mb(self) -> float:
        return round(machine.memory_mb(self.process.pid), 1)

    def close(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.root, ignore_errors=True)


class Watchers:
    """The process of `api_watchers`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def report(self) -> dict[str, Any]:
        """What has come since the last report."""
        assert self._process.stdin
        self._process.stdin.write(b"\n")
        return await self.line()

    async def line(self) -> dict[str, Any]:
        assert self._process.stdout
        return dict(json.loads(await asyncio.wait_for(self._process.stdout.readline(), 60)))


@asynccontextmanager
async def watching(server: Server, paths: list[str]) -> AsyncIterator[Watchers]:
    config = yaml.safe_load(server.kubeconfig.read_text())
    user, cluster = config["users"][0]["user"], config["clusters"][0]["cluster"]
    pair = server.root / "client.pem"
    pair.write_bytes(base64.b64decode(user["client-certificate-data"]) + base64.b64decode(user["client-key-data"]))
    told = {
        "authority": base64.b64decode(cluster["certificate-authority-data"]).decode(),
        "certificate": str(pair),
        "host": "127.0.0.1",
        "port": server.port,
        "paths": paths,
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.api_watchers", stdin=-1, stdout=-1, limit=1 << 28
    )
    try:
        assert process.stdin
        process.stdin.write(json.dumps(told).encode() + b"\n")
        made = Watchers(process)
        await made.line()
        yield made
    finally:
        process.kill()
        await process.communicate()


def body(number: int) -> dict[str, Any]:
    metadata = {"name": f"object-{number}", "namespace": f"load-{number % NAMESPACES}", "labels": {"load": "yes"}}
    return {"metadata": metadata, "data": {"text": TEXT, "stamp": f"{time.monotonic():.6f}"}}


async def fill(client: Client) -> dict[str, Any]:
    """Create every object, with as many writers as later."""
    for number in range(NAMESPACES):
        await client.create(resources.NAMESPACES, {"metadata": {"name": f"load-{number}"}})
    numbers, took = iter(range(OBJECTS)), []

    async def writer() -> None:
        for number in numbers:
            begin = time.perf_counter()
            await client.create(resources.CONFIGMAPS, body(number))
            took.append((time.perf_counter() - begin) * 1e3)

    begin = time.perf_counter()
    await asyncio.gather(*(writer() for _ in range(WRITERS)))
    return {"creates_per_s": round(OBJECTS / (time.perf_counter() - begin)), "create_ms": percentiles(took)}


async def change(server: Server, client: Client, watchers: Watchers | None) -> dict[str, Any]:
    """Patches for a while: what they take, what lists take meanwhile, and when watchers hear of them."""
    if watchers is not None:
        await watchers.report()
    end, took, lists, pages = time.perf_counter() + SECONDS, [], [], []

    restarts = 0

    async def writer(number: int) -> None:
        while (begin := time.perf_counter()) < end:
            number = (number + WRITERS) % OBJECTS
            made = body(number)
            patch = {"data": {"stamp": made["data"]["stamp"]}}
            metadata = made["metadata"]
            await client.patch(resources.CONFIGMAPS, metadata["name"], metadata["namespace"], patch)
            took.append((time.perf_counter() - begin) * 1e3)

    async def lister() -> None:
        nonlocal restarts
        number, more = 0, ""
        while (begin := time.perf_counter()) < end:
            await client.call("GET", resources.CONFIGMAPS.path(f"load-{number % NAMESPACES}"))
            lists.append((time.perf_counter() - begin) * 1e3)
            begin = time.perf_counter()
            try:
                answer = await client.call("GET", resources.CONFIGMAPS.path(""), limit="500", **{"continue": more})
            except ApiError as error:
                if error.status != 410:
                    raise
                more, restarts = "", restarts + 1  # more was written since the first page than is kept
                continue
            pages.append((time.perf_counter() - begin) * 1e3)
            more = json.loads(answer)["metadata"].get("continue", "")
            number += 1
            await asyncio.sleep(0.05)

    cpu, begin = server.cpu_s(), time.perf_counter()
    await asyncio.gather(*(writer(n) for n in range(WRITERS)), lister())
    seconds = time.perf_counter() - begin
    out = {
        "writes_per_s": round(len(took) / seconds),
        "write_ms": percentiles(took),
        "list_of_400_ms": percentiles(lists),
        "page_of_500_ms": percentiles(pages),
        "lists_begun_again": restarts,
        "server_cpus": round((server.cpu_s() - cpu) / seconds, 2),
    }
    if watchers is not None:
        await asyncio.sleep(1)  # the last events are under way
        found = await watchers.report()
        out["events_per_s"] = round(found["events"] / seconds)
        out["watches_closed"] = found["closed"]
        out["watch_delay_ms"] = percentiles([d * 1e3 for d in found["delays"]])
    out["rss_mb"] = server.rss_mb()
    return out


def percentiles(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {
        **{f"p{p}": round(ordered[min(len(ordered) - 1, len(ordered) * p // 100)], 2) for p in (50, 99)},
        "max": round(ordered[-1], 2),
        "n": len(ordered),
    }


async def run() -> dict[str, Any]:
    """Throughput, latencies in milliseconds, and resident memory of the server's process."""
    server = Server()
    out: dict[str, Any] = {"objects": OBJECTS, "watchers": WATCHERS, "writers": WRITERS}
    try:
        async with server.client() as client:
            out["rss_mb_empty"] = server.rss_mb()
            out.update(await fill(client))
            out["rss_mb_filled"] = server.rss_mb()
            begin = time.perf_counter()
            await client.call("GET", resources.CONFIGMAPS.path(""))
            out["list_of_all_ms"] = round((time.perf_counter() - begin) * 1e3, 1)
            out["no_watchers"] = await change(server, client, None)
            query = "?watch=true&resourceVersion="
            for name, path in (("spread", "load-{}"), ("all", "")):
                _, version = await client.list(resources.CONFIGMAPS, "default")
                paths = [resources.CONFIGMAPS.path(path.format(n % NAMESPACES)) for n in range(WATCHERS)]
                async with watching(server, [p + query + version for p in paths]) as watchers:
                    out[name] = await change(server, client, watchers)
    finally:
        server.close()
    return out
