"""Metrics of a local cluster: they come by themselves after its start, and outlive the process that keeps them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import urllib.parse
from typing import Any

import pytest

from .local_cluster import Up, eventually, processes

KUBECTL = shutil.which("kubectl")
PROXY = "/api/v1/namespaces/istio-system/services/http:prometheus:9090/proxy/api/v1/query?query="


def _kubectl(own: Up, *arguments: str) -> subprocess.CompletedProcess[str]:
    assert KUBECTL
    environment = {**os.environ, "KUBECONFIG": str(own.state / "kubeconfig")}
    return subprocess.run(
        [KUBECTL, *arguments], capture_output=True, text=True, env=environment, timeout=30, check=False
    )


def _value(own: Up, query: str) -> float:
    """The value of the first series; -1 if there is none."""
    done = _kubectl(own, "get", "--raw", PROXY + urllib.parse.quote(query))
    result: list[Any] = json.loads(done.stdout)["data"]["result"] if done.returncode == 0 else []
    return float(result[0]["value"][1]) if result else -1.0


@pytest.mark.skipif(KUBECTL is None, reason="kubectl is not installed")
def test_metrics_come_and_stay(own: Up) -> None:
    own.start("--telemetry")
    running = f"sailcloth.telemetry --config {own.state}"
    eventually("the gateway and the control plane are scraped", lambda: _value(own, "sum(up)") >= 2, 40)
    (pid,) = processes(running)
    before = _value(own, "sum(count_over_time(up[1h]))")
    os.kill(pid, signal.SIGKILL)
    eventually("it is there again", lambda: _value(own, "sum(count_over_time(up[1h]))") >= before, 20)
    assert processes(running).keys() != {pid}


@pytest.mark.skipif(KUBECTL is None, reason="kubectl is not installed")
def test_without_metrics(own: Up) -> None:
    own.start("--no-telemetry")
    assert not processes(f"sailcloth.telemetry --config {own.state}")
    assert _kubectl(own, "get", "service", "prometheus", "-n", "istio-system").returncode
    mesh = _kubectl(own, "get", "configmap", "istio", "-n", "istio-system", "-o", "jsonpath={.data.mesh}").stdout
    assert "zipkin" not in mesh
