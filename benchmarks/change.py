"""The cost of one change, from the API server's answer to the last proxy's acknowledgement: real processes, real gRPC.

Three processes: the embedded API server, the control plane, and the clients. Everything on 127.0.0.1, discovery in plain text
(mutual TLS adds the same to every number); the API over TLS as always.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from sailcloth.cli.cluster import Applier
from sailcloth.controlplane import bootstrap
from sailcloth.kube import Client, Resource

from . import floor, machine, meshes
from .clients import EDS, RDS

VIRTUAL_SERVICES = Resource("networking.istio.io", "v1", "virtualservices", "VirtualService")
SLICES = Resource("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice")
CHANGES = 20
T = TypeVar("T")


def _free(count: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in held]
    for each in held:
        each.close()
    return ports


class Bench:
    """The processes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.processes: list[subprocess.Popen[bytes]] = []
        self.kubeconfig = root / "kubeconfig"
        self.xds, self.http, self.monitoring, self.plain, self.webhook = _free(5)

    def _spawn(self, module: str, config: dict[str, Any], fds: tuple[int, ...] = ()) -> subprocess.Popen[bytes]:
        path = self.root / f"{module}.json"
        path.write_text(json.dumps(config))
        with (self.root / f"{module}.log").open("ab") as log:
            made = subprocess.Popen(
                [sys.executable, "-m", module, "--config", str(path)], pass_fds=fds, stdout=log, stderr=log
            )
        self.processes.append(made)
        return made

    def start_api(self) -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        read, write = os.pipe()
        config = {
            "db": str(self.root / "api.db"),
            "pki_dir": str(self.root / "pki"),
            "listen": [{"fd": listener.fileno()}],
            "public_url": f"https://127.0.0.1:{listener.getsockname()[1]}",
            "kubeconfig": str(self.kubeconfig),
            "ready_fd": write,
        }
        self._spawn("sailcloth.local.apiserver", config, (listener.fileno(), write))
        os.close(write)
        listener.close()
        os.read(read, 1)
        os.close(read)

    def start_control_plane(self) -> subprocess.Popen[bytes]:
        read, write = os.pipe()
        config = {
            "kubeconfig": str(self.kubeconfig),
            "address": "127.0.0.1",
            "xds_port": self.xds,
            "http_port": self.http,
            "monitoring_port": self.monitoring,
            "plain_port": self.plain,
            "webhook_port": self.webhook,
            "ready_fd": write,
        }
        made = self._spawn("sailcloth.controlplane", config, (write,))
        os.close(write)
        os.read(read, 1)
        os.close(read)
        return made

    def end(self) -> None:
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()


class Clients:
    """The client process. `ask` sends a command and returns its counters."""

    def __init__(self, port: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.clients", str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def ask(self, **command: Any) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(command).encode() + b"\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        found: dict[str, Any] = json.loads(line)
        if found["failed"]:
            raise RuntimeError(f"clients failed: {found['failed']}")
        return found

    async def until(self, what: Any, seconds: float = 120) -> dict[str, Any]:
        end = time.monotonic() + seconds
        while True:
            found = await asyncio.to_thread(self.ask)
            if what(found):
                return found
            if time.monotonic() > end:
                raise TimeoutError(f"clients do not get there: {found}")
            await asyncio.sleep(0.02)

    async def quiet(self) -> None:
        """Until nothing has come for half a second."""
        before = -1
        while (now := (await asyncio.to_thread(self.ask))["bytes"]) != before:
            before = now
            await asyncio.sleep(0.5)

    def end(self) -> None:
        self.process.terminate()
        self.process.wait(10)


@contextlib.contextmanager
def bench() -> Iterator[Bench]:
    root = Path(tempfile.mkdtemp(prefix="sailcloth-bench-"))
    made = Bench(root)
    try:
        yield made
    finally:
        made.end()
        shutil.rmtree(root, ignore_errors=True)


async def _install(api: Client) -> None:
    applier = Applier(api)
    for obj in bootstrap.objects({}):
        if obj["kind"] in ("CustomResourceDefinition", "Namespace"):
            await applier.apply(obj)


async def _add(api: Client, numbers: range) -> None:
    applier = Applier(api)
    gate = asyncio.Semaphore(32)

    async def one(number: int) -> None:
        async with gate:
            await applier.apply(meshes.service(number))
            await applier.apply(meshes.endpoints(number))
            if number % 10 == 0:
                await applier.apply(meshes.virtual_service(number))

    await asyncio.gather(*(one(n) for n in numbers))


async def _rule_change(api: Client, clients: Clients, count: int, number: int) -> float:
    """Milliseconds from the API server's answer to the last acknowledgement of the route."""
    clients.ask(reset=True)
    patch = {"spec": meshes.virtual_service(0, number % 2 + 2)["spec"]}
    await api.patch(VIRTUAL_SERVICES, "s0", "default", patch, type="merge")
    written = time.monotonic()
    found = await clients.until(lambda f: f["responses"].get(RDS, 0) >= count)
    return float((found["last"] - written) * 1e3)


async def _endpoint_change(api: Client, clients: Clients, count: int, number: int) -> tuple[float, float, float, int]:
    """(ms to the last acknowledgement, bytes a proxy, resources a proxy, responses of other types)."""
    clients.ask(reset=True)
    patch = {"endpoints": meshes.endpoints(1, number + 1)["endpoints"]}
    await api.patch(SLICES, "s1-a", "default", patch, type="merge")
    written = time.monotonic()
    found = await clients.until(lambda f: f["responses"].get(EDS, 0) >= count)
    others = sum(n for url, n in found["responses"].items() if url != EDS)
    return (
        (found["last"] - written) * 1e3,
        found["bytes"] / count,
        sum(found["resources"].values()) / count,
        others,
    )


class _Cpu:
    """CPU seconds of the control plane for each of some changes, until it is at rest again."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.seconds: list[float] = []

    async def of(self, change: Awaitable[T]) -> T:
        before = machine.cpu_s(self._pid)
        result = await change
        last = -1.0
        while (now := machine.cpu_s(self._pid)) != last:  # statuses are written after the acknowledgements
            last = now
            await asyncio.sleep(0.2)
        self.seconds.append(now - before)
        return result


async def _small(services: int, proxies: int) -> dict[str, Any]:
    """b1, b2: changes at many proxies and few services."""
    with bench() as made:
        made.start_api()
        async with Client.from_kubeconfig(str(made.kubeconfig)) as api:
            await _install(api)
            await _add(api, range(services))
            process = made.start_control_plane()
            rule_cpu, endpoint_cpu = _Cpu(process.pid), _Cpu(process.pid)
            clients = Clients(made.plain)
            try:
                clients.ask(connect=proxies)
                await clients.until(lambda f: f["complete"] == proxies)
                await clients.quiet()
                rules = [await rule_cpu.of(_rule_change(api, clients, proxies, n)) for n in range(CHANGES)]
                await clients.quiet()
                ends = [await endpoint_cpu.of(_endpoint_change(api, clients, proxies, n)) for n in range(CHANGES)]
                rss = machine.memory_mb(process.pid)
            finally:
                clients.end()
    return {
        f"last_ack_ms_p50_{proxies}": round(statistics.median(rules[1:]), 1),
        f"last_ack_ms_{proxies}": machine.spread(rules[1:], 1),
        f"rule_last_ack_ms_{proxies}": round(statistics.median(rules[1:]), 1),
        f"rule_cpu_s_{proxies}": round(statistics.median(rule_cpu.seconds[1:]), 3),
        f"rule_cpu_s_{proxies}_spread": machine.spread(rule_cpu.seconds[1:]),
        f"endpoint_last_ack_ms_{proxies}": round(statistics.median(e[0] for e in ends[1:]), 1),
        f"endpoint_last_ack_ms_{proxies}_spread": machine.spread([e[0] for e in ends[1:]], 1),
        f"endpoint_cpu_s_{proxies}": round(statistics.median(endpoint_cpu.seconds[1:]), 3),
        f"endpoint_cpu_s_{proxies}_spread": machine.spread(endpoint_cpu.seconds[1:]),
        f"rss_mb_{services}x{proxies}": round(rss),
        "endpoint_bytes_per_proxy": round(statistics.median(e[1] for e in ends[1:])),
        "endpoint_resources_per_proxy": statistics.median(e[2] for e in ends[1:]),
        "endpoint_other_responses": sum(e[3] for e in ends[1:]),
    }


async def _growth(proxies: int = 20) -> dict[str, Any]:
    """c: one change by number of services, the same processes all along."""
    points, shown = [], {}
    with bench() as made:
        made.start_api()
        async with Client.from_kubeconfig(str(made.kubeconfig)) as api:
            await _install(api)
            await _add(api, range(100))
            made.start_control_plane()
            clients = Clients(made.plain)
            try:
                clients.ask(connect=proxies)
                have = 100
                for services in (100, 200, 400, 800, 1600):
                    await _add(api, range(have, services))
                    have = services
                    await clients.until(lambda f: f["complete"] == proxies)
                    await clients.quiet()
                    took = [await _rule_change(api, clients, proxies, n) for n in range(CHANGES)][1:]
                    points.append((services, statistics.median(took)))
                    shown[str(services)] = machine.spread(took, 1)
            finally:
                clients.end()
    return {"one_change_exponent_services": meshes.exponent(points), "one_change_ms_by_services": shown}


async def _cold(services: int = 1000, proxies: int = 1000) -> dict[str, Any]:
    """b6, b8: all proxies at once, all services each."""
    with bench() as made:
        made.start_api()
        async with Client.from_kubeconfig(str(made.kubeconfig)) as api:
            await _install(api)
            await _add(api, range(services))
            process = made.start_control_plane()
            idle = machine.memory_mb(process.pid)
            clients = Clients(made.plain)
            try:
                begin = time.monotonic()
                clients.ask(connect=proxies)
                found = await clients.until(lambda f: f["complete"] == proxies)
                await clients.quiet()
                last = (await asyncio.to_thread(clients.ask))["last"]
                rss = machine.memory_mb(process.pid)
            finally:
                clients.end()
    return {
        "cold_push_s_1000x1000": round(last - begin, 2),
        "cold_push_mb": round(found["bytes"] / 1e6, 1),
        "rss_mb_1000x1000": round(rss),
        "rss_mb_without_proxies": round(idle),
    }


async def run() -> dict[str, Any]:
    """All of it; about two minutes."""
    out = {"services": 100, "changes": CHANGES}
    floor_before = await asyncio.to_thread(floor.run)
    out.update(await _small(100, 1000))
    floor_after = await asyncio.to_thread(floor.run)
    out["floor_cpu_s_1000"] = round((floor_before["p50"] + floor_after["p50"]) / 2, 4)
    out["floor_cpu_s_1000_spread"] = [floor_before, floor_after]
    out.update(await _growth())
    out.update(await _cold())
    return out
