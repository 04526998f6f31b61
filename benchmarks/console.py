"""What the console costs: an answer of the graph at 500 workloads and 5,000 edges, over few and many namespaces; memory with fifty open
pages; a click's cost by its parts. Frames a second in a browser are measured by `console/tests/e2e/frames.mjs`."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import random
import resource
import shutil
import statistics
import subprocess
import time
from pathlib import Path
from typing import Any

import msgspec
from aiohttp.test_utils import TestClient, TestServer

from sailcloth.analysis.traffic_graph import Edge, Graph, Node
from sailcloth.console import assemble
from sailcloth.console.access import Access, User
from sailcloth.console.assemble import Scope, Snapshot
from sailcloth.console.inventory import Inventory, inventory
from sailcloth.console.server import Console
from sailcloth.console.sources import Sync

from . import machine

WORKLOADS, EDGES, ROUNDS, PAGES = 500, 5000, 9, 50
CONSOLE = Path(__file__).parents[1] / "console"
Object = dict[str, Any]


def mesh(namespaces: int) -> tuple[dict[str, list[Object]], Graph]:
    """(API objects by plural, traffic) of the workloads, spread over namespaces."""
    chance = random.Random(1)
    lists: dict[str, list[Object]] = {"namespaces": [], "deployments": [], "pods": [], "services": []}
    for number in range(namespaces):
        labels = {"istio-injection": "enabled"}
        lists["namespaces"].append({"metadata": {"name": f"ns-{number}", "labels": labels}})
    nodes = []
    for number in range(WORKLOADS):
        namespace, name = f"ns-{number % namespaces}", f"app-{number}"
        metadata = {"name": f"{name}-v1", "namespace": namespace}
        template = {"metadata": {"labels": {"app": name, "version": "v1"}}}
        status = {"replicas": 1, "availableReplicas": 1}
        lists["deployments"].append(
            {"metadata": metadata, "spec": {"replicas": 1, "template": template}, "status": status}
        )
        service = {"metadata": {"name": name, "namespace": namespace}, "spec": {"selector": {"app": name}}}
        lists["services"].append(service)
        nodes.append(Node(namespace, f"{name}-v1", "workload", name, "v1"))
    edges = []
    while len(edges) < EDGES:
        source, destination = chance.sample(nodes, 2)
        host = f"{destination.app}.{destination.namespace}.svc.cluster.local"
        rate = chance.uniform(0.1, 50)
        edge = Edge(
            source, destination, destination.app, "http", rate, rate * chance.choice((0, 0, 0, 0.02)), host=host
        )
        edge.codes.update({"200": edge.rate - edge.errors, **({"503": edge.errors} if edge.errors else {})})
        edge.quantiles.update(p50=5.0, p95=20.0, p99=50.0)
        edge.secured = 1.0
        edges.append(edge)
    return lists, Graph(tuple(edges))


class _Cluster:
    def __init__(self, lists: dict[str, list[Object]]) -> None:
        self._lists, self.version, self.problems = lists, 1, ()

    def lists(self) -> dict[str, list[Object]]:
        return self._lists

    def config(self) -> list[Object]:
        return []


class _Metrics:
    """Traffic that changes with every look."""

    def __init__(self, traffic: Graph) -> None:
        self.traffic = traffic

    async def graph(self, window: str, at: float | None = None) -> Graph:
        return self.traffic


class _Plane:
    sync = Sync(version="1.30.0")


class _Everyone(Access):
    """Lets everybody see everything: reviews are the API server's cost."""

    def __init__(self) -> None:
        super().__init__(None)  # type: ignore[arg-type]

    async def of_token(self, token: str) -> User:
        return User("admin", (), float("inf"))

    async def readable(self, user: User, namespaces: Any) -> list[str]:
        return list(namespaces)


def _answer_ms(known: Inventory, traffic: Graph, namespaces: int) -> tuple[float, int]:
    """(CPU milliseconds, bytes) of one answer from the start: assembled and encoded."""
    names = frozenset(f"ns-{n}" for n in range(namespaces))
    begin = time.process_time()
    graph = assemble.graph(Snapshot(known, traffic, "5m", 0.0), Scope(names, names), "workload", False, False, 1)
    size = len(msgspec.json.encode(graph))
    assert len(graph.edges) > EDGES * 0.9
    return (time.process_time() - begin) * 1000, size


async def _pages(lists: dict[str, list[Object]], traffic: Graph) -> dict[str, Any]:
    """CPU and memory with many open pages, whose graph changes every five seconds."""
    metrics = _Metrics(traffic)
    console = Console(_Cluster(lists), metrics, None, _Plane(), _Everyone())  # type: ignore[arg-type]
    gc.collect()
    before = machine.memory_mb(os.getpid())
    async with TestClient(TestServer(console.application())) as client:
        headers = {"Authorization": "Bearer x"}
        streams = [
            await client.get("/api/graph/events?type=workload&services=false", headers=headers) for _ in range(PAGES)
        ]
        for stream in streams:
            await stream.content.readline()
        cpu = time.process_time()
        await asyncio.sleep(10)
        used = time.process_time() - cpu
        memory = machine.memory_mb(os.getpid())
        for stream in streams:
            stream.close()
    return {
        "pages": PAGES,
        "rss_mb_before": round(before, 1),
        "rss_mb_with_pages": round(memory, 1),
        "cpu_share_with_pages": round(used / 10, 3),
        "max_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    }


def _frames() -> dict[str, Any]:
    """Frames a second of the graph in a browser; nothing without one."""
    if shutil.which("node") is None or shutil.which("chromium") is None or not (CONSOLE / "node_modules").is_dir():
        return {"frames": "no browser"}
    done = subprocess.run(
        ["node", "tests/e2e/frames.mjs"], cwd=CONSOLE, capture_output=True, text=True, timeout=300, check=True
    )
    return dict(json.loads(done.stdout))


async def run() -> dict[str, Any]:
    """The measurement. Goals: 100 ms, 60 and 30 frames a second, 150 MB."""
    out: dict[str, Any] = {"workloads": WORKLOADS, "edges": EDGES, "goal_answer_cpu_ms": 100, "goal_rss_mb": 150}
    shapes = {n: mesh(n) for n in (5, 200)}
    known = {n: inventory(lists, (), frozenset()) for n, (lists, _) in shapes.items()}
    times: dict[int, list[float]] = {n: [] for n in shapes}
    for _ in range(ROUNDS):
        for n, (_, traffic) in shapes.items():
            taken, out["answer_kb"] = _answer_ms(known[n], traffic, n)
            times[n].append(taken)
    for n, values in times.items():
        out[f"answer_cpu_ms_{n}_namespaces"] = round(statistics.median(values), 1)
        out[f"answer_cpu_ms_{n}_namespaces_spread"] = machine.spread(values)
    out["answer_kb"] = round(out["answer_kb"] / 1000)
    return out | await _pages(*shapes[5]) | _frames()
