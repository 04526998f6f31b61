"""Ephemeral containers, as `kubectl debug` adds them to a running pod."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pty
import shutil
import time
from typing import Any

import pytest

from sailcloth.kube.client import ApiError, Client
from sailcloth.kube.resources import PODS

from .local_cluster import Object, Up, in_time
from .pods import ended, make, pod, ready, run_command, status

SERVE = "exec python3 -m http.server 8000 --directory /tmp"
KUBECTL = shutil.which("kubectl")
needs_kubectl = pytest.mark.skipif(KUBECTL is None, reason="kubectl is not installed")


async def debugger(client: Client, namespace: str, name: str, state: str = "terminated") -> Object:
    """The state of the pod's one ephemeral container, once it has it."""

    async def ask() -> Object:
        found = (await status(client, namespace, name)).get("ephemeralContainerStatuses") or [{}]
        return dict((found[0].get("state") or {}).get(state) or {})

    return await in_time(f"the debugger of {name} is {state}", ask)


@needs_kubectl
async def test_a_terminal_beside_a_running_pod(up: Up, client: Client, namespace: str) -> None:
    await make(client, namespace, pod("web", SERVE, container={"ports": [{"containerPort": 8000}]}))
    await ready(client, namespace, "web")
    ours, theirs = pty.openpty()
    os.set_blocking(ours, False)
    said = b""
    words = ["-n", namespace, "debug", "-it", "web", "--image=curl", "-c", "look", "--target=main", "--", "sh"]
    assert KUBECTL is not None
    process = await asyncio.create_subprocess_exec(
        KUBECTL, "--kubeconfig", up.found["kubeconfig"], *words, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)

    async def until(text: bytes) -> None:
        nonlocal said
        end = time.monotonic() + 20
        while text not in said:
            assert time.monotonic() < end, said
            with contextlib.suppress(BlockingIOError):
                said += os.read(ours, 65536)
            await asyncio.sleep(0.02)

    try:
        state = await debugger(client, namespace, "web", "running")
        assert state["startedAt"]
        os.write(ours, b"echo on $(tty | cut -c1-8)\n")
        await until(b"on /dev/con")
        os.write(ours, b"curl -s -o /tmp/page -w 'got %{http_code}' http://127.0.0.1:8000/\n")
        await until(b"got 200")
        os.write(ours, b"cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -c 'http.serve[r]' | sed 's/^/sees /'\n")
        await until(b"sees 1")
        os.write(ours, b"exit 3\n")
        async with asyncio.timeout(20):
            await process.wait()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        os.close(ours)
    assert (await debugger(client, namespace, "web"))["exitCode"] == 3
    assert (await ready(client, namespace, "web"))["containerStatuses"][0]["restartCount"] == 0


async def test_it_runs_once_whoever_asks_again(up: Up, client: Client, namespace: str) -> None:
    await make(client, namespace, pod("short", "while [ ! -e /tmp/end ]; do sleep 0.05; done", restartPolicy="Never"))
    await ready(client, namespace, "short")
    await add(client, namespace, "short", {"name": "once", "image": "busybox", "command": ["/bin/sh", "-c", "exit 7"]})
    assert (await debugger(client, namespace, "short"))["exitCode"] == 7
    await add(
        client, namespace, "short", {"name": "stays", "image": "busybox", "command": ["/bin/sh", "-c", "sleep 60"]}
    )
    await add(client, namespace, "short", {"name": "odd", "image": "no.example/nothing"})

    async def states() -> Any:
        found = (await status(client, namespace, "short")).get("ephemeralContainerStatuses") or ()
        by_name = {s["name"]: next(iter(s["state"].items())) for s in found}
        kinds = {name: kind for name, (kind, _) in by_name.items()}
        return kinds == {"once": "terminated", "stays": "running", "odd": "waiting"} and by_name["odd"][1]

    waiting = await in_time("three debuggers", states)
    assert (waiting["reason"], "sailctl image add" in waiting["message"]) == ("ErrImagePull", True)
    told = (await status(client, namespace, "short"))["ephemeralContainerStatuses"][:2]
    up.kill("node")
    await run_command_again(client, namespace, "touch", "/tmp/end")
    assert await ended(client, namespace, "short") == "Succeeded"

    async def ended_too() -> Any:
        """The node ends debuggers after the pod's own containers."""
        states = (await status(client, namespace, "short"))["ephemeralContainerStatuses"][:2]
        return states if all("terminated" in s["state"] for s in states) else None

    once, stays = await in_time("ended debuggers", ended_too)
    assert once["state"] == told[0]["state"]
    assert stays["state"]["terminated"]["startedAt"] == told[1]["state"]["running"]["startedAt"]


async def run_command_again(client: Client, namespace: str, *command: str) -> None:
    """A command in the pod, once its node is back."""

    async def ask() -> bool:
        return (await run_command(client, namespace, "short", *command))[0] == 0

    await in_time("the node is back", ask)


async def add(
    client: Client, namespace: str, name: str, *containers: Object, at: str = "ephemeralcontainers"
) -> Object:
    return await client.patch(PODS, name, namespace, {"spec": {"ephemeralContainers": containers}}, "strategic", at)


async def test_what_may_not_be_added_or_changed(client: Client, namespace: str) -> None:
    one: Object = {"name": "one", "image": "busybox", "command": ["/bin/sh", "-c", "sleep 60"]}
    idle = pod("idle", "sleep 60")
    with pytest.raises(ApiError, match="cannot be set on create"):
        await make(client, namespace, {**idle, "spec": {**idle["spec"], "ephemeralContainers": [one]}})
    await make(client, namespace, idle)
    for wrong, text in (
        ({**one, "name": "main"}, "Duplicate value"),
        ({"name": "two"}, "image"),
        ({**one, "targetContainerName": "nobody"}, "Not found"),
        ({**one, "ports": [{"containerPort": 80}]}, "cannot be set for an Ephemeral Container"),
        ({**one, "resources": {"limits": {"cpu": "1"}}}, "cannot be set for an Ephemeral Container"),
    ):
        with pytest.raises(ApiError, match=text):
            await add(client, namespace, "idle", wrong)
    made = await add(client, namespace, "idle", one)
    with pytest.raises(ApiError, match="may not be changed"):
        await add(client, namespace, "idle", {**one, "image": "curl"})
    with pytest.raises(ApiError, match="may not be removed"):
        await client.patch(PODS, "idle", namespace, {"spec": {"ephemeralContainers": None}}, sub="ephemeralcontainers")
    same = await add(client, namespace, "idle", {**one, "name": "other"}, at="")  # not through the pod itself
    assert same["spec"]["ephemeralContainers"] == made["spec"]["ephemeralContainers"]
    await client.patch(PODS, "idle", namespace, {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": None}}, sub="ephemeralcontainers")  # fmt: skip
    live = await client.get(PODS, "idle", namespace)
    assert ("labels" in live["metadata"], len(live["spec"]["containers"])) == (False, 1)
