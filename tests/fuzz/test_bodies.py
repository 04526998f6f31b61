"""Bodies of requests to the API server, in each of its forms: an object, or a refusal that names the fault."""

from __future__ import annotations

import asyncio
import contextlib
import json

import pytest
import yaml
from aiohttp import StreamReader, web
from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st

from sailcloth.local.apiserver.errors import StatusError
from sailcloth.local.apiserver.http import bodies, protobuf

from . import JSON, fuzzed, mutated, replaced
from .test_network import POD

PODS = [
    {**POD, "status": {"phase": "Running", "startTime": "2026-01-01T00:00:00Z", "podIPs": [{"ip": "10.0.0.1"}]}},
    POD,
]
CONFIG = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "labels": {"a": "b"}}, "data": {"a": "b"}}
ENCODED = [protobuf.encode(obj) for obj in (*PODS, CONFIG)]
YAML = [yaml.safe_dump(obj).encode() for obj in PODS] + [
    b"a: &a [1]\nb: [*a, *a]\n---\nc: !!binary aGk=\nd: 2026-01-01\n"
]
JSONS = [json.dumps(obj).encode() for obj in PODS]


def read(kind: str, raw: bytes) -> bodies.Body:
    class Content(StreamReader):
        def __init__(self) -> None: ...

        def is_eof(self) -> bool:
            return True

    request: web.Request = make_mocked_request("POST", "/", headers={"Content-Type": kind}, payload=Content())
    request._read_bytes = raw
    return asyncio.run(bodies.read_body(request))


def of(valid: list[bytes]) -> st.SearchStrategy[bytes]:
    return st.sampled_from(valid).flatmap(mutated)


@pytest.mark.parametrize(
    ("kind", "texts"),
    [
        ("application/vnd.kubernetes.protobuf", of(ENCODED)),
        ("application/vnd.kubernetes.protobuf", st.binary(max_size=80).map(lambda b: b"k8s\0" + b)),
        (
            "application/yaml",
            st.one_of(of(YAML), st.text(max_size=60).map(lambda t: t.encode("utf-8", "surrogatepass"))),
        ),
        ("application/json", st.one_of(of(JSONS), replaced(POD).map(lambda v: json.dumps(v).encode()))),
        ("application/json", JSON.map(lambda v: json.dumps(v).encode("utf-8", "surrogatepass"))),
    ],
    ids=["protobuf", "any protobuf", "yaml", "json", "any json"],
)
def test_bodies(kind: str, texts: st.SearchStrategy[bytes]) -> None:
    @fuzzed
    @given(texts)
    def check(raw: bytes) -> None:
        with contextlib.suppress(StatusError):
            body = read(kind, raw)
            json.dumps(body.value)

    check()
