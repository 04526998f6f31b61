"""What is said of manifests and of the mesh's options before a cluster sees them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sailcloth.analysis import findings, manifests, offline
from sailcloth.xds.types import LISTENER, ROUTES

OPTIONS = """
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    outboundTrafficPolicy: {mode: REGISTRY_ONLY}
    enablePrometheusMerge: true
    accesLogFile: /dev/stdout
"""


def of(text: str) -> list[tuple[str, str]]:
    return [(f.severity, f.path) for f in findings.of_documents(manifests.documents(text))]


def test_options_without_effect_are_named() -> None:
    assert of(OPTIONS) == [("Warning", "data.mesh.accesLogFile"), ("Warning", "data.mesh.enablePrometheusMerge")]
    assert of(OPTIONS.replace("REGISTRY_ONLY", "REGISTRY")) == [("Error", "data.mesh")]
    assert of(OPTIONS.replace("accesLogFile: /dev/stdout", "accessLogFormat: '%HOSTNAM%'")) == [("Error", "data.mesh")]


def test_options_of_proxies_without_effect_are_named() -> None:
    options = OPTIONS.replace("enablePrometheusMerge: true", "defaultConfig: {concurrency: 2, statNameLength: 9}")
    assert of(options) == [
        ("Warning", "data.mesh.accesLogFile"),
        ("Warning", "data.mesh.defaultConfig.statNameLength"),
    ]
    where = "spec.template.metadata.annotations[proxy.istio.io/config]"
    workload = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: a}
spec: {template: {metadata: {annotations: {proxy.istio.io/config: "%s"}}}}
"""
    assert ("Warning", f"{where}.concurency") in of(workload % "{concurency: 2, drainDuration: 1s}")
    assert ("Error", where) in of(workload % "[")
    assert of(workload % "{concurrency: 2}") == [("Info", "")]


def test_the_config_map_counts_offline_as_it_does_live() -> None:
    objects, _ = manifests.load([OPTIONS])
    resources = offline.resources(offline.mesh_of(objects), offline.describe({}))
    bodies = b"".join(r.body for r in (*resources[LISTENER], *resources[ROUTES]))
    assert b"BlackHoleCluster" in bodies
    assert b"PassthroughCluster" not in bodies.replace(b"InboundPassthroughCluster", b"")


def test_kinds_that_are_not_read_are_told() -> None:
    assert of("{apiVersion: v1, kind: LimitRange, metadata: {name: a}}") == [("Info", "")]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (
            "{apiVersion: networking.istio.io/v1, kind: Sidecar, metadata: {name: a}, spec: {}}",
            "neither ingress nor egress",
        ),
        (OPTIONS.replace("REGISTRY_ONLY", "REGISTRY"), "outboundTrafficPolicy.mode"),
        ("[" * 1000, "128 collections"),
        ("kind: [", "not YAML"),
    ],
)
def test_proxy_config_offline_refuses_what_admission_would(tmp_path: Path, text: str, word: str) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(text)
    command = [sys.executable, "-m", "sailcloth.cli", "proxy-config", "all", "--offline", "-f", str(file)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert run.returncode != 0
    assert word in run.stderr, run.stderr
    assert "Traceback" not in run.stderr
