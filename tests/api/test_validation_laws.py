"""Validation never raises, whatever an object holds, and gives the same findings for the same object."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sailcloth.api import crd, kinds, validation
from sailcloth.api.meta import Key

KINDS = {k.name: k for k in kinds.MESH_KINDS + kinds.LATER_KINDS if k.name in validation.KINDS}

_WORDS = st.sampled_from(
    ["", "*", ".", "~", "a", "a.b.com", "*.com", "*a.com", "ns/a.com", "~ns/*", "ns/*", "mesh", "1.2.3.4", "::1", "0s",
     "1s", "1us", "-1s", "unix:///a", "unix://", "[::1]:80", "127.0.0.1:80", "HTTP", "HTTPS", "TLS", "TCP", "80", "(a", "[a-",
     "(?i)a", "\\d+", "a{2000}", "http://a", "oci://[", "{*}", "/a/{**}", "request.headers[x]", "source.ip", "1.2.3.4/33",
     "@request.auth.claims.x", "outbound_.80_._.a.b", "{\"keys\": [{}]}"]
)  # fmt: skip
_TEXT = _WORDS | st.text(max_size=12)
_NUMBERS = st.sampled_from([-1, 0, 1, 80, 100, 443, 65535, 65536, 2**31, 2**63 - 1]) | st.integers(-10, 700)
_JSON = st.recursive(
    st.none() | st.booleans() | _NUMBERS | st.floats(allow_nan=False, allow_infinity=False) | _TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=6,
)


def values(node: dict[str, Any], depth: int = 0) -> st.SearchStrategy[Any]:
    """Values that fit a structural schema, often with odd content."""
    if node.get("x-kubernetes-preserve-unknown-fields") and "properties" not in node:
        return st.dictionaries(_TEXT, _JSON, max_size=2)
    if "enum" in node:
        return st.sampled_from(node["enum"])
    kind = node.get("type")
    if kind == "object":
        if "properties" in node:
            needed = set(node.get("required") or ())
            fields = {k: values(v, depth + 1) for k, v in node["properties"].items()}
            must = {k: v for k, v in fields.items() if k in needed}
            may = {k: v for k, v in fields.items() if k not in needed}
            return st.fixed_dictionaries(must, optional=may)
        return st.dictionaries(_TEXT, values(node.get("additionalProperties") or {}, depth + 1), max_size=2)
    if kind == "array":
        least = node.get("minItems", 0)
        return st.lists(values(node["items"], depth + 1), min_size=least, max_size=max(least, 2 if depth < 4 else 1))
    plain: dict[str, st.SearchStrategy[Any]] = {
        "string": _TEXT,
        "integer": _NUMBERS,
        "number": _NUMBERS | st.floats(-1, 101),
        "boolean": st.booleans(),
    }
    return plain.get(str(kind), _JSON)


_SPECS = {name: values(crd.schema(kind)["properties"]["spec"]) for name, kind in KINDS.items()}
_FEW = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


@_FEW
@given(st.data())
def test_whatever_fits_the_schema_is_judged(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(KINDS)))
    kind = KINDS[name]
    made = {"apiVersion": kind.api_version, "kind": name, "metadata": {"name": "a"}, "spec": data.draw(_SPECS[name])}
    found = validation.check(made)
    assert found == validation.check(made)
    assert all(f.path for f in found)
    try:
        typed = msgspec.convert(made, kind.type)
    except msgspec.ValidationError:
        return
    validation.validate(Key(name, "default", "a"), typed)


@_FEW
@given(st.sampled_from(sorted(KINDS)), _JSON, _JSON)
def test_whatever_json_is_judged(name: str, spec: Any, metadata: Any) -> None:
    made = {"apiVersion": KINDS[name].api_version, "kind": name, "metadata": metadata, "spec": spec}
    for finding in validation.check(made):
        assert str(finding)
