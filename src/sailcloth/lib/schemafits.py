"""Whether a value fits a structural schema, decided fast: one function for each node, made once, and no text about errors.

Almost every value that an API server checks is right, and `schemacheck` finds that out by walking it with everything at hand
that a message could need. The answer here is the same, yes or no; the values of nodes with limits (patterns, ranges,
alternatives) are left to `schemacheck` itself. Must not know kinds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import orjson

from .openapi import EMBEDDED, KEEP, RESOURCE, Node, Schemas, is_open

if TYPE_CHECKING:
    from .schemacheck import Check

Fits = Callable[[Any], bool]
_MOST = 1 << 14


def _anything(_: Any) -> bool:
    return True


class Compiled:
    """The functions of a set of definitions. They are made when a value first has the field, because most fields of most
    schemas are never seen."""

    def __init__(self, schemas: Schemas, check: Check) -> None:
        self._schemas, self._check = schemas, check
        self._known: dict[tuple[int, bool], tuple[Node, Fits]] = {}

    def of(self, node: Node, top: bool) -> Fits:
        """The function of a node. `top`: its value is a resource."""
        known = self._known.get((id(node), top))
        if known is not None and known[0] is node:
            return known[1]
        fits = self._make(self._schemas.resolve(node), top)
        if len(self._known) >= _MOST:  # of schemas that have been replaced, mostly
            self._known.clear()
        self._known[id(node), top] = node, fits
        return fits

    def _make(self, node: Node, top: bool) -> Fits:
        if node is None:
            return _anything
        null = bool(node.get("nullable") or self._check.nulls or "type" not in node)
        limited = any(k in node for k in _VALUES)
        if "type" not in node and is_open(node) and not has_limits(node):
            return lambda value: value is not None or null
        if node.get("type") == "string" and not has_limits(node):
            return lambda value: isinstance(value, str) or (value is None and null)
        check, declared = self._check, node
        as_object, as_list = self._object(node, top), self._list(node)

        def fits(value: Any) -> bool:
            if value is None:
                return null
            if not fits_type(declared, value):
                return False
            if limited:
                for _ in check.values(declared, value, ""):
                    return False
                for _ in check.junctors(declared, value, ""):
                    return False
            if isinstance(value, dict):
                return as_object(value)
            return as_list(value) if isinstance(value, list) else True

        return fits

    def _object(self, node: dict[str, Any], top: bool) -> Fits:
        properties, extra = node.get("properties") or {}, node.get("additionalProperties")
        required, nulls = tuple(node.get("required") or ()), self._check.nulls
        open_ended = bool(node.get(KEEP) or extra is True or not ("type" in node or properties))
        embedded = bool(node.get(EMBEDDED)) or top
        typed = bool(node.get(EMBEDDED)) and not top
        fields: dict[str, Fits] = {}

        def field(name: str) -> Fits | None:
            """The function of a field, which is remembered if it is declared; None for an unknown field."""
            if name in properties:
                made = fields[name] = self.of(properties[name], False)
                return made
            if embedded and name in RESOURCE:
                return _anything
            if isinstance(extra, dict):
                return self.of(extra, False)
            return _anything if open_ended else None

        def fits(value: dict[str, Any]) -> bool:
            for name in required:
                if name not in value or (nulls and value[name] is None):
                    return False
            for name, inner in value.items():
                of = fields.get(name) or field(name)
                if of is None or not of(inner):
                    return False
            return not typed or bool(value.get("apiVersion") and value.get("kind"))

        return fits

    def _list(self, node: dict[str, Any]) -> Fits:
        kind, items, check = node.get("x-kubernetes-list-type"), node.get("items"), self._check
        unique = bool(node.get("uniqueItems"))

        def fits(value: list[Any]) -> bool:
            of = self.of(items, False)
            for item in value:
                if not of(item):
                    return False
            if len(value) < 2:
                return True
            if kind in ("map", "set"):
                keys = {orjson.dumps(check.key(node, kind, v), option=orjson.OPT_SORT_KEYS) for v in value}
                if len(keys) < len(value):
                    return False
            return not unique or len({orjson.dumps(v, option=orjson.OPT_SORT_KEYS) for v in value}) == len(value)

        return fits


_VALUES = (
    "enum", "pattern", "oneOf", "anyOf", "allOf", "not", "minProperties", "maxProperties", "minItems", "maxItems", "minLength",
    "maxLength", "minimum", "maximum", "multipleOf", "format",
)  # fmt: skip
_LIMITS = (*_VALUES, "x-kubernetes-int-or-string", "required", "uniqueItems")


def has_limits(node: dict[str, Any]) -> bool:
    """Whether a node asks more of its values than a type and fields."""
    return any(k in node for k in _LIMITS)


def fits_type(node: dict[str, Any], value: Any) -> bool:
    """Whether a value has the node's type."""
    if node.get("x-kubernetes-int-or-string"):
        return isinstance(value, int | str) and not isinstance(value, bool)
    expected = node.get("type")
    if expected is None:
        return True
    if expected == "integer":
        return not isinstance(value, bool) and (
            isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        )
    if expected == "number":
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, _TYPES.get(str(expected), object))


_TYPES: dict[str, type] = {"object": dict, "array": list, "string": str, "boolean": bool}
