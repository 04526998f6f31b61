"""CustomResourceDefinitions: what they must be, and what kubectl and clients see of the resources that they define."""

from __future__ import annotations

import copy
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from sailcloth.kube import resources
from sailcloth.kube.client import ApiError, Client
from sailcloth.kube.resources import Resource

from .cluster import Kubectl

Object = dict[str, Any]
TEXT: Object = {"type": "string"}


def spec_of(**properties: Any) -> Object:
    return {"type": "object", "properties": {"spec": {"type": "object", "properties": properties}, "status": _STATUS}}


_STATUS: Object = {
    "type": "object",
    "properties": {"replicas": {"type": "integer"}, "selector": TEXT, "phase": TEXT},
}


def version(name: str, schema: Object, storage: bool = False, **more: Any) -> Object:
    return {"name": name, "served": True, "storage": storage, "schema": {"openAPIV3Schema": schema}, **more}


def definition(plural: str, *versions: Object, group: str = "definitions.example.com", **names: Any) -> Object:
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": plural, "kind": plural.title(), **names},
            "versions": list(versions),
        },
    }


class Defined:
    """Definitions of one test, which go with it."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.names: dict[str, None] = {}

    async def __call__(self, crd: Object, serves: str = "") -> Resource:
        await self.client.create(resources.CRDS, crd)
        self.names[crd["metadata"]["name"]] = None
        spec = crd["spec"]
        return Resource(
            spec["group"], serves or spec["versions"][0]["name"], spec["names"]["plural"], spec["names"]["kind"]
        )


@pytest.fixture
async def define(client: Client) -> AsyncIterator[Defined]:
    made = Defined(client)
    yield made
    for name in made.names:
        await client.delete(resources.CRDS, name)


def thing(namespace: str, spec: Any, name: str = "one", **more: Any) -> Object:
    return {"metadata": {"name": name, "namespace": namespace}, "spec": spec, **more}


async def said(call: Any) -> str:
    with pytest.raises(ApiError) as caught:
        await call
    return caught.value.message


async def test_every_wrong_value_in_kubernetes_words(client: Client, namespace: str, define: Defined) -> None:
    schema = spec_of(
        name={"type": "string", "minLength": 2, "maxLength": 4, "pattern": "^[a-z]+$"},
        size={"type": "integer", "minimum": 1, "maximum": 5},
        colour={"type": "string", "enum": ["red", "blue"]},
        port={"x-kubernetes-int-or-string": True},
        tags={"type": "array", "items": TEXT, "maxItems": 2, "x-kubernetes-list-type": "set"},
        at={"type": "string", "format": "ipv4"},
        plain={"type": "boolean"},
    )
    schema["properties"]["spec"]["required"] = ["must"]
    schema["properties"]["spec"]["properties"]["must"] = TEXT
    things = await define(definition("wrongs", version("v1", schema, True)))
    wrong = {"name": "A", "size": 9, "colour": "green", "port": True, "tags": ["a", "a", "b"], "at": "x", "plain": "x"}
    text = await said(client.create(things, thing(namespace, wrong)))
    for part in (
        "spec.must: Required value",
        'spec.name: Invalid value: "A": spec.name in body should be at least 2 chars long',
        "spec.name: Invalid value: \"A\": spec.name in body should match '^[a-z]+$'",
        "spec.size: Invalid value: 9: spec.size in body should be less than or equal to 5",
        'spec.colour: Unsupported value: "green": supported values: "red", "blue"',
        'spec.port: Invalid value: "boolean": spec.port in body must be of type integer,string: "boolean"',
        "spec.tags: Too many: 3: must have at most 2 items",
        'spec.tags[1]: Duplicate value: "a"',
        'spec.at: Invalid value: "x": spec.at in body must be of type ipv4: "x"',
        'spec.plain: Invalid value: "string": spec.plain in body must be of type boolean: "string"',
    ):
        assert part in text
    assert "Too long: may not be more than 4 bytes" in await said(
        client.create(things, thing(namespace, {"must": "", "name": "abcde"}))
    )


async def test_nulls_are_absent_where_the_schema_does_not_allow_them(
    client: Client, namespace: str, define: Defined
) -> None:
    schema = spec_of(
        foo={"type": "string", "default": "default"},
        bar={"type": "string", "nullable": True},
        baz={"type": "array", "items": TEXT},
        map={"type": "object", "additionalProperties": TEXT},
    )
    things = await define(definition("nulls", version("v1", schema, True)))
    created = await client.create(
        things, thing(namespace, {"foo": None, "bar": None, "baz": None, "map": {"a": None, "b": "c"}})
    )
    assert created["spec"] == {"foo": "default", "bar": None, "map": {"b": "c"}}


async def test_rules_hold_and_are_not_asked_of_broken_objects(client: Client, namespace: str, define: Defined) -> None:
    schema = spec_of(low={"type": "integer"}, high={"type": "integer"}, fixed=dict(TEXT))
    schema["properties"]["spec"]["x-kubernetes-validations"] = [
        {"rule": "self.low <= self.high", "messageExpression": "'low is ' + string(self.low)", "fieldPath": ".low"}
    ]
    schema["properties"]["spec"]["properties"]["fixed"]["x-kubernetes-validations"] = [
        {"rule": "self == oldSelf", "message": "is immutable", "reason": "FieldValueForbidden"}
    ]
    things = await define(definition("rules", version("v1", schema, True)))
    text = await said(client.create(things, thing(namespace, {"low": 2, "high": 1, "fixed": "a"})))
    assert 'spec.low: Invalid value: "object": low is 2' in text
    text = await said(client.create(things, thing(namespace, {"low": "x", "high": 1})))
    assert "some validation rules were not checked because the object was invalid" in text
    await client.create(things, thing(namespace, {"low": 1, "high": 1, "fixed": "a"}))
    text = await said(client.patch(things, "one", namespace, {"spec": {"fixed": "b"}}))
    assert "spec.fixed: Forbidden: is immutable" in text
    await client.patch(things, "one", namespace, {"spec": {"high": 3}})


async def test_pruning_defaulting_and_embedded_resources(client: Client, namespace: str, define: Defined) -> None:
    inner = {"type": "object", "properties": {"a": {"type": "integer", "default": 1}}, "default": {}}
    schema = spec_of(
        nested=inner,
        items={"type": "array", "items": inner},
        keyed={"type": "object", "additionalProperties": inner},
        free={"type": "object", "x-kubernetes-preserve-unknown-fields": True, "properties": {"known": inner}},
        embedded={"type": "object", "x-kubernetes-embedded-resource": True, "properties": {"spec": inner}},
        closed={"type": "object"},
    )
    things = await define(definition("prunes", version("v1", schema, True)))
    spec = {
        "items": [{}, {"a": 2, "b": 3}],
        "keyed": {"k": {"b": 1}},
        "free": {"x": {"y": 1}, "known": {"b": 1}},
        "embedded": {"apiVersion": "v1", "kind": "X", "metadata": {"name": "n"}, "other": 1},
        "closed": {"gone": 1},
    }
    made = await client.create(things, thing(namespace, spec))
    assert made["spec"] == {
        "nested": {"a": 1},
        "items": [{"a": 1}, {"a": 2}],
        "keyed": {"k": {"a": 1}},
        "free": {"x": {"y": 1}, "known": {"a": 1}},
        "embedded": {"apiVersion": "v1", "kind": "X", "metadata": {"name": "n"}, "spec": {"a": 1}},
        "closed": {},
    }
    text = await said(client.create(things, thing(namespace, {"embedded": {"kind": "X"}}, "two")))
    assert "spec.embedded.apiVersion: Required value" in text


async def test_stored_objects_are_read_with_new_defaults_and_without_old_fields(
    client: Client, namespace: str, define: Defined
) -> None:
    crd = definition("reads", version("v1", spec_of(old=TEXT), True))
    things = await define(crd)
    await client.create(things, thing(namespace, {"old": "x"}))
    newer = version("v1", spec_of(new={"type": "string", "default": "d"}), True)
    await client.patch(resources.CRDS, crd["metadata"]["name"], "", {"spec": {"versions": [newer]}})
    found = await client.get(things, "one", namespace)
    assert found["spec"] == {"new": "d"}
    items, _ = await client.list(things, namespace)
    assert items[0]["spec"] == {"new": "d"}


async def test_versions_are_one_object_and_deprecated_ones_warn(
    kubectl: Kubectl, client: Client, define: Defined
) -> None:
    crd = definition(
        "olds",
        version("v1", spec_of(a=TEXT, b={"type": "string", "default": "new"}), True),
        version("v1beta1", spec_of(a=TEXT), deprecated=True),
        version("v1alpha1", spec_of(a=TEXT), deprecated=True, deprecationWarning="use v1, please"),
    )
    await define(crd)
    group = crd["spec"]["group"]
    obj = {"apiVersion": f"{group}/v1beta1", "kind": "Olds", "metadata": {"name": "one"}, "spec": {"a": "x"}}
    result = await kubectl.run("apply", "-f", "-", input=obj)
    assert result.code == 0
    assert f"Warning: {group}/v1beta1 Olds is deprecated; use {group}/v1 Olds" in result.err
    found = await kubectl.json("get", f"olds.v1.{group}", "one")
    assert (found["apiVersion"], found["spec"]) == (f"{group}/v1", {"a": "x", "b": "new"})
    result = await kubectl.run("get", f"olds.v1alpha1.{group}", "one", "-o", "json")
    assert "Warning: use v1, please" in result.err
    assert json.loads(result.out)["spec"] == {"a": "x"}


async def test_status_and_scale(kubectl: Kubectl, client: Client, define: Defined) -> None:
    scale = {
        "specReplicasPath": ".spec.count",
        "statusReplicasPath": ".status.replicas",
        "labelSelectorPath": ".status.selector",
    }
    subresources = {"status": {}, "scale": scale}
    schema = spec_of(count={"type": "integer", "maximum": 5})
    things = await define(definition("scaleds", version("v1", schema, True, subresources=subresources)))
    status = {"replicas": 2, "selector": "a=b"}
    made = await client.create(things, thing(kubectl.namespace, {"count": 1}, status=status))
    assert "status" not in made
    await client.patch(things, "one", kubectl.namespace, {"status": status, "spec": {"count": 9}}, sub="status")
    await kubectl("scale", "scaleds/one", "--replicas=3")
    found = await client.get(things, "one", kubectl.namespace)
    assert (found["spec"], found["status"], found["metadata"]["generation"]) == ({"count": 3}, status, 2)
    managers = {(m["operation"], m.get("subresource", "")) for m in found["metadata"]["managedFields"]}
    assert managers == {("Update", "status"), ("Update", "scale")}, "scaling took the only field of its maker"
    assert "should be less than or equal to 5" in await kubectl.refused("scale", "scaleds/one", "--replicas=7")
    read = json.loads(await client.call("GET", things.path(kubectl.namespace, "one") + "/scale"))
    assert (read["spec"], read["status"]) == ({"replicas": 3}, {"replicas": 2, "selector": "a=b"})


async def test_columns_categories_and_short_names(kubectl: Kubectl, define: Defined) -> None:
    columns = [
        {"name": "Colour", "type": "string", "jsonPath": ".spec.colour"},
        {"name": "Hidden", "type": "integer", "jsonPath": ".spec.size", "priority": 1},
        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
    ]
    schema = spec_of(colour=TEXT, size={"type": "integer"})
    crd = definition(
        "shades",
        version("v1", schema, True, additionalPrinterColumns=columns),
        shortNames=["shd"],
        categories=["paints"],
    )
    await define(crd)
    obj = {"apiVersion": f"{crd['spec']['group']}/v1", "kind": "Shades", "metadata": {"name": "one"}}
    await kubectl("create", "-f", "-", input={**obj, "spec": {"colour": "red", "size": 3}})
    assert (await kubectl("get", "shd")).split()[:3] == ["NAME", "COLOUR", "AGE"]
    heads, row = (await kubectl("get", "shd", "-o", "wide")).splitlines()
    assert (heads.split(), row.split()[:3]) == (["NAME", "COLOUR", "HIDDEN", "AGE"], ["one", "red", "3"])
    assert "one" in await kubectl("get", "paints")


async def test_names_that_are_taken_are_not_accepted(client: Client, define: Defined) -> None:
    schema = spec_of()
    await define(definition("firsts", version("v1", schema, True), kind="Firsts", shortNames=["fst"]))
    second = definition("seconds", version("v1", schema, True), kind="Seconds", shortNames=["fst"])
    await define(second)
    found = await client.get(resources.CRDS, second["metadata"]["name"])
    conditions = {c["type"]: (c["status"], c["reason"]) for c in found["status"]["conditions"]}
    assert conditions == {"NamesAccepted": ("False", "ShortNamesConflict"), "Established": ("False", "NotAccepted")}
    await client.delete(resources.CRDS, "firsts.definitions.example.com")
    found = await client.get(resources.CRDS, second["metadata"]["name"])
    assert {c["type"]: c["status"] for c in found["status"]["conditions"]} == {
        "NamesAccepted": "True",
        "Established": "True",
    }
    await define(definition("firsts", version("v1", schema, True), kind="Firsts"))


BAD_SCHEMAS: list[tuple[Object, str]] = [
    ({"type": "string"}, "must be object at the root"),
    (spec_of(a={}), "properties[spec].properties[a].type: Required value: must not be empty for specified object fields"),
    (spec_of(a={"type": "array"}), "properties[a].items: Required value: must be specified"),
    (spec_of(a={"type": "array", "items": {}}), "items.type: Required value: must not be empty for specified array items"),
    (spec_of(a={"type": "string", "pattern": "("}), "must be a valid regular expression"),
    (spec_of(a={"type": "integer", "default": "x"}), "default in body must be of type integer"),
    (spec_of(a={"type": "object", "additionalProperties": False}), "additionalProperties cannot be set to false"),
    (spec_of(a={"type": "string", "anyOf": [{"type": "string"}]}), "anyOf[0].type: Forbidden: must be empty to be structural"),
    (spec_of(a={"type": "object", "oneOf": [{"properties": {"x": {"minLength": 1}}}]}), "Required value: because it is defined in"),
    (spec_of(a={"type": "array", "items": TEXT, "uniqueItems": True}), "uniqueItems cannot be set to true"),
    (spec_of(a={"type": "array", "items": {"type": "object"}, "x-kubernetes-list-type": "map"}), "must not be empty if x-kubernetes-list-type is map"),
    (spec_of(a={"type": "string", "x-kubernetes-validations": [{"rule": "self.x()"}]}), "compilation failed"),
    (spec_of(a={"type": "object", "properties": {"b": TEXT}, "x-kubernetes-validations": [{"rule": "self.c == ''"}]}), "undefined field 'c'"),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "words"), BAD_SCHEMAS, ids=[w for _, w in BAD_SCHEMAS])
async def test_schemas_that_are_not_structural_are_refused(client: Client, schema: Object, words: str) -> None:
    crd = definition("bads", version("v1", copy.deepcopy(schema), True))
    assert words in await said(client.create(resources.CRDS, crd))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"metadata": {"name": "other.example.com"}}, 'must be spec.names.plural+"."+spec.group'),
        ({"spec": {"scope": "Galaxy"}}, 'Unsupported value: "Galaxy"'),
        ({"spec": {"versions": [version("v1", spec_of()), version("v2", spec_of())]}}, "exactly one version marked as storage"),
        ({"spec": {"versions": [{"name": "v1", "served": True, "storage": True}]}}, "schemas are required"),
        ({"spec": {"versions": [version("v1", spec_of(), True, additionalPrinterColumns=[{"name": "A", "type": "x", "jsonPath": "b"}])]}}, "must be a simple json path"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)  # fmt: skip
async def test_definitions_that_cannot_be_served_are_refused(client: Client, change: Object, words: str) -> None:
    crd = definition("bads", version("v1", spec_of(), True))
    crd["metadata"] |= change.get("metadata", {})
    crd["spec"] |= change.get("spec", {})
    assert words in await said(client.create(resources.CRDS, crd))


async def test_a_stored_object_is_not_locked_in_by_newer_limits(
    client: Client, namespace: str, define: Defined
) -> None:
    crd = definition("locks", version("v1", spec_of(a=TEXT, b=TEXT), True, subresources={"status": {}}))
    things = await define(crd)
    await client.create(things, thing(namespace, {"a": "long enough", "b": "x"}))
    narrow = {"type": "string", "maxLength": 3, "x-kubernetes-validations": [{"rule": "self != 'long enough'"}]}
    newer = version("v1", spec_of(a=narrow, b=TEXT), True, subresources={"status": {}})
    await client.patch(resources.CRDS, crd["metadata"]["name"], "", {"spec": {"versions": [newer]}})
    await client.patch(things, "one", namespace, {"status": {"phase": "Up"}}, sub="status")
    await client.patch(things, "one", namespace, {"spec": {"b": "y"}})
    assert "spec.a: Too long" in await said(client.patch(things, "one", namespace, {"spec": {"a": "longer"}}))


async def test_a_definition_that_was_applied_by_the_client_is_applied_by_the_server(kubectl: Kubectl) -> None:
    crd = definition("handovers", version("v1", spec_of(), True))
    crd = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", **crd}
    await kubectl("apply", "-f", "-", input=crd)
    await kubectl("apply", "--server-side", "-f", "-", input=crd)
    conversion = {**crd, "spec": {**crd["spec"], "conversion": {"strategy": "None"}}}
    await kubectl("apply", "--server-side", "-f", "-", input=conversion)
    await kubectl("apply", "--server-side", "--field-manager=other", "-f", "-", input=conversion)
    await kubectl("apply", "-f", "-", input=crd)
    await kubectl("delete", "crd", crd["metadata"]["name"])


@pytest.mark.parametrize(
    "limits",
    [{"type": "object"}, {"type": "object", "properties": {"name": {"type": "string", "maxLength": 9}}}],
    ids=["bare", "name"],
)
async def test_a_schema_may_mention_metadata(
    client: Client, namespace: str, define: Defined, limits: Object, request: pytest.FixtureRequest
) -> None:
    schema = spec_of(a=TEXT)
    schema["properties"]["metadata"] = limits
    plural = f"mentions{request.node.callspec.id}"
    things = await define(definition(plural, version("v1", schema, True)))
    metadata = {"namespace": namespace, "labels": {"a": "b"}, "annotations": {"c": "d"}}
    await client.create(things, {"metadata": {**metadata, "name": "x"}, "spec": {"a": "b"}})
    if "properties" in limits:
        with pytest.raises(ApiError, match=r"metadata\.name: Too long") as caught:
            await client.create(things, {"metadata": {**metadata, "name": "x" * 10}, "spec": {}})
        assert caught.value.status == 422
    else:
        await client.create(things, {"metadata": {**metadata, "generateName": "x" * 10}, "spec": {}})
