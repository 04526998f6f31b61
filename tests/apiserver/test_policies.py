"""ValidatingAdmissionPolicies and their bindings: what is denied, in which words, and what cannot be hung by an expression."""

from __future__ import annotations

import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from sailcloth.kube import resources
from sailcloth.kube.client import ApiError, Client
from sailcloth.kube.resources import Resource

from .cluster import Kubectl, Object, Server

GROUP = "admissionregistration.k8s.io"
POLICIES = Resource(GROUP, "v1", "validatingadmissionpolicies", "ValidatingAdmissionPolicy", namespaced=False)
BINDINGS = Resource(
    GROUP, "v1", "validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBinding", namespaced=False
)
_numbers = itertools.count(1)
Make = Callable[..., Awaitable[str]]


@pytest.fixture
async def make(client: Client, namespace: str) -> AsyncIterator[Make]:
    """Makes a policy for ConfigMaps of the test's namespace, and its binding; both are deleted in the end. Returns the name."""
    names: list[str] = []

    async def policy(*validations: str | Object, binding: Object | None = None, **spec: Any) -> str:
        names.append(name := f"policy-{next(_numbers)}")
        rules = {
            "apiGroups": [""],
            "apiVersions": ["v1"],
            "operations": ["CREATE", "UPDATE"],
            "resources": ["configmaps"],
        }
        made = [{"expression": v} if isinstance(v, str) else v for v in validations]
        constraints = {
            "resourceRules": [rules],
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
        }
        given = {"matchConstraints": constraints, "validations": made, **spec}
        await client.create(POLICIES, {"metadata": {"name": name}, "spec": given})
        bound = {"policyName": name, "validationActions": ["Deny"], **(binding or {})}
        await client.create(BINDINGS, {"metadata": {"name": name}, "spec": bound})
        return name

    yield policy
    for name in names:
        await client.delete(BINDINGS, name)
        await client.delete(POLICIES, name)


def config_map(name: str = "c", **data: str) -> Object:
    return {"metadata": {"name": name}, "data": data}


async def create(client: Client, resource: Resource, obj: Object, namespace: str) -> None:
    await client.create(resource, {**obj, "metadata": {**obj["metadata"], "namespace": namespace}})


async def denied(client: Client, namespace: str, obj: Object) -> ApiError:
    with pytest.raises(ApiError) as caught:
        await create(client, resources.CONFIGMAPS, obj, namespace)
    return caught.value


async def test_a_request_is_denied_in_kubernetes_words(client: Client, namespace: str, make: Make) -> None:
    name = await make({"expression": "size(object.data) < 2", "message": "too many keys"})
    await create(client, resources.CONFIGMAPS, config_map(a="1"), namespace)
    error = await denied(client, namespace, config_map("d", a="1", b="2"))
    title = f"ValidatingAdmissionPolicy '{name}' with binding '{name}' denied request: too many keys"
    assert (error.status, error.message) == (422, f'configmaps "d" is forbidden: {title}')


async def test_updates_see_the_old_object(client: Client, namespace: str, make: Make) -> None:
    await make("oldObject == null || object.data.a == oldObject.data.a")
    await create(client, resources.CONFIGMAPS, config_map(a="1"), namespace)
    await client.patch(resources.CONFIGMAPS, "c", namespace, {"data": {"b": "2"}})
    with pytest.raises(ApiError, match=r"failed expression: oldObject == null"):
        await client.patch(resources.CONFIGMAPS, "c", namespace, {"data": {"a": "2"}})


@pytest.mark.parametrize(
    ("reason", "code"), [("Forbidden", 403), ("Unauthorized", 401), ("Invalid", 422), ("RequestEntityTooLarge", 413)]
)
async def test_reasons(client: Client, namespace: str, make: Make, reason: str, code: int) -> None:
    await make({"expression": "false", "reason": reason, "messageExpression": "'no ' + object.metadata.name"})
    error = await denied(client, namespace, config_map())
    assert (error.status, error.reason) == (code, reason)
    assert error.message.endswith("denied request: no c")


async def test_variables_and_conditions(client: Client, namespace: str, make: Make) -> None:
    variables = [
        {"name": "keys", "expression": "object.data.map(k, k)"},
        {"name": "count", "expression": "size(variables.keys)"},
        {"name": "missing", "expression": "object.data.nothing"},
    ]
    condition = {"name": "not-exempt", "expression": "object.metadata.name != 'exempt'"}
    await make("variables.count < 2 || variables.missing == ''", variables=variables, matchConditions=[condition])
    await create(client, resources.CONFIGMAPS, config_map(a="1"), namespace)
    error = await denied(client, namespace, config_map("d", a="1", b="2"))
    assert "composited variable 'missing' fails to evaluate: no such key: nothing" in error.message
    await create(client, resources.CONFIGMAPS, config_map("exempt", a="1", b="2"), namespace)


async def test_what_cannot_be_evaluated_follows_the_failure_policy(client: Client, namespace: str, make: Make) -> None:
    await make("object.data.nothing == ''", failurePolicy="Ignore")
    await create(client, resources.CONFIGMAPS, config_map(a="1"), namespace)
    await make("object.data.nothing == ''")
    error = await denied(client, namespace, config_map("d", a="1"))
    assert error.message.endswith("expression 'object.data.nothing == ''' resulted in error: no such key: nothing")


async def test_warnings(server: Server, client: Client, namespace: str, make: Make) -> None:
    name = await make("false", binding={"validationActions": ["Warn", "Audit"]})
    path = resources.CONFIGMAPS.path(namespace)
    async with client.request("POST", path, json=config_map()) as got:
        assert got.status == 201
        said = got.headers.getall("Warning")
    assert said == [
        f"299 - \"Validation failed for ValidatingAdmissionPolicy '{name}' with binding '{name}': failed expression: false\""
    ]
    assert f"audit: validation failed for ValidatingAdmissionPolicy '{name}'" in server.log()


async def test_parameters(client: Client, namespace: str, make: Make) -> None:
    kind = {"apiVersion": "v1", "kind": "Secret"}
    reference = {"name": "limits", "namespace": namespace, "parameterNotFoundAction": "Deny"}
    rule = "size(object.data) <= int(params.stringData.max)".replace("stringData", "metadata.annotations")
    await make(rule, paramKind=kind, binding={"paramRef": reference})
    assert "no params found for policy binding with `Deny`" in (await denied(client, namespace, config_map())).message
    await create(client, resources.SECRETS, {"metadata": {"name": "limits", "annotations": {"max": "1"}}}, namespace)
    await create(client, resources.CONFIGMAPS, config_map(a="1"), namespace)
    assert (
        "failed expression: size(object.data)" in (await denied(client, namespace, config_map("d", a="", b=""))).message
    )


async def test_parameters_by_selector_all_count(client: Client, namespace: str, make: Make) -> None:
    reference = {"selector": {"matchLabels": {"limit": "yes"}}, "parameterNotFoundAction": "Allow"}
    await make(
        "size(object.data) <= int(params.metadata.annotations.max)",
        paramKind={"apiVersion": "v1", "kind": "Secret"},
        binding={"paramRef": reference},
    )
    await create(client, resources.CONFIGMAPS, config_map("a", a="", b="", c=""), namespace)
    for number in (3, 2):
        metadata = {"name": f"l{number}", "annotations": {"max": str(number)}, "labels": {"limit": "yes"}}
        await create(client, resources.SECRETS, {"metadata": metadata}, namespace)
    await create(client, resources.CONFIGMAPS, config_map("b", a="", b=""), namespace)
    await denied(client, namespace, config_map("d", a="", b="", c=""))


async def test_the_request_its_namespace_and_the_authorizer(client: Client, namespace: str, make: Make) -> None:
    checks = "authorizer.group('').resource('pods').namespace('default').check('get').allowed()"
    as_account = (
        "authorizer.serviceAccount('default', 'default').resource('pods').namespace('default').check('get').allowed()"
    )
    await make(
        "request.operation == 'CREATE' && request.resource.resource == 'configmaps' && request.kind.kind == 'ConfigMap'",
        f"request.namespace == '{namespace}' && namespaceObject.metadata.name == request.namespace",
        "request.userInfo.groups.exists(g, g == 'system:masters')",
        f"{checks} && !{as_account} && authorizer.requestResource.check('create').allowed()",
        "authorizer.path('/healthz').check('get').allowed()",
    )
    await create(client, resources.CONFIGMAPS, config_map(), namespace)


async def test_a_binding_narrows_what_its_policy_matches(client: Client, namespace: str, make: Make) -> None:
    selected = {"objectSelector": {"matchLabels": {"strict": "yes"}}}
    excluded = {
        "excludeResourceRules": [
            {
                "resourceNames": ["spared"],
                "operations": ["*"],
                "apiGroups": ["*"],
                "apiVersions": ["*"],
                "resources": ["*"],
            }
        ]
    }
    await make("false", binding={"matchResources": {**selected, **excluded}})
    await create(client, resources.CONFIGMAPS, config_map(), namespace)
    labelled = {"metadata": {"name": "d", "labels": {"strict": "yes"}}}
    await denied(client, namespace, labelled)
    labelled["metadata"]["name"] = "spared"
    await create(client, resources.CONFIGMAPS, labelled, namespace)


async def test_deletion(client: Client, namespace: str, make: Make) -> None:
    rules = {"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["DELETE"], "resources": ["configmaps"]}
    rules["resourceNames"] = ["kept"]
    await make("object != null || oldObject.data.a == '1'", matchConstraints={"resourceRules": [rules]})
    await create(client, resources.CONFIGMAPS, config_map("kept", a="2"), namespace)
    with pytest.raises(ApiError, match="denied request"):
        await client.delete(resources.CONFIGMAPS, "kept", namespace)
    await client.patch(resources.CONFIGMAPS, "kept", namespace, {"data": {"a": "1"}})
    await client.delete(resources.CONFIGMAPS, "kept", namespace)


async def test_status_is_observed(client: Client, make: Make) -> None:
    name = await make("true")
    policy = await client.get(POLICIES, name)
    assert policy["status"] == {"observedGeneration": 1, "typeChecking": {}}
    change = {"spec": {"failurePolicy": "Ignore"}}
    await client.patch(POLICIES, name, "", change)
    policy = await client.get(POLICIES, name)
    assert policy["metadata"]["generation"] == policy["status"]["observedGeneration"] == 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"validations": []}, "validations or auditAnnotations must contain at least one item"),
        (
            {"validations": [{"expression": "object."}]},
            'spec.validations[0].expression: Invalid value: "object.": compilation failed',
        ),
        ({"validations": [{"expression": "1"}]}, "must evaluate to bool"),
        ({"validations": [{"expression": "true", "reason": "Sad"}]}, 'Unsupported value: "Sad"'),
        ({"validations": [{"expression": "variables.a"}]}, "undefined field 'a'"),
        ({"validations": [{"expression": "unknown"}]}, "undeclared reference to 'unknown'"),
        ({"matchConstraints": {}}, "spec.matchConstraints.resourceRules: Required value"),
        ({"matchConstraints": None}, "spec.matchConstraints: Required value"),
        ({"variables": [{"name": "a", "expression": "1"}, {"name": "a", "expression": "2"}]}, "Duplicate value"),
    ],
)
async def test_policies_that_are_refused(client: Client, change: Object, words: str) -> None:
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["*"], "resources": ["pods"]}
    spec = {"matchConstraints": {"resourceRules": [rule]}, "validations": [{"expression": "true"}], **change}
    with pytest.raises(ApiError) as caught:
        await client.create(POLICIES, {"metadata": {"name": "refused"}, "spec": spec})
    assert caught.value.status == 422
    assert words in caught.value.message


async def test_bindings_that_are_refused(client: Client) -> None:
    for spec, words in (
        ({}, "spec.policyName: Required value"),
        ({"policyName": "a"}, "spec.validationActions: Required value"),
        ({"policyName": "a", "validationActions": ["Deny", "Warn"]}, "must not contain both Deny and Warn"),
        (
            {"policyName": "a", "validationActions": ["Deny"], "paramRef": {}},
            "one of name or selector must be specified",
        ),
    ):
        with pytest.raises(ApiError, match=words):
            await client.create(BINDINGS, {"metadata": {"name": "refused"}, "spec": spec})


_DOUBLED = "object.data.a"
for _ in range(20):
    _DOUBLED = f"cel.bind(v, {_DOUBLED}, v + v)"


@pytest.mark.parametrize(
    "expression",
    [
        "[1,2,3,4,5,6,7,8,9,10].all(a, [1,2,3,4,5,6,7,8,9,10].all(b, object.data.a.split('').all(c, object.data.a.split('').all(d, c == 'x'))))",
        f"size({_DOUBLED}) > 0",
        "object.data.a.matches('(x+x+)+y') || object.data.a.split('').map(k, object.data.a + object.data.a).size() > 0",
    ],
    ids=["loops", "doubling", "copies"],
)
async def test_an_expression_that_runs_away(client: Client, namespace: str, make: Make, expression: str) -> None:
    """It is ended before it holds others up for long."""
    await make(expression)
    start = time.monotonic()
    error = await denied(client, namespace, config_map(a="x" * 100_000))
    assert "operation cancelled: actual cost limit exceeded" in error.message
    assert time.monotonic() - start < 5


@pytest.mark.parametrize(
    "expression",
    [
        "object.data.all(k, (k + object.metadata.name).lowerAscii() != 'x')",
        "object.data.map(k, k + '=' + object.data[k]).join(',').size() > 0",
        "object.data.a.split(',').filter(k, k.contains('x')).map(k, k.replace('x', 'yy')).size() > 0",
        "object.data.all(k, object.data.all(l, k == l || object.data[k] != object.data[l]))",
    ],
)
async def test_what_policies_usually_do_is_not_too_much(
    client: Client, namespace: str, make: Make, expression: str
) -> None:
    await make(expression)
    values = {f"k{n}": f"value {n} " + "," * 1000 for n in range(90)}
    await create(client, resources.CONFIGMAPS, config_map(a="x,y," * 500, **values), namespace)


async def test_kubectl_shows_them(kubectl: Kubectl, make: Make) -> None:
    name = await make("true", "true")
    shown = (await kubectl("get", "validatingadmissionpolicies", name)).split()
    assert shown[:6] == ["NAME", "VALIDATIONS", "PARAMKIND", "AGE", name, "2"]
    shown = (await kubectl("get", "validatingadmissionpolicybindings", name)).split()
    assert shown[:7] == ["NAME", "POLICYNAME", "PARAMREF", "AGE", name, name, "<unset>"]


def definition(group: str, channel: str, description: str = "") -> Object:
    schema = {"type": "object", "description": description}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    metadata = {"name": f"kites.{group}", "annotations": {"example.com/channel": channel}}
    names = {"plural": "kites", "kind": "Kite"}
    return {"metadata": metadata, "spec": {"group": group, "scope": "Cluster", "names": names, "versions": [version]}}


async def test_a_policy_over_definitions(client: Client, make: Make) -> None:
    """As the Gateway API's releases have one: what is experimental does not replace what is not."""
    rule = {
        "apiGroups": ["apiextensions.k8s.io"],
        "apiVersions": ["v1"],
        "operations": ["CREATE", "UPDATE"],
        "resources": ["*"],
    }
    await make(
        "object.spec.group != 'kites.example.com' || oldObject == null || (has(object.metadata.annotations) && "
        "object.metadata.annotations.exists(k, k == 'example.com/channel') && "
        "object.metadata.annotations['example.com/channel'] == 'standard')",
        matchConstraints={"resourceRules": [rule]},
    )
    made = await client.create(resources.CRDS, definition("kites.example.com", "standard"))
    name = made["metadata"]["name"]
    try:
        with pytest.raises(ApiError, match="denied request: failed expression"):
            await client.patch(resources.CRDS, name, "", definition("kites.example.com", "experimental", "new"))
        await client.patch(resources.CRDS, name, "", definition("kites.example.com", "standard", "new"))
    finally:
        await client.delete(resources.CRDS, name)


@pytest.mark.parametrize(
    ("resource", "operation", "method", "path", "kind"),
    [
        ("pods/exec", "CONNECT", "POST", "/pods/p/exec?command=sh&stdout=true", "PodExecOptions"),
        ("pods/attach", "CONNECT", "GET", "/pods/p/attach?stdout=true", "PodAttachOptions"),
        ("pods/portforward", "CONNECT", "POST", "/pods/p/portforward?ports=80", "PodPortForwardOptions"),
        ("pods/proxy", "CONNECT", "GET", "/pods/p:80/proxy/x", "PodProxyOptions"),
        ("services/proxy", "CONNECT", "GET", "/services/http:s:80/proxy/x", "ServiceProxyOptions"),
        ("pods/eviction", "CREATE", "POST", "/pods/p/eviction", "Eviction"),
        ("pods/binding", "CREATE", "POST", "/pods/p/binding", "Binding"),
        ("serviceaccounts/token", "CREATE", "POST", "/serviceaccounts/default/token", "TokenRequest"),
    ],
)
async def test_subresources_that_store_nothing_are_judged_too(
    client: Client, namespace: str, make: Make, resource: str, operation: str, method: str, path: str, kind: str
) -> None:
    spec = {"containers": [{"name": "c", "image": "i"}]}
    await client.create(resources.PODS, {"metadata": {"name": "p", "namespace": namespace}, "spec": spec})
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": [operation], "resources": [resource]}
    own = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    seen = "object.kind + '/' + request.kind.kind + '/' + request.subResource + '/' + request.operation"
    denied = {"expression": "false", "messageExpression": seen}
    await make(denied, matchConstraints={"resourceRules": [rule], "namespaceSelector": own})
    body = {} if method == "POST" else None
    async with client.request(method, f"/api/v1/namespaces/{namespace}{path}", json=body) as got:
        text = await got.text()
    assert got.status == 422, text
    assert f"{kind}/{kind}/{resource.partition('/')[2]}/{operation}" in text
