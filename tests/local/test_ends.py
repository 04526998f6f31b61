"""What ends, and what starts again: exactly once where it should, not at all where it should not."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

from sailcloth.kube.client import Client
from sailcloth.kube.resources import PODS

from .local_cluster import Up, eventually, in_time, processes
from .pods import Object, container, ended, log, make, pod, ready, status

_LONGER_THAN_A_RESTART_S = 0.8  # the first back-off is 0.2 s


async def test_native_sidecars_stay_ended_with_their_pod(client: Client, namespace: str) -> None:
    sidecar = {"name": "helper", "image": "busybox", "command": ["/bin/sleep", "1000"], "restartPolicy": "Always"}
    await make(client, namespace, pod("job", "true", restartPolicy="Never", initContainers=[sidecar]))
    assert await ended(client, namespace, "job") == "Succeeded"

    async def helper() -> Object:
        found: Object = (await status(client, namespace, "job"))["initContainerStatuses"][0]
        return found

    async def helper_ended() -> bool:
        return "terminated" in (await helper())["state"]

    await in_time("the sidecar ended", helper_ended)
    await asyncio.sleep(_LONGER_THAN_A_RESTART_S)
    assert (await helper())["restartCount"] == 0
    assert await helper_ended()


async def test_a_failed_init_container_fails_a_pod_that_never_restarts(client: Client, namespace: str) -> None:
    first = {"name": "first", "image": "busybox", "command": ["/bin/sh", "-c", "exit 7"]}
    await make(client, namespace, pod("broken", "echo started", restartPolicy="Never", initContainers=[first]))
    assert await ended(client, namespace, "broken") == "Failed"
    found = await status(client, namespace, "broken")
    assert found["initContainerStatuses"][0]["state"]["terminated"]["exitCode"] == 7
    assert "waiting" in found["containerStatuses"][0]["state"]


async def test_a_failed_init_container_is_tried_again(client: Client, namespace: str, tmp_path: Path) -> None:
    first = {
        "name": "first",
        "image": "busybox",
        "command": ["/bin/sh", "-c", "[ -e /host/mark ] || { echo > /host/mark; exit 1; }"],
        "volumeMounts": [{"name": "host", "mountPath": "/host"}],
    }
    obj = pod("second", "echo started", restartPolicy="OnFailure", initContainers=[first], volumes=[_host(tmp_path)])
    await make(client, namespace, obj)
    assert await ended(client, namespace, "second") == "Succeeded"
    assert await log(client, namespace, "second", "?container=main") == "started\n"


async def test_what_ended_while_the_node_was_away_starts_once(
    up: Up, client: Client, namespace: str, tmp_path: Path
) -> None:
    starts, marker = tmp_path / "starts", f"8{os.getpid()}"
    mounts = {"volumeMounts": [{"name": "host", "mountPath": "/host"}]}
    script = f"echo x >> /host/starts; exec sleep {marker}"
    await make(client, namespace, pod("once", script, container=mounts, volumes=[_host(tmp_path)]))
    await ready(client, namespace, "once")
    running = eventually("the container runs", lambda: min(processes(f"sleep {marker}"), default=0))
    node = up.component("node")
    os.kill(node, signal.SIGKILL)
    os.kill(running, signal.SIGKILL)

    async def again() -> bool:
        return int((await container(client, namespace, "once")).get("restartCount", 0)) >= 1

    await in_time("the container was started again", again)
    await ready(client, namespace, "once")
    await asyncio.sleep(_LONGER_THAN_A_RESTART_S)
    assert starts.read_text() == "x\nx\n"


async def test_a_pod_that_ended_leaves_no_process_when_deleted_by_another_node_process(
    up: Up, client: Client, namespace: str
) -> None:
    await make(client, namespace, pod("over", "true", restartPolicy="Never"))
    assert await ended(client, namespace, "over") == "Succeeded"
    uid = str((await client.get(PODS, "over", namespace))["metadata"]["uid"])
    directory = up.state / "run" / "p" / uid[:12]
    inits = _listening(directory)
    assert inits, "PID 1 of the pod stays until the pod is deleted"
    node = up.component("node")
    os.kill(node, signal.SIGKILL)
    assert eventually("another node process", lambda: up.component("node") != node)
    assert (await status(client, namespace, "over"))["phase"] == "Succeeded"
    await client.delete(PODS, "over", namespace)
    eventually("PID 1 of the pod is gone", lambda: not directory.exists() and not _listening(directory))


async def test_pods_deleted_while_the_node_was_away_end_when_it_is_back(up: Up, client: Client, namespace: str) -> None:
    old, new = f"8{os.getpid()}1", f"8{os.getpid()}2"
    await make(client, namespace, pod("same", f"exec sleep {old}"))
    await ready(client, namespace, "same")
    assert processes(f"sleep {old}")
    node = up.component("node")
    os.kill(node, signal.SIGKILL)
    await client.delete(PODS, "same", namespace, grace=0)
    await make(client, namespace, pod("same", f"exec sleep {new}"))
    eventually("the deleted pod's process is gone", lambda: not processes(f"sleep {old}"))
    await ready(client, namespace, "same")
    assert processes(f"sleep {new}")


def _host(folder: Path) -> Object:
    """A volume that is a folder of the host, which outlives containers and is seen from outside."""
    return {"name": "host", "hostPath": {"path": str(folder)}}


def _listening(directory: Path) -> list[str]:
    """Lines of /proc/net/unix inside the cluster name sockets of a pod's directory for as long as they are held."""
    found: list[str] = []
    for pid in processes("sailcloth.local.supervisor"):
        try:
            text = Path(f"/proc/{pid}/net/unix").read_text()
        except OSError:
            continue
        found += [line for line in text.splitlines() if str(directory) in line]
    return found
