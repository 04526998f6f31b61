"""Controllers, against a node that only pretends: rollouts keep their promises, endpoints follow readiness."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from sailcloth.kube import resources
from sailcloth.kube.client import ApiError, Client

from .cluster import until

Object = dict[str, Any]


def deployment(namespace: str, replicas: int, image: str = "a:1", **spec: Any) -> Object:
    container = {"name": "main", "image": image, "ports": [{"name": "web", "containerPort": 8080}]}
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [container]}}
    whole = {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": template, **spec}
    return {"metadata": {"name": "web", "namespace": namespace}, "spec": whole}


def service(namespace: str, **spec: Any) -> Object:
    ports = [{"name": "http", "port": 80, "targetPort": "web"}]
    return {
        "metadata": {"name": "web", "namespace": namespace},
        "spec": {"selector": {"app": "web"}, "ports": ports, **spec},
    }


async def ready(client: Client, namespace: str, replicas: int) -> None:
    async def rolled_out() -> bool:
        found = await client.get(resources.DEPLOYMENTS, "web", namespace)
        status = found.get("status", {})
        counts = [status.get(k, 0) for k in ("replicas", "updatedReplicas", "availableReplicas")]
        return counts == [replicas] * 3 and status["observedGeneration"] == found["metadata"]["generation"]

    await until(f"{replicas} updated and available pods", rolled_out)


async def endpoints(client: Client, namespace: str) -> dict[str, Object]:
    slices, _ = await client.list(resources.ENDPOINTSLICES, namespace, label_selector="kubernetes.io/service-name=web")
    return {e["addresses"][0]: {**e, "ports": s["ports"]} for s in slices for e in s["endpoints"]}


@pytest.mark.parametrize(("surge", "unavailable"), [("25%", "25%"), (1, 0), (0, 1), ("100%", 0)])
async def test_a_rollout_stays_within_its_limits(
    client: Client, namespace: str, node: None, surge: Any, unavailable: Any
) -> None:
    rolling = {"maxSurge": surge, "maxUnavailable": unavailable}
    strategy = {"type": "RollingUpdate", "rollingUpdate": rolling}
    await client.create(resources.DEPLOYMENTS, deployment(namespace, 4, strategy=strategy))
    await ready(client, namespace, 4)
    most = 4 + (surge if isinstance(surge, int) else 4 * int(surge[:-1]) // 100)
    least = 4 - (unavailable if isinstance(unavailable, int) else 4 * int(unavailable[:-1]) // 100)
    seen: list[tuple[int, int]] = []

    async def observe() -> None:
        while True:
            pods, _ = await client.list(resources.PODS, namespace)
            live = [p for p in pods if not p["metadata"].get("deletionTimestamp")]
            good = [p for p in live if any(c["type"] == "Ready" for c in p.get("status", {}).get("conditions") or ())]
            seen.append((len(live), len(good)))
            await asyncio.sleep(0)

    task = asyncio.create_task(observe())
    image = [{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "a:2"}]
    await client.patch(resources.DEPLOYMENTS, "web", namespace, image, type="json")
    await ready(client, namespace, 4)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert max(count for count, _ in seen) <= most
    assert min(good for _, good in seen) >= least
    pods, _ = await client.list(resources.PODS, namespace)
    assert {p["spec"]["containers"][0]["image"] for p in pods if not p["metadata"].get("deletionTimestamp")} == {"a:2"}


async def test_recreate_stops_all_before_it_starts_any(client: Client, namespace: str, node: None) -> None:
    await client.create(resources.DEPLOYMENTS, deployment(namespace, 2, strategy={"type": "Recreate"}))
    await ready(client, namespace, 2)
    await client.apply(
        resources.DEPLOYMENTS,
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            **deployment(namespace, 2, "a:2", strategy={"type": "Recreate"}),
        },
        "test",
    )
    await ready(client, namespace, 2)


async def test_a_deleted_pod_is_replaced(client: Client, namespace: str, node: None) -> None:
    await client.create(resources.DEPLOYMENTS, deployment(namespace, 2))
    await ready(client, namespace, 2)
    pods, _ = await client.list(resources.PODS, namespace)
    await client.delete(resources.PODS, pods[0]["metadata"]["name"], namespace)

    async def replaced() -> bool:
        found, _ = await client.list(resources.PODS, namespace)
        return pods[0]["metadata"]["name"] not in {p["metadata"]["name"] for p in found} and len(found) == 2

    await until("a new pod in place of the deleted one", replaced)


async def test_endpoints_follow_readiness(client: Client, namespace: str, node: None) -> None:
    await client.create(resources.SERVICES, service(namespace))
    await client.create(resources.DEPLOYMENTS, deployment(namespace, 2))
    await ready(client, namespace, 2)
    found = await until("two endpoints", lambda: _many(client, namespace, 2))
    assert all(e["conditions"] == {"ready": True, "serving": True, "terminating": False} for e in found.values())
    assert all(e["ports"] == [{"name": "http", "port": 8080, "protocol": "TCP"}] for e in found.values())
    address, endpoint = next(iter(found.items()))
    pod = endpoint["targetRef"]["name"]
    status = {"status": {"conditions": [{"type": "Ready", "status": "False"}]}}
    await client.patch(resources.PODS, pod, namespace, status, sub="status")

    async def unready() -> bool:
        return not (await endpoints(client, namespace))[address]["conditions"]["ready"]

    await until("the endpoint to be unready", unready)
    old = await client.get(resources.ENDPOINTS, "web", namespace)
    assert [a["ip"] for a in old["subsets"][0]["notReadyAddresses"]] == [address]
    await client.delete(resources.DEPLOYMENTS, "web", namespace)
    await until("no endpoints", lambda: _many(client, namespace, 0))
    await client.delete(resources.SERVICES, "web", namespace)

    async def no_slices() -> bool:
        slices, _ = await client.list(resources.ENDPOINTSLICES, namespace)
        return not slices

    await until("the slices to go with their service", no_slices)


async def _many(client: Client, namespace: str, count: int) -> dict[str, Object] | bool:
    found = await endpoints(client, namespace)
    return (found or True) if len(found) == count else False


async def test_services_get_addresses_and_ports(client: Client, namespace: str) -> None:
    made = await client.create(resources.SERVICES, service(namespace))
    assert made["spec"]["clusterIP"].startswith("10.96.")
    assert made["spec"]["clusterIPs"] == [made["spec"]["clusterIP"]]
    changed = await client.patch(resources.SERVICES, "web", namespace, {"spec": {"type": "LoadBalancer"}})
    assert changed["spec"]["clusterIP"] == made["spec"]["clusterIP"]
    assert 30000 <= changed["spec"]["ports"][0]["nodePort"] < 32768

    async def reachable() -> bool:
        found = await client.get(resources.SERVICES, "web", namespace)
        ingress = found["status"].get("loadBalancer", {}).get("ingress") or [{}]
        return bool(str(ingress[0].get("ip", "")).startswith("127."))

    await until("the load balancer's address", reachable)
    taken = service(namespace, clusterIP=made["spec"]["clusterIP"])
    taken["metadata"]["name"] = "other"
    with pytest.raises(ApiError, match="already allocated"):
        await client.create(resources.SERVICES, taken)
    headless = service(namespace, clusterIP="None")
    headless["metadata"]["name"] = "headless"
    assert (await client.create(resources.SERVICES, headless))["spec"]["clusterIP"] == "None"


async def test_a_namespace_has_an_account_and_the_root_certificate(client: Client, namespace: str) -> None:
    async def there() -> bool:
        try:
            await client.get(resources.SERVICEACCOUNTS, "default", namespace)
            found = await client.get(resources.CONFIGMAPS, "kube-root-ca.crt", namespace)
        except ApiError:
            return False
        return "BEGIN CERTIFICATE" in found["data"]["ca.crt"]

    await until("what every namespace has", there)
    await client.delete(resources.SERVICEACCOUNTS, "default", namespace)
    await until("the account to come back", there)


async def test_pods_that_cannot_be_made_leave_an_event(client: Client, namespace: str, node: None) -> None:
    wrong = deployment(namespace, 1)
    wrong["spec"]["template"]["metadata"]["labels"]["bad"] = "yes"
    await client.create(resources.VALIDATING_WEBHOOKS, _refusing(namespace))
    try:
        await client.create(resources.DEPLOYMENTS, wrong)

        async def told() -> bool:
            events, _ = await client.list(resources.EVENTS, namespace)
            return any(e["reason"] == "FailedCreate" and "failed calling webhook" in e["message"] for e in events)

        await until("an event that says why there is no pod", told)
    finally:
        await client.delete(resources.VALIDATING_WEBHOOKS, f"no-pods-{namespace}")
    await ready(client, namespace, 1)


def _refusing(namespace: str) -> Object:
    """A webhook that cannot be reached and must be."""
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"]}
    hook = {
        "name": "no.example.com",
        "clientConfig": {"url": "https://127.0.0.1:9/"},
        "rules": [rule],
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "failurePolicy": "Fail",
    }
    return {"metadata": {"name": f"no-pods-{namespace}"}, "webhooks": [hook]}


async def test_an_object_whose_owner_is_gone_goes(client: Client, namespace: str) -> None:
    """Its writer may not have known. One whose owner exists, or is of a kind that is not served, stays."""

    async def config(name: str, *owners: Object) -> Object:
        metadata = {"name": name, "namespace": namespace, "ownerReferences": list(owners)}
        return await client.create(resources.CONFIGMAPS, {"metadata": metadata})

    def owner(obj: Object, **other: str) -> Object:
        metadata = obj["metadata"]
        return {"apiVersion": "v1", "kind": "ConfigMap", "name": metadata["name"], "uid": metadata["uid"], **other}

    there = await config("there")
    gone = await config("gone")
    await client.delete(resources.CONFIGMAPS, "gone", namespace)
    await config("of-none", owner(gone))
    await config("of-another", owner(there, uid=gone["metadata"]["uid"]))
    await config("of-one", owner(there), owner(gone))
    await config("of-unknown", owner(gone, apiVersion="example.com/v1", kind="Strange"))

    async def left() -> bool:
        listed, _ = await client.list(resources.CONFIGMAPS, namespace)
        names = {c["metadata"]["name"] for c in listed} - {"kube-root-ca.crt"}
        return names == {"there", "of-one", "of-unknown"}

    await until("what nobody owns to go", left)
