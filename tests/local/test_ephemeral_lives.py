"""Ephemeral containers over deaths: they outlive the node's process, and run once whatever becomes of their pod."""

from __future__ import annotations

import os
from typing import Any

from sailcloth.kube import resources
from sailcloth.kube.client import Client
from sailcloth.kube.resources import PODS

from .local_cluster import Object, Up, in_time, processes
from .pods import make, pod, ready, status


async def debug(client: Client, namespace: str, name: str, *command: str) -> None:
    container = {"name": name, "image": "busybox", "command": list(command)}
    patch = {"spec": {"ephemeralContainers": [container]}}
    await client.patch(PODS, "p", namespace, patch, type="strategic", sub="ephemeralcontainers")


async def state(client: Client, namespace: str, name: str, wanted: str) -> Object:
    """The state of an ephemeral container, once it is the wanted one."""

    async def ask() -> Any:
        found = (await status(client, namespace, "p")).get("ephemeralContainerStatuses") or ()
        return next((s["state"].get(wanted) for s in found if s["name"] == name), None)

    return await in_time(f"{name} is {wanted}", ask)  # type: ignore[no-any-return]


async def test_they_outlive_the_node(up: Up, client: Client, namespace: str) -> None:
    marker = f"7{os.getpid()}11"
    await make(client, namespace, pod("p", "exec sleep 1000"))
    await ready(client, namespace, "p")
    await debug(client, namespace, "done", "/bin/sh", "-c", "exit 5")
    await state(client, namespace, "done", "terminated")
    await debug(client, namespace, "stays", "/bin/sh", "-c", f"exec sleep {marker}")
    began = await state(client, namespace, "stays", "running")
    before = up.component("node")
    up.kill("node")

    async def another() -> bool:
        return up.component("node") != before

    await in_time("the node comes back", another)
    await debug(client, namespace, "later", "/bin/sh", "-c", "exit 6")
    assert (await state(client, namespace, "later", "terminated"))["exitCode"] == 6
    assert (await state(client, namespace, "done", "terminated"))["exitCode"] == 5
    assert await state(client, namespace, "stays", "running") == began
    assert len(processes(f"sleep {marker}")) == 1


async def test_they_do_not_run_again_with_their_pod(own: Up) -> None:
    marker = f"7{os.getpid()}12"
    own.start()
    async with own.client() as client:
        await client.create(resources.NAMESPACES, {"metadata": {"name": "n"}})
        await make(client, "n", pod("p", "exec sleep 1000"))
        await ready(client, "n", "p")
        await debug(client, "n", "looks", "/bin/sh", "-c", f"exec sleep {marker}")
        await state(client, "n", "looks", "running")
    own.down()
    own.start()
    async with own.client() as client:

        async def again() -> bool:
            found = (await ready(client, "n", "p"))["containerStatuses"][0]
            return bool(found["restartCount"] == 1)

        await in_time("the pod runs again", again)
        assert (await state(client, "n", "looks", "terminated"))["exitCode"]
    assert not processes(f"sleep {marker}")
