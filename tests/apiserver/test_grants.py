"""Ways around authorization: a path of another scope, labels that aggregate, patches that create, tokens without their bounds."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from sailcloth.kube import resources
from sailcloth.kube.client import ApiError, Client
from sailcloth.kube.config import Endpoint
from sailcloth.kube.resources import Resource
from sailcloth.local.apiserver.http import backend_proxy

from .cluster import Server
from .test_access import CLUSTER_ROLES, GROUP, ROLE_BINDINGS, ROLES, account, binding, forbidden, grant, rule
from .test_requests import _trusting

__all__ = ["account"]
Object = dict[str, Any]
CLUSTER_ROLE_BINDINGS = Resource(GROUP, "v1", "clusterrolebindings", "ClusterRoleBinding", False)
ACCESS = "/apis/authorization.k8s.io/v1"
EVERYTHING = rule("*", "*", "*")


async def answer(client: Client, method: str, path: str, body: Object | None = None, **headers: str) -> tuple[int, str]:
    async with client.request(method, path, json=body, headers=headers) as got:
        return got.status, await got.text()


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/v1/namespaces/NAMESPACE/namespaces", {"metadata": {"name": "theirs"}}),
        ("/api/v1/namespaces/NAMESPACE/nodes", {"metadata": {"name": "theirs"}}),
        (
            "/apis/admissionregistration.k8s.io/v1/namespaces/NAMESPACE/mutatingwebhookconfigurations",
            {"metadata": {"name": "theirs"}, "webhooks": []},
        ),
        (f"/apis/{GROUP}/v1/namespaces/NAMESPACE/clusterroles", {"metadata": {"name": "theirs"}, "rules": []}),
        (f"{ACCESS}/namespaces/NAMESPACE/subjectaccessreviews", {"spec": {"user": "x", "resourceAttributes": {}}}),
        ("/apis/authentication.k8s.io/v1/namespaces/NAMESPACE/tokenreviews", {"spec": {"token": "x"}}),
    ],
)
async def test_all_rights_in_a_namespace_are_none_outside(
    client: Client, account: Client, namespace: str, path: str, body: Object
) -> None:
    await grant(client, namespace, "owner", EVERYTHING)
    path = path.replace("NAMESPACE", namespace)
    for method in ("POST", "GET", "DELETE"):
        assert (await answer(account, method, path, body if method == "POST" else None))[0] in (403, 404)
    for method in ("GET", "PUT", "PATCH", "DELETE"):
        assert (await answer(account, method, f"{path}/theirs", body if method != "GET" else None))[0] in (403, 404)
    async with client.request("GET", path.replace(f"/namespaces/{namespace}", "", 1) + "/theirs") as got:
        assert got.status in (404, 405)


async def test_a_review_of_a_namespace_is_of_no_other(client: Client, account: Client, namespace: str) -> None:
    await grant(client, namespace, "owner", EVERYTHING)
    path = f"{ACCESS}/namespaces/{namespace}/localsubjectaccessreviews"
    asked = {"verb": "get", "resource": "pods", "namespace": namespace}
    assert (await answer(account, "POST", path, {"spec": {"user": "x", "resourceAttributes": asked}}))[0] == 201
    for spec in (
        {"user": "x", "resourceAttributes": {**asked, "namespace": "kube-system"}},
        {"user": "x", "nonResourceAttributes": {"path": "/metrics", "verb": "get"}},
        {"resourceAttributes": asked},
        {"user": "x"},
    ):
        assert (await answer(account, "POST", path, {"spec": spec}))[0] == 422
    assert (await answer(account, "GET", path))[0] == 405


@pytest.fixture
async def labeller(client: Client, account: Client, namespace: str) -> AsyncIterator[Client]:
    """An account that may write ClusterRoles, and holds little else."""
    name = f"{namespace}-labeller"
    rules = [rule(GROUP, "clusterroles", "get", "create", "update", "patch"), rule("", "pods", "get")]
    await client.create(CLUSTER_ROLES, {"metadata": {"name": name}, "rules": rules})
    subjects = [{"kind": "ServiceAccount", "name": "worker", "namespace": namespace}]
    reference = {"apiGroup": GROUP, "kind": "ClusterRole", "name": name}
    made = {"metadata": {"name": name}, "subjects": subjects, "roleRef": reference}
    await client.create(CLUSTER_ROLE_BINDINGS, made)
    yield account
    await client.delete(CLUSTER_ROLE_BINDINGS, name)
    await client.delete(CLUSTER_ROLES, name)


async def test_a_label_that_aggregates_is_a_grant(client: Client, labeller: Client, namespace: str) -> None:
    name = f"{namespace}-all"
    await client.create(CLUSTER_ROLES, {"metadata": {"name": name}, "rules": [EVERYTHING]})
    label = {"metadata": {"labels": {f"{GROUP}/aggregate-to-view": "true"}}}
    assert "not currently held" in await forbidden(labeller.patch(CLUSTER_ROLES, name, "", label))
    await labeller.patch(CLUSTER_ROLES, name, "", {"metadata": {"finalizers": ["example.com/keep"]}})
    await client.patch(CLUSTER_ROLES, name, "", {"metadata": {"finalizers": None}})
    await client.delete(CLUSTER_ROLES, name)


async def test_an_aggregation_is_taken_away_by_who_holds_everything(labeller: Client) -> None:
    assert "not currently held" in await forbidden(
        labeller.patch(CLUSTER_ROLES, "view", "", {"aggregationRule": None, "rules": [rule("", "pods", "get")]})
    )


async def test_a_patch_that_creates_needs_the_right_to_create(client: Client, account: Client, namespace: str) -> None:
    await grant(client, namespace, "patcher", rule("", "configmaps", "get", "patch"))
    made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one", "namespace": namespace}}
    said = await forbidden(account.apply(resources.CONFIGMAPS, made, "m"))
    assert 'cannot create resource "configmaps"' in said
    await client.create(resources.CONFIGMAPS, made)
    await account.apply(resources.CONFIGMAPS, {**made, "data": {"a": "b"}}, "m")


async def test_a_right_to_one_object_lists_and_watches_that_one(
    client: Client, account: Client, namespace: str
) -> None:
    for name in ("one", "two"):
        await client.create(resources.SECRETS, {"metadata": {"name": name, "namespace": namespace}})
    await grant(client, namespace, "one", {**rule("", "secrets", "list", "watch"), "resourceNames": ["one"]})
    path = resources.SECRETS.path(namespace)
    chosen = "fieldSelector=metadata.name%3Done"
    status, text = await answer(account, "GET", f"{path}?{chosen}")
    assert (status, '"one"' in text, '"two"' in text) == (200, True, False)
    for query in (
        "",
        "fieldSelector=metadata.name!%3Done",
        f"{chosen}&fieldSelector=",
        f"{chosen}&watch=1&watch=x&fieldSelector=",
    ):
        assert (await answer(account, "GET", f"{path}?{query}"))[0] == 403, query  # fmt: skip


async def test_a_right_in_a_namespace_holds_for_the_namespace(client: Client, account: Client, namespace: str) -> None:
    await grant(client, namespace, "reader", rule("", "namespaces", "get"))
    await account.get(resources.NAMESPACES, namespace)
    await forbidden(account.get(resources.NAMESPACES, "default"))
    await forbidden(account.list(resources.NAMESPACES))


@pytest.mark.parametrize(
    ("kind", "resource", "obj"),
    [
        ("Secret", resources.SECRETS, {}),
        ("Node", resources.NODES, {}),
        ("Pod", resources.PODS, {"spec": {"containers": [{"name": "a", "image": "a"}]}}),
    ],
)
async def test_a_token_ends_with_what_it_is_bound_to(
    server: Server, client: Client, namespace: str, kind: str, resource: Resource, obj: Object
) -> None:
    name = f"{namespace}-bound"
    where = {"namespace": namespace} if resource.namespaced else {}
    await client.create(resource, {"metadata": {"name": name, **where}, **obj})
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/default/token"
    reference = {"apiVersion": "v1", "kind": kind, "name": name}
    token = (await client.post(path, {"spec": {"boundObjectRef": reference}}))["status"]["token"]
    async with Client(Endpoint(server=server.url, context=_trusting(server), token=token)) as bound:
        await bound.call("GET", "/apis")
        await client.delete(resource, name, where.get("namespace", ""), grace=0)
        with pytest.raises(ApiError, match="no longer exists"):
            await bound.call("GET", "/apis")
    assert (await answer(client, "POST", path, {"spec": {"boundObjectRef": reference}}))[0] == 404
    other = {**reference, "kind": "ConfigMap"}
    assert (await answer(client, "POST", path, {"spec": {"boundObjectRef": other}}))[0] == 400


URLS = {"verbs": ["get"], "nonResourceURLs": ["/metrics"]}
REFERENCE = {"apiGroup": GROUP, "kind": "ClusterRole", "name": "view"}


@pytest.mark.parametrize(
    ("resource", "obj", "field"),
    [
        (ROLES, {"rules": [URLS]}, "rules[0].nonResourceURLs"),
        (ROLES, {"rules": [{"verbs": [], "apiGroups": [""], "resources": ["pods"]}]}, "rules[0].verbs"),
        (CLUSTER_ROLES, {"rules": [URLS, {"verbs": ["get"], "resources": ["pods"]}]}, "rules[1].apiGroups"),
        (CLUSTER_ROLES, {"rules": [{**URLS, "apiGroups": ["*"]}]}, "rules[0].nonResourceURLs"),
        (CLUSTER_ROLE_BINDINGS, {"roleRef": {**REFERENCE, "kind": "Role"}}, "roleRef.kind"),
        (CLUSTER_ROLE_BINDINGS, {"roleRef": {**REFERENCE, "apiGroup": "x"}}, "roleRef.apiGroup"),
        (
            CLUSTER_ROLE_BINDINGS,
            {"roleRef": REFERENCE, "subjects": [{"kind": "ServiceAccount", "name": "a"}]},
            "subjects[0].namespace",
        ),
        (CLUSTER_ROLE_BINDINGS, {"roleRef": REFERENCE, "subjects": [{"kind": "Robot", "name": "a"}]}, "subjects[0].kind"),
    ],
)  # fmt: skip
async def test_grants_that_say_nothing_are_refused(
    client: Client, namespace: str, resource: Resource, obj: Object, field: str
) -> None:
    where = {"namespace": namespace} if resource.namespaced else {}
    with pytest.raises(ApiError) as caught:
        await client.create(resource, {"metadata": {"name": "a", **where}, **obj})
    assert caught.value.status == 422
    assert field in str(caught.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "::ffff:127.0.0.1", "169.254.169.254", "::ffff:169.254.169.254"])
def test_this_machine_is_not_reached_through_a_proxied_service(host: str) -> None:
    with pytest.raises(ValueError, match="not allowed"):
        backend_proxy._check(host)


READ = ("get", "list", "watch")


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE"])
async def test_who_may_read_everything_makes_nothing(
    client: Client, account: Client, namespace: str, method: str
) -> None:
    """A token, an eviction, a binding: each is authorized by its method, and made by POST alone."""
    await grant(client, namespace, "reader", rule("*", "*", *READ, "update", "patch", "delete"))
    spec = {"containers": [{"name": "a", "image": "a"}]}
    await client.create(resources.PODS, {"metadata": {"name": "p", "namespace": namespace}, "spec": spec})
    where = f"/api/v1/namespaces/{namespace}"
    bodies: dict[str, Object] = {
        "serviceaccounts/default/token": {},
        "pods/p/eviction": {"metadata": {"name": "p"}},
        "pods/p/binding": {"target": {"name": "n"}},
    }
    for path, body in bodies.items():
        assert (await answer(account, method, f"{where}/{path}", body if method != "GET" else None))[0] == 405
        assert (await answer(account, "POST", f"{where}/{path}", body))[0] == 403


async def test_a_right_to_a_subresource_is_none_to_the_object(client: Client, account: Client, namespace: str) -> None:
    below = [f"pods/{name}" for name in ("status", "log", "exec", "attach", "portforward", "ephemeralcontainers")]
    rules = {"apiGroups": [""], "resources": below, "verbs": ["delete", "patch", "update", "deletecollection"]}
    await grant(client, namespace, "below", rules)
    spec = {"containers": [{"name": "a", "image": "a"}]}
    await client.create(resources.PODS, {"metadata": {"name": "p", "namespace": namespace}, "spec": spec})
    for name in below:
        path = resources.PODS.path(namespace, "p", name.partition("/")[2])
        assert (await answer(account, "DELETE", f"{path}?command=sh&ports=80"))[0] == 405
    for name in below[1:5]:
        path = resources.PODS.path(namespace, "p", name.partition("/")[2])
        assert (await answer(account, "PUT", f"{path}?command=sh&ports=80", {}))[0] == 405
    await client.get(resources.PODS, "p", namespace)


async def test_a_role_is_not_bound_before_it_exists(client: Client, account: Client, namespace: str) -> None:
    """Whoever makes it later would not know whom it grants."""
    await grant(client, namespace, "binder", rule(GROUP, "rolebindings", "create"))
    for kind in ("Role", "ClusterRole"):
        with pytest.raises(ApiError, match=r'roles.rbac.authorization.k8s.io "to-come" not found') as caught:
            await account.create(ROLE_BINDINGS, binding(namespace, kind, "to-come"))
        assert caught.value.status == 404
    await client.create(ROLE_BINDINGS, binding(namespace, "ClusterRole", "to-come"))
