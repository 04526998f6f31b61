"""Pods whose readiness others decide, and what a pod says last."""

from __future__ import annotations

import asyncio

from sailcloth.kube.client import Client
from sailcloth.kube.resources import PODS

from .local_cluster import Object, in_time
from .pods import make, pod, ready, status

GATE = "example.com/approved"


async def test_a_readiness_gate_decides_with_the_containers(client: Client, namespace: str) -> None:
    await make(client, namespace, pod("gated", "exec sleep 1000", readinessGates=[{"conditionType": GATE}]))

    async def conditions() -> dict[str, Object]:
        return {c["type"]: c for c in (await status(client, namespace, "gated")).get("conditions") or ()}

    async def containers_ready() -> bool:
        return (await conditions()).get("ContainersReady", {}).get("status") == "True"

    await in_time("the containers are ready", containers_ready)
    found = (await conditions())["Ready"]
    assert (found["status"], found["reason"]) == ("False", "ReadinessGatesNotReady")
    assert found["message"] == f'corresponding condition of pod readiness gate "{GATE}" does not exist.'

    async def approve(value: str) -> None:
        patch = {"status": {"conditions": [{"type": GATE, "status": value}]}}
        await client.patch(PODS, "gated", namespace, patch, type="strategic", sub="status")

    await approve("True")
    await ready(client, namespace, "gated")
    found = await conditions()
    assert found[GATE]["status"] == "True"
    assert not found["Ready"].keys() & {"reason", "message"}
    await approve("False")

    async def unready() -> bool:
        return bool((await conditions())["Ready"]["status"] == "False")

    await in_time("the gate takes readiness away", unready)


async def test_the_last_lines_of_a_deleted_pod_reach_who_follows(client: Client, namespace: str) -> None:
    script = "trap 'for n in 1 2 3; do echo last $n; done; exit 0' TERM; echo first; while true; do sleep 0.05; done"
    await make(client, namespace, pod("talks", script, terminationGracePeriodSeconds=5))
    await ready(client, namespace, "talks")
    path = f"/api/v1/namespaces/{namespace}/pods/talks/log?follow=true"
    async with client.request("GET", path) as answer, asyncio.timeout(30):
        assert await answer.content.readline() == b"first\n"
        await client.delete(PODS, "talks", namespace)
        lines = (await answer.content.read()).decode().splitlines()
        assert lines[-3:] == ["last 1", "last 2", "last 3"]
