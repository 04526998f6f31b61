"""Short cuts of the API server answer as the long way does, and what it keeps once belongs to all."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sailcloth.local.apiserver import shared_parts
from sailcloth.local.apiserver.http import bodies
from sailcloth.local.apiserver.storage import Store

Object = dict[str, Any]


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ('{"a": 1, "b": {"c": "x:y"}}', ()),
        ('{"a": 1, "a": 2}', ("a",)),
        ('{"a": "x\\u003ay", "b": 1, "b": 2}', ("b",)),
        ('{"a": {"b": ":", "b": "::"}, "c": [{"d" : 1, "d": 1}]}', ("a.b", "c[0].d")),
        ('[{"a": 1, "\\u0061": 2}]', ("[0].a",)),
        ('{"a:": 1, "a:": {}}', ("a:",)),
    ],
)
def test_keys_that_come_twice_are_found(text: str, paths: tuple[str, ...]) -> None:
    assert bodies._duplicates_of_json(text.encode(), json.loads(text)) == paths


PAIRS: Any = st.recursive(
    st.sampled_from(["1", "null", '"x"', '":"', '"\\u003a"', '"a\\"b:"']),
    lambda v: st.lists(st.tuples(st.sampled_from(['"a"', '"b:"', '"\\u0061"']), v), max_size=3).map(
        lambda pairs: "{" + ", ".join(f"{k} : {inner}" for k, inner in pairs) + "}"
    ),
)


@settings(max_examples=200, deadline=None)
@given(PAIRS)
def test_no_text_hides_a_key_that_comes_twice(text: str) -> None:
    long_way = bodies._duplicate_paths(json.loads(text, object_pairs_hook=bodies._Pairs))
    assert bodies._duplicates_of_json(text.encode(), json.loads(text)) == long_way


def _object(name: str) -> Object:
    fields = {"f:data": {".": {}, "f:a": {}}}
    entry = {"manager": "me", "operation": "Update", "time": "2026-01-02T03:04:05Z", "fieldsV1": fields}
    metadata = {"name": name, "namespace": "".join(["de", "fault"]), "managedFields": [entry]}
    return {"kind": "ConfigMap", "apiVersion": "v1", "metadata": metadata, "data": {"a": "1"}}


def test_parts_that_are_alike_are_kept_once() -> None:
    one, other = _object("one"), _object("other")
    before = copy.deepcopy(one)
    for obj in (one, other):
        shared_parts.share(obj)
    assert one == before
    first, second = (o["metadata"]["managedFields"][0] for o in (one, other))
    assert first["fieldsV1"] is second["fieldsV1"]
    assert one["metadata"]["namespace"] is other["metadata"]["namespace"]


async def test_a_file_of_other_pages_is_used_as_it_is(tmp_path: Path) -> None:
    path = str(tmp_path / "api.db")
    older = apsw.Connection(path)
    older.execute("pragma page_size=4096; pragma journal_mode=wal; create table meta(key text primary key, value text)")
    older.close()
    for _ in range(2):
        store = Store(path)
        store.put("configmaps", _object("one"))
        await store.committed()
        assert store._db.pragma("page_size") == 4096
        store.close()
    fresh = Store(str(tmp_path / "new.db"))
    assert fresh._db.pragma("page_size") == 8192
    fresh.close()
