"""The life of a local cluster: from the command to the first answer, to everything ready, and down again; memory a pod."""

from __future__ import annotations

import asyncio
import compileall
import contextlib
import json
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import sailcloth_samples

from . import machine

ROUNDS = 5
MORE = 4
SAILCTL = (sys.executable, "-m", "sailcloth.cli")
# An installed program has its bytecode beside it. The round before those that count writes it; pods may not, so that of their
# programs is written here.
ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}


def processes(state: str) -> dict[int, list[str]]:
    """Command lines by PID of everything that belongs to a state directory or was started by something that does."""
    found: dict[int, list[str]] = {}
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                found[int(entry.name)] = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
                status = (entry / "status").read_text()
            except OSError:
                continue
            match = re.search(r"PPid:\s*(\d+)", status)
            parents[int(entry.name)] = int(match[1]) if match else 0
    ours = {pid for pid, argv in found.items() if any(state in a for a in argv)}
    grown = True
    while grown:
        more = {pid for pid, parent in parents.items() if parent in ours} - ours
        grown = bool(more)
        ours |= more
    return {pid: found[pid] for pid in ours if pid in found}


async def run() -> dict[str, Any]:
    """See `_run`."""
    return await asyncio.to_thread(_run)


def _run() -> dict[str, Any]:
    """Seconds of `sailctl demo bookinfo --detach` and `sailctl down`, and the CPU of all processes until the first returns, which is
    when the first answer has come and all pods are ready; MB (PSS) of proxies and supervision: what each of four more
    pods adds to Bookinfo's, and the share of each of Bookinfo's own, for which the one copy of Envoy's code is divided by them."""
    compileall.compile_dir(sailcloth_samples.ROOT / "programs", quiet=1)
    first, ready, down, added, share, cpu = [], [], [], [], [], []
    for _ in range(ROUNDS + 1):
        state = tempfile.mkdtemp(prefix="sailcloth-bench-")
        try:
            before = _reaped_cpu_s()
            done = subprocess.run(
                [*SAILCTL, "demo", "bookinfo", "--no-load", "--detach", "-o", "json", "--state", state],
                capture_output=True,
                check=True,
                env=ENVIRONMENT,
            )
            cpu.append(_cluster_cpu_s(state) + _reaped_cpu_s() - before)
            found = json.loads(done.stdout)
            first.append(found["first_200_s"])
            ready.append(found["ready_s"])
            time.sleep(1)  # memory after the first requests, not amid them
            pods, total = _sidecars_mb(state)
            share.append(total / pods)
            kubectl = ("kubectl", "--kubeconfig", found["kubeconfig"])
            subprocess.run(
                [*kubectl, "scale", "deployment/details-v1", f"--replicas={1 + MORE}"], capture_output=True, check=True
            )
            wait = ("rollout", "status", "deployment/details-v1", "--timeout=60s")
            subprocess.run([*kubectl, *wait], capture_output=True, check=True)
            time.sleep(1)
            grown, more = _sidecars_mb(state)
            added.append((more - total) / (grown - pods))
            begin = time.monotonic()
            subprocess.run([*SAILCTL, "down", "--state", state], capture_output=True, check=True)
            down.append(time.monotonic() - begin)
        finally:
            subprocess.run([*SAILCTL, "down", "--state", state], capture_output=True, check=False)
            shutil.rmtree(state, ignore_errors=True)
    out: dict[str, Any] = {"rounds": ROUNDS}
    for name, values in (
        ("first_200_s", first),
        ("ready_s", ready),
        ("start_cpu_s", cpu),
        ("down_s", down),
        ("pss_mb_per_injected_pod", added),
        ("pss_mb_per_pod_of_bookinfo", share),
    ):
        out[name] = round(statistics.median(values[1:]), 2)
        out[name + "_spread"] = machine.spread(values[1:], 2)
    return out


def _cluster_cpu_s(state: str) -> float:
    """CPU seconds of the cluster's processes so far, with those that they started and that have ended."""
    total = 0.0
    for pid in processes(state):
        with contextlib.suppress(OSError):  # one that has just ended
            total += machine.cpu_s(pid, ended_children=True)
    return total


def _reaped_cpu_s() -> float:
    """CPU seconds of this process's children that have ended: the command's own among them."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _sidecars_mb(state: str) -> tuple[int, float]:
    """(number of Envoys, PSS of all of them and of the pods' init processes and the node with its agent)."""
    known = processes(state)
    envoys = [pid for pid, argv in known.items() if argv and argv[0].endswith("envoy")]
    inits = [pid for pid in known if _name(pid).startswith("pod")]
    node = [pid for pid, argv in known.items() if "sailcloth.local.node" in argv]
    total = sum(machine.memory_mb(p, "Pss") for p in [*envoys, *inits, *node])
    return len(envoys), total


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""
