"""Managed fields, revisions and generations as clients see them."""

from __future__ import annotations

from typing import Any

import pytest

from sailcloth.kube import resources
from sailcloth.kube.client import ApiError, Client

from .cluster import Kubectl

Object = dict[str, Any]


def deployment(**spec: Any) -> Object:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}}
    spec = {"replicas": 0, "selector": {"matchLabels": {"a": "b"}}, "template": template, **spec}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec}


def managers(obj: Object) -> dict[tuple[str, str, str], Object]:
    found = obj["metadata"]["managedFields"]
    return {(m["manager"], m["operation"], m.get("subresource", "")): m["fieldsV1"] for m in found}


async def test_who_writes_what(kubectl: Kubectl) -> None:
    await kubectl("create", "-f", "-", input=deployment())
    await kubectl("annotate", "deploy/web", "note=1", "--field-manager=notes")
    await kubectl("scale", "deploy/web", "--replicas=1")
    obj = await kubectl.json("get", "deploy", "web", "--show-managed-fields")
    found = managers(obj)
    assert "f:progressDeadlineSeconds" in found["kubectl-create", "Update", ""]["f:spec"], "defaults are the writer's"
    assert found["notes", "Update", ""]["f:metadata"]["f:annotations"]["f:note"] == {}
    assert found["kubectl", "Update", "scale"] == {"f:spec": {"f:replicas": {}}}
    assert "f:replicas" not in found["kubectl-create", "Update", ""]["f:spec"]
    assert all(m["time"] and m["fieldsType"] == "FieldsV1" for m in obj["metadata"]["managedFields"])


async def test_a_write_that_changes_nothing_is_none(kubectl: Kubectl, client: Client) -> None:
    await kubectl("apply", "--server-side", "-f", "-", input=deployment())
    await kubectl("wait", "--for=condition=Available", "deploy/web")  # its controller has nothing more to say
    first = await client.get(resources.DEPLOYMENTS, "web", kubectl.namespace)
    await kubectl("apply", "--server-side", "-f", "-", input=deployment())
    await client.patch(resources.DEPLOYMENTS, "web", kubectl.namespace, {"spec": {"replicas": 0}})
    await kubectl("replace", "-f", "-", input=first)
    again = await client.get(resources.DEPLOYMENTS, "web", kubectl.namespace)
    assert again["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    assert again["metadata"]["managedFields"] == first["metadata"]["managedFields"]


async def test_generation_counts_what_is_wanted(kubectl: Kubectl, client: Client) -> None:
    await kubectl("create", "-f", "-", input=deployment())

    async def generation() -> int:
        return int((await client.get(resources.DEPLOYMENTS, "web", kubectl.namespace))["metadata"]["generation"])

    start = await generation()
    await kubectl("label", "deploy/web", "x=y")
    await client.patch(resources.DEPLOYMENTS, "web", kubectl.namespace, {"status": {"replicas": 0}}, sub="status")
    assert await generation() == start
    await kubectl("patch", "deploy/web", "--type=merge", "-p", '{"spec": {"minReadySeconds": 3}}')
    assert await generation() == start + 1
    settings = {"metadata": {"name": "x", "namespace": kubectl.namespace}}
    assert "generation" not in (await client.create(resources.CONFIGMAPS, settings))["metadata"]


async def test_two_appliers_share_and_leave(kubectl: Kubectl) -> None:
    def settings(**data: str) -> Object:
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "data": data}

    async def apply(manager: str, obj: Object, *more: str) -> None:
        await kubectl("apply", "--server-side", f"--field-manager={manager}", *more, "-f", "-", input=obj)

    await apply("one", settings(a="1", b="1"))
    await apply("two", settings(b="1", c="1"))
    said = await kubectl.refused("apply", "--server-side", "--field-manager=two", "-f", "-", input=settings(a="2"))
    assert 'Apply failed with 1 conflict: conflict with "one": .data.a' in said
    await apply("two", settings(a="2", b="1"), "--force-conflicts")
    await apply("one", settings())
    assert (await kubectl.json("get", "cm", "x"))["data"] == {"a": "2", "b": "1"}
    found = managers(await kubectl.json("get", "cm", "x", "--show-managed-fields"))
    assert set(found) == {("one", "Apply", ""), ("two", "Apply", "")} or set(found) == {("two", "Apply", "")}


async def test_from_apply_on_the_client_to_apply_on_the_server_and_back(kubectl: Kubectl) -> None:
    await kubectl("apply", "-f", "-", input=deployment(minReadySeconds=1, paused=True))
    await kubectl("apply", "--server-side", "-f", "-", input=deployment(minReadySeconds=1))
    obj = await kubectl.json("get", "deploy", "web", "--show-managed-fields")
    assert "paused" not in obj["spec"], "left out, and kubectl's own from before"
    assert ("kubectl-client-side-apply", "Update", "") not in managers(obj), "kubectl hands its fields over"
    await kubectl("apply", "--server-side", "-f", "-", input=deployment())
    spec = (await kubectl.json("get", "deploy", "web"))["spec"]
    assert "minReadySeconds" not in spec
    await kubectl("apply", "-f", "-", input=deployment(replicas=1))
    assert (await kubectl.json("get", "deploy", "web"))["spec"]["replicas"] == 1


async def test_what_an_apply_must_not_carry(client: Client, namespace: str) -> None:
    obj = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "managedFields": [{"manager": "a"}]}}
    path = resources.CONFIGMAPS.path(namespace, "x")

    async def apply(obj: Object, **query: str) -> str:
        kind = {"Content-Type": "application/apply-patch+yaml"}
        async with client.request("PATCH", path, params=query, json=obj, headers=kind) as response:
            return str((await response.json()).get("message", ""))

    assert "metadata.managedFields must be nil" in await apply(obj, fieldManager="one")
    assert "fieldManager: Required value" in await apply({**obj, "metadata": {"name": "x"}})
    with pytest.raises(ApiError, match="not found"):
        await client.get(resources.CONFIGMAPS, "x", namespace)
