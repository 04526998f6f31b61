"""The API beneath kubectl: lists, watches, identities, definitions, limits."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import aiohttp
import pytest

from sailcloth.kube import resources
from sailcloth.kube.client import ApiError, Client
from sailcloth.kube.resources import Resource
from sailcloth.local.apiserver.auth import pki
from sailcloth.local.apiserver.http import protobuf
from sailcloth.local.apiserver.http.negotiation import JSON, PROTOBUF
from sailcloth.local.apiserver.registry import ApiResource, builtin_resources

from .cluster import Server, until

Object = dict[str, Any]


def settings(name: str, namespace: str, **labels: str) -> Object:
    return {"metadata": {"name": name, "namespace": namespace, "labels": labels}, "data": {}}


async def get(client: Client, path: str, **query: str) -> Any:
    return json.loads(await client.call("GET", path, **query))


@pytest.mark.parametrize("resource", builtin_resources(), ids=lambda s: s.group_resource)
async def test_an_object_with_nothing_in_it_is_no_riddle(client: Client, namespace: str, resource: ApiResource) -> None:
    prefix = f"/apis/{resource.group_version}" if resource.group else "/api/v1"
    path = (
        f"{prefix}/namespaces/{namespace}/{resource.plural}" if resource.namespaced else f"{prefix}/{resource.plural}"
    )
    obj = {"apiVersion": resource.group_version, "kind": resource.kind, "metadata": {"name": f"empty-{namespace}"}}
    for kind, body in ((JSON, json.dumps(obj).encode()), (PROTOBUF, protobuf.encode(obj))):
        async with client.request("POST", path, data=body, headers={"Content-Type": kind}) as response:
            assert response.status in (201, 409, 422), await response.text()
    if not resource.namespaced:
        with contextlib.suppress(ApiError):
            await client.call("DELETE", f"{path}/empty-{namespace}")


# -- lists and watches --------------------------------------------------------------------------


async def test_pages_are_one_moment(client: Client, namespace: str) -> None:
    for n in range(6):
        await client.create(resources.CONFIGMAPS, settings(f"c{n}", namespace, mine="yes"))
    path = resources.CONFIGMAPS.path(namespace)
    first = await get(client, path, limit="2", labelSelector="mine")
    assert "remainingItemCount" not in first["metadata"]  # as in Kubernetes: nobody has counted what a selector matches
    everything = await get(client, path, limit="2")
    assert everything["metadata"]["remainingItemCount"] in (4, 5)  # the namespace's own may be there already
    await client.delete(resources.CONFIGMAPS, "c3", namespace)
    await client.create(resources.CONFIGMAPS, settings("c9", namespace, mine="yes"))
    await client.patch(resources.CONFIGMAPS, "c4", namespace, {"data": {"new": "yes"}})
    names, more = [o["metadata"]["name"] for o in first["items"]], first["metadata"]["continue"]
    while more:
        page = await get(client, path, limit="3", labelSelector="mine", **{"continue": more})
        assert page["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
        assert all(o.get("data") in (None, {}) for o in page["items"])
        names += [o["metadata"]["name"] for o in page["items"]]
        more = page["metadata"].get("continue", "")
    assert names == [f"c{n}" for n in range(6)]


class Watch:
    """One watch, read event by event."""

    def __init__(self, client: Client, resource: Resource, namespace: str, **query: str) -> None:
        path, params = resource.path(namespace), {"watch": "true", **query}
        self._request = client.request("GET", path, params=params)

    async def __aenter__(self) -> Watch:
        self._answer = await self._request.__aenter__()
        assert self._answer.status == 200, await self._answer.text()
        return self

    async def __aexit__(self, *error: Any) -> None:
        self._answer.close()

    async def next(self) -> tuple[str, Object]:
        event = json.loads(await asyncio.wait_for(self._answer.content.readline(), 10))
        return event["type"], event["object"]


async def test_objects_enter_and_leave_a_selection(client: Client, namespace: str) -> None:
    await client.create(resources.CONFIGMAPS, settings("in", namespace, tier="front"))
    async with Watch(client, resources.CONFIGMAPS, namespace, labelSelector="tier=front") as watch:
        assert (await watch.next())[0] == "ADDED"
        await client.create(resources.CONFIGMAPS, settings("out", namespace, tier="back"))
        await client.patch(resources.CONFIGMAPS, "out", namespace, {"metadata": {"labels": {"tier": "front"}}})
        kind, obj = await watch.next()
        assert (kind, obj["metadata"]["name"]) == ("ADDED", "out")
        await client.patch(resources.CONFIGMAPS, "in", namespace, {"metadata": {"labels": {"tier": None}}})
        kind, obj = await watch.next()
        assert (kind, obj["metadata"]["name"]) == ("DELETED", "in")


async def test_initial_events_end_with_a_bookmark(client: Client, namespace: str) -> None:
    await client.create(resources.CONFIGMAPS, settings("one", namespace))
    query = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan", "allowWatchBookmarks": "true"}
    async with Watch(client, resources.CONFIGMAPS, namespace, fieldSelector="metadata.name=one", **query) as watch:
        assert (await watch.next())[0] == "ADDED"
        kind, obj = await watch.next()
    assert kind == "BOOKMARK"
    assert obj["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


async def test_a_revision_from_elsewhere_has_expired(client: Client, namespace: str) -> None:
    with pytest.raises(ApiError) as caught:
        await client.call("GET", resources.PODS.path(namespace), watch="true", resourceVersion="999999999")
    assert (caught.value.status, caught.value.reason) == (410, "Expired")


@pytest.mark.parametrize(
    "query",
    [
        {"limit": "many"},
        {"watch": "true", "resourceVersion": "new"},
        {"watch": "true", "timeoutSeconds": "-1"},
        {"continue": "zz"},
        {"labelSelector": "a=b=c,,"},
        {"fieldSelector": "metadata.name"},
    ],
    ids=str,
)
async def test_parameters_that_cannot_be_read_are_refused(client: Client, query: dict[str, str]) -> None:
    with pytest.raises(ApiError) as caught:
        await client.call("GET", resources.PODS.path("default"), **query)
    assert caught.value.status == 400
    assert caught.value.message


# -- writes -------------------------------------------------------------------------------------


async def test_one_of_two_writers_with_the_same_revision_wins(client: Client, namespace: str) -> None:
    made = await client.create(resources.CONFIGMAPS, settings("one", namespace))
    both = [client.replace(resources.CONFIGMAPS, {**made, "data": {"from": str(n)}}) for n in range(2)]
    results = await asyncio.gather(*both, return_exceptions=True)
    refused = [r for r in results if isinstance(r, ApiError)]
    assert [r.reason for r in refused] == ["Conflict"]


async def test_generation_follows_the_spec_only(client: Client, namespace: str) -> None:
    container = {"name": "main", "image": "a"}
    template = {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [container]}}
    spec = {"replicas": 0, "selector": {"matchLabels": {"app": "a"}}, "template": template}
    metadata = {"name": "d", "namespace": namespace}
    made = await client.create(resources.DEPLOYMENTS, {"metadata": metadata, "spec": spec})
    assert made["metadata"]["generation"] == 1
    labelled = await client.patch(resources.DEPLOYMENTS, "d", namespace, {"metadata": {"labels": {"a": "b"}}})
    assert labelled["metadata"]["generation"] == 1
    changed = await client.patch(resources.DEPLOYMENTS, "d", namespace, {"spec": {"replicas": 0, "paused": True}})
    assert changed["metadata"]["generation"] == 2
    status = await client.patch(
        resources.DEPLOYMENTS, "d", namespace, {"spec": {"replicas": 9}, "status": {"replicas": 1}}, sub="status"
    )
    assert status["spec"]["replicas"] == 0


async def test_a_write_that_changes_nothing_keeps_the_revision(client: Client, namespace: str) -> None:
    made = await client.create(resources.CONFIGMAPS, settings("one", namespace, a="b"))
    for kind in ("merge", "strategic"):
        again = await client.patch(
            resources.CONFIGMAPS, "one", namespace, {"metadata": {"labels": {"a": "b"}}}, type=kind
        )
        assert again["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]
    again = await client.replace(resources.CONFIGMAPS, made)
    assert again["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]


async def test_a_dry_run_leaves_no_trace(client: Client, namespace: str) -> None:
    path = resources.CONFIGMAPS.path(namespace)
    await client.call("POST", path, settings("dry", namespace), dryRun="All")
    with pytest.raises(ApiError, match="not found"):
        await client.get(resources.CONFIGMAPS, "dry", namespace)
    await client.create(resources.CONFIGMAPS, settings("wet", namespace))
    await client.call("DELETE", f"{path}/wet", dryRun="All")
    await client.call("DELETE", path, dryRun="All")
    await client.get(resources.CONFIGMAPS, "wet", namespace)


async def test_bodies_have_a_limit_and_must_be_readable(client: Client, namespace: str) -> None:
    path = resources.CONFIGMAPS.path(namespace)
    error = await refused(client.call("POST", path, {"metadata": {"name": "big"}, "data": {"a": "x" * (4 << 20)}}))
    assert (error.status, error.reason) == (413, "RequestEntityTooLarge")
    for body in (b"{", b"[1]", b"\xff\xfe", b'"text"', b"null"):
        error = await refused(client.call("POST", path, body))
        assert error.status in (400, 422), body


@pytest.mark.parametrize("kind", ["merge", "json", "strategic", "apply"])
@pytest.mark.parametrize("patch", ["x", 3, [3], {"metadata": "x"}, {"metadata": {"labels": "x"}}, {"data": 3}], ids=str)
async def test_senseless_patches_are_the_senders_mistake(client: Client, namespace: str, kind: str, patch: Any) -> None:
    await client.create(resources.CONFIGMAPS, settings("p", namespace))
    error = await refused(client.patch(resources.CONFIGMAPS, "p", namespace, patch, type=kind))
    assert 400 <= error.status < 500, error


async def refused(request: Coroutine[Any, Any, Any]) -> ApiError:
    with pytest.raises(ApiError) as caught:
        await request
    return caught.value


# -- who is asking ------------------------------------------------------------------------------


async def test_only_health_and_version_are_open(server: Server) -> None:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=_trusting(server))) as session:
        for path in ("/healthz", "/livez", "/readyz", "/version"):
            async with session.get(server.url + path) as answer:
                assert answer.status == 200, path
        for path in ("/api", "/apis", "/openapi/v3", "/api/v1/secrets", "/"):
            async with session.get(server.url + path) as answer:
                assert answer.status == 401, path
        bad = {"Authorization": "Bearer nonsense.token.here"}
        async with session.get(server.url + "/api/v1/pods", headers=bad) as answer:
            assert answer.status == 401


def _trusting(server: Server) -> ssl.SSLContext:
    certificates = pki.load(server.root / "pki")
    return ssl.create_default_context(cadata=certificates.ca.certificate.decode())


async def test_service_account_tokens(server: Server, client: Client, namespace: str) -> None:
    async def default() -> bool:
        try:
            return bool(await client.get(resources.SERVICEACCOUNTS, "default", namespace))
        except ApiError:
            return False

    await until("the default service account", default)
    token = await client.create_token("default", namespace, [], 600)
    who = f"system:serviceaccount:{namespace}:default"
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}}
    answer = await client.post("/apis/authentication.k8s.io/v1/tokenreviews", review)
    assert answer["status"]["authenticated"] is True
    assert answer["status"]["user"]["username"] == who
    forged = token[:-6] + "AAAAAA"
    review["spec"] = {"token": forged}
    answer = await client.post("/apis/authentication.k8s.io/v1/tokenreviews", review)
    assert not answer["status"].get("authenticated")
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=_trusting(server))) as session:
        headers = {"Authorization": f"Bearer {token}"}
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        url = f"{server.url}/apis/authentication.k8s.io/v1/selfsubjectreviews"
        async with session.post(url, json=body, headers=headers) as response:
            assert (await response.json())["status"]["userInfo"]["username"] == who
    other = await client.create_token("default", namespace, ["somebody-else"], 600)
    review["spec"] = {"token": other}
    answer = await client.post("/apis/authentication.k8s.io/v1/tokenreviews", review)
    assert not answer["status"].get("authenticated"), "a token for another audience is no token for us"
    with pytest.raises(ApiError, match="not found"):
        await client.create_token("nobody", namespace, [], 600)


# -- definitions --------------------------------------------------------------------------------

SCHEMA = {
    "type": "object",
    "required": ["spec"],
    "properties": {
        "spec": {
            "type": "object",
            "required": ["size"],
            "properties": {
                "size": {"type": "integer", "minimum": 1, "maximum": 9},
                "colour": {"type": "string", "enum": ["red", "blue"], "default": "red"},
                "port": {"x-kubernetes-int-or-string": True},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                "steps": {
                    "type": "array",
                    "items": {"type": "object", "properties": {"weight": {"type": "integer", "default": 1}}},
                },
            },
        },
        "status": {"type": "object", "properties": {"phase": {"type": "string"}}},
    },
}


def definition(plural: str) -> Object:
    version = {"served": True, "schema": {"openAPIV3Schema": SCHEMA}, "subresources": {"status": {}}}
    columns = [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}]
    return {
        "metadata": {"name": f"{plural}.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": plural, "kind": plural.title(), "singular": plural[:-1], "shortNames": [plural[:2]]},
            "versions": [
                {**version, "name": "v1", "storage": True, "additionalPrinterColumns": columns},
                {**version, "name": "v1beta1", "storage": False},
            ],
        },
    }


@pytest.fixture
async def gears(client: Client, namespace: str) -> AsyncIterator[Resource]:
    plural = f"gears{namespace}"
    await client.create(resources.CRDS, definition(plural))
    yield Resource("example.com", "v1", plural, plural.title())
    await client.delete(resources.CRDS, f"{plural}.example.com")


def gear(namespace: str, spec: Any, name: str = "one") -> Object:
    return {"metadata": {"name": name, "namespace": namespace}, "spec": spec}


async def test_a_definition_serves_at_once(client: Client, namespace: str, gears: Resource) -> None:
    crd = await client.get(resources.CRDS, f"{gears.plural}.example.com")
    assert {c["type"]: c["status"] for c in crd["status"]["conditions"]}["Established"] == "True"
    made = await client.create(gears, gear(namespace, {"size": 3, "steps": [{}], "free": {"any": {"thing": 1}}}))
    assert made["spec"] == {"size": 3, "colour": "red", "steps": [{"weight": 1}], "free": {"any": {"thing": 1}}}
    older = Resource("example.com", "v1beta1", gears.plural, gears.kind)
    assert (await client.get(older, "one", namespace))["apiVersion"] == "example.com/v1beta1"
    await client.patch(older, "one", namespace, {"spec": {"size": 4}})
    found = await client.get(gears, "one", namespace)
    assert (found["apiVersion"], found["spec"]["size"]) == ("example.com/v1", 4)
    assert found["metadata"]["generation"] == 2
    await client.patch(gears, "one", namespace, {"status": {"phase": "Up"}}, sub="status")
    found = await client.patch(gears, "one", namespace, {"status": {"phase": "Down"}})
    assert found["status"] == {"phase": "Up"}


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"size": "three"}, ["spec.size", "must be of type integer", '"string"']),
        ({"size": 0, "colour": "green"}, ["spec.size", "greater than or equal to 1", "spec.colour", '"red", "blue"']),
        ({}, ["spec.size", "Required value"]),
        ({"size": 1, "port": 1.5}, ["spec.port"]),
        ({"size": 1, "steps": [{"weight": 1}, {"weight": "x"}]}, ["spec.steps[1].weight", "must be of type integer"]),
        ("text", ["spec", "must be of type object"]),
    ],
    ids=str,
)
async def test_wrong_values_name_their_place(
    client: Client, namespace: str, gears: Resource, spec: Any, words: list[str]
) -> None:
    with pytest.raises(ApiError) as caught:
        await client.create(gears, gear(namespace, spec))
    assert (caught.value.status, caught.value.reason) == (422, "Invalid")
    for word in words:
        assert word in caught.value.message


async def test_unknown_fields_are_pruned_or_refused(client: Client, namespace: str, gears: Resource) -> None:
    made = await client.create(gears, gear(namespace, {"size": 1, "colur": "x", "steps": [{"wieght": 1}]}))
    assert "colur" not in made["spec"]
    body = gear(namespace, {"size": 1, "colur": "x", "steps": [{"wieght": 1}]}, "two")
    error = await refused(client.call("POST", gears.path(namespace), body, fieldValidation="Strict"))
    assert 'unknown field "spec.colur"' in error.message
    assert 'unknown field "spec.steps[0].wieght"' in error.message


async def test_objects_go_with_their_definition(client: Client, namespace: str) -> None:
    await client.create(resources.CRDS, definition("brief"))
    brief = Resource("example.com", "v1", "brief", "Brief")
    await client.create(brief, gear(namespace, {"size": 1}))
    await client.delete(resources.CRDS, "brief.example.com")
    with pytest.raises(ApiError, match="could not find the requested resource"):
        await client.list(brief, namespace)
    await client.create(resources.CRDS, definition("brief"))
    assert (await client.list(brief, namespace))[0] == []
    await client.delete(resources.CRDS, "brief.example.com")


# -- nulls and wrong types ----------------------------------------------------------------------


async def test_nulls_in_maps_and_lists_have_the_zero_value(client: Client, namespace: str) -> None:
    await client.create(resources.SECRETS, {"metadata": {"name": "a", "namespace": namespace}, "data": {"k": None}})
    made = await client.create(
        resources.CONFIGMAPS,
        {"metadata": {"name": "a", "namespace": namespace, "labels": {"x": None}}, "data": {"k": None}},
    )
    assert (made["data"], made["metadata"]["labels"]) == ({"k": ""}, {"x": ""})
    for resource in (resources.SECRETS, resources.CONFIGMAPS):
        headers = {"Accept": PROTOBUF}
        async with client.request("GET", resource.path(namespace), headers=headers) as response:
            assert response.status == 200, await response.text()
    container = {"name": "c", "image": "i", "env": [None]}
    pod = {"metadata": {"name": "p", "namespace": namespace}, "spec": {"containers": [container, None]}}
    with pytest.raises(ApiError) as caught:
        await client.create(resources.PODS, pod)
    assert caught.value.status == 422


@pytest.mark.parametrize("name", [["a"], {"a": 1}, 5, True])
@pytest.mark.parametrize("key", ["name", "generateName", "namespace"])
async def test_names_are_texts(client: Client, namespace: str, key: str, name: Any) -> None:
    body = {"metadata": {"name": "x", "namespace": namespace, key: name}}
    with pytest.raises(ApiError) as caught:
        await client.call("POST", resources.CONFIGMAPS.path(namespace), body)
    assert (caught.value.status, "of type string" in caught.value.message) == (400, True), caught.value


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"metadata": []}, "cannot unmarshal array into Go struct field ConfigMap.metadata of type v1.ObjectMeta"),
        ({"metadata": ""}, "cannot unmarshal string into Go struct field ConfigMap.metadata of type v1.ObjectMeta"),
        ({"kind": []}, "cannot unmarshal array into Go struct field TypeMeta.kind of type string"),
        ({"apiVersion": 0}, "cannot unmarshal number into Go struct field TypeMeta.apiVersion of type string"),
    ],
)
@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_kinds_and_metadata_have_types(
    client: Client, namespace: str, method: str, change: Object, words: str
) -> None:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, **change}
    path = resources.CONFIGMAPS.path(namespace, "x" if method == "PATCH" else "")
    headers = {"Content-Type": "application/apply-patch+yaml" if method == "PATCH" else "application/json"}
    async with client.request(method, f"{path}?fieldManager=m", data=json.dumps(body), headers=headers) as got:
        text = await got.text()
    assert (got.status, words in text) == (400, True), text


async def test_yaml_may_be_in_flow_style(client: Client, namespace: str) -> None:
    headers = {"Content-Type": "application/yaml"}
    text = "{metadata: {name: flow}, data: {a: '1'}}"
    async with client.request("POST", resources.CONFIGMAPS.path(namespace), data=text, headers=headers) as got:
        assert got.status == 201, await got.text()
    assert (await client.get(resources.CONFIGMAPS, "flow", namespace))["data"] == {"a": "1"}


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"url": "file:///etc/passwd"}, "'https' is the only allowed URL scheme"),
        ({"url": "http://example.com/x"}, "'https' is the only allowed URL scheme"),
        ({"url": "https:///x"}, "host must be specified"),
        ({"url": "https://me:secret@example.com/"}, "user information is not permitted"),
        ({"url": "https://example.com/?a=b"}, "query parameters are not permitted"),
        ({"url": "https://example.com/#a"}, "fragments are not permitted"),
        ({}, "exactly one of url or service is required"),
    ],
)
async def test_where_webhooks_may_be(client: Client, config: Object, words: str) -> None:
    hook = {"name": "a.example.com", "clientConfig": config, "sideEffects": "None", "admissionReviewVersions": ["v1"]}
    body = {"metadata": {"name": "where"}, "webhooks": [hook]}
    path = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
    with pytest.raises(ApiError) as caught:
        await client.call("POST", path, body)
    assert (caught.value.status, words in caught.value.message) == (422, True), caught.value
    assert "secret" not in caught.value.message
