"""What requests carry beside objects (reviews, TokenRequest, Binding, Eviction, Scale, statuses, options, patches' directives):
with wrong types each is the client's mistake, never a failure of the server or of a controller."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from sailcloth.kube import resources
from sailcloth.kube.client import Client
from sailcloth.kube.resources import Resource

from .cluster import Server, until
from .test_fuzz import places

Object = dict[str, Any]
WRONG: tuple[Any, ...] = (None, [], {}, "", "x", -1, 1.5, True, [None], [[]], {"x": "y"}, 10**30)
TEMPLATE = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "x"}]}}
ACCESS = {"verb": "get", "resource": "pods", "namespace": "n", "group": "", "name": "x"}
SUBJECT = {"user": "a", "groups": ["b"], "uid": "u", "extra": {"k": ["v"]}}
OPTIONS = {"gracePeriodSeconds": 1, "preconditions": {"uid": "x"}, "dryRun": ["All"], "propagationPolicy": "Orphan"}
BOUND = {"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": "u"}
CONDITION = {"type": "Progressing", "status": "True", "reason": "R", "lastUpdateTime": "2020-01-01T00:00:00Z"}
BODIES: tuple[tuple[str, str, Object], ...] = (
    ("POST", "/api/v1/namespaces/{n}/serviceaccounts/default/token", {"spec": {"audiences": ["a"], "boundObjectRef": BOUND}}),
    ("POST", "/api/v1/namespaces/{n}/pods/p/binding", {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "x"}}),
    ("POST", "/api/v1/namespaces/{n}/pods/p/eviction", {"metadata": {"name": "p"}, "deleteOptions": OPTIONS}),
    ("PUT", "/apis/apps/v1/namespaces/{n}/deployments/d/scale", {"metadata": {"name": "d"}, "spec": {"replicas": 1}}),
    ("PUT", "/apis/apps/v1/namespaces/{n}/deployments/d/status", {"metadata": {"name": "d"}, "status": {"updatedReplicas": 1, "conditions": [CONDITION]}}),
    ("PUT", "/api/v1/namespaces/{n}/finalize", {"metadata": {"name": "n"}, "spec": {"finalizers": ["kubernetes"]}}),
    ("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", {"spec": {"resourceAttributes": ACCESS}}),
    ("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", {"spec": {**SUBJECT, "nonResourceAttributes": {"path": "/x", "verb": "get"}}}),
    ("POST", "/apis/authorization.k8s.io/v1/namespaces/{n}/localsubjectaccessreviews", {"metadata": {"namespace": "n"}, "spec": {**SUBJECT, "resourceAttributes": ACCESS}}),
    ("POST", "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", {"spec": {"namespace": "n"}}),
    ("POST", "/apis/authentication.k8s.io/v1/tokenreviews", {"spec": {"token": "a.b.c", "audiences": ["x"]}}),
    ("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", {"metadata": {}}),
    ("DELETE", "/api/v1/namespaces/{n}/configmaps/c", OPTIONS),
    ("DELETE", "/api/v1/namespaces/{n}/secrets", OPTIONS),
)  # fmt: skip


@pytest.fixture
async def made(client: Client, namespace: str) -> str:
    """A namespace with a ConfigMap c, a pod p and a Deployment d."""
    await client.create(resources.CONFIGMAPS, {"metadata": {"name": "c", "namespace": namespace}})
    await client.create(resources.PODS, {"metadata": {"name": "p", "namespace": namespace}, "spec": TEMPLATE["spec"]})
    spec = {"selector": {"matchLabels": {"a": "b"}}, "template": TEMPLATE}
    await client.create(resources.DEPLOYMENTS, {"metadata": {"name": "d", "namespace": namespace}, "spec": spec})
    return namespace


async def answer(client: Client, method: str, path: str, body: Any, kind: str = "application/json") -> int:
    async with client.request(method, path, data=json.dumps(body), headers={"Content-Type": kind}) as got:
        await got.read()
        return int(got.status)


@pytest.mark.parametrize(("method", "path", "body"), BODIES, ids=[p.rsplit("/", 1)[1] for _, p, _ in BODIES])
async def test_wrong_types_are_the_clients_mistake(
    client: Client, made: str, server: Server, method: str, path: str, body: Object
) -> None:
    path = path.format(n=made)
    tried: list[Any] = list(WRONG)
    for place in places(body):
        for value in WRONG:
            spoiled: Any = copy.deepcopy(body)
            holder = spoiled
            for step in place[:-1]:
                holder = holder[step]
            holder[place[-1]] = value
            tried.append(spoiled)
    failed = [b for b in tried if await answer(client, method, path, b) >= 500]
    assert failed == []
    assert "Traceback" not in server.log()


@pytest.mark.parametrize("directive", ["$retainKeys", "$setElementOrder/containers", "$deleteFromPrimitiveList/args", "$patch"])  # fmt: skip
async def test_directives_of_wrong_types_are_refused(client: Client, made: str, directive: str) -> None:
    path = resources.DEPLOYMENTS.path(made, "d")
    for value in (1, "x", 1.5, True, {"x": "y"}):
        for inside in ({directive: value}, {"containers": [{"name": "c", directive: value}]}):
            patch = {"spec": {"template": {"spec": inside}}}
            code = await answer(client, "PATCH", path, patch, "application/strategic-merge-patch+json")
            assert code == 422, (inside, code)


async def test_a_field_that_is_null_is_absent_in_what_is_stored(client: Client, made: str) -> None:
    """Of a status that anybody wrote, too: the controller goes on."""
    status = {"updatedReplicas": None, "availableReplicas": None, "conditions": [{**CONDITION, "reason": None}]}
    path = f"{resources.DEPLOYMENTS.path(made, 'd')}/status"
    async with client.request("PUT", path, json={"metadata": {"name": "d"}, "status": status}) as got:
        written = await got.json()
    assert "updatedReplicas" not in written["status"]
    assert "reason" not in written["status"]["conditions"][0]

    async def written_again() -> bool:
        now = await client.get(resources.DEPLOYMENTS, "d", made)
        return {c["type"] for c in now["status"]["conditions"]} == {"Available", "Progressing"}

    await until("the controller writes the status", written_again)


@pytest.mark.parametrize("value", ["9" * 30, "9" * 5000, "0001-01-01T00:00:00+14:00", "-1", "x"])
async def test_numbers_and_times_without_bounds(client: Client, made: str, value: str) -> None:
    for path, name in (
        (f"{resources.PODS.path(made, 'p')}/log", n) for n in ("sinceSeconds", "sinceTime", "tailLines")
    ):
        async with client.request("GET", path, params={name: value}) as got:
            assert got.status < 500, name
    async with client.request("GET", resources.CONFIGMAPS.path(made), params={"limit": value}) as got:
        assert got.status == 400


@pytest.mark.parametrize(
    ("resource", "spec", "status", "stored"),
    [
        (
            Resource("batch", "v1", "jobs", "Job"),
            {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}},
            {"conditions": [{}]},
            {"conditions": [{"type": "", "status": ""}]},
        ),
        (
            resources.PODS,
            {"containers": [{"name": "c", "image": "i"}]},
            {"containerStatuses": [{"name": "c"}], "conditions": [{"type": "Ready"}]},
            {
                "containerStatuses": [{"name": "c", "ready": False, "restartCount": 0, "image": "", "imageID": ""}],
                "conditions": [{"type": "Ready", "status": ""}],
            },
        ),
    ],
    ids=["job", "pod"],
)
async def test_what_a_status_leaves_out_is_zero(
    client: Client, namespace: str, resource: Any, spec: Object, status: Object, stored: Object
) -> None:
    """As Go encodes it, so that who reads it may rely on what the published types require."""
    await client.create(resource, {"metadata": {"name": "x", "namespace": namespace}, "spec": spec})
    got = (await client.patch(resource, "x", namespace, {"status": status}, sub="status"))["status"]
    assert {key: got[key] for key in stored} == stored
