"""Ephemeral containers through the API: only ever added, only by their own path, and refused where they cannot run."""

from __future__ import annotations

from typing import Any

import pytest

from sailcloth.kube.client import ApiError, Client
from sailcloth.kube.resources import PODS

Object = dict[str, Any]
PATH = "ephemeralcontainers"


async def make(client: Client, namespace: str) -> Object:
    spec = {"containers": [{"name": "main", "image": "a", "ports": [{"containerPort": 80}]}]}
    return await client.create(PODS, {"metadata": {"name": "p", "namespace": namespace}, "spec": spec})


async def add(client: Client, namespace: str, *containers: Object, **more: Any) -> Object:
    patch = {"spec": {"ephemeralContainers": list(containers), **more}}
    return await client.patch(PODS, "p", namespace, patch, type="strategic", sub=PATH)


async def test_they_are_added_by_their_own_path_alone(client: Client, namespace: str) -> None:
    made = await make(client, namespace)
    added = await add(client, namespace, {"name": "one", "image": "curl", "targetContainerName": "main"}, nodeName="x")
    (one,) = added["spec"]["ephemeralContainers"]
    assert (one["name"], one["terminationMessagePolicy"]) == ("one", "File")
    assert added["spec"].get("nodeName") != "x", "this path changes nothing else"
    added = await add(client, namespace, {"name": "two", "image": "curl"})
    assert {c["name"] for c in added["spec"]["ephemeralContainers"]} == {"one", "two"}
    other = {"metadata": {"labels": {"a": "b"}}, "spec": {"ephemeralContainers": [{"name": "three", "image": "c"}]}}
    labelled = await client.patch(PODS, "p", namespace, other)
    assert labelled["metadata"]["labels"] == {"a": "b"}
    assert labelled["spec"]["ephemeralContainers"] == added["spec"]["ephemeralContainers"]
    assert made["metadata"]["uid"] == labelled["metadata"]["uid"]


@pytest.mark.parametrize(
    ("container", "text"),
    [
        ({"name": "main", "image": "c"}, "Duplicate value"),
        ({"name": "x"}, "image: Required value"),
        ({"name": "x", "image": "c", "ports": [{"containerPort": 1}]}, "ports: Forbidden"),
        ({"name": "x", "image": "c", "resources": {"limits": {"cpu": "1"}}}, "resources: Forbidden"),
        ({"name": "x", "image": "c", "targetContainerName": "y"}, "targetContainerName: Not found"),
        ({"name": "here", "image": "other"}, "may not be changed"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
async def test_what_they_cannot_be(client: Client, namespace: str, container: Object, text: str) -> None:
    await make(client, namespace)
    await add(client, namespace, {"name": "here", "image": "c"})
    with pytest.raises(ApiError, match=text) as caught:
        await add(client, namespace, container)
    assert caught.value.status == 422


async def test_they_stay(client: Client, namespace: str) -> None:
    await make(client, namespace)
    found = await add(client, namespace, {"name": "here", "image": "c"})
    found["spec"].pop("ephemeralContainers")
    with pytest.raises(ApiError, match="may not be removed"):
        await client.replace(PODS, found, sub=PATH)


async def test_a_pod_is_not_made_with_them_nor_given_any_when_it_has_ended(client: Client, namespace: str) -> None:
    spec = {"containers": [{"name": "main", "image": "a"}], "ephemeralContainers": [{"name": "x", "image": "c"}]}
    with pytest.raises(ApiError, match="cannot be set on create"):
        await client.create(PODS, {"metadata": {"name": "q", "namespace": namespace}, "spec": spec})
    await make(client, namespace)
    await client.patch(PODS, "p", namespace, {"status": {"phase": "Succeeded"}}, sub="status")
    with pytest.raises(ApiError, match="copy-to"):
        await add(client, namespace, {"name": "late", "image": "c"})
