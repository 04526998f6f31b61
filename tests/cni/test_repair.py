"""What becomes of pods whose validation has found that nothing captures their traffic, on an API server of each test's own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sailcloth.cni.repair import Repair, Repairer
from sailcloth.kube import Client
from sailcloth.kube.resources import PODS
from tests.apiserver.cluster import Server

BROKEN = {"name": "istio-validation", "state": {"terminated": {"exitCode": 126}}, "image": "i", "imageID": ""}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    running = Server(tmp_path)
    try:
        running.start()
        yield running
    finally:
        running.close()


@pytest.fixture
async def client(server: Server) -> AsyncIterator[Client]:
    """With a broken pod and a good one on this node, and a broken one on another."""
    async with server.client() as made:
        for name, node, code in (("broken", "here", 126), ("good", "here", 0), ("elsewhere", "there", 126)):
            container = {"name": "web", "image": "web"}
            spec = {"nodeName": node, "containers": [container], "terminationGracePeriodSeconds": 0}
            pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"}, "spec": spec}
            await made.create(PODS, pod)
            status = {"initContainerStatuses": [{**BROKEN, "state": {"terminated": {"exitCode": code}}}]}
            await made.patch(PODS, name, "default", {"status": status}, sub="status")
        yield made


@contextlib.asynccontextmanager
async def repairing(client: Client, how: Repair) -> AsyncIterator[None]:
    task = asyncio.create_task(Repairer(client, "here", Path("/nowhere"), how).run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until(client: Client, met: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The pods by name, when they are as they should be."""
    async with asyncio.timeout(10):
        while True:
            found = {p["metadata"]["name"]: p for p in (await client.list(PODS, "default"))[0]}
            if met(found):
                return found
            await asyncio.sleep(0.05)


def labelled(found: dict[str, Any]) -> set[str]:
    return {n for n, p in found.items() if (p["metadata"].get("labels") or {}).get("broken") == "yes"}


async def test_a_broken_pod_is_deleted(client: Client) -> None:
    async with repairing(client, Repair(delete=True, label=True, key="broken", value="yes")):
        found = await until(
            client, lambda pods: "broken" not in pods or "deletionTimestamp" in pods["broken"]["metadata"]
        )
    assert {"good", "elsewhere"} <= found.keys()
    assert labelled(found) == set()


async def test_a_broken_pod_is_labelled(client: Client) -> None:
    async with repairing(client, Repair(label=True, key="broken", value="yes")):
        found = await until(client, lambda pods: labelled(pods) != set())
    assert labelled(found) == {"broken"}
