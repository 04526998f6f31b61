"""Fields that keep their first value, and what may change of a pod: with the texts that Kubernetes answers."""

from __future__ import annotations

import base64
import copy
from typing import Any

import pytest

from sailcloth.kube import resources
from sailcloth.kube.client import ApiError, Client
from sailcloth.kube.resources import Resource

Object = dict[str, Any]
CLAIMS = Resource("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim")
JOBS = Resource("batch", "v1", "jobs", "Job")
STATEFUL_SETS = Resource("apps", "v1", "statefulsets", "StatefulSet")
BINDINGS = Resource("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding")
CONTAINERS = [{"name": "a", "image": "i:1"}]
TEMPLATE: Object = {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": CONTAINERS}}
SELECTED: Object = {"selector": {"matchLabels": {"app": "x"}}, "template": TEMPLATE}


def named(namespace: str, spec: Object | None = None, **more: Any) -> Object:
    obj: Object = {"metadata": {"name": "x", "namespace": namespace, "labels": {"app": "x"}}, **copy.deepcopy(more)}
    return obj if spec is None else {**obj, "spec": copy.deepcopy(spec)}


async def refused(client: Client, resource: Resource, namespace: str, patch: Any) -> str:
    with pytest.raises(ApiError) as caught:
        await client.patch(resource, "x", namespace, patch)
    assert caught.value.status == 422, caught.value
    return str(caught.value.message)


POD: Object = {
    "containers": CONTAINERS,
    "tolerations": [{"key": "k", "operator": "Exists"}],
    "activeDeadlineSeconds": 60,
}


@pytest.mark.parametrize(
    ("patch", "words"),
    [
        ({"hostname": "h"}, "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`"),
        ({"nodeName": "n"}, "spec: Forbidden: pod updates may not change fields other than"),
        ({"containers": [*CONTAINERS, {"name": "b", "image": "i"}]}, "spec.containers: Forbidden: pod updates may not add or remove containers"),
        ({"containers": [{"name": "a", "image": ""}]}, "spec.containers[0].image: Required value"),
        ({"containers": [{"name": "a", "image": "i:1", "env": [{"name": "A", "value": "b"}]}]}, "spec: Forbidden: pod updates"),
        ({"tolerations": []}, "spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds"),
        ({"activeDeadlineSeconds": 61}, "spec.activeDeadlineSeconds: Invalid value: 61: must be less than or equal to previous value"),
        ({"activeDeadlineSeconds": None}, "must not update from a positive integer to nil value"),
        ({"schedulingGates": [{"name": "g"}]}, "only deletion is allowed, but found new scheduling gate 'g'"),
        ({"terminationGracePeriodSeconds": 1}, "spec: Forbidden: pod updates"),
    ],
)  # fmt: skip
async def test_of_a_pod_little_may_change(client: Client, namespace: str, patch: Object, words: str) -> None:
    await client.create(resources.PODS, named(namespace, POD))
    assert words in await refused(client, resources.PODS, namespace, {"spec": patch})


async def test_what_may_change_of_a_pod(client: Client, namespace: str) -> None:
    created = await client.create(resources.PODS, named(namespace, POD))
    spec = created["spec"]
    spec["containers"][0]["image"] = "i:2"
    spec["activeDeadlineSeconds"] = 30
    spec["tolerations"].append({"key": "other", "operator": "Exists"})
    spec["tolerations"][0]["tolerationSeconds"] = 5
    found = await client.patch(resources.PODS, "x", namespace, {"metadata": {"labels": {"b": "c"}}, "spec": spec})
    assert found["spec"]["containers"][0]["image"] == "i:2"
    assert found["metadata"]["labels"] == {"app": "x", "b": "c"}


async def test_a_gated_pod_may_be_told_more_narrowly_where_to_run(client: Client, namespace: str) -> None:
    await client.create(resources.PODS, named(namespace, {**POD, "schedulingGates": [{"name": "g"}, {"name": "h"}]}))
    narrower = {"nodeSelector": {"disk": "fast"}, "schedulingGates": [{"name": "g"}]}
    found = await client.patch(resources.PODS, "x", namespace, {"spec": narrower})
    assert (found["spec"]["nodeSelector"], found["spec"]["schedulingGates"]) == ({"disk": "fast"}, [{"name": "g"}])
    words = await refused(client, resources.PODS, namespace, {"spec": {"nodeSelector": {"disk": None}}})
    assert "pod updates may not change fields" in words


async def test_an_immutable_config_map(client: Client, namespace: str) -> None:
    await client.create(resources.CONFIGMAPS, named(namespace, data={"a": "b"}, immutable=True))
    text = "Forbidden: field is immutable when `immutable` is set"
    assert f"data: {text}" in await refused(client, resources.CONFIGMAPS, namespace, {"data": {"a": "c"}})
    assert f"immutable: {text}" in await refused(client, resources.CONFIGMAPS, namespace, {"immutable": False})
    await client.patch(resources.CONFIGMAPS, "x", namespace, {"metadata": {"annotations": {"still": "open"}}})


async def test_an_immutable_secret_and_its_type(client: Client, namespace: str) -> None:
    await client.create(resources.SECRETS, named(namespace, stringData={"a": "b"}, type="example.com/t"))
    words = await refused(client, resources.SECRETS, namespace, {"type": "Opaque"})
    assert 'type: Invalid value: "Opaque": field is immutable' in words
    await client.patch(resources.SECRETS, "x", namespace, {"immutable": True})
    words = await refused(client, resources.SECRETS, namespace, {"data": {"a": None}})
    assert "data: Forbidden: field is immutable when `immutable` is set" in words


@pytest.mark.parametrize(
    ("kind", "keys", "words"),
    [
        ("kubernetes.io/tls", ["tls.crt"], "data[tls.key]: Required value"),
        ("kubernetes.io/ssh-auth", [], "data[ssh-privatekey]: Required value"),
        ("kubernetes.io/basic-auth", ["user"], "data[username]: Required value"),
        ("kubernetes.io/dockerconfigjson", [".dockerconfigjson"], "data[.dockerconfigjson]: Invalid value"),
        ("kubernetes.io/service-account-token", [], "metadata.annotations[kubernetes.io/service-account.name]: Required value"),
    ],
)  # fmt: skip
async def test_a_secret_holds_what_its_type_says(
    client: Client, namespace: str, kind: str, keys: list[str], words: str
) -> None:
    data = {key: base64.b64encode(b"no json").decode() for key in keys}
    with pytest.raises(ApiError) as caught:
        await client.create(resources.SECRETS, named(namespace, type=kind, data=data))
    assert (caught.value.status, words in caught.value.message) == (422, True), caught.value


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("..", "must not be '..'"),
        (".", "must not be '.'"),
        ("..data", "must not start with '..'"),
        ("../up", "a valid config key must consist of"),
        ("a/b", "a valid config key must consist of"),
        ("a" * 254, "must be no more than 253 characters"),
    ],
)
@pytest.mark.parametrize("resource", [resources.CONFIGMAPS, resources.SECRETS], ids=["configmap", "secret"])
async def test_keys_are_names_of_files(
    client: Client, namespace: str, resource: Resource, key: str, words: str
) -> None:
    with pytest.raises(ApiError) as caught:
        await client.create(resource, named(namespace, data={key: "YQ=="}))
    assert (caught.value.status, words in caught.value.message) == (422, True), caught.value


async def test_a_service_keeps_its_cluster_ip(client: Client, namespace: str) -> None:
    made = await client.create(resources.SERVICES, named(namespace, {"ports": [{"port": 80}]}))
    words = await refused(client, resources.SERVICES, namespace, {"spec": {"clusterIP": "10.96.9.9"}})
    assert 'spec.clusterIPs[0]: Invalid value: []string{"10.96.9.9"}: may not change once set' in words
    words = await refused(
        client, resources.SERVICES, namespace, {"spec": {"clusterIP": "None", "clusterIPs": ["None"]}}
    )
    assert 'spec.clusterIPs[0]: Invalid value: []string{"None"}: may not change once set' in words
    kept = await client.patch(resources.SERVICES, "x", namespace, {"spec": {"clusterIP": None, "clusterIPs": None}})
    assert kept["spec"]["clusterIP"] == made["spec"]["clusterIP"], "a client that leaves it out keeps it"
    outside = {"type": "ExternalName", "externalName": "example.com"}
    gone = await client.patch(resources.SERVICES, "x", namespace, {"spec": outside})
    assert "clusterIP" not in gone["spec"]


@pytest.mark.parametrize("plural", ["deployments", "replicasets", "daemonsets"])
async def test_selectors_of_workloads_stay(client: Client, namespace: str, plural: str) -> None:
    kind = {"deployments": "Deployment", "replicasets": "ReplicaSet", "daemonsets": "DaemonSet"}[plural]
    resource = Resource("apps", "v1", plural, kind)
    await client.create(resource, named(namespace, SELECTED))
    labels = {"app": "x", "b": "c"}
    patch = {"spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}}}}
    shown = 'v1.LabelSelector{MatchLabels:map[string]string{"app":"x", "b":"c"}, MatchExpressions:[]v1.LabelSelectorRequirement(nil)}'
    words = await refused(client, resource, namespace, patch)
    assert f"spec.selector: Invalid value: {shown}: field is immutable" in words


async def test_a_stateful_set_keeps_what_its_pods_are_known_by(client: Client, namespace: str) -> None:
    await client.create(STATEFUL_SETS, named(namespace, {**SELECTED, "serviceName": "x"}))
    words = await refused(client, STATEFUL_SETS, namespace, {"spec": {"serviceName": "y"}})
    assert (
        "spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template'" in words
    )
    await client.patch(STATEFUL_SETS, "x", namespace, {"spec": {"replicas": 0, "minReadySeconds": 3}})


async def test_the_template_of_a_job_stays(client: Client, namespace: str) -> None:
    template = {"spec": {"containers": CONTAINERS, "restartPolicy": "Never"}}
    await client.create(JOBS, named(namespace, {"template": template, "suspend": True}))
    selector = {"spec": {"template": {"spec": {"nodeSelector": {"a": "b"}}}}}
    await client.patch(JOBS, "x", namespace, selector)  # it is suspended, and has not started
    image = {"spec": {"template": {"spec": {"containers": [{"name": "a", "image": "i:2"}]}}}}
    words = await refused(client, JOBS, namespace, image)
    assert "spec.template: Invalid value: core.PodTemplateSpec{" in words
    assert "field is immutable" in words
    assert "spec.completions: Invalid value: 5: field is immutable" in await refused(
        client, JOBS, namespace, {"spec": {"completions": 5}}
    )
    await client.patch(JOBS, "x", namespace, {"spec": {"parallelism": 2}})


async def test_a_claim_keeps_its_spec(client: Client, namespace: str) -> None:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    await client.create(CLAIMS, named(namespace, spec))
    text = "spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
    assert text in await refused(client, CLAIMS, namespace, {"spec": {"accessModes": ["ReadWriteMany"]}})
    more = {"spec": {"resources": {"requests": {"storage": "2Gi"}}}}
    assert text in await refused(client, CLAIMS, namespace, more), "it is not bound"
    await client.patch(
        CLAIMS, "x", namespace, {"status": {"phase": "Bound", "capacity": {"storage": "1Gi"}}}, sub="status"
    )
    await client.patch(CLAIMS, "x", namespace, more)


async def test_a_binding_keeps_its_role(client: Client, namespace: str) -> None:
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}
    await client.create(BINDINGS, named(namespace, roleRef=role, subjects=[]))
    words = await refused(client, BINDINGS, namespace, {"roleRef": {"name": "edit"}})
    assert "cannot change roleRef" in words
