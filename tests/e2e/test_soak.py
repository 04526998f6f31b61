"""Minutes of rule changes, scaling, rollouts and kills under requests: none is lost, and nothing grows.

Runs for SAILCLOTH_SOAK_S seconds, if that is set.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from .bookinfo import Cluster
from .fixed_rate import FixedRate
from .test_kills import KINDS, kill
from .test_no_503 import put, rule, service

SECONDS = float(os.environ.get("SAILCLOTH_SOAK_S", "0"))
COMPONENTS = ("sailcloth.local.apiserver", "sailcloth.controlplane", "sailcloth.local.node")
KILLED = ("node", "API server", "control plane", "zygote")
_GROWTH = 1.35  # of a component's memory after the first minute
_EVENT_MB = 0.015
_FEW = 12  # descriptors that come and go with connections


@dataclass
class Holdings:
    """What a cluster holds of its machine."""

    memory_mb: dict[str, float]
    descriptors: dict[str, int]
    processes: int
    namespaces: int
    interfaces: int
    events: int  # objects that live for an hour

    @classmethod
    def of(cls, mesh: Cluster) -> Holdings:
        pids = {name: mesh.process(name) for name in COMPONENTS}
        members = list(_members(pids["sailcloth.local.node"]))
        networks = set()
        for pid in members:
            with contextlib.suppress(OSError):
                networks.add(os.readlink(f"/proc/{pid}/ns/net"))
        return cls(
            {n: int(Path(f"/proc/{p}/statm").read_text().split()[1]) * 4096 / 1e6 for n, p in pids.items()},
            {n: len(os.listdir(f"/proc/{p}/fd")) for n, p in pids.items()},
            len(members),
            len(networks),
            len(Path(f"/proc/{pids['sailcloth.local.node']}/net/dev").read_text().splitlines()),
            len(mesh.kubectl("get", "events", "-A", "-o", "name").splitlines()),
        )


def _members(pid: int) -> Iterator[int]:
    """All processes of the PID namespace that a process is in, and of those below it."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    supervisor = parents[pid]
    for each in parents:
        above = each
        while above and above != supervisor:
            above = parents.get(above, 0)
        if above:
            yield each


def _settled(mesh: Cluster) -> Holdings:
    """The holdings when no pod comes or goes any more."""
    mesh.kubectl("scale", "deployment/reviews-v1", "--replicas=1")
    mesh.eventually(mesh._settled, 60)
    last: list[int] = []

    def still() -> bool:
        last.append(Holdings.of(mesh).processes)
        time.sleep(0.5)
        return len(last) > 4 and len(set(last[-4:])) == 1

    mesh.eventually(still, 60)
    return Holdings.of(mesh)


@pytest.mark.soak
@pytest.mark.skipif(not SECONDS, reason="set SAILCLOTH_SOAK_S")
@pytest.mark.timeout(SECONDS + 300)
def test_nothing_is_lost_and_nothing_grows(mesh: Cluster) -> None:
    begin, number = time.monotonic(), itertools.count()
    first: Holdings | None = None
    with FixedRate(mesh, 20) as load:
        while time.monotonic() < begin + SECONDS:
            turn = next(number)
            subset = ("v1", "v2", "v3")[turn % 3]
            put(mesh, rule(subset))
            put(mesh, service(subset))
            mesh.applied("virtualservice.networking.istio.io/reviews")
            mesh.kubectl("scale", "deployment/reviews-v1", f"--replicas={1 + turn % 3}")
            mesh.kubectl("delete", "virtualservice", "reviews")
            name = ("ratings-v1", "details-v1", "productpage-v1", "reviews-v2")[turn % 4]
            mesh.kubectl("rollout", "restart", f"deployment/{name}")
            mesh.kubectl("rollout", "status", f"deployment/{name}", "--timeout=60s")
            if first is None and time.monotonic() > begin + min(60, SECONDS / 3):
                first = _settled(mesh)  # of processes that are not killed after this
            elif first is None:
                mesh.eventually(mesh._settled, 60)
                kill(KINDS[KILLED[turn % len(KILLED)]](mesh))
    last = _settled(mesh)
    print(f"\n{next(number)} rounds, {len(load.requests)} requests, {len(load.failed)} failed\n{first}\n{last}")
    assert not load.failed, load.failed[:10]
    assert first is not None
    assert (last.processes, last.namespaces, last.interfaces) == (first.processes, first.namespaces, first.interfaces)
    for name in COMPONENTS:
        kept = (last.events - first.events) * _EVENT_MB if name == COMPONENTS[0] else 0
        assert last.memory_mb[name] < first.memory_mb[name] * _GROWTH + kept, name
        assert last.descriptors[name] < first.descriptors[name] + _FEW, name
