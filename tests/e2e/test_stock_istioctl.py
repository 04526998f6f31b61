"""Istio's own istioctl against our control plane, where one is at hand: on the path, or named by SAILCLOTH_ISTIOCTL.

It can be built from public modules: go install istio.io/istio/istioctl/cmd/istioctl@latest
"""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from .bookinfo import Cluster

ISTIOCTL = os.environ.get("SAILCLOTH_ISTIOCTL") or shutil.which("istioctl") or ""
pytestmark = pytest.mark.skipif(not ISTIOCTL, reason="istioctl is not at hand")


def istioctl(mesh: Cluster, *arguments: str) -> str:
    done = subprocess.run(
        [ISTIOCTL, *arguments], capture_output=True, text=True, env=mesh.environment, timeout=60, check=False
    )
    assert done.returncode in (0, 79), f"{arguments}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def test_stock_istioctl_reads_the_mesh(mesh: Cluster) -> None:
    pod = mesh.pod("app=productpage")
    assert istioctl(mesh, "proxy-status").count("4 (CDS,LDS,EDS,RDS)") == 7
    assert "Clusters Match" in istioctl(mesh, "proxy-status", pod)
    assert "control plane version: " in istioctl(mesh, "version")
    assert "reviews.default.svc.cluster.local" in istioctl(mesh, "proxy-config", "clusters", pod)
    assert "9080" in istioctl(mesh, "proxy-config", "routes", pod)
    assert "ACTIVE" in istioctl(mesh, "proxy-config", "secret", pod)
    assert "mTLS mode: PERMISSIVE" in istioctl(mesh, "x", "describe", "pod", pod)
    assert "IST0173" in istioctl(mesh, "analyze")
    assert '"istiod"' in istioctl(mesh, "x", "internal-debug", "syncz")
    assert "synced" in istioctl(mesh, "remote-clusters")
    assert "ads" in istioctl(mesh, "admin", "log")
    assert "istio-sidecar-injector" in istioctl(mesh, "x", "check-inject", "deploy/productpage-v1")
