"""What `kubectl get pods` shows for the states that a pod can be in."""

from __future__ import annotations

from typing import Any

import pytest

from sailcloth.local.apiserver.http import tables
from sailcloth.local.apiserver.kinds.core.cluster import NODE
from sailcloth.local.apiserver.kinds.core.pods import POD

Object = dict[str, Any]
RUNNING = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}


def waiting(reason: str) -> Object:
    return {"waiting": {"reason": reason}}


def ended(code: int, reason: str = "", signal: int = 0) -> Object:
    return {"terminated": {"exitCode": code, "reason": reason, "signal": signal}}


def container(state: Object, ready: bool = False, restarts: int = 0, name: str = "a", **more: Any) -> Object:
    return {"name": name, "state": state, "ready": ready, "restartCount": restarts, **more}


def pod(
    *containers: Object, phase: str = "Running", init: tuple[Object, ...] = (), sidecar: bool = False, **more: Any
) -> Object:
    names = [{"name": c["name"]} for c in containers] or [{"name": "a"}]
    inits = [{"name": c["name"], **({"restartPolicy": "Always"} if sidecar else {})} for c in init]
    status = {"phase": phase, "containerStatuses": list(containers), "initContainerStatuses": list(init), **more}
    metadata = {"name": "p", "creationTimestamp": "2026-01-01T00:00:00Z"}
    return {"metadata": metadata, "spec": {"containers": names, "initContainers": inits}, "status": status}


def going(obj: Object) -> Object:
    obj["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    return obj


CASES = [
    ("nothing yet", pod(phase="Pending"), "0/1", "Pending", "0"),
    ("runs", pod(container(RUNNING, True)), "1/1", "Running", "0"),
    ("unready", pod(container(RUNNING), container(RUNNING, True, name="b")), "1/2", "Running", "0"),
    ("creating", pod(container(waiting("ContainerCreating")), phase="Pending"), "0/1", "ContainerCreating", "0"),
    ("image", pod(container(waiting("ErrImagePull")), phase="Pending"), "0/1", "ErrImagePull", "0"),
    ("crashes", pod(container(waiting("CrashLoopBackOff"), restarts=3)), "0/1", "CrashLoopBackOff", "3"),
    ("completed", pod(container(ended(0, "Completed")), phase="Succeeded"), "0/1", "Completed", "0"),
    ("failed", pod(container(ended(1, "Error")), phase="Failed"), "0/1", "Error", "0"),
    ("exit code", pod(container(ended(3)), phase="Failed"), "0/1", "ExitCode:3", "0"),
    ("signal", pod(container(ended(137, signal=9)), phase="Failed"), "0/1", "Signal:9", "0"),
    ("evicted", pod(phase="Failed", reason="Evicted"), "0/1", "Evicted", "0"),
    ("goes", going(pod(container(RUNNING, True))), "1/1", "Terminating", "0"),
    (
        "first init",
        pod(container(waiting("PodInitializing")), phase="Pending", init=(container(RUNNING, name="i"), container(waiting("PodInitializing"), name="j"))),
        "0/1", "Init:0/2", "0",
    ),
    (
        "second init fails",
        pod(container(waiting("PodInitializing")), phase="Pending", init=(container(ended(0, "Completed"), name="i"), container(ended(2, "Error"), name="j"))),
        "0/1", "Init:Error", "0",
    ),
    (
        "init crashes",
        pod(container(waiting("PodInitializing")), phase="Pending", init=(container(waiting("CrashLoopBackOff"), restarts=2, name="i"),)),
        "0/1", "Init:CrashLoopBackOff", "2",
    ),
    (
        "native sidecar",
        pod(container(RUNNING, True), init=(container(RUNNING, True, name="i", started=True),), sidecar=True),
        "2/2", "Running", "0",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("obj", "ready", "status", "restarts"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_a_row_of_get_pods(obj: Object, ready: str, status: str, restarts: str) -> None:
    made = tables.table(POD.columns, [obj], "1")
    heads = [c["name"] for c in made["columnDefinitions"]]
    row = dict(zip(heads, made["rows"][0]["cells"], strict=True))
    assert (row["Ready"], row["Status"], row["Restarts"]) == (ready, status, restarts)


def test_a_row_of_get_nodes() -> None:
    labels = {"node-role.kubernetes.io/control-plane": "", "kubernetes.io/os": "linux"}
    metadata = {"name": "n", "labels": labels, "creationTimestamp": "2026-01-01T00:00:00Z"}
    ready = [{"type": "Ready", "status": "True"}]
    node = {"metadata": metadata, "spec": {}, "status": {"conditions": ready}}
    (row,) = tables.table(NODE.columns, [node], "1")["rows"]
    assert row["cells"][:3] == ["n", "Ready", "control-plane"]
