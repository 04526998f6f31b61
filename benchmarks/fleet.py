"""How many replicas of the control plane a fleet of 100,000 proxies needs: what one replica costs is measured, up to 5,000 proxies on this machine,
the rest is a model.

Measured: CPU and memory of a proxy that connects, of a view, of a service; CPU and time of a change, by the number of proxies that it is sent to.
The model (`replicas`) adds these up; its assumptions are the fields of `Fleet`. Must not claim what was not measured: results say which is which.
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from sailcloth.kube import Client

from . import machine
from .change import Clients, _add, _Cpu, _endpoint_change, _install, _rule_change, bench

STEPS = (500, 1000, 2000, 5000)
CHANGES = 8
FEW, MANY, VIEWS = 100, 1000, 20
_CPU_SHARE, _MEMORY_MB = 0.6, 4096.0  # of one process, which uses one core: the rest is for rolling updates and bursts


@dataclass(frozen=True)
class Costs:
    """Of one replica. CPU in seconds, memory in MB, times in ms."""

    base_mb: float
    service_mb: float
    proxy_mb: float
    view_mb: float  # of a service in a view
    connect_s: float  # of a proxy that connects and is sent everything, of `FEW` services
    view_s: float  # of a service in a view that is computed
    change_s: float  # of a change that no proxy is sent
    sent_s: float  # of a change, for each proxy that it is sent to
    change_ms: float
    sent_ms: float


@dataclass(frozen=True)
class Fleet:
    """`seen`: services in a proxy's view, by Sidecar or exportTo. `churn`: share of the pods that come or go each minute. `rules`: changes of
    rules a minute. `sharded`: proxies of a namespace go to the same replica, so that each view is computed in one only."""

    proxies: int
    services: int
    namespaces: int
    seen: int
    churn: float = 0.01
    rules: float = 6.0
    sharded: bool = False


def line(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """(value at 0, growth) of the least squares line; neither is negative."""
    slope, start = statistics.linear_regression([p[0] for p in points], [p[1] for p in points])
    return max(0.0, start), max(0.0, slope)


def load(costs: Costs, fleet: Fleet, replicas: int) -> dict[str, float]:
    """What one of some replicas does: cores, memory, and ms from a change to the last acknowledgement."""
    own = fleet.proxies / replicas
    concerned = own * min(1.0, fleet.seen / fleet.services)  # proxies of a replica that see what changes
    changes = fleet.proxies * fleet.churn / 60 + fleet.rules / 60
    if fleet.sharded:
        views = fleet.namespaces / replicas
    else:
        views = fleet.namespaces * (1 - (1 - 1 / replicas) ** (fleet.proxies / fleet.namespaces))
    memory = costs.base_mb + fleet.services * costs.service_mb + own * costs.proxy_mb
    return {
        "cores": changes * (costs.change_s + concerned * costs.sent_s),
        "memory_mb": memory + views * fleet.seen * costs.view_mb,
        "last_ack_ms": costs.change_ms + concerned * costs.sent_ms,
        "restart_s": own * costs.connect_s * fleet.seen / FEW + views * fleet.seen * costs.view_s,
    }


def replicas(costs: Costs, fleet: Fleet, most: int = 1000) -> dict[str, Any]:
    """The fewest replicas that do, what each does, and what the next smaller number fails by; None if none does."""
    broken = ""
    for count in range(1, most + 1):
        each = load(costs, fleet, count)
        failing = [n for n, limit in (("cores", _CPU_SHARE), ("memory_mb", _MEMORY_MB)) if each[n] > limit]
        if not failing:
            return {"replicas": count, **{k: round(v, 3) for k, v in each.items()}, "breaks_first": broken}
        broken = failing[0]
    return {"replicas": None, "breaks_first": broken}


FLEETS = {
    "1k proxies, 200 services": Fleet(1_000, 200, 20, 200),
    "10k proxies, 2k services, all seen": Fleet(10_000, 2_000, 200, 2_000),
    "10k proxies, 2k services, 100 seen": Fleet(10_000, 2_000, 200, 100),
    "100k proxies, 20k services, all seen": Fleet(100_000, 20_000, 2_000, 20_000),
    "100k proxies, 20k services, 100 seen": Fleet(100_000, 20_000, 2_000, 100),
}


async def _proxies() -> dict[str, Any]:
    """Steps of proxies with few services: memory, CPU of connecting, and of changes that all are sent."""
    shown: dict[str, Any] = {}
    numbers = itertools.count()  # equal changes are none
    with bench() as made:
        made.start_api()
        async with Client.from_kubeconfig(str(made.kubeconfig)) as api:
            await _install(api)
            await _add(api, range(FEW))
            process = made.start_control_plane()
            clients, have = Clients(made.plain), 0
            try:
                for step in STEPS:
                    before = machine.cpu_s(process.pid)
                    clients.ask(connect=step - have)
                    await clients.until(lambda f, step=step: f["complete"] == step)
                    await clients.quiet()
                    connect = (machine.cpu_s(process.pid) - before) / (step - have)
                    have, cpu = step, _Cpu(process.pid)
                    rules = [await cpu.of(_rule_change(api, clients, step, next(numbers))) for _ in range(CHANGES)][1:]
                    ends = [await cpu.of(_endpoint_change(api, clients, step, next(numbers))) for _ in range(CHANGES)][
                        1:
                    ]
                    shown[str(step)] = {
                        "connect_cpu_s": round(connect, 5),
                        "rss_mb": round(machine.memory_mb(process.pid), 1),
                        "rule_last_ack_ms": machine.spread(rules, 1),
                        "endpoint_last_ack_ms": machine.spread((e[0] for e in ends), 1),
                        "change_cpu_s": machine.spread(cpu.seconds),
                    }
            finally:
                clients.end()
    return shown


async def _views() -> dict[str, float]:
    """Memory and CPU of services, and of views of many services in namespaces of their own."""
    with bench() as made:
        made.start_api()
        async with Client.from_kubeconfig(str(made.kubeconfig)) as api:
            await _install(api)
            await _add(api, range(MANY))
            process = made.start_control_plane()
            idle = machine.memory_mb(process.pid)
            clients = Clients(made.plain)
            try:
                clients.ask(connect=1)
                await clients.until(lambda f: f["complete"] == 1)
                await clients.quiet()
                cpu, memory = machine.cpu_s(process.pid), machine.memory_mb(process.pid)
                clients.ask(connect=VIEWS, namespaces=VIEWS)
                await clients.until(lambda f: f["complete"] == VIEWS + 1)
                await clients.quiet()
                used, grown = machine.cpu_s(process.pid) - cpu, machine.memory_mb(process.pid) - memory
            finally:
                clients.end()
    return {
        "rss_mb_without_proxies": round(idle, 1),
        "view_cpu_s": round(used / VIEWS / MANY, 7),
        "view_mb": round(grown / VIEWS / MANY, 6),
    }


def costs_of(steps: dict[str, Any], views: dict[str, float], idle_mb: float) -> Costs:
    """Lines through the measured points. idle_mb: memory with `FEW` services and no proxy."""
    points = [(int(step), found) for step, found in steps.items()]
    _, proxy_mb = line([(n, f["rss_mb"]) for n, f in points])
    change_s, sent_s = line([(n, f["change_cpu_s"]["p50"]) for n, f in points])
    change_ms, sent_ms = line([(n, f["endpoint_last_ack_ms"]["p50"]) for n, f in points])
    service_mb = max(0.0, views["rss_mb_without_proxies"] - idle_mb) / (MANY - FEW)
    return Costs(
        base_mb=idle_mb - FEW * service_mb,
        service_mb=service_mb,
        proxy_mb=proxy_mb,
        view_mb=views["view_mb"],
        connect_s=statistics.median(f["connect_cpu_s"] for _, f in points),
        view_s=views["view_cpu_s"],
        change_s=change_s,
        sent_s=sent_s,
        change_ms=change_ms,
        sent_ms=sent_ms,
    )


async def _idle() -> float:
    with bench() as made:
        made.start_api()
        async with Client.from_kubeconfig(str(made.kubeconfig)) as api:
            await _install(api)
            await _add(api, range(FEW))
            process = made.start_control_plane()
            await asyncio.sleep(1.0)
            return machine.memory_mb(process.pid)


async def run() -> dict[str, Any]:
    """Measure one replica, about three minutes; then the model."""
    idle, steps, views = await _idle(), await _proxies(), await _views()
    costs = costs_of(steps, views, idle)
    model = {}
    for name, fleet in FLEETS.items():
        for sharded in (False, True):
            how = f"{name}{', sharded' if sharded else ''}"
            model[how] = replicas(costs, replace(fleet, sharded=sharded))
    return {
        "measured_by_proxies": steps,
        "measured_views": views,
        "costs": {k: round(v, 7) for k, v in asdict(costs).items()},
        "modelled": model,
    }
