"""What the checker accepts is what a reference implementation of JSON schema accepts."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sailcloth.lib import schemacheck
from sailcloth.lib.openapi import Schemas
from sailcloth.lib.schemafits import Compiled

Object = dict[str, Any]
NAMES = st.sampled_from(["a", "b", "c"])
SCALARS: Any = st.one_of(st.integers(-3, 3), st.sampled_from(["", "x", "yy", 1.5]), st.booleans())
VALUES: Any = st.recursive(
    SCALARS, lambda v: st.one_of(st.lists(v, max_size=3), st.dictionaries(NAMES, v, max_size=3)), max_leaves=6
)
LIMITS: Any = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["object", "array", "string", "integer", "number", "boolean"]),
        "enum": st.lists(SCALARS, min_size=1, max_size=3),
        "required": st.lists(NAMES, min_size=1, max_size=2, unique=True),
        "minProperties": st.integers(0, 3),
        "maxProperties": st.integers(0, 3),
        "minItems": st.integers(0, 3),
        "maxItems": st.integers(0, 3),
        "uniqueItems": st.booleans(),
        "minLength": st.integers(0, 2),
        "maxLength": st.integers(0, 2),
        "minimum": st.integers(-2, 2),
        "maximum": st.integers(-2, 2),
        "pattern": st.sampled_from(["^x", "y"]),
        "multipleOf": st.sampled_from([1, 2]),
        "x-kubernetes-preserve-unknown-fields": st.just(True),
    },
)
BOUNDS: Any = st.fixed_dictionaries(
    {"minimum": st.integers(-2, 2), "maximum": st.integers(-2, 2)},
    optional={"exclusiveMinimum": st.booleans(), "exclusiveMaximum": st.booleans(), "type": st.just("number")},
)


def _extended(inner: Any) -> Any:
    some = st.lists(inner, min_size=1, max_size=3)
    more = st.fixed_dictionaries(
        {},
        optional={
            "properties": st.dictionaries(NAMES, inner, max_size=2),
            "additionalProperties": inner,
            "items": inner,
            "allOf": some,
            "anyOf": some,
            "oneOf": some,
            "not": inner,
        },
    )
    return st.builds(lambda a, b: {**a, **b}, LIMITS, more)


SCHEMAS: Any = st.recursive(st.one_of(LIMITS, BOUNDS), _extended, max_leaves=6)


def accepts(schema: Object, value: Any) -> bool:
    found = schemacheck.check(Schemas({}), schema, value, "x", nulls=False)
    return not [p for p in found if p.kind != "unknown"]


@settings(max_examples=600, deadline=None)
@given(SCHEMAS, VALUES)
def test_as_the_reference(schema: Object, value: Any) -> None:
    assert accepts(schema, value) == jsonschema.Draft4Validator(schema).is_valid(value)


KEYED: Any = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["object", "array", "string"]),
        "nullable": st.booleans(),
        "x-kubernetes-list-type": st.sampled_from(["map", "set", "atomic"]),
        "x-kubernetes-list-map-keys": st.just(["a"]),
        "x-kubernetes-preserve-unknown-fields": st.just(True),
        "x-kubernetes-embedded-resource": st.just(True),
        "x-kubernetes-int-or-string": st.just(True),
        "required": st.lists(NAMES, min_size=1, max_size=2, unique=True),
        "uniqueItems": st.booleans(),
    },
)
STRUCTURAL: Any = st.recursive(
    KEYED,
    lambda inner: st.builds(
        lambda node, more: {**node, **more},
        KEYED,
        st.fixed_dictionaries(
            {},
            optional={
                "properties": st.dictionaries(NAMES, inner, max_size=2),
                "additionalProperties": inner,
                "items": inner,
            },
        ),
    ),
    max_leaves=6,
)
WITH_NULLS: Any = st.recursive(
    st.one_of(st.none(), SCALARS), lambda v: st.one_of(st.lists(v, max_size=3), st.dictionaries(NAMES, v, max_size=3))
)


@settings(max_examples=600, deadline=None)
@given(st.one_of(STRUCTURAL, SCHEMAS), WITH_NULLS, st.booleans(), st.sampled_from(["", "x"]))
def test_the_fast_answer_is_that_of_the_walk_with_messages(schema: Object, value: Any, nulls: bool, path: str) -> None:
    walk = schemacheck.Check(Schemas({}), nulls)
    problems = list(walk.check_node(schema, value, path))
    assert Compiled(Schemas({}), walk).of(schema, not path)(value) == (not problems)


@pytest.mark.parametrize("value", ["x", 5, [{}], True])
def test_an_object_of_unknown_fields_is_an_object(value: Any) -> None:
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    assert (accepts(schema, value), accepts(schema, {"a": value})) == (False, True)


@pytest.mark.parametrize("word", ["anyOf", "oneOf", "allOf"])
def test_a_branch_that_only_requires(word: str) -> None:
    schema = {"type": "object", "properties": {"a": {}, "b": {}}, word: [{"required": ["a"]}, {"required": ["b"]}]}
    both = {"a": 1, "b": 1}
    assert [accepts(schema, v) for v in ({"a": 1}, both, {"c": 1})] == {
        "anyOf": [True, True, False],
        "oneOf": [True, False, False],
        "allOf": [False, True, False],
    }[word]


def test_not_required() -> None:
    schema = {"type": "object", "not": {"required": ["a"]}}
    assert (accepts(schema, {"b": 1}), accepts(schema, {"a": 1})) == (True, False)
