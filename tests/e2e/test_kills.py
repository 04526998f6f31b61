"""Any process of the cluster may be killed: no request fails but those that were under way."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from .bookinfo import Cluster
from .fixed_rate import FixedRate, Request

KILLS = int(os.environ.get("SAILCLOTH_KILLS", "2"))
STRICT = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: default}
spec: {mtls: {mode: STRICT}}
"""
_SETTLED = 25  # requests that are answered in a row before the next process is killed


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def command(pid: int) -> list[str]:
    with contextlib.suppress(OSError):
        return (Path("/proc") / str(pid) / "cmdline").read_bytes().decode(errors="replace").split("\0")
    return []


def envoys(mesh: Cluster, *, gateway: bool) -> list[int]:
    """PIDs of the cluster's proxies."""
    found = []
    for entry in Path("/proc").iterdir():
        line = command(int(entry.name)) if entry.name.isdigit() else []
        if "--disable-hot-restart" in line and any(str(mesh.state) in word for word in line):
            with contextlib.suppress(OSError):
                text = Path(next(w for w in line if str(mesh.state) in w)).read_text()
                if ('"id": "router~' in text) == gateway:
                    found.append(int(entry.name))
    return sorted(found)


def zygote(mesh: Cluster) -> int:
    """The supervisor's child with the supervisor's own command line."""
    supervisor = "sailcloth.local.supervisor"
    found = [int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit()]
    found = [p for p in found if supervisor in (line := command(p)) and any(str(mesh.state) in w for w in line)]
    own = set(found)
    with contextlib.suppress(OSError):
        # the launcher's two processes, the supervisor, the zygote; pods' first processes have the command line, too
        (first,) = (p for p in found if parent(p) not in own)
        children = [p for p in found if parent(p) == first and not list_of_children(p)]
        return max(children, default=0)
    return 0


def list_of_children(pid: int) -> list[int]:
    return [int(w) for w in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


class Sidecars:
    """The next sidecar's Envoy at each call, round and round."""

    def __init__(self) -> None:
        self._number = 0

    def __call__(self, mesh: Cluster) -> int:
        found = envoys(mesh, gateway=False)
        self._number += 1
        return found[self._number % len(found)] if found else 0


def the_gateway(mesh: Cluster) -> int:
    return next(iter(envoys(mesh, gateway=True)), 0)


KINDS: dict[str, Callable[[Cluster], int]] = {
    "node": lambda mesh: mesh.process("sailcloth.local.node"),
    "API server": lambda mesh: mesh.process("sailcloth.local.apiserver"),
    "control plane": lambda mesh: mesh.process("sailcloth.controlplane"),
    "zygote": zygote,
    "sidecar": Sidecars(),
    "gateway": the_gateway,
}


def connected(mesh: Cluster) -> int:
    """How many proxies the control plane serves; none while it starts."""
    try:
        return len(json.loads(mesh.sailctl("proxy-status", "-o", "json")))
    except AssertionError:
        return 0


def kill(pid: int) -> tuple[float, float]:
    """Kill a process. Returns when it was sent the signal, and when it was gone."""
    descriptor, sent = os.pidfd_open(pid), time.monotonic()
    try:
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        assert select.select([descriptor], [], [], 5)[0], f"process {pid} does not end"
        return sent, time.monotonic()
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("kind", KINDS)
def test_only_what_was_under_way_is_lost(mesh: Cluster, kind: str, request: pytest.FixtureRequest) -> None:
    gone: list[tuple[float, float]] = []
    mesh.kubectl("apply", "-f", "-", stdin=STRICT)  # changes the listeners of running sidecars
    mesh.applied("peerauthentication.security.istio.io/default")
    request.addfinalizer(lambda: mesh.kubectl("delete", "peerauthentication", "default"))
    proxies = connected(mesh)
    assert proxies
    with FixedRate(mesh) as load:
        load.until(2 * _SETTLED)
        for _ in range(KILLS):
            mesh.eventually(lambda: KINDS[kind](mesh) != 0)
            gone.append(kill(KINDS[kind](mesh)))
            load.until(2 * _SETTLED)
            settled(mesh, load)
        # What was killed works again, and the rest is as it was: a rollout needs all of it. Proxies come back to a new control
        # plane after two to three seconds; what changes until then they learn too late.
        mesh.eventually(lambda: connected(mesh) == proxies, 40)
        mesh.kubectl("rollout", "restart", "deployment/ratings-v1")
        mesh.kubectl("rollout", "status", "deployment/ratings-v1", "--timeout=60s")
        load.until(2 * _SETTLED)
    lost = [r for r in load.failed if not (kind in ("sidecar", "gateway") and under_way(r, gone))]
    report = f"{kind}: {len(gone)} kills, {len(load.requests)} requests, {len(load.failed)} failed, {len(lost)} not under way"
    if "SAILCLOTH_KILLS" in os.environ:
        print(f"\n{report}; slowest {max(r.ended - r.began for r in load.requests):.1f} s")
        for r in load.failed[:8] if not lost else lost[:8]:
            print(" ", f"{r.began - max((g for g, _ in gone if g < r.ended), default=0):+.3f} {r}"[:300])
    assert not lost, "\n".join([report, *(f"{r}" for r in lost[:10])])


def settled(mesh: Cluster, load: FixedRate) -> None:
    """Wait until requests no longer fail. Raises AssertionError with those that do."""
    try:
        mesh.eventually(lambda: not any(r.failed for r in load.requests[-_SETTLED:]), 40)
    except AssertionError:
        pods = mesh.kubectl("get", "pods", "-A", "-o", "wide")
        failed = "\n".join(f"{r}"[:300] for r in load.failed[-5:])
        raise AssertionError(f"{len(load.failed)} of {len(load.requests)} requests fail:\n{failed}\n{pods}") from None


def under_way(request: Request, gone: list[tuple[float, float]]) -> bool:
    """Whether a process was killed during the request."""
    return any(request.began <= end and request.ended >= begin for begin, end in gone)
