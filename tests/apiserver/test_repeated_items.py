"""Items of keyed lists that come twice: Kubernetes admits some of them in an object, and none in an apply."""

from __future__ import annotations

from typing import Any

import pytest

from sailcloth.kube import resources
from sailcloth.kube.client import ApiError, Client

Object = dict[str, Any]
A = {"name": "A", "value": "1"}


def pod(namespace: str, container: Object | None = None, **spec: Any) -> Object:
    metadata = {"name": "p", "namespace": namespace}
    containers = [{"name": "c", "image": "i", **(container or {})}]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": containers, **spec}}


@pytest.mark.parametrize(
    ("container", "spec", "entry"),
    [
        ({"env": [A, {**A, "value": "2"}]}, {}, '.env: duplicate entries for key [name="A"]'),
        ({"ports": [{"containerPort": 80}, {"containerPort": 80}]}, {}, "duplicate entries for key [containerPort=80"),
        ({}, {"hostAliases": [{"ip": "1.1.1.1", "hostnames": ["a"]}] * 2}, '.hostAliases: duplicate entries for key [ip="1.1.1.1"]'),
        ({}, {"imagePullSecrets": [{"name": "a"}] * 2}, '.imagePullSecrets: duplicate entries for key [name="a"]'),
    ],
)  # fmt: skip
async def test_some_may_come_twice_unless_applied(
    client: Client, namespace: str, container: Object, spec: Object, entry: str
) -> None:
    with pytest.raises(ApiError) as caught:
        await client.apply(resources.PODS, pod(namespace, container, **spec), "m")
    assert entry in caught.value.message
    made = await client.create(resources.PODS, pod(namespace, container, **spec))
    given = {**made["spec"], **made["spec"]["containers"][0]}
    assert len(given[entry.partition(":")[0].strip(".").rpartition(".")[2] if entry[0] == "." else "ports"]) == 2
    await client.patch(resources.PODS, "p", namespace, {"metadata": {"labels": {"a": "b"}}})


@pytest.mark.parametrize(
    ("container", "spec"),
    [
        ({"ports": [{"containerPort": 80, "name": "a"}, {"containerPort": 81, "name": "a"}]}, {}),
        ({}, {"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "a", "whenUnsatisfiable": "DoNotSchedule"}] * 2}),
        ({}, {"initContainers": [{"name": "c", "image": "i"}]}),
        ({}, {"volumes": [{"name": "a", "emptyDir": {}}] * 2}),
    ],
)  # fmt: skip
async def test_others_may_not(client: Client, namespace: str, container: Object, spec: Object) -> None:
    with pytest.raises(ApiError, match="Duplicate value"):
        await client.create(resources.PODS, pod(namespace, container, **spec))


async def test_a_node_has_two_addresses_of_a_type(client: Client, namespace: str) -> None:
    name = f"{namespace}-node"
    await client.create(resources.NODES, {"metadata": {"name": name}})
    addresses = [{"type": "InternalIP", "address": a} for a in ("10.0.0.1", "fd00::1")]
    await client.patch(resources.NODES, name, "", {"status": {"addresses": addresses}}, sub="status")
    assert (await client.get(resources.NODES, name))["status"]["addresses"] == addresses
    await client.delete(resources.NODES, name)


async def test_options_that_cannot_be(client: Client, namespace: str) -> None:
    path = resources.CONFIGMAPS.path(namespace, "c")
    applied = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}
    kind = {"Content-Type": "application/apply-patch+yaml"}
    for query, status in ((f"fieldManager={'m' * 129}", 422), ("fieldManager=a%01", 422), ("fieldManager=m", 201)):
        async with client.request("PATCH", f"{path}?{query}", json=applied, headers=kind) as got:
            assert got.status == status, query
    other = resources.CONFIGMAPS.path(namespace, "d")
    async with client.request("PATCH", f"{other}?fieldManager=m", json=applied, headers=kind) as got:
        assert (got.status, "does not match the name on the URL" in await got.text()) == (400, True)
    options = {"orphanDependents": True, "propagationPolicy": "Orphan"}
    async with client.request("DELETE", path, json=options) as got:
        assert got.status == 422
