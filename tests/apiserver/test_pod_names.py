"""What a pod names and the node makes paths or users of: refused where a node would be led astray, in pods and templates alike."""

from __future__ import annotations

from typing import Any

import pytest

from sailcloth.kube import resources
from sailcloth.kube.client import ApiError, Client

Object = dict[str, Any]
TOKEN = {"projected": {"sources": [{"serviceAccountToken": {"path": "../t"}}]}}
FIELD = {"fieldRef": {"fieldPath": "metadata.name"}}


def spec(
    volume: Object | None = None, mount: Object | None = None, container: Object | None = None, **more: Any
) -> Object:
    volumes = [{"name": "v"} | (volume if volume is not None else {"emptyDir": {}})]
    mounts = [{"name": volumes[0]["name"], "mountPath": "/m"} | (mount or {})]
    return {
        "volumes": volumes,
        "containers": [{"name": "c", "image": "x", "volumeMounts": mounts, **(container or {})}],
        **more,
    }


def user(**context: Any) -> Object:
    return spec(container={"securityContext": context})


CASES: dict[str, tuple[Object, str]] = {
    "a path as a volume's name": (spec({"name": "/etc", "emptyDir": {}}), "volumes[0].name"),
    "a volume's name that leads up": (spec({"name": "../x", "configMap": {"name": "c"}}), "volumes[0].name"),
    "two kinds of volume": (spec({"emptyDir": {}, "hostPath": {"path": "/etc"}}), "volumes[0].hostPath"),
    "a key's path that leads up": (spec({"configMap": {"name": "c", "items": [{"key": "a", "path": "a/../../x"}]}}), "items[0].path"),
    "an absolute path of a key": (spec({"secret": {"secretName": "s", "items": [{"key": "a", "path": "/x"}]}}), "items[0].path"),
    "a key's path that is a folder": (spec({"configMap": {"name": "c", "items": [{"key": "a", "path": "."}]}}), "items[0].path"),
    "a field's path in the volume's own": (spec({"downwardAPI": {"items": [{"path": "..data", **FIELD}]}}), "items[0].path"),
    "a token's path": (spec(TOKEN), "sources[0].serviceAccountToken.path"),
    "a subPath that leads up": (spec(mount={"subPath": "a/.."}), "volumeMounts[0].subPath"),
    "an absolute subPathExpr": (spec(mount={"subPathExpr": "/$(X)"}), "volumeMounts[0].subPathExpr"),
    "a mount without a place": (spec(mount={"mountPath": ""}), "volumeMounts[0].mountPath"),
    "no user": (user(runAsUser=-1, runAsNonRoot=True), "securityContext.runAsUser"),
    "a group beyond all": (user(runAsGroup=1 << 31), "securityContext.runAsGroup"),
    "no group of the pod": (spec(securityContext={"fsGroup": -1}), "securityContext.fsGroup"),
    "no group among more": (spec(securityContext={"supplementalGroups": [1, -1]}), "supplementalGroups[1]"),
    "a variable that sets another": (spec(container={"env": [{"name": "A=B", "value": "x"}]}), "env[0].name"),
    "a host name that is a path": (spec(hostname="../../x"), "spec.hostname"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
async def test_refused(client: Client, namespace: str, case: str) -> None:
    pod_spec, field = CASES[case]
    labels = {"labels": {"a": "b"}}
    template = {"selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": labels, "spec": pod_spec}}
    for resource, wanted in ((resources.PODS, pod_spec), (resources.DEPLOYMENTS, template)):
        with pytest.raises(ApiError) as caught:
            await client.create(resource, {"metadata": {"name": "p", "namespace": namespace}, "spec": wanted})
        assert caught.value.status == 422
        assert field in str(caught.value)


async def test_what_is_usual_is_admitted(client: Client, namespace: str) -> None:
    keys = {"configMap": {"name": "c", "items": [{"key": "a", "path": "deep/..x/...a"}]}}
    good = spec(keys, {"subPath": "deep/a..b"}, {"securityContext": {"runAsUser": 0}}, hostname="h")
    await client.create(resources.PODS, {"metadata": {"name": "p", "namespace": namespace}, "spec": good})


async def test_names_of_ephemeral_containers(client: Client, namespace: str) -> None:
    await client.create(resources.PODS, {"metadata": {"name": "p", "namespace": namespace}, "spec": spec()})
    path = f"{resources.PODS.path(namespace, 'p')}/ephemeralcontainers"
    for name in ("/tmp/x", "../../x", "", "A"):
        body = {"spec": {"ephemeralContainers": [{"name": name, "image": "x"}]}}
        headers = {"Content-Type": "application/strategic-merge-patch+json"}
        async with client.request("PATCH", path, json=body, headers=headers) as got:
            assert got.status == 422, name
