"""Metrics of a local cluster: they come by themselves after its start, and outlive the process that keeps them."""

from __future__ import annotations

import json
import os
import signal
import urllib.parse
import urllib.request
from pathlib import Path

from .local_cluster import Up, eventually, processes, sailctl


def _value(url: str, query: str) -> float:
    """The value of the first series; -1 if there is none."""
    text = urllib.parse.quote(query)
    with urllib.request.urlopen(f"{url}/api/v1/query?query={text}", timeout=30) as answer:
        result = json.load(answer)["data"]["result"]
    return float(result[0]["value"][1]) if result else -1.0


def _where(state: Path, *options: str) -> tuple[int, str, str]:
    done = sailctl("dashboard", "prometheus", "--no-browser", "--state", str(state), *options)
    return done.returncode, done.stdout.strip(), done.stderr


def test_metrics_come_and_stay(own: Up) -> None:
    found = own.start("--telemetry")
    code, url, _ = _where(own.state)
    assert (code, url) == (0, found["urls"]["metrics"])
    running = f"sailcloth.telemetry --config {own.state}"
    # The first request waits in the socket until the process accepts it.
    eventually("the gateway and the control plane are scraped", lambda: _value(url, "sum(up)") >= 2, 40)
    (pid,) = processes(running)
    before = _value(url, "sum(count_over_time(up[1h]))")
    os.kill(pid, signal.SIGKILL)
    after = _value(url, "sum(count_over_time(up[1h]))")
    assert after >= before
    assert processes(running).keys() != {pid}


def test_without_metrics(own: Up) -> None:
    code, _, error = _where(own.state)
    assert code != 0
    assert "sailctl up" in error
    assert "metrics" not in own.start("--no-telemetry")["urls"]
    code, _, error = _where(own.state)
    assert code != 0
    assert "--no-telemetry" in error
