"""The control plane as a pod: found by its labels, its log read, its ports reached, and deleted without harm."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

from .bookinfo import KUBECTL, Cluster

POD = ("-n", "istio-system", "pod", "-l", "app=istiod,istio.io/rev=default")


def pods(cluster: Cluster) -> list[dict[str, Any]]:
    return list(json.loads(cluster.kubectl("get", *POD, "-o", "json"))["items"])


@contextlib.contextmanager
def forwarded(cluster: Cluster, port: int) -> Iterator[int]:
    """A local port that reaches the pod's."""
    assert KUBECTL
    name = pods(cluster)[0]["metadata"]["name"]
    process = subprocess.Popen(
        [KUBECTL, "-n", "istio-system", "port-forward", name, f":{port}"],
        env=cluster.environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout
        found = re.search(r":(\d+) ->", process.stdout.readline())
        assert found
        yield int(found[1])
    finally:
        process.terminate()
        process.communicate(timeout=10)


def test_tools_find_the_control_plane(cluster: Cluster) -> None:
    (pod,) = pods(cluster)
    assert {c["type"]: c["status"] for c in pod["status"]["conditions"]}["Ready"] == "True"
    assert pod["status"]["podIP"] == pod["status"]["hostIP"] == "10.42.0.1"
    name = pod["metadata"]["name"]
    assert "serving discovery on" in cluster.kubectl("logs", "-n", "istio-system", name)
    with (
        forwarded(cluster, 15014) as port,
        urllib.request.urlopen(f"http://127.0.0.1:{port}/version?format=json") as answer,
    ):
        assert set(json.load(answer)) == {"version", "revision", "golang_version", "sailcloth", "status", "tag"}
    with forwarded(cluster, 15014) as port, urllib.request.urlopen(f"http://127.0.0.1:{port}/debug/syncz") as answer:
        assert any("productpage" in row["name"] for row in json.load(answer))


def test_deleting_the_pod_stops_nothing(cluster: Cluster) -> None:
    uid, process = pods(cluster)[0]["metadata"]["uid"], cluster.process("sailcloth.controlplane")
    cluster.kubectl("delete", *POD, "--wait=false")  # kubectl may overlook that the pod of this name is another by then
    end = time.monotonic() + 20
    while [p["metadata"]["uid"] for p in pods(cluster)] in ([], [uid]):
        assert time.monotonic() < end, "the pod does not come back"
        time.sleep(0.1)
    assert cluster.process("sailcloth.controlplane") == process
    cluster.kubectl("wait", "--for=condition=Ready", *POD, "--timeout=20s")
