"""What a service account may do: nothing until a role says so."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from typing import Any

import pytest

from sailcloth.kube import resources
from sailcloth.kube.client import ApiError, Client
from sailcloth.kube.config import Endpoint
from sailcloth.kube.resources import Resource

from .cluster import Kubectl, Server, until

ROLES = Resource("rbac.authorization.k8s.io", "v1", "roles", "Role")
ROLE_BINDINGS = Resource("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding")


@pytest.fixture
async def account(server: Server, client: Client, namespace: str) -> AsyncIterator[Client]:
    """A client that only has the token of a service account `worker`."""
    metadata = {"name": "worker", "namespace": namespace}
    await client.create(resources.SERVICEACCOUNTS, {"metadata": metadata})
    token = await client.create_token("worker", namespace, [], 600)
    from .test_requests import _trusting

    async with Client(Endpoint(server=server.url, context=_trusting(server), token=token)) as made:
        yield made


async def forbidden(request: Any) -> str:
    with pytest.raises(ApiError) as caught:
        await request
    assert (caught.value.status, caught.value.reason) == (403, "Forbidden")
    return caught.value.message


async def test_without_a_role_only_discovery(account: Client, namespace: str) -> None:
    await account.call("GET", "/apis")
    await account.call("GET", "/openapi/v3")
    said = await forbidden(account.list(resources.SECRETS, namespace))
    user = f"system:serviceaccount:{namespace}:worker"
    assert said == (
        f'secrets is forbidden: User "{user}" cannot list resource "secrets" in API group "" in the namespace "{namespace}"'
    )
    await forbidden(account.get(resources.PODS, "x", namespace))
    await forbidden(account.list(resources.NODES))
    await forbidden(account.create_token("worker", namespace, [], 600))
    await forbidden(account.call("GET", f"/api/v1/namespaces/{namespace}/pods/x/exec"))


async def test_a_role_allows_what_it_names(client: Client, account: Client, namespace: str) -> None:
    rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list"], "resourceNames": []}]
    await client.create(ROLES, {"metadata": {"name": "reader", "namespace": namespace}, "rules": rules})
    subject = {"kind": "ServiceAccount", "name": "worker", "namespace": namespace}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"}
    binding = {"metadata": {"name": "worker", "namespace": namespace}, "subjects": [subject], "roleRef": reference}
    await client.create(ROLE_BINDINGS, binding)
    await account.list(resources.CONFIGMAPS, namespace)
    await forbidden(account.list(resources.CONFIGMAPS, "default"))
    await forbidden(account.create(resources.CONFIGMAPS, {"metadata": {"name": "x", "namespace": namespace}}))
    await forbidden(account.list(resources.SECRETS, namespace))
    await client.delete(ROLE_BINDINGS, "worker", namespace)
    await forbidden(account.list(resources.CONFIGMAPS, namespace))


async def test_kubectl_knows_what_an_account_may(kubectl: Kubectl, account: Client, namespace: str) -> None:
    token = account.endpoint.token
    rules = ("--verb=get,list", "--resource=pods")
    await kubectl("create", "role", "pods", *rules)
    await kubectl("create", "rolebinding", "pods", "--role=pods", f"--serviceaccount={namespace}:worker")
    config = kubectl.server.root / f"{namespace}.config"
    text = kubectl.server.kubeconfig.read_text()
    config.write_text(text)
    await kubectl("config", "set-credentials", "worker", f"--token={token}", KUBECONFIG=str(config))
    as_worker = ("--user=worker", "auth", "can-i")
    assert (await kubectl(*as_worker, "list", "pods", KUBECONFIG=str(config))).strip() == "yes"
    result = await kubectl.run(*as_worker, "delete", "pods", KUBECONFIG=str(config))
    assert (result.code, result.out.split()[0]) == (1, "no")
    result = await kubectl.run("--user=worker", "get", "secrets", KUBECONFIG=str(config))
    assert "is forbidden" in result.err
    assert "pods" in await kubectl(*as_worker, "--list", KUBECONFIG=str(config))


async def test_built_in_roles(client: Client, account: Client, kubectl: Kubectl, namespace: str) -> None:
    await kubectl("create", "rolebinding", "v", "--clusterrole=view", f"--serviceaccount={namespace}:worker")
    await account.list(resources.PODS, namespace)
    await forbidden(account.list(resources.SECRETS, namespace))
    name = f"all-{namespace}"
    await kubectl(
        "create", "clusterrolebinding", name, "--clusterrole=cluster-admin", f"--serviceaccount={namespace}:worker"
    )
    await account.list(resources.SECRETS)
    await kubectl("delete", "clusterrolebinding", name)
    await forbidden(account.list(resources.SECRETS))


async def test_the_roles_of_every_cluster(kubectl: Kubectl) -> None:
    roles = {o["metadata"]["name"]: o for o in (await kubectl.json("get", "clusterroles"))["items"]}
    assert roles.keys() >= {"cluster-admin", "admin", "edit", "view", "system:basic-user", "system:discovery"}
    resources_of = {
        n: {r for rule in roles[n]["rules"] for r in rule.get("resources", ())} for n in ("view", "edit", "admin")
    }
    assert "secrets" not in resources_of["view"]
    assert "roles" in resources_of["admin"] - resources_of["edit"]
    assert resources_of["view"] < resources_of["edit"] < resources_of["admin"]


async def test_aggregated_roles_follow_what_they_gather(kubectl: Kubectl) -> None:
    name = f"gears-{kubectl.namespace}"
    metadata = {"name": name, "labels": {"rbac.authorization.k8s.io/aggregate-to-view": "true"}}
    rules = [{"apiGroups": ["gears.example.com"], "resources": [name], "verbs": ["get"]}]
    await kubectl(
        "create",
        "-f",
        "-",
        input={
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": metadata,
            "rules": rules,
        },
    )
    for role in ("view", "edit", "admin"):
        assert name in await kubectl("get", "clusterrole", role, "-o", "jsonpath={.rules}")
    await kubectl("delete", "clusterrole", name)
    assert name not in await kubectl("get", "clusterrole", "admin", "-o", "jsonpath={.rules}")


async def test_being_somebody_else(kubectl: Kubectl) -> None:
    who = ("--as=jane", "--as-group=people")
    said = await kubectl("auth", "whoami", *who)
    assert "jane" in said
    assert "people" in said
    assert (await kubectl.run("auth", "can-i", "list", "pods", *who)).out.strip() == "no"
    await kubectl("create", "rolebinding", "viewers", "--clusterrole=view", "--group=people")
    assert (await kubectl("auth", "can-i", "list", "pods", *who)).strip() == "yes"
    assert (await kubectl.run("auth", "can-i", "list", "secrets", *who)).out.strip() == "no"
    said = await kubectl.refused("get", "secrets", *who)
    assert 'User "jane" cannot list resource "secrets"' in said
    listed = await kubectl("auth", "can-i", "--list", *who)
    assert "selfsubjectaccessreviews.authorization.k8s.io" in listed
    assert "deployments.apps" in listed


async def test_only_who_may_impersonate(account: Client, namespace: str) -> None:
    headers = {"Impersonate-User": "system:serviceaccount:default:default"}
    async with account.request("GET", "/api/v1/namespaces/default/pods", headers=headers) as response:
        body = await response.json()
    assert response.status == 403
    assert 'cannot impersonate resource "serviceaccounts" in API group "" in the namespace "default"' in body["message"]


# -- nobody grants what they do not hold -------------------------------------------------------

CLUSTER_ROLES = Resource("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", False)
GROUP = "rbac.authorization.k8s.io"


def rule(group: str, plural: str, *verbs: str) -> dict[str, Any]:
    return {"apiGroups": [group], "resources": [plural], "verbs": list(verbs)}


async def grant(client: Client, namespace: str, name: str, *rules: dict[str, Any]) -> None:
    """Give the account `worker` these rules."""
    subject = {"kind": "ServiceAccount", "name": "worker", "namespace": namespace}
    metadata = {"name": name, "namespace": namespace}
    await client.create(ROLES, {"metadata": metadata, "rules": list(rules)})
    reference = {"apiGroup": GROUP, "kind": "Role", "name": name}
    await client.create(ROLE_BINDINGS, {"metadata": metadata, "subjects": [subject], "roleRef": reference})


def binding(namespace: str, kind: str, name: str) -> dict[str, Any]:
    subject = {"kind": "ServiceAccount", "name": "worker", "namespace": namespace}
    reference = {"apiGroup": GROUP, "kind": kind, "name": name}
    return {"metadata": {"name": f"to-{name}", "namespace": namespace}, "subjects": [subject], "roleRef": reference}


async def test_who_may_write_roles_grants_no_more_than_they_hold(
    client: Client, account: Client, namespace: str
) -> None:
    await grant(
        client, namespace, "writer", rule(GROUP, "roles", "create", "patch"), rule("", "configmaps", "get", "list")
    )
    metadata = {"name": "mine", "namespace": namespace}
    await account.create(ROLES, {"metadata": metadata, "rules": [rule("", "configmaps", "get")]})
    said = await forbidden(account.patch(ROLES, "mine", namespace, {"rules": [rule("", "secrets", "get")]}))
    assert said.startswith('roles.rbac.authorization.k8s.io "mine" is forbidden: user "system:serviceaccount:')
    assert (
        'attempting to grant RBAC permissions not currently held:\n{APIGroups:[""], Resources:["secrets"], Verbs:["get"]}'
        in said
    )
    await forbidden(account.create(ROLES, {"metadata": {**metadata, "name": "all"}, "rules": [rule("*", "*", "*")]}))
    await account.patch(ROLES, "mine", namespace, {"metadata": {"labels": {"a": "b"}}})  # the rules stay as they are
    await grant(client, namespace, "escalator", rule(GROUP, "roles", "escalate"))
    await account.patch(ROLES, "mine", namespace, {"rules": [rule("", "secrets", "get")]})


async def test_who_may_write_bindings_binds_no_more_than_they_hold(
    client: Client, account: Client, namespace: str
) -> None:
    await grant(client, namespace, "binder", rule(GROUP, "rolebindings", "create"))
    said = await forbidden(account.create(ROLE_BINDINGS, binding(namespace, "ClusterRole", "cluster-admin")))
    assert "attempting to grant RBAC permissions not currently held" in said
    await grant(client, namespace, "bind-view", {**rule(GROUP, "clusterroles", "bind"), "resourceNames": ["view"]})
    await account.create(ROLE_BINDINGS, binding(namespace, "ClusterRole", "view"))
    await forbidden(account.create(ROLE_BINDINGS, binding(namespace, "ClusterRole", "edit")))
    await account.create(ROLE_BINDINGS, binding(namespace, "Role", "binder"))  # it has these rules itself


# -- Secrets with tokens ------------------------------------------------------------------------


async def test_a_secret_for_a_token_is_filled_and_goes_with_its_account(
    server: Server, client: Client, namespace: str
) -> None:
    from .test_requests import _trusting

    await client.create(resources.SERVICEACCOUNTS, {"metadata": {"name": "robot", "namespace": namespace}})
    annotations = {"kubernetes.io/service-account.name": "robot"}
    metadata = {"name": "robot-token", "namespace": namespace, "annotations": annotations}
    secret = {"metadata": metadata, "type": "kubernetes.io/service-account-token"}
    await client.create(resources.SECRETS, secret)

    async def data() -> dict[str, str]:
        return (await client.get(resources.SECRETS, "robot-token", namespace)).get("data") or {}

    found = await until("the token", data)
    assert base64.b64decode(found["namespace"]).decode() == namespace
    assert b"BEGIN CERTIFICATE" in base64.b64decode(found["ca.crt"])
    token = base64.b64decode(found["token"]).decode()
    async with Client(Endpoint(server=server.url, context=_trusting(server), token=token)) as robot:
        await robot.call("GET", "/apis")
        await client.delete(resources.SECRETS, "robot-token", namespace)
        with pytest.raises(ApiError, match="no longer exists"):
            await robot.call("GET", "/apis")
    await client.create(resources.SECRETS, secret)
    await until("the token of the new Secret", data)
    await client.delete(resources.SERVICEACCOUNTS, "robot", namespace)

    async def gone() -> bool:
        try:
            await client.get(resources.SECRETS, "robot-token", namespace)
        except ApiError as error:
            return error.status == 404
        return False

    await until("the Secret is gone", gone)
