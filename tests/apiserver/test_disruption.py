"""Evictions under PodDisruptionBudgets, taints and tolerations, cordon and drain, scheduling gates."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from sailcloth.kube import resources
from sailcloth.kube.client import ApiError, Client
from sailcloth.kube.resources import Resource

from .cluster import Kubectl, until

Object = dict[str, Any]
BUDGETS = Resource("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget")
DAEMON_SETS = Resource("apps", "v1", "daemonsets", "DaemonSet")
NODE = "sailcloth"


def deployment(namespace: str, replicas: int, **spec: Any) -> Object:
    template = {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "a", "image": "i:1"}], **spec}}
    whole = {"replicas": replicas, "selector": {"matchLabels": {"app": "x"}}, "template": template}
    return {"metadata": {"name": "x", "namespace": namespace}, "spec": whole}


def budget(namespace: str, name: str = "x", **spec: Any) -> Object:
    return {
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"selector": {"matchLabels": {"app": "x"}}, **spec},
    }


def pod(namespace: str, **spec: Any) -> Object:
    metadata = {"name": "x", "namespace": namespace, "labels": {"app": "x"}}
    return {"metadata": metadata, "spec": {"containers": [{"name": "a", "image": "i:1"}], **spec}}


async def ready(client: Client, namespace: str, count: int) -> list[Object]:
    async def check() -> list[Object] | None:
        found, _ = await client.list(resources.PODS, namespace)
        live = [
            p
            for p in found
            if not p["metadata"].get("deletionTimestamp")
            and {"Ready"} <= {c["type"] for c in p["status"].get("conditions") or () if c["status"] == "True"}
        ]
        return live if len(live) == count else None

    pods: list[Object] = await until(f"{count} ready pods", check) if count else []
    return pods


async def status(client: Client, namespace: str, **wanted: Any) -> Object:
    async def check() -> Object | None:
        found = (await client.get(BUDGETS, "x", namespace)).get("status") or {}
        return found if all(found.get(k) == v for k, v in wanted.items()) else None

    out: Object = await until(f"a budget with {wanted}", check)
    return out


async def evict(client: Client, namespace: str, name: str, **query: str) -> Any:
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": namespace}}
    return await client.call("POST", resources.PODS.path(namespace, name, "eviction"), body, **query)


@pytest.fixture
async def restored(client: Client, node: None) -> AsyncIterator[None]:
    """The node without taints, and schedulable, before and after."""

    async def there() -> bool:
        try:
            await client.get(resources.NODES, NODE)
        except ApiError:
            return False
        return True

    await until("the node", there)
    yield
    await client.patch(resources.NODES, NODE, "", {"spec": {"taints": None, "unschedulable": None}})


# -- budgets ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "desired", "allowed"),
    [
        ({"minAvailable": 2}, 2, 1),
        ({"minAvailable": "50%"}, 2, 1),
        ({"minAvailable": "100%"}, 3, 0),
        ({"maxUnavailable": 2}, 1, 2),
        ({"maxUnavailable": "10%"}, 2, 1),
        ({"maxUnavailable": 0}, 3, 0),
        ({"minAvailable": 5}, 5, 0),
    ],
)
async def test_what_a_budget_allows(
    client: Client, namespace: str, node: None, spec: Object, desired: int, allowed: int
) -> None:
    await client.create(BUDGETS, budget(namespace, **spec))
    await client.create(resources.DEPLOYMENTS, deployment(namespace, 3))
    await ready(client, namespace, 3)
    found = await status(client, namespace, currentHealthy=3, disruptionsAllowed=allowed)
    assert (found["desiredHealthy"], found["expectedPods"], found["observedGeneration"]) == (desired, 3, 1)
    (condition,) = found["conditions"]
    expected = ("DisruptionAllowed", *(("True", "SufficientPods") if allowed else ("False", "InsufficientPods")))
    assert (condition["type"], condition["status"], condition["reason"]) == expected


async def test_an_eviction_spends_the_budget(client: Client, namespace: str, node: None) -> None:
    await client.create(BUDGETS, budget(namespace, minAvailable=2))
    await client.create(resources.DEPLOYMENTS, deployment(namespace, 2))
    first, _ = await ready(client, namespace, 2)
    await status(client, namespace, currentHealthy=2)
    name = first["metadata"]["name"]
    with pytest.raises(ApiError) as caught:
        await evict(client, namespace, name)
    assert caught.value.status == 429
    assert caught.value.message == "Cannot evict pod as it would violate the pod's disruption budget."
    cause = {
        "reason": "DisruptionBudget",
        "message": "The disruption budget x needs 2 healthy pods and has 2 currently",
    }
    path = resources.PODS.path(namespace, name, "eviction")
    async with client.request("POST", path, json={"metadata": {"name": name}}) as response:
        body = await response.json()
    assert (body["code"], body["reason"], body["details"]["causes"]) == (429, "TooManyRequests", [cause])
    await client.patch(BUDGETS, "x", namespace, {"spec": {"minAvailable": 1}})
    await status(client, namespace, disruptionsAllowed=1, observedGeneration=2)
    await evict(client, namespace, name, dryRun="All")
    assert (await client.get(resources.PODS, name, namespace))["metadata"].get("deletionTimestamp") is None
    await evict(client, namespace, name)
    await ready(client, namespace, 2)  # the Deployment has another one
    await status(client, namespace, disruptionsAllowed=1, currentHealthy=2)


async def test_evictions_at_once_get_no_more_than_there_is(client: Client, namespace: str, node: None) -> None:
    await client.create(BUDGETS, budget(namespace, maxUnavailable=1))
    await client.create(resources.DEPLOYMENTS, deployment(namespace, 4))
    pods = await ready(client, namespace, 4)
    await status(client, namespace, disruptionsAllowed=1)
    tried = [evict(client, namespace, p["metadata"]["name"]) for p in pods]
    answers = await asyncio.gather(*tried, return_exceptions=True)
    refused = [a for a in answers if isinstance(a, ApiError)]
    assert (len(answers) - len(refused), {e.status for e in refused}) == (1, {429})


async def test_unready_and_unmanaged_pods(client: Client, namespace: str, node: None) -> None:
    await client.create(resources.PODS, pod(namespace))
    await ready(client, namespace, 1)
    await client.create(BUDGETS, budget(namespace, maxUnavailable=1))
    found = await status(client, namespace, observedGeneration=1)
    assert found["disruptionsAllowed"] == 0, "nobody says how many there should be"
    assert found["conditions"][0]["reason"] == "SyncFailed"
    with pytest.raises(ApiError, match="429"):
        await evict(client, namespace, "x")
    unready = {"status": {"conditions": [{"type": "Ready", "status": "False"}]}}
    await client.patch(resources.PODS, "x", namespace, unready, sub="status")
    with pytest.raises(ApiError, match="429"):
        await evict(client, namespace, "x")
    await client.patch(BUDGETS, "x", namespace, {"spec": {"unhealthyPodEvictionPolicy": "AlwaysAllow"}})
    await evict(client, namespace, "x")


async def test_two_budgets_over_one_pod(client: Client, namespace: str, node: None) -> None:
    await client.create(resources.PODS, pod(namespace))
    await ready(client, namespace, 1)
    for name in ("x", "y"):
        await client.create(BUDGETS, budget(namespace, name, minAvailable=0))
    with pytest.raises(ApiError, match="more than one PodDisruptionBudget") as caught:
        await evict(client, namespace, "x")
    assert caught.value.status == 500


async def test_a_budget_says_one_thing(client: Client, namespace: str) -> None:
    for spec, words in (
        ({"minAvailable": 1, "maxUnavailable": 1}, "minAvailable and maxUnavailable cannot be both set"),
        ({"minAvailable": "half"}, "a valid percent string"),
        ({"maxUnavailable": -1}, "must be greater than or equal to 0"),
    ):
        with pytest.raises(ApiError) as caught:
            await client.create(BUDGETS, budget(namespace, **spec))
        assert (caught.value.status, words in caught.value.message) == (422, True), caught.value


# -- cordon, drain, taints ----------------------------------------------------------------------


async def test_drain_waits_for_the_budget(client: Client, kubectl: Kubectl, namespace: str, restored: None) -> None:
    wanted = deployment(namespace, 1)
    wanted["spec"]["template"]["metadata"]["labels"]["of"] = namespace
    await client.create(resources.DEPLOYMENTS, wanted)
    await client.create(BUDGETS, budget(namespace, minAvailable=1))
    await ready(client, namespace, 1)
    await status(client, namespace, currentHealthy=1)
    words = ["drain", NODE, "--ignore-daemonsets", "--force", f"--pod-selector=of={namespace}"]
    result = await kubectl.run(*words, "--timeout=1s")
    assert result.code != 0
    assert "Cannot evict pod as it would violate the pod's disruption budget" in result.err
    assert "SchedulingDisabled" in await kubectl("get", "nodes")
    node = await client.get(resources.NODES, NODE)
    assert {(t["key"], t["effect"]) for t in node["spec"]["taints"]} == {
        ("node.kubernetes.io/unschedulable", "NoSchedule")
    }
    await client.delete(BUDGETS, "x", namespace)
    await kubectl(*words, "--timeout=15s")

    async def pending() -> bool:
        found, _ = await client.list(resources.PODS, namespace)
        return bool(found) and all(
            any(c.get("reason") == "Unschedulable" for c in p["status"].get("conditions") or ()) for p in found
        )

    await until("the new pod finds no node", pending)
    await kubectl("uncordon", NODE)
    await ready(client, namespace, 1)
    assert "taints" not in (await client.get(resources.NODES, NODE))["spec"]


async def test_taints_keep_pods_away(client: Client, kubectl: Kubectl, namespace: str, restored: None) -> None:
    await kubectl("taint", "nodes", NODE, "team=red:NoSchedule")
    await client.create(resources.PODS, pod(namespace))

    async def condition() -> str:
        found = (await client.get(resources.PODS, "x", namespace))["status"].get("conditions") or ()
        return next((c["message"] for c in found if c["reason"] == "Unschedulable"), "")

    text = await until("why it is not scheduled", condition)
    assert text == "0/1 nodes are available: 1 node(s) had untolerated taint {team: red}."
    welcome = pod(namespace, tolerations=[{"key": "team", "value": "red", "effect": "NoSchedule"}])
    welcome["metadata"]["name"] = "welcome"
    await client.create(resources.PODS, welcome)
    found = await ready(client, namespace, 1)
    assert found[0]["metadata"]["name"] == "welcome"
    await kubectl("taint", "nodes", NODE, "team-")
    await ready(client, namespace, 2)


async def test_no_execute_taints_evict_in_time(
    client: Client, kubectl: Kubectl, namespace: str, restored: None
) -> None:
    tolerations: dict[str, list[Object]] = {
        "leaves": [],
        "stays": [{"key": "fire", "operator": "Exists"}],
        "lingers": [{"key": "fire", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 10}],
    }
    for name, wanted in tolerations.items():
        obj = pod(namespace, tolerations=wanted)
        obj["metadata"]["name"] = name
        await client.create(resources.PODS, obj)
    await ready(client, namespace, 3)
    await kubectl("taint", "nodes", NODE, "fire=yes:NoExecute")

    begun = asyncio.get_running_loop().time()
    gone: dict[str, float] = {}

    async def look() -> bool:
        found, _ = await client.list(resources.PODS, namespace)
        left = {p["metadata"]["name"] for p in found if not p["metadata"].get("deletionTimestamp")}
        for name in {*tolerations} - left:
            gone.setdefault(name, asyncio.get_running_loop().time() - begun)
        return left == {"stays"}

    await until("the pods that do not tolerate the taint for ever are gone", look, 30)
    assert gone["lingers"] - gone["leaves"] > 1, gone
    assert gone["lingers"] > 2, gone


async def test_daemons_tolerate_a_cordon_and_mind_taints(
    client: Client, kubectl: Kubectl, namespace: str, restored: None
) -> None:
    await kubectl("cordon", NODE)
    daemons = deployment(namespace, 1)
    daemons["spec"].pop("replicas")
    await client.create(DAEMON_SETS, daemons)
    await ready(client, namespace, 1)
    await kubectl("taint", "nodes", NODE, "team=red:NoSchedule")

    async def wanted() -> bool:
        found = await client.get(DAEMON_SETS, "x", namespace)
        return bool(found["status"]["desiredNumberScheduled"] == 0)

    await until("no daemon is wanted", wanted)


# -- gates --------------------------------------------------------------------------------------


async def test_scheduling_gates_hold_a_pod(client: Client, kubectl: Kubectl, namespace: str, node: None) -> None:
    created = await client.create(resources.PODS, pod(namespace, schedulingGates=[{"name": "g"}]))
    (condition,) = created["status"]["conditions"]
    assert (condition["type"], condition["status"], condition["reason"]) == ("PodScheduled", "False", "SchedulingGated")
    assert "SchedulingGated" in await kubectl("get", "pods")
    await client.patch(resources.PODS, "x", namespace, {"spec": {"schedulingGates": None}})
    await ready(client, namespace, 1)
    bound = pod(namespace, schedulingGates=[{"name": "g"}], nodeName=NODE)
    bound["metadata"]["name"] = "y"
    with pytest.raises(ApiError, match="cannot be set until all schedulingGates have been cleared"):
        await client.create(resources.PODS, bound)


async def test_readiness_gates_are_shown(client: Client, kubectl: Kubectl, namespace: str, node: None) -> None:
    await client.create(resources.PODS, pod(namespace, readinessGates=[{"conditionType": "example.com/ok"}]))
    assert "0/1" in await kubectl("get", "pods", "-o", "wide", "--no-headers")
    condition = {"type": "example.com/ok", "status": "True"}
    patch = {"status": {"conditions": [condition]}}
    await client.patch(resources.PODS, "x", namespace, patch, type="strategic", sub="status")
    words = (await kubectl("get", "pods", "-o", "wide", "--no-headers")).split()
    assert words[-1] == "1/1"
