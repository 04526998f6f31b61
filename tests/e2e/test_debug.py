"""`kubectl debug`: a container is added to a pod that runs, among its network and processes, and takes nothing with it."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import time
from typing import Any

import pytest

from .bookinfo import KUBECTL, Cluster
from .terminals import shows

Object = dict[str, Any]


@pytest.fixture
def target(cluster: Cluster) -> Any:
    """A pod of the test's own that serves on its loopback only."""
    spec: Object = {
        "containers": [
            {
                "name": "main",
                "image": "curlimages/curl",
                "command": ["python3", "-m", "http.server", "-b", "127.0.0.1", "8000"],
            }
        ],
        "terminationGracePeriodSeconds": 1,
    }
    made = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "target"}, "spec": spec}
    assert KUBECTL
    subprocess.run(
        [KUBECTL, "apply", "-f", "-"],
        input=json.dumps(made),
        text=True,
        env=cluster.environment,
        check=True,
        capture_output=True,
    )
    cluster.kubectl("wait", "--for=condition=Ready", "pod/target", "--timeout=30s")
    yield "target"
    cluster.kubectl("delete", "pod", "target", "--ignore-not-found", "--grace-period=1")


def statuses(cluster: Cluster, pod: str) -> dict[str, Object]:
    found = json.loads(cluster.kubectl("get", "pod", pod, "-o", "json"))
    return {s["name"]: s for s in found["status"].get("ephemeralContainerStatuses") or ()}


def until(cluster: Cluster, pod: str, name: str, state: str) -> Object:
    end = time.monotonic() + 20
    while True:
        found = statuses(cluster, pod).get(name, {}).get("state") or {}
        if state in found:
            return dict(found[state])
        assert time.monotonic() < end, f"{name} is not {state}: {found}"
        time.sleep(0.05)


def test_a_shell_beside_a_program(cluster: Cluster, target: str) -> None:
    """As at a keyboard: the shell sees the pod's loopback and its processes, and ends alone."""
    assert KUBECTL
    pid, fd = pty.fork()
    if pid == 0:
        os.environ.update(cluster.environment)
        command = ["debug", "-it", target, "--image=curlimages/curl", "-c", "shell", "--target=main", "--", "sh"]
        os.execv(KUBECTL, [KUBECTL, *command])
    try:
        shows(fd, r"[$#] $|pressing enter")
        os.write(fd, b"\n")
        os.write(fd, b"curl -s -o /dev/null -w 'code%{http_code}\\n' http://127.0.0.1:8000/\n")
        shows(fd, r"code200")
        os.write(fd, b"cat /proc/[0-9]*/cmdline | tr '\\0' ' '; echo seen$((40+2))\n")
        assert "http.server" in shows(fd, r"seen42")
        assert statuses(cluster, target)["shell"]["state"]["running"]
        os.write(fd, b"exit 3\n")
        while select.select([fd], [], [], 20)[0]:
            try:
                if not os.read(fd, 4096):
                    break
            except OSError:
                break
    finally:
        os.close(fd)
        os.waitpid(pid, 0)
    assert until(cluster, target, "shell", "terminated")["exitCode"] == 3
    pod = json.loads(cluster.kubectl("get", "pod", target, "-o", "json"))
    assert pod["status"]["phase"] == "Running"
    assert pod["status"]["containerStatuses"][0]["restartCount"] == 0
    assert {"type": "Ready", "status": "True"}.items() <= next(
        c for c in pod["status"]["conditions"] if c["type"] == "Ready"
    ).items()


def test_what_it_says_is_in_its_log_and_it_runs_once(cluster: Cluster, target: str) -> None:
    cluster.kubectl("debug", target, "--image=curlimages/curl", "-c", "one", "--", "sh", "-c", "echo looked; exit 4")
    assert until(cluster, target, "one", "terminated")["exitCode"] == 4
    assert cluster.kubectl("logs", target, "-c", "one") == "looked\n"
    cluster.kubectl("debug", target, "--image=curlimages/curl", "-c", "two", "--", "sleep", "600")
    until(cluster, target, "two", "running")
    assert cluster.kubectl("exec", target, "-c", "two", "--", "echo", "here") == "here\n"
    found = statuses(cluster, target)
    assert (found["one"]["restartCount"], found["one"]["ready"]) == (0, False)
    assert "two" in cluster.kubectl("describe", "pod", target)
    began = time.monotonic()
    cluster.kubectl("delete", "pod", target, "--grace-period=1")  # what still looks does not hold the pod
    assert time.monotonic() - began < 15


def test_an_unknown_image_waits_and_says_why(cluster: Cluster, target: str) -> None:
    cluster.kubectl("debug", target, "--image=example.com/nowhere:1", "-c", "lost", "--", "sh")
    waiting = until(cluster, target, "lost", "waiting")
    end = time.monotonic() + 10
    while waiting.get("reason") != "ErrImagePull":
        assert time.monotonic() < end, waiting
        time.sleep(0.05)
        waiting = until(cluster, target, "lost", "waiting")
    assert "sailctl image add" in waiting["message"]


def test_where_it_cannot_run_it_is_refused(cluster: Cluster, target: str) -> None:
    cluster.kubectl("debug", target, "--image=docker.io/istio/proxyv2:1.27.0", "-c", "proxy", "--", "sh")
    end = time.monotonic() + 10
    while "cannot be an ephemeral container" not in until(cluster, target, "proxy", "waiting").get("message", ""):
        assert time.monotonic() < end
        time.sleep(0.05)
    assert KUBECTL
    run = ("run", "over", "--image=curlimages/curl", "--restart=Never", "--command", "--", "true")
    cluster.kubectl(*run)
    cluster.kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/over", "--timeout=30s")
    command = [KUBECTL, "debug", "over", "-it", "--image=curlimages/curl", "--", "sh"]
    done = subprocess.run(command, capture_output=True, text=True, env=cluster.environment, timeout=30, check=False)
    assert done.returncode
    assert "ephemeral" in done.stderr or "invalid" in done.stderr, done.stderr
    cluster.kubectl("delete", "pod", "over", "--grace-period=0", "--force")


def test_a_pod_of_the_mesh_can_be_debugged(cluster: Cluster) -> None:
    """Beside the application and its proxy: Envoy's administration answers on the pod's loopback."""
    pod = cluster.kubectl("get", "pod", "-l", "app=ratings", "-o", "name").split()[0].removeprefix("pod/")
    script = "curl -s -o /dev/null -w %{http_code} http://127.0.0.1:15000/ready"
    cluster.kubectl("debug", pod, "--image=curlimages/curl", "-c", "look", "--", "sh", "-c", script)
    assert until(cluster, pod, "look", "terminated")["exitCode"] == 0
    assert cluster.kubectl("logs", pod, "-c", "look") == "200"
