"""How strictly a request's fields are read, what a dry run does not do, and warnings."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sailcloth.kube import resources
from sailcloth.kube.client import ApiError, Client

from .cluster import Kubectl, Server

Object = dict[str, Any]


def deployment(name: str = "web", **container: Any) -> Object:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i", **container}]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template},
    }


async def send(
    client: Client, method: str, path: str, text: str, kind: str = "application/json", **query: str
) -> tuple[int, Any, list[str]]:
    async with client.request(
        method, path, params=query, data=text.encode(), headers={"Content-Type": kind}
    ) as response:
        warnings = response.headers.getall("Warning", [])
        body = await response.json()
        if response.status >= 400:
            raise ApiError(response.status, body["reason"], body["message"], body)
        return response.status, body, list(warnings)


DOUBLED = '{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"x","nmae":"y"},"data":{"a":"1","a":"2"},"dta":{}}'


async def test_unknown_and_doubled_fields_by_the_requests_wish(client: Client, namespace: str) -> None:
    path = resources.CONFIGMAPS.path(namespace)
    found = ['duplicate field "data.a"', 'unknown field "metadata.nmae"', 'unknown field "dta"']
    with pytest.raises(ApiError) as caught:
        await send(client, "POST", path, DOUBLED, fieldValidation="Strict")
    assert caught.value.status == 400
    assert 'ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: ' in caught.value.message
    for text in found:
        assert text in caught.value.message
    _, body, warnings = await send(client, "POST", path, DOUBLED, dryRun="All")
    assert sorted(warnings) == sorted("299 - " + json.dumps(t) for t in found)
    assert body["data"] == {"a": "2"}
    assert "dta" not in body
    _, _, warnings = await send(client, "POST", path, DOUBLED, fieldValidation="Ignore")
    assert warnings == []
    with pytest.raises(ApiError, match=r'fieldValidation: Unsupported value: "Maybe"'):
        await send(client, "POST", path, DOUBLED, fieldValidation="Maybe")


async def test_a_patch_with_unknown_fields(kubectl: Kubectl, client: Client) -> None:
    await kubectl("apply", "-f", "-", input=deployment())
    wrong = deployment()
    wrong["spec"]["replicsa"] = 3
    said = await kubectl.refused("apply", "-f", "-", input=wrong)
    assert 'strict decoding error: unknown field "spec.replicsa"' in said
    said = await kubectl.refused("apply", "--server-side", "--force-conflicts", "-f", "-", input=wrong)
    assert ".spec.replicsa: field not declared in schema" in said


async def test_a_value_of_another_type_names_its_field(kubectl: Kubectl) -> None:
    wrong = deployment()
    wrong["spec"]["replicas"] = "two"
    said = await kubectl.refused("create", "-f", "-", input=wrong)
    assert "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32" in said


async def test_dry_runs_store_nothing(kubectl: Kubectl, client: Client) -> None:
    namespace = kubectl.namespace
    generated = {"metadata": {"generateName": "made-", "namespace": namespace}}
    _, body, _ = await send(client, "POST", resources.CONFIGMAPS.path(namespace), json.dumps(generated), dryRun="All")
    assert body["metadata"]["name"].startswith("made-")
    assert "resourceVersion" not in body["metadata"]
    made = json.loads(await kubectl("create", "--dry-run=server", "-o", "json", "-f", "-", input=deployment()))
    assert made["spec"]["strategy"]["type"] == "RollingUpdate"
    assert "(server dry run)" in await kubectl("apply", "--dry-run=server", "-f", "-", input=deployment())
    assert "not found" in await kubectl.refused("get", "deploy", "web")
    await kubectl("apply", "-f", "-", input=deployment())
    before = await kubectl.json("get", "deploy", "web")
    await kubectl("scale", "deploy/web", "--replicas=4", "--dry-run=server")
    await kubectl("label", "deploy/web", "x=y", "--dry-run=server")
    await kubectl("delete", "deploy/web", "--dry-run=server")
    await kubectl(
        "apply", "--server-side", "--force-conflicts", "--dry-run=server", "-f", "-", input=deployment(image="j")
    )
    await kubectl("replace", "--dry-run=server", "-f", "-", input=deployment(image="k"))
    path = resources.DEPLOYMENTS.path(namespace)
    await send(client, "DELETE", path, "", dryRun="All")
    after = await kubectl.json("get", "deploy", "web")
    assert after["spec"] == before["spec"]
    assert after["metadata"].get("labels") == before["metadata"].get("labels")
    with pytest.raises(ApiError, match=r'dryRun: Unsupported value: "Some": supported values: "All"'):
        await send(client, "POST", path, json.dumps(deployment("other")), dryRun="Some")


async def test_a_webhook_with_side_effects_is_not_asked_on_a_dry_run(
    client: Client, namespace: str, server: Server
) -> None:
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["CREATE"]}
    hook = {
        "name": "some.example.com",
        "clientConfig": {"url": "https://127.0.0.1:1/x"},
        "rules": [rule],
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
        "sideEffects": "Some",
        "admissionReviewVersions": ["v1"],
        "failurePolicy": "Ignore",
    }
    await client.create(resources.VALIDATING_WEBHOOKS, {"metadata": {"name": f"some-{namespace}"}, "webhooks": [hook]})
    try:
        obj = json.dumps({"metadata": {"name": "x"}})
        with pytest.raises(ApiError, match=r'admission webhook "some.example.com" does not support dry run'):
            await send(client, "POST", resources.CONFIGMAPS.path(namespace), obj, dryRun="All")
        await send(client, "POST", resources.CONFIGMAPS.path(namespace), obj)
    finally:
        await client.delete(resources.VALIDATING_WEBHOOKS, f"some-{namespace}")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"metadata": {"labels": {"a b": "c"}}}, 'metadata.labels: Invalid value: "a b": name part must consist of'),
        ({"metadata": {"labels": {"a": "-"}}}, 'metadata.labels: Invalid value: "-": a valid label must be'),
        (
            {"metadata": {"finalizers": ["plain"]}},
            "name is neither a standard finalizer name nor is it fully qualified",
        ),
        ({"metadata": {"name": "Not_A_Name"}}, "a lowercase RFC 1123 subdomain must consist of"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
async def test_metadata_that_no_object_may_have(client: Client, namespace: str, change: Object, words: str) -> None:
    obj = {"metadata": {"name": "x", "namespace": namespace, **change["metadata"]}}
    with pytest.raises(ApiError) as caught:
        await client.create(resources.CONFIGMAPS, obj)
    assert words in caught.value.message
