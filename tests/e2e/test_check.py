"""`sailctl check` over a mesh that is well, over one that is not, and without a cluster."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from typing import Any

from .bookinfo import Cluster

HOOK = "validatingwebhookconfigurations/istio-validator-istio-system"


def check(mesh: Cluster, *arguments: str, **environment: str) -> tuple[int, dict[str, Any]]:
    """(exit code, checks by name)."""
    done = subprocess.run(
        [*Cluster.SAILCTL, "check", "-o", "json", *arguments],
        capture_output=True,
        text=True,
        env=mesh.environment | environment,
        timeout=120,
        check=False,
    )
    found = json.loads(done.stdout)
    assert found["success"] == (done.returncode == 0), done.stderr
    return done.returncode, {c["check"]: c for c in found["checks"]}


def test_a_mesh_that_is_well(mesh: Cluster) -> None:
    code, found = check(mesh, "--wait", "20")
    assert code == 0, {n: c for n, c in found.items() if c["state"] == "failed"}
    for name in (
        "a wrong object is refused",
        "a request through two sidecars is answered",
        "they speak mutual TLS",
        "the request is in the metrics",
        "the request is in the traces",
        "it has the version of this program",
    ):
        assert found[name]["state"] == "ok", found[name]
    assert "sailcloth-check" not in mesh.kubectl("get", "namespaces", "--field-selector", "status.phase=Active")


def test_what_is_wrong_is_named_with_its_remedy(mesh: Cluster) -> None:
    """The validator is gone, and an object is held back."""
    before = json.loads(mesh.kubectl("get", HOOK, "-o", "json"))
    rule = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": "reviews"},
        "spec": {"hosts": ["reviews"], "http": [{"route": [{"destination": {"host": "nowhere"}}]}]},
    }
    mesh.kubectl("delete", HOOK)
    mesh.kubectl("apply", "-f", "-", stdin=json.dumps(rule))
    mesh.kubectl("wait", "vs/reviews", "--for=condition=Accepted=False", "--timeout=10s")
    try:
        code, found = check(mesh, "--no-probe")
    finally:
        for field in ("resourceVersion", "uid", "creationTimestamp", "generation", "managedFields"):
            before["metadata"].pop(field, None)
        mesh.kubectl("create", "-f", "-", stdin=json.dumps(before))
    assert code == 1
    assert found["the validator is registered"]["state"] == "failed"
    assert "VirtualService default/reviews: " in found["all of them are accepted"]["detail"]
    assert all(c["fix"] for c in found.values() if c["state"] != "ok")


def test_before_an_installation(mesh: Cluster) -> None:
    code, found = check(mesh, "--pre")
    assert code == 0
    assert found["can create customresourcedefinitions"]["state"] == "ok"
    assert "the control plane answers" not in found
    viewer = json.loads(mesh.kubectl("create", "token", "kiali", "-n", "istio-system", "-o", "json"))["status"]["token"]
    config = json.loads(mesh.kubectl("config", "view", "--raw", "-o", "json"))
    config["users"][0]["user"] = {"token": viewer}
    path = mesh.state / "viewer.kubeconfig"
    path.write_text(json.dumps(config))
    path.chmod(0o600)
    code, found = check(mesh, "--pre", "--kubeconfig", str(path))
    assert code == 1
    assert found["can create customresourcedefinitions"]["state"] == "failed"


def test_without_a_cluster(mesh: Cluster) -> None:
    config = json.loads(mesh.kubectl("config", "view", "--raw", "-o", "json"))
    config["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1"
    path = mesh.state / "nowhere.kubeconfig"
    path.write_text(json.dumps(config))
    path.chmod(0o600)
    code, found = check(mesh, "--kubeconfig", str(path))
    assert code == 1
    assert found["the cluster answers"]["state"] == "failed"
    assert "definitions of the mesh's kinds exist" not in found


def test_nothing_is_asked_after_a_control_plane_that_hangs(mesh: Cluster) -> None:
    pid = mesh.process("sailcloth.controlplane")
    os.kill(pid, signal.SIGSTOP)
    try:
        code, found = check(mesh)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert code == 1
    assert found["the control plane answers"]["detail"] == "not within 10 s"
    assert list(found)[-1] == "the control plane answers"
