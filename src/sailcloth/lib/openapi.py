"""Structural OpenAPI schemas: find every wrong path, prune unknown fields, fill in defaults. Knows no kind.

References (`$ref`) are looked up by their last path element; `None` stands for an untyped place where everything goes.
"""

from __future__ import annotations

import copy
import difflib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

Node = dict[str, Any] | None


@dataclass(frozen=True)
class Problem:
    """One wrong place. `unknown`: a field that the schema does not have; `invalid`: a value that does not fit."""

    kind: Literal["unknown", "invalid", "required"]
    path: str
    text: str
    near: str = ""  # of an unknown field: the field that it is most likely meant to be


class Schemas:
    """A set of named definitions."""

    def __init__(self, definitions: dict[str, Any]) -> None:
        self.definitions = definitions
        self._flat: dict[int, tuple[dict[str, Any], dict[str, Any]]] = {}

    def resolve(self, node: Node) -> Node:
        """The node with references and single `allOf` followed; extensions of the referring place win."""
        if node is None or not ("$ref" in node or "allOf" in node):
            return node
        known = self._flat.get(id(node))
        if known is not None and known[0] is node:
            return known[1]
        found: Node = node
        while found is not None and (isinstance(found.get("$ref"), str) or len(found.get("allOf", ())) == 1):
            reference = found["$ref"] if isinstance(found.get("$ref"), str) else found["allOf"][0].get("$ref")
            target = self.definitions.get(reference.rsplit("/", 1)[1]) if reference else found["allOf"][0]
            if target is None:
                return None
            own = {k: v for k, v in found.items() if k.startswith("x-") or k in ("default", "nullable")}
            found = {**target, **own}
        if found is not None:
            self._flat[id(node)] = (node, found)
        return found

    def field(self, node: Node, name: str) -> Node:
        """The schema of a field of an object."""
        node = self.resolve(node)
        if node is None:
            return None
        properties = node.get("properties")
        if properties and name in properties:
            found: Node = properties[name]
            return found
        extra = node.get("additionalProperties")
        return extra if isinstance(extra, dict) else None

    def items(self, node: Node) -> Node:
        """The schema of an array's items."""
        node = self.resolve(node)
        return node.get("items") if node is not None else None

    # -- checking -------------------------------------------------------------------------------

    def check(self, node: Node, value: Any, path: str = "") -> Iterator[Problem]:
        """Every wrong place in a value."""
        node = self.resolve(node)
        if node is None:
            return
        if value is None:
            if path and not node.get("nullable") and "default" not in node and node.get("type") not in (None,):
                return  # null means absent, as in Kubernetes' own decoding
            return
        if node.get("x-kubernetes-int-or-string"):
            if isinstance(value, bool) or not isinstance(value, int | str):
                yield Problem("invalid", path, f"{_show(value)}: must be an integer or a string")
            return
        choices = node.get("oneOf") or node.get("anyOf")
        if choices and "type" not in node and "properties" not in node:
            if not any(_is(value, c.get("type")) for c in choices if "type" in c) and any("type" in c for c in choices):
                yield Problem(
                    "invalid", path, f"{_show(value)}: must be {' or '.join(c['type'] for c in choices if 'type' in c)}"
                )
            return
        expected = node.get("type")
        if expected and not _is(value, expected):
            word = {dict: "object", list: "array", bool: "boolean", str: "string", int: "integer", float: "number"}
            found = word.get(type(value), "null")
            yield Problem(
                "invalid",
                path,
                f'Invalid value: "{found}": {path or "value"} in body must be of type {expected}: "{found}"',
            )
            return
        yield from self._values(node, value, path)
        if isinstance(value, dict):
            yield from self._object(node, value, path)
        elif isinstance(value, list) and node.get("items") is not None:
            for index, item in enumerate(value):
                yield from self.check(node["items"], item, f"{path}[{index}]")

    def _object(self, node: dict[str, Any], value: dict[str, Any], path: str) -> Iterator[Problem]:
        properties, extra = node.get("properties") or {}, node.get("additionalProperties")
        for name in node.get("required") or ():
            if value.get(name) is None:
                yield Problem("required", _join(path, name), "Required value")
        keep = node.get("x-kubernetes-preserve-unknown-fields")
        embedded = node.get("x-kubernetes-embedded-resource")
        for name, inner in value.items():
            if name in properties:
                yield from self.check(properties[name], inner, _join(path, name))
            elif isinstance(extra, dict):
                yield from self.check(extra, inner, _join(path, name))
            elif (
                keep
                or extra is True
                or (not properties and extra is None)
                or ((embedded or not path) and name in ("apiVersion", "kind", "metadata"))
            ):
                continue
            else:
                yield Problem(
                    "unknown", _join(path, name), f'unknown field "{_join(path, name)}"', _nearest(name, properties)
                )

    def _values(self, node: dict[str, Any], value: Any, path: str) -> Iterator[Problem]:
        allowed = node.get("enum")
        if allowed is not None and value not in allowed:
            names = ", ".join(f'"{a}"' for a in allowed)
            yield Problem("invalid", path, f"Unsupported value: {_show(value)}: supported values: {names}")
            return
        if isinstance(value, str):
            if "pattern" in node and not re.search(node["pattern"], value):
                yield Problem(
                    "invalid", path, f"Invalid value: {_show(value)}: must match the pattern {node['pattern']}"
                )
            if len(value) > node.get("maxLength", len(value)):
                yield Problem("invalid", path, f"Too long: may not be more than {node['maxLength']} bytes")
            if len(value) < node.get("minLength", 0):
                yield Problem(
                    "invalid", path, f"Invalid value: {_show(value)}: should be at least {node['minLength']} chars long"
                )
        elif isinstance(value, int | float) and not isinstance(value, bool):
            if value < node.get("minimum", value):
                yield Problem(
                    "invalid", path, f"Invalid value: {value}: should be greater than or equal to {node['minimum']}"
                )
            if value > node.get("maximum", value):
                yield Problem(
                    "invalid", path, f"Invalid value: {value}: should be less than or equal to {node['maximum']}"
                )
        elif isinstance(value, dict):
            if len(value) < node.get("minProperties", 0):
                text = f"Invalid value: {len(value)}: should have at least {node['minProperties']} properties"
                yield Problem("invalid", path, text)
        elif isinstance(value, list):
            if len(value) > node.get("maxItems", len(value)):
                yield Problem("invalid", path, f"Too many: {len(value)}: must have at most {node['maxItems']} items")
            if len(value) < node.get("minItems", 0):
                yield Problem(
                    "invalid", path, f"Invalid value: {len(value)}: should have at least {node['minItems']} items"
                )

    # -- changing -------------------------------------------------------------------------------

    def prune(self, node: Node, value: Any, top: bool = True) -> None:
        """Drop fields that the schema does not have, in place."""
        node = self.resolve(node)
        if node is None or (node.get("x-kubernetes-preserve-unknown-fields") and not node.get("properties")):
            return
        if isinstance(value, dict):
            properties, extra = node.get("properties") or {}, node.get("additionalProperties")
            if not properties and extra is None:
                return
            keep = node.get("x-kubernetes-preserve-unknown-fields") or extra is True
            embedded = top or node.get("x-kubernetes-embedded-resource")
            for name in list(value):
                if name in properties:
                    self.prune(properties[name], value[name], False)
                elif isinstance(extra, dict):
                    self.prune(extra, value[name], False)
                elif not keep and not (embedded and name in ("apiVersion", "kind", "metadata")):
                    del value[name]
        elif isinstance(value, list):
            for item in value:
                self.prune(node.get("items"), item, False)

    def default(self, node: Node, value: Any) -> None:
        """Fill in the schema's defaults, in place."""
        node = self.resolve(node)
        if node is None:
            return
        if isinstance(value, dict):
            for name, inner in (node.get("properties") or {}).items():
                missing = name not in value or (value[name] is None and not inner.get("nullable"))
                if missing and "default" in inner:
                    value[name] = copy.deepcopy(inner["default"])
                if name in value:
                    self.default(inner, value[name])
            extra = node.get("additionalProperties")
            if isinstance(extra, dict):
                for name in value:
                    if name not in (node.get("properties") or {}):
                        self.default(extra, value[name])
        elif isinstance(value, list):
            for item in value:
                self.default(node.get("items"), item)


def _nearest(name: str, known: Iterable[str]) -> str:
    """The known name that is most like a misspelt one, empty if none is."""
    plain = {k.lower(): k for k in known}
    found = difflib.get_close_matches(name.replace("_", "").replace("-", "").lower(), plain, n=1, cutoff=0.7)
    return plain[found[0]] if found else ""


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _show(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)


def _is(value: Any, expected: Any) -> bool:
    if expected is None:
        return True
    if expected == "integer":
        return (isinstance(value, int) and not isinstance(value, bool)) or (
            isinstance(value, float) and value.is_integer()
        )
    if expected == "number":
        return isinstance(value, int | float) and not isinstance(value, bool)
    kinds: dict[str, type] = {"object": dict, "array": list, "string": str, "boolean": bool}
    return isinstance(value, kinds.get(str(expected), object))
