"""Validates values against a structural OpenAPI schema, with Kubernetes' error messages. Must not know kinds.

Ratcheting: with the previous value, unchanged parts that both have (fields, map entries, items of keyed lists) are not reported,
so that a stored object can still be updated under a newer, stricter schema.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import orjson

from . import formats, regex
from .openapi import EMBEDDED, KEEP, RESOURCE, Node, Schemas, is_open, map_keys
from .schemafits import Compiled, fits_type, has_limits

Kind = Literal["unknown", "invalid", "type", "required", "unsupported", "duplicate", "forbidden", "long", "many"]
ABSENT: Any = object()


@dataclass(frozen=True)
class Problem:
    """One error at a path. Kind `unknown`: a field that is not in the schema; the other kinds are those of Kubernetes."""

    kind: Kind
    path: str
    text: str
    near: str = ""  # of an unknown field: the most similar field in the schema


def check(
    schemas: Schemas, node: Node, value: Any, path: str = "", *, old: Any = ABSENT, nulls: bool = True
) -> Iterator[Problem]:
    """All errors in a value. `nulls`: null means absent everywhere, as for built-in kinds; otherwise only where the schema is
    nullable. `old`: the previous value, for ratcheting."""
    if not _compiled(schemas, nulls).of(node, not path)(value):
        yield from Check(schemas, nulls).check_node(node, value, path, old)


@lru_cache(maxsize=256)
def _compiled(schemas: Schemas, nulls: bool) -> Compiled:
    return Compiled(schemas, Check(schemas, nulls))


class Check:
    """The errors of values under one set of definitions."""

    def __init__(self, schemas: Schemas, nulls: bool) -> None:
        self._schemas, self.nulls = schemas, nulls

    def check_node(self, node: Node, value: Any, path: str, old: Any = ABSENT) -> Iterator[Problem]:
        node = self._schemas.resolve(node)
        if node is None or (old is not ABSENT and old == value and type(old) is type(value)):
            return
        if value is None:
            if not node.get("nullable") and not self.nulls and "type" in node:
                yield _type(path, node, "null")
            return
        if "type" not in node and is_open(node) and not has_limits(node):
            return
        if not fits_type(node, value):
            yield _type(path, node, _json_type(value))
        yield from self.values(node, value, path)
        yield from self.junctors(node, value, path)
        if isinstance(value, dict):
            yield from self._object(node, value, path, old)
        elif isinstance(value, list):
            yield from self._list(node, value, path, old)

    def _object(self, node: dict[str, Any], value: dict[str, Any], path: str, old: Any) -> Iterator[Problem]:
        properties, extra = node.get("properties") or {}, node.get("additionalProperties")
        for name in node.get("required") or ():
            if name not in value or (self.nulls and value[name] is None):
                yield Problem("required", join(path, name), "Required value")
        keep, embedded = node.get(KEEP) or extra is True, node.get(EMBEDDED) or not path
        old_fields = old if isinstance(old, dict) else {}
        for name, inner in value.items():
            if name in properties:
                yield from self.check_node(properties[name], inner, join(path, name), old_fields.get(name, ABSENT))
            elif embedded and name in RESOURCE:
                continue
            elif isinstance(extra, dict):
                yield from self.check_node(extra, inner, join(path, name), old_fields.get(name, ABSENT))
            elif not keep and ("type" in node or properties):
                where = join(path, name)
                yield Problem("unknown", where, f'unknown field "{where}"', _nearest(name, properties))
        if node.get(EMBEDDED) and path:
            for name in ("apiVersion", "kind"):
                if not value.get(name):
                    yield Problem("required", join(path, name), "Required value: must not be empty")

    def _list(self, node: dict[str, Any], value: list[Any], path: str, old: Any) -> Iterator[Problem]:
        kind, old_items = node.get("x-kubernetes-list-type"), {}
        keys = [orjson.dumps(self.key(node, kind, v), option=orjson.OPT_SORT_KEYS) for v in value] if kind else []
        if kind == "map" and isinstance(old, list):
            old_items = {orjson.dumps(self.key(node, kind, v), option=orjson.OPT_SORT_KEYS): v for v in old}
        for index, item in enumerate(value):
            old_item = old_items.get(keys[index], ABSENT) if old_items else ABSENT
            yield from self.check_node(node.get("items"), item, f"{path}[{index}]", old_item)
        if kind in ("map", "set"):
            seen: set[bytes] = set()
            for index, key in enumerate(keys):
                if key in seen:
                    shown = go(self.key(node, kind, value[index]))
                    yield Problem("duplicate", f"{path}[{index}]", f"Duplicate value: {shown}")
                seen.add(key)
        if node.get("uniqueItems") and len({orjson.dumps(v, option=orjson.OPT_SORT_KEYS) for v in value}) < len(value):
            yield _invalid(path, value, f"{path} in body shouldn't contain duplicates")

    def key(self, node: dict[str, Any], kind: Any, item: Any) -> Any:
        """What must differ between the items of a list of this kind."""
        return (map_keys(self._schemas, node, item) or {}) if kind == "map" else item

    def junctors(self, node: dict[str, Any], value: Any, path: str) -> Iterator[Problem]:
        """`allOf`, `anyOf`, `oneOf`, `not`. As in Kubernetes, the path is in the message only."""
        if node.get("x-kubernetes-int-or-string"):
            return

        def wrong(inner: Node) -> list[Problem]:
            return [p for p in self.check_node(inner, value, path) if p.kind != "unknown"]

        for inner in node.get("allOf") or ():
            problems = wrong(inner)
            if problems:
                yield _root_problem(f'"{path}" must validate all the schemas (allOf)')
                yield from problems
        if "anyOf" in node:
            tried = [wrong(inner) for inner in node["anyOf"]]
            if tried and all(tried):
                yield _root_problem(f'"{path}" must validate at least one schema (anyOf)')
                yield from min(tried, key=len)
        if "oneOf" in node:
            tried = [wrong(inner) for inner in node["oneOf"]]
            good = sum(1 for problems in tried if not problems)
            if good != 1:
                text = f"Found {good} valid alternatives" if good else "Found none valid"
                yield _root_problem(f'"{path}" must validate one and only one schema (oneOf). {text}')
                if tried and not good:
                    yield from min(tried, key=len)
        if "not" in node and not wrong(node["not"]):
            yield _root_problem(f'"{path}" must not validate the schema (not)')

    def values(self, node: dict[str, Any], value: Any, path: str) -> Iterator[Problem]:
        """Against enumerations, patterns, formats, ranges and sizes."""
        allowed = node.get("enum")
        if allowed is not None and not any(
            a == value and isinstance(a, bool) == isinstance(value, bool) for a in allowed
        ):
            names = ", ".join(f'"{a if isinstance(a, str) else orjson.dumps(a).decode()}"' for a in allowed)
            yield Problem("unsupported", path, f"Unsupported value: {go(value)}: supported values: {names}")
        if isinstance(value, str):
            if len(value) > node.get("maxLength", len(value)):
                yield Problem("long", path, f"Too long: may not be more than {node['maxLength']} bytes")
            if len(value) < node.get("minLength", 0):
                yield _invalid(path, value, f"{path} in body should be at least {node['minLength']} chars long")
            if "pattern" in node and not regex.search(node["pattern"], value):
                yield _invalid(path, value, f"{path} in body should match '{node['pattern']}'")
            form = node.get("format")
            if form and not formats.fits(form, value):
                yield Problem(
                    "type", path, f"Invalid value: {go(value)}: {path} in body must be of type {form}: {go(value)}"
                )
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield from _number(node, value, path)
        elif isinstance(value, dict):
            if len(value) < node.get("minProperties", 0):
                yield _invalid(
                    path, len(value), f"{path} in body should have at least {node['minProperties']} properties"
                )
            if len(value) > node.get("maxProperties", len(value)):
                yield Problem("many", path, f"Too many: {len(value)}: must have at most {node['maxProperties']} items")
        elif isinstance(value, list):
            if len(value) > node.get("maxItems", len(value)):
                yield Problem("many", path, f"Too many: {len(value)}: must have at most {node['maxItems']} items")
            if len(value) < node.get("minItems", 0):
                yield _invalid(path, len(value), f"{path} in body should have at least {node['minItems']} items")


def _number(node: dict[str, Any], value: int | float, path: str) -> Iterator[Problem]:
    low, high, step = node.get("minimum"), node.get("maximum"), node.get("multipleOf")
    if high is not None and (value > high or (node.get("exclusiveMaximum") and value == high)):
        bound = "less than" if node.get("exclusiveMaximum") else "less than or equal to"
        yield _invalid(path, value, f"{path} in body should be {bound} {_plain(high)}")
    if low is not None and (value < low or (node.get("exclusiveMinimum") and value == low)):
        bound = "greater than" if node.get("exclusiveMinimum") else "greater than or equal to"
        yield _invalid(path, value, f"{path} in body should be {bound} {_plain(low)}")
    if step and abs(value / step - round(value / step)) > 1e-9:
        yield _invalid(path, value, f"{path} in body should be a multiple of {_plain(step)}")
    bits = {"int32": 31, "int64": 63}.get(node.get("format", ""))
    if bits and not -(1 << bits) <= value < 1 << bits:
        text = f"Checked value must be of type {node.get('type')} with format {node['format']} in {path}"
        yield _invalid(path, value, text)


def go(value: Any) -> str:
    """A value in Go's notation, for messages."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return orjson.dumps(value).decode()
    if isinstance(value, int | float):
        return _plain(value)
    if isinstance(value, dict):
        return "map[string]interface {}{" + ", ".join(f"{go(k)}:{go(value[k])}" for k in sorted(value)) + "}"
    if isinstance(value, list):
        return "[]interface {}{" + ", ".join(go(v) for v in value) + "}"
    return "null" if value is None else str(value)


def join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _plain(value: int | float) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _invalid(path: str, value: Any, text: str) -> Problem:
    return Problem("invalid", path, f"Invalid value: {go(value)}: {text}")


def _root_problem(text: str) -> Problem:
    return Problem("invalid", "", f'Invalid value: "": {text}')


def _type(path: str, node: dict[str, Any], actual: str) -> Problem:
    expected = "integer,string" if node.get("x-kubernetes-int-or-string") else node.get("type")
    text = f'{path or "value"} in body must be of type {expected}: "{actual}"'
    return Problem("type", path, f'Invalid value: "{actual}": {text}')


def _json_type(value: Any) -> str:
    words = {dict: "object", list: "array", bool: "boolean", str: "string", int: "integer", float: "number"}
    return words.get(type(value), "null")


def _nearest(name: str, known: Iterable[str]) -> str:
    """The known name that is most similar to a misspelt one; empty if none is similar."""
    plain = {k.lower(): k for k in known}
    matches = difflib.get_close_matches(name.replace("_", "").replace("-", "").lower(), plain, n=1, cutoff=0.7)
    return plain[matches[0]] if matches else ""
