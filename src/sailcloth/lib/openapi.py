"""Structural OpenAPI schemas: resolves references, prunes unknown fields, sets defaults. Must not know kinds.

References (`$ref`) are looked up by their last path element; `None` stands for an untyped node that accepts everything.
`lib.schemacheck` validates values.
"""

from __future__ import annotations

import copy
from typing import Any

Node = dict[str, Any] | None
RESOURCE = ("apiVersion", "kind", "metadata")  # what every resource has, whether its schema names it or not
KEEP = "x-kubernetes-preserve-unknown-fields"
EMBEDDED = "x-kubernetes-embedded-resource"
_CONTAINERS = (dict, list)


class Schemas:
    """A set of named definitions."""

    def __init__(self, definitions: dict[str, Any]) -> None:
        self.definitions = definitions
        self._flat: dict[int, tuple[dict[str, Any], dict[str, Any]]] = {}

    def resolve(self, node: Node) -> Node:
        """The node with references resolved; extensions of the referring node win. An `allOf` with a single reference is OpenAPI's
        form of a reference with extensions; any other `allOf` is left to validation."""
        if node is None or not ("$ref" in node or _wraps(node)):
            return node
        cached = self._flat.get(id(node))
        if cached is not None and cached[0] is node:
            return cached[1]
        resolved: Node = node
        while resolved is not None and ("$ref" in resolved or _wraps(resolved)):
            reference = resolved.get("$ref") or resolved["allOf"][0]["$ref"]
            target = self.definitions.get(str(reference).rsplit("/", 1)[1])
            if target is None:
                return None
            extensions = {k: v for k, v in resolved.items() if k.startswith("x-") or k in ("default", "nullable")}
            resolved = {**target, **extensions}
        if resolved is not None:
            self._flat[id(node)] = (node, resolved)
        return resolved

    def field(self, node: Node, name: str) -> Node:
        """The schema of a field of an object."""
        node = self.resolve(node)
        if node is None:
            return None
        properties = node.get("properties")
        if properties and name in properties:
            child: Node = properties[name]
            return child
        extra = node.get("additionalProperties")
        return extra if isinstance(extra, dict) else None

    def items(self, node: Node) -> Node:
        """The schema of an array's items."""
        node = self.resolve(node)
        return node.get("items") if node is not None else None

    def prune(self, node: Node, value: Any, top: bool = True) -> None:
        """Remove fields that are not in the schema, in place. `top`: the value is a resource."""
        node = self.resolve(node)
        if node is None or is_open(node):
            return
        if isinstance(value, dict):
            properties, extra = node.get("properties") or {}, node.get("additionalProperties")
            keep, embedded = node.get(KEEP) or extra is True, top or node.get(EMBEDDED)
            for name in list(value):
                if name in properties:
                    self.prune(properties[name], value[name], False)
                elif embedded and name in RESOURCE:
                    continue
                elif isinstance(extra, dict):
                    self.prune(extra, value[name], False)
                elif not keep:
                    del value[name]
        elif isinstance(value, list):
            for item in value:
                self.prune(node.get("items"), item, False)

    def replace_nulls(self, node: Node, value: Any) -> None:
        """Give values of maps and items of lists that are null the zero value of their type, and leave out fields that are null,
        in place, as Go decodes them."""
        if not isinstance(value, _CONTAINERS) or (node := self.resolve(node)) is None:
            return
        if isinstance(value, list):
            inner = node.get("items")
            for index, item in enumerate(value):
                if item is None and inner is not None:
                    value[index] = self._zero(inner)
                self.replace_nulls(inner, value[index])
            return
        properties, extra = node.get("properties") or {}, node.get("additionalProperties")
        for name, item in [*value.items()]:
            if name in properties:
                if item is None:
                    del value[name]
                elif isinstance(item, _CONTAINERS):
                    self.replace_nulls(properties[name], item)
            elif isinstance(extra, dict):
                if item is None:
                    value[name] = self._zero(extra)
                self.replace_nulls(extra, value[name])

    def fill_required(self, node: Node, value: Any) -> None:
        """Give required fields that are absent the zero value of their type, in place, as Go encodes them. Times stay absent."""
        if not isinstance(value, _CONTAINERS) or (node := self.resolve(node)) is None:
            return
        if isinstance(value, list):
            for item in value:
                self.fill_required(node.get("items"), item)
            return
        properties, extra = node.get("properties") or {}, node.get("additionalProperties")
        for name in node.get("required") or ():
            inner = self.resolve(properties.get(name)) or {}
            if name not in value and inner.get("format") != "date-time" and (zero := self._zero(inner)) is not None:
                value[name] = zero
        for name, item in value.items():
            self.fill_required(properties.get(name, extra if isinstance(extra, dict) else None), item)

    def _zero(self, node: Node) -> Any:
        resolved = self.resolve(node)
        zeros: dict[str, Any] = {"string": "", "integer": 0, "number": 0, "boolean": False, "object": {}, "array": []}
        return copy.copy(zeros.get(str((resolved or {}).get("type"))))

    def default(self, node: Node, value: Any) -> None:
        """Set the schema's defaults, in place. A null of a field that is not nullable counts as absent, and goes if it has no default; that of
        a required one stays for validation to name."""
        node = self.resolve(node)
        if node is None:
            return
        if isinstance(value, dict):
            properties, extra = node.get("properties") or {}, node.get("additionalProperties")
            for name, inner in properties.items():
                if "default" in inner and name not in value:
                    value[name] = copy.deepcopy(inner["default"])
            for name in list(value):
                inner = properties.get(name, extra)
                if not isinstance(inner, dict):
                    continue
                if value[name] is None and not inner.get("nullable"):
                    if "default" not in inner:
                        if name not in (node.get("required") or ()):
                            del value[name]
                        continue
                    value[name] = copy.deepcopy(inner["default"])
                self.default(inner, value[name])
        elif isinstance(value, list):
            inner = node.get("items")
            for index, item in enumerate(value):
                if item is None and isinstance(inner, dict) and "default" in inner and not inner.get("nullable"):
                    value[index] = copy.deepcopy(inner["default"])
                self.default(inner, value[index])


def is_open(node: dict[str, Any]) -> bool:
    """Whether a schema is empty: no type and no fields, at most `x-kubernetes-preserve-unknown-fields`."""
    if node.get("properties") or node.get("additionalProperties") or node.get("items") or node.get(EMBEDDED):
        return False
    return bool(node.get(KEEP)) or "type" not in node


def map_keys(schemas: Schemas, node: dict[str, Any], item: Any) -> dict[str, Any] | None:
    """The values of the map keys of a list item, with defaults; None for an item without any of them."""
    if not isinstance(item, dict):
        return None
    keys = {}
    for key in node.get("x-kubernetes-list-map-keys") or ():
        if item.get(key) is not None:
            keys[key] = item[key]
        else:
            default = (schemas.resolve(schemas.field(node.get("items"), key)) or {}).get("default")
            if default is not None:
                keys[key] = default
    return keys or None


def _wraps(node: dict[str, Any]) -> bool:
    inner = node.get("allOf")
    return isinstance(inner, list) and len(inner) == 1 and "$ref" in inner[0]
