"""Pods through the API: what the kubelet makes of them."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from sailcloth.kube.client import Client
from sailcloth.kube.resources import CONFIGMAPS, PODS, SECRETS

from .local_cluster import Object, in_time
from .pods import container, ended, events, gone, log, make, pod, ready


async def test_environment_and_volumes(client: Client, namespace: str) -> None:
    await client.create(CONFIGMAPS, {"metadata": {"name": "c", "namespace": namespace}, "data": {"k": "from-map"}})
    secret = {"metadata": {"name": "s", "namespace": namespace}, "stringData": {"p": "from-secret"}}
    await client.create(SECRETS, secret)
    script = (
        "echo $A,$B,$C,$D,$k; cat /maps/renamed; echo; cat /secrets/p; echo; cat /info/labels; echo; "
        "cut -c1-3 /token/t; echo > /scratch/file && ls /scratch"
    )
    obj = pod(
        "env",
        script,
        container={
            "env": [
                {"name": "A", "value": "a"},
                {"name": "B", "value": "$(A)-$(NONE)"},
                {"name": "C", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
                {"name": "D", "valueFrom": {"secretKeyRef": {"name": "s", "key": "p"}}},
            ],
            "envFrom": [{"configMapRef": {"name": "c"}}],
            "volumeMounts": [
                {"name": "maps", "mountPath": "/maps"},
                {"name": "secrets", "mountPath": "/secrets"},
                {"name": "scratch", "mountPath": "/scratch"},
                {"name": "info", "mountPath": "/info"},
                {"name": "token", "mountPath": "/token"},
            ],
        },
        restartPolicy="Never",
        volumes=[
            {"name": "maps", "configMap": {"name": "c", "items": [{"key": "k", "path": "renamed"}]}},
            {"name": "secrets", "secret": {"secretName": "s"}},
            {"name": "scratch", "emptyDir": {}},
            {
                "name": "info",
                "downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]},
            },
            {
                "name": "token",
                "projected": {
                    "sources": [{"serviceAccountToken": {"path": "t", "audience": "x", "expirationSeconds": 600}}]
                },
            },
        ],
    )
    obj["metadata"]["labels"] = {"app": "env"}
    await make(client, namespace, obj)
    assert await ended(client, namespace, "env") == "Succeeded", await log(client, namespace, "env")
    text = (await log(client, namespace, "env")).splitlines()
    assert text == [
        f"a,a-$(NONE),{namespace},from-secret,from-map",
        "from-map",
        "from-secret",
        'app="env"',
        "eyJ",
        "file",
    ]


async def test_init_containers_run_in_order_before_the_others(client: Client, namespace: str) -> None:
    def step(name: str, script: str, **more: Any) -> Object:
        mounts = [{"name": "shared", "mountPath": "/shared"}]
        return {
            "name": name,
            "image": "busybox",
            "command": ["/bin/sh", "-c", script],
            "volumeMounts": mounts,
            **more,
        }

    sidecar = step("helper", "echo helper >> /shared/order; exec sleep 1000", restartPolicy="Always")
    obj = pod(
        "order",
        "cat /shared/order",
        container={"volumeMounts": [{"name": "shared", "mountPath": "/shared"}]},
        restartPolicy="Never",
        initContainers=[
            step("one", "sleep 0.1; echo one >> /shared/order"),
            {**sidecar, "startupProbe": {"exec": {"command": ["/bin/grep", "helper", "/shared/order"]}}},
            step("two", "echo two >> /shared/order"),
        ],
        volumes=[{"name": "shared", "emptyDir": {}}],
    )
    await make(client, namespace, obj)
    assert await ended(client, namespace, "order") == "Succeeded"
    assert (await log(client, namespace, "order", "?container=main")).split() == ["one", "helper", "two"]


async def test_a_container_that_fails_is_restarted_with_growing_pauses(client: Client, namespace: str) -> None:
    await make(client, namespace, pod("fails", "echo trying; exit 3"))

    async def backing_off() -> Object:
        found = await container(client, namespace, "fails")
        return found if (found.get("state") or {}).get("waiting", {}).get("reason") == "CrashLoopBackOff" else {}

    found = await in_time("CrashLoopBackOff", backing_off)
    assert found["restartCount"] >= 2
    assert found["lastState"]["terminated"]["exitCode"] == 3
    assert "fails" in found["state"]["waiting"]["message"]
    assert "BackOff" in await events(client, namespace, "fails")
    assert await log(client, namespace, "fails", "?previous=true") == "trying\n"


async def test_an_unknown_image_says_what_to_do(client: Client, namespace: str) -> None:
    await make(client, namespace, pod("strange", "true", container={"image": "example.com/strange:1"}))

    async def waiting() -> str:
        found = (await container(client, namespace, "strange")).get("state") or {}
        return str(found.get("waiting", {}).get("message", "")) if "ErrImagePull" in str(found) else ""

    message = await in_time("ErrImagePull", waiting)
    assert "example.com/strange:1" in message
    assert "sailctl image add" in message


async def test_a_missing_config_map_is_waited_for(client: Client, namespace: str) -> None:
    reference = {"name": "K", "valueFrom": {"configMapKeyRef": {"name": "late", "key": "k"}}}
    await make(client, namespace, pod("waits", "exec sleep 1000", container={"env": [reference]}))

    async def waiting() -> str:
        return str((await container(client, namespace, "waits")).get("state", {}).get("waiting", {}).get("message", ""))

    assert "late" in await in_time("the missing config map is named", waiting)
    await client.create(CONFIGMAPS, {"metadata": {"name": "late", "namespace": namespace}, "data": {"k": "v"}})
    await ready(client, namespace, "waits")


async def test_liveness_restarts_and_readiness_only_withholds(client: Client, namespace: str) -> None:
    probe = {"exec": {"command": ["/bin/false"]}, "periodSeconds": 1, "failureThreshold": 1}
    await make(client, namespace, pod("dies", "exec sleep 1000", container={"livenessProbe": probe}))
    await make(client, namespace, pod("unready", "exec sleep 1000", container={"readinessProbe": probe}))

    async def restarted() -> bool:
        return int((await container(client, namespace, "dies")).get("restartCount", 0)) >= 1

    await in_time("the container with a failing liveness probe is restarted", restarted)
    assert "Unhealthy" in await events(client, namespace, "dies")

    async def runs() -> bool:
        return "running" in (await container(client, namespace, "unready")).get("state", {})

    await in_time("the container with a failing readiness probe runs", runs)
    status = await container(client, namespace, "unready")
    assert (status["ready"], status["restartCount"]) == (False, 0)


async def test_an_http_probe_reaches_the_pod(client: Client, namespace: str) -> None:
    main = {
        "image": "docker.io/mccutchen/go-httpbin:v2.15.0",
        "command": None,
        "readinessProbe": {"httpGet": {"path": "/status/200", "port": 8080}, "periodSeconds": 1},
    }
    await make(client, namespace, pod("web", "", container=main))
    await ready(client, namespace, "web")


async def test_deletion_is_graceful_and_then_final(client: Client, namespace: str, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    script = "trap 'echo bye > /marks/mark; exit 0' TERM; echo up; while :; do sleep 0.05; done"
    volume = {"name": "marks", "hostPath": {"path": str(tmp_path)}}
    mounted = {"volumeMounts": [{"name": "marks", "mountPath": "/marks"}]}
    await make(
        client, namespace, pod("polite", script, container=mounted, terminationGracePeriodSeconds=10, volumes=[volume])
    )

    async def up() -> bool:
        return await log(client, namespace, "polite") == "up\n"

    await in_time("the script waits for its signal", up)
    await client.delete(PODS, "polite", namespace)
    await gone(client, namespace, "polite", 8)
    assert mark.read_text() == "bye\n"


async def test_deletion_does_not_wait_longer_than_its_grace(client: Client, namespace: str) -> None:
    await make(client, namespace, pod("stubborn", "trap '' TERM; while :; do sleep 0.05; done"))
    await ready(client, namespace, "stubborn")
    await client.delete(PODS, "stubborn", namespace, grace=1)

    async def gone() -> bool:
        found, _ = await client.list(PODS, namespace, field_selector="metadata.name=stubborn")
        return not found

    await in_time("the pod is gone", gone, 6)


async def test_what_a_container_waits_for_is_said(client: Client, namespace: str) -> None:
    """A pod without init containers waits for none: `kubectl get pods` shows it as being made."""
    reasons: dict[str, set[str]] = {"plain": set(), "after": set()}
    await make(client, namespace, pod("plain", "exec sleep 1000"))
    step = {"name": "step", "image": "busybox", "command": ["/bin/sh", "-c", "true"]}
    await make(client, namespace, pod("after", "exec sleep 1000", initContainers=[step]))
    path, query = PODS.path(namespace), {"watch": "true"}
    async with client.request("GET", path, params=query) as answer:
        left = set(reasons)
        while left:
            found = json.loads(await asyncio.wait_for(answer.content.readline(), 20))["object"]
            for one in found["status"].get("containerStatuses") or ():
                if waiting := one["state"].get("waiting"):
                    reasons[found["metadata"]["name"]].add(waiting["reason"])
                else:
                    left.discard(found["metadata"]["name"])
        answer.close()
    assert reasons["plain"] <= {"ContainerCreating"}
    assert reasons["after"] <= {"PodInitializing"}
