"""Protobuf in and out: what typed clients send and ask for, and which form an answer takes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import sailcloth_samples
from sailcloth.api import crd
from sailcloth.api.kinds import MESH_KINDS
from sailcloth.kube import resources
from sailcloth.kube.client import Client
from sailcloth.local.apiserver.errors import StatusError
from sailcloth.local.apiserver.http import protobuf, protobuf_wire
from sailcloth.local.apiserver.http.negotiation import JSON, PROTOBUF, YAML, Media, negotiate

Object = dict[str, Any]
ALL = (JSON, YAML, PROTOBUF)


def samples() -> Iterator[Any]:
    """Every built-in object of the published samples, and the definitions of the mesh's kinds."""
    for path in sorted(sailcloth_samples.ROOT.rglob("*.yaml")):
        for number, obj in enumerate(yaml.safe_load_all(path.read_text())):
            if obj and protobuf.supports(obj["apiVersion"], obj["kind"]):
                yield pytest.param(obj, id=f"{path.relative_to(sailcloth_samples.ROOT)}-{number}")
    for kind in MESH_KINDS:
        yield pytest.param(crd.crd(kind), id=f"definition-{kind.name}")


def full(value: Any) -> Any:
    """Without what protobuf cannot say: nothing, and empty lists."""
    if isinstance(value, dict):
        return {k: full(v) for k, v in value.items() if v is not None and v != []}
    return [full(v) for v in value] if isinstance(value, list) else value


@pytest.mark.parametrize("obj", list(samples()))
def test_a_published_object_comes_back_as_it_was(obj: Object) -> None:
    once = protobuf.decode(protobuf.encode(obj))
    assert protobuf.decode(protobuf.encode(once)) == once
    assert _within(full(obj), once)


def _within(less: Any, more: Any) -> bool:
    """Whether all of `less` is in `more`. Protobuf leaves out what is empty all the way down."""
    if isinstance(less, dict):
        return all(_within(v, (more or {}).get(k)) for k, v in less.items())
    if isinstance(less, list):
        return isinstance(more, list) and len(less) == len(more) and all(map(_within, less, more))
    return bool(
        less == more or str(less) == more or (more is None and not less)
    )  # a quantity may be written as a number


def test_the_bytes_are_the_wire_format() -> None:
    made = protobuf.encode({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "v"}})
    assert made == b'k8s\0\n\x0f\n\x02v1\x12\tConfigMap\x12\r\n\x03\n\x01a\x12\x06\n\x01k\x12\x01v\x1a\x00"\x00'


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "integer", "minimum": 0.5, "maximum": -3.0, "default": 0, "enum": [1, None, "a"]},
        {"additionalProperties": False},
        {"additionalProperties": {"type": "string"}, "default": {"a": [1]}},
        {"items": {"type": "string"}, "x-kubernetes-list-map-keys": ["a", "b"], "minItems": 0},
        {"items": [{"type": "string"}, {"type": "integer"}]},
        {"dependencies": {"a": ["b", "c"], "d": {"type": "object"}}},
    ],
    ids=lambda s: ",".join(s),
)
def test_schemas_of_definitions_keep_their_odd_forms(schema: Object) -> None:
    version = {"name": "v1", "served": True, "storage": False, "schema": {"openAPIV3Schema": schema}}
    obj = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "spec": {"versions": [version]}}
    assert protobuf.decode(protobuf.encode(obj))["spec"]["versions"][0]["schema"]["openAPIV3Schema"] == schema


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("creationTimestamp", "2026-11-24T15:00:00Z"),
        ("creationTimestamp", "1901-01-01T00:00:00Z"),
        ("deletionGracePeriodSeconds", 0),
        ("generation", -5),
        ("managedFields", [{"manager": "m", "time": "2026-11-24T15:00:00Z", "fieldsV1": {"f:data": {".": {}}}}]),
    ],
)
def test_metadata_keeps(field: str, value: Any) -> None:
    obj = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {field: value}}
    assert protobuf.decode(protobuf.encode(obj))["metadata"] == {field: value}


# -- broken bodies ------------------------------------------------------------------------------


def body(kind: str, data: bytes, version: str = "v1") -> bytes:
    head = protobuf_wire.field(1, version.encode()) + protobuf_wire.field(2, kind.encode())
    return b"k8s\0" + protobuf_wire.field(1, head) + protobuf_wire.field(2, data)


def _deep() -> bytes:
    data = b""
    for _ in range(300):
        data = protobuf_wire.field(25, data)  # JSONSchemaProps.not
    for number in (1, 4, 7, 2):  # schema, of a version, in a spec, of a definition
        data = protobuf_wire.field(number, data)
    return body("CustomResourceDefinition", data, "apiextensions.k8s.io/v1")


def test_empty_fields_of_other_versions_say_nothing() -> None:
    """A client that knows a plain field sends it always: kubectl up to 1.23 a `clusterName`, for one."""
    metadata = protobuf_wire.field(1, b"a") + protobuf_wire.field(15, b"")
    assert protobuf.decode(body("ConfigMap", protobuf_wire.field(1, metadata)))["metadata"] == {"name": "a"}


def test_an_object_may_be_too_deep_to_be_written() -> None:
    schema: Object = {"type": "string"}
    for _ in range(2000):
        schema = {"not": schema}
    spec = {"versions": [{"name": "v1", "schema": {"openAPIV3Schema": schema}}]}
    with pytest.raises(ValueError, match="deep"):
        protobuf.encode({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "spec": spec})


@pytest.mark.parametrize(
    ("data", "code", "text"),
    [
        (b"junk", 400, "magic"),
        (b"k8s\0", 415, "not supported"),
        (body("Nonsense", b""), 415, "kind Nonsense"),
        (body("Gateway", b"", "networking.istio.io/v1"), 415, "send JSON"),
        (body("ConfigMap", protobuf_wire.field(99, b"new")), 415, "field 99 of ConfigMap"),
        (body("ConfigMap", b"\x0a\x7f"), 400, "cut off"),
        (body("ConfigMap", b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), 400, "cut off"),
        (body("ConfigMap", protobuf_wire.field(1, 1 << 40)), 400, "wire type"),
        (body("ConfigMap", protobuf_wire.field(4, b"x")), 400, "wire type"),
        (body("ConfigMap", protobuf_wire.field(1, protobuf_wire.field(1, b"\xff"))), 400, "utf-8"),
        (
            body("ConfigMap", protobuf_wire.field(1, protobuf_wire.field(8, protobuf_wire.field(1, 1 << 60)))),
            400,
            "out of range",
        ),
        (body("Event", protobuf_wire.tag(1, 3)), 400, "wire type 3"),
        (_deep(), 400, "more than 100"),
        (body("ConfigMap", protobuf_wire.field(1, b"") * 400_000), 400, "more than 300000"),
    ],
)
async def test_a_broken_body_is_refused(client: Client, namespace: str, data: bytes, code: int, text: str) -> None:
    path, headers = resources.CONFIGMAPS.path(namespace), {"Content-Type": PROTOBUF}
    async with client.request("POST", path, data=data, headers=headers) as response:
        said = await response.json()
    assert (response.status, said["code"]) == (code, code)
    assert text in said["message"]


@given(st.binary(max_size=200), st.sampled_from(["Pod", "ConfigMap", "Service", "Event"]), st.booleans())
def test_no_bytes_are_more_than_a_bad_value(data: bytes, kind: str, enveloped: bool) -> None:
    with contextlib.suppress(ValueError):
        protobuf.decode(body(kind, data) if enveloped else b"k8s\0" + data)


_words = st.text(max_size=5)
_named = st.dictionaries(_words.filter(bool), _words.filter(bool), max_size=3)


@settings(max_examples=50)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "labels": _named.filter(bool),
            "finalizers": st.lists(_words.filter(bool), min_size=1, max_size=3),
            "generation": st.integers(-(1 << 63), (1 << 63) - 1).filter(bool),
        },
    ),
    st.dictionaries(_words, _words, min_size=1, max_size=3),
)
def test_whatever_is_written_is_read(metadata: Object, data: dict[str, str]) -> None:
    obj = {"apiVersion": "v1", "kind": "ConfigMap", "data": data} | ({"metadata": metadata} if metadata else {})
    assert full({"metadata": {}, **protobuf.decode(protobuf.encode(obj))}) == {"metadata": {}, **obj}


async def test_damaged_bodies_never_break_the_server(client: Client, namespace: str) -> None:
    pod = {
        "containers": [
            {"name": "a", "image": "b", "env": [{"name": "A", "value": "1"}], "ports": [{"containerPort": 80}]}
        ]
    }
    good = protobuf.encode({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": pod})
    dice = random.Random(7)
    for _ in range(300):
        data = bytearray(good)
        for _ in range(dice.randint(1, 4)):
            data[dice.randrange(4, len(data))] = dice.randrange(256)
        cut = bytes(data[: dice.choice([len(data), dice.randrange(len(data))])])
        headers = {"Content-Type": PROTOBUF, "Accept": PROTOBUF}
        path = resources.PODS.path(namespace)
        async with client.request("POST", path, data=cut, headers=headers, params={"dryRun": "All"}) as response:
            assert response.status < 500, await response.text()


# -- through the server -------------------------------------------------------------------------


async def ask(client: Client, method: str, path: str, accept: str, data: Object | None = None, **query: str) -> Any:
    """(status, type, what the answer holds); the body goes in the form that is asked for."""
    raw = None if data is None else protobuf.encode(data) if accept == PROTOBUF else json.dumps(data).encode()
    headers = {"Accept": accept, "Content-Type": PROTOBUF if accept == PROTOBUF else JSON}
    async with client.request(method, path, data=raw, headers=headers, params=query) as response:
        answer = await response.read()
        kind = response.headers["Content-Type"]
        decoders = {PROTOBUF: read, YAML: yaml.safe_load}
        return response.status, kind, decoders.get(kind, json.loads)(answer)


def read(answer: bytes) -> Object:
    """An answer. Lists are read by hand: no client sends one."""
    head, data = (bytes(raw) for _, _, raw in list(protobuf_wire.fields(answer[4:]))[:2])  # type: ignore[arg-type]
    version, kind = (bytes(raw).decode() for _, _, raw in protobuf_wire.fields(head))  # type: ignore[arg-type]
    if not kind.endswith("List"):
        return protobuf.decode(answer)
    parts = [(number, raw) for number, _, raw in protobuf_wire.fields(data)]
    items = [protobuf.decode(body(kind.removesuffix("List"), raw, version)) for n, raw in parts if n == 2]  # type: ignore[arg-type]
    metadata = {n: raw for n, _, raw in protobuf_wire.fields(dict(parts)[1])}  # type: ignore[arg-type]
    return {"kind": kind, "apiVersion": version, "metadata": metadata, "items": items}


async def test_an_object_lives_in_protobuf(client: Client, namespace: str) -> None:
    path = resources.SERVICES.path(namespace)
    spec = {"ports": [{"port": 80, "targetPort": "http"}], "selector": {"app": "web"}}
    obj = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": spec}
    status, kind, made = await ask(client, "POST", path, PROTOBUF, obj)
    assert (status, kind) == (201, PROTOBUF)
    assert made["spec"]["clusterIP"].startswith("10.96.")
    made["metadata"]["labels"] = {"new": "yes"}
    status, _, changed = await ask(client, "PUT", f"{path}/web", PROTOBUF, made)
    assert (status, changed["metadata"]["labels"]) == (200, {"new": "yes"})
    _, _, plain = await ask(client, "GET", f"{path}/web", JSON)
    _, _, packed = await ask(client, "GET", f"{path}/web", PROTOBUF)
    assert _within(full(plain), packed)
    _, kind, listed = await ask(client, "GET", path, PROTOBUF)
    assert (kind, listed["kind"], listed["items"]) == (PROTOBUF, "ServiceList", [packed])
    assert listed["metadata"][2].isdigit()
    status, _, conflict = await ask(client, "PUT", f"{path}/web", PROTOBUF, made)
    assert (status, conflict["kind"], conflict["reason"]) == (409, "Status", "Conflict")
    _, _, gone = await ask(client, "DELETE", f"{path}/web", PROTOBUF)
    assert (gone["kind"], gone["status"], gone["details"]["name"]) == ("Status", "Success", "web")


async def test_a_watch_in_protobuf_is_frames(client: Client, namespace: str) -> None:
    path, accept = resources.CONFIGMAPS.path(namespace), {"Accept": f"{PROTOBUF};stream=watch"}
    await client.create(resources.CONFIGMAPS, {"metadata": {"name": "before", "namespace": namespace}})
    query = {"watch": "true", "fieldSelector": "metadata.name!=kube-root-ca.crt"}
    async with client.request("GET", path, params=query, headers=accept) as response, asyncio.timeout(10):
        assert response.headers["Content-Type"] == f"{PROTOBUF};stream=watch"

        async def event() -> tuple[str, str]:
            size = int.from_bytes(await response.content.readexactly(4), "big")
            parts = {n: raw for n, _, raw in protobuf_wire.fields(await response.content.readexactly(size))}
            ((_, _, raw),) = protobuf_wire.fields(bytes(parts[2]))  # type: ignore[arg-type]
            return bytes(parts[1]).decode(), protobuf.decode(bytes(raw))["metadata"]["name"]  # type: ignore[arg-type]

        assert await event() == ("ADDED", "before")
        await client.create(resources.CONFIGMAPS, {"metadata": {"name": "now", "namespace": namespace}})
        assert await event() == ("ADDED", "now")
        await client.delete(resources.CONFIGMAPS, "now", namespace)
        assert await event() == ("DELETED", "now")


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        ("", Media()),
        ("*/*", Media()),
        ("application/*", Media()),
        (PROTOBUF, Media(PROTOBUF)),
        (f"{PROTOBUF},{JSON}", Media(PROTOBUF)),
        (f"{JSON},{PROTOBUF}", Media(JSON)),
        (f"{JSON};q=0.5,{PROTOBUF};q=0.9", Media(PROTOBUF)),
        (f"*/*,{YAML}", Media(YAML)),
        (f"{YAML};q=0,*/*", Media()),
        (f"text/html,application/xhtml+xml,{YAML};q=high,*/*;q=0.8", Media()),
        (f"{PROTOBUF};stream=watch", Media(PROTOBUF)),
        (f"{JSON};as=Table;v=v1;g=meta.k8s.io,{JSON}", Media(JSON, "Table")),
        (f"{JSON};as=Table;v=v0;g=meta.k8s.io,{JSON}", Media()),
        (f"{PROTOBUF};as=Table;v=v1,{JSON}", Media()),
        (f"{PROTOBUF};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,{JSON}", Media(PROTOBUF, "Metadata")),
    ],
)
def test_the_form_is_what_the_client_likes_best(accept: str, media: Media) -> None:
    assert negotiate(accept, ALL) == media


@pytest.mark.parametrize("accept", ["text/html", f"{JSON};q=0", f"{JSON};as=Strange", "nonsense", ",;,="])
def test_nothing_acceptable_is_refused(accept: str) -> None:
    with pytest.raises(StatusError) as refused:
        negotiate(accept, ALL)
    assert (refused.value.code, refused.value.reason) == (406, "NotAcceptable")


async def test_forms_of_one_collection(client: Client, namespace: str) -> None:
    path = resources.CONFIGMAPS.path(namespace)
    assert (await ask(client, "POST", path, "text/csv", {"metadata": {"name": "no"}}))[0] == 406
    assert (await ask(client, "GET", f"{path}/no", JSON))[0] == 404  # it was refused before anything was done
    await client.create(resources.CONFIGMAPS, {"metadata": {"name": "a", "namespace": namespace}, "data": {"k": "v"}})
    assert (await ask(client, "GET", f"{path}/a", YAML))[2]["data"] == {"k": "v"}
    _, _, some = await ask(client, "GET", path, f"{JSON};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1")
    assert some["kind"] == "PartialObjectMetadataList"
    assert {tuple(o) for o in some["items"]} == {("kind", "apiVersion", "metadata")}


async def test_custom_resources_have_no_protobuf(client: Client) -> None:
    group, names = (
        "protobuf.example",
        {"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"},
    )
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}
    spec = {"group": group, "scope": "Cluster", "names": names, "versions": [version]}
    await client.create(resources.CRDS, {"metadata": {"name": f"things.{group}"}, "spec": spec})
    try:
        path = f"/apis/{group}/v1/things"
        assert (await ask(client, "GET", path, f"{PROTOBUF},{JSON}"))[1] == JSON
        assert (await ask(client, "GET", path, PROTOBUF))[0] == 406
    finally:
        await client.delete(resources.CRDS, f"things.{group}")


async def test_lists_that_go_sends_as_null(client: Client, namespace: str) -> None:
    """Go writes a list without omitempty as null when it is empty; it need not be there at all."""
    slices = resources.ENDPOINTSLICES.path(namespace)
    for name, lists in (("null", {"endpoints": None, "ports": None}), ("absent", {})):
        obj = {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4", **lists}
        await client.create(resources.ENDPOINTSLICES, {**obj, "metadata": {"name": name, "namespace": namespace}})
    _, _, listed = await ask(client, "GET", slices, PROTOBUF)
    assert {i["metadata"]["name"] for i in listed["items"]} == {"null", "absent"}


async def test_an_object_that_is_null_counts_as_absent(client: Client, namespace: str) -> None:
    """Tables and lists of such objects are served."""
    quotas = resources.Resource("", "v1", "resourcequotas", "ResourceQuota")
    obj = {"metadata": {"name": "q", "namespace": namespace}, "spec": {"hard": {"pods": "3"}}}
    await client.create(quotas, obj)
    for sub, patch in (
        ("status", {"op": "add", "path": "/status", "value": None}),
        ("", {"op": "add", "path": "/spec", "value": None}),
    ):
        await client.patch(quotas, "q", namespace, [patch], type="json", sub=sub)
        for accept in (JSON, PROTOBUF, "application/json;as=Table;v=v1;g=meta.k8s.io"):
            status, _, _ = await ask(client, "GET", quotas.path(namespace), accept)
            assert status == 200
