"""`x-kubernetes-validations`: the CEL rules of a structural schema, compiled once and evaluated on values. Must not know kinds.

Values are converted to the types of their schema: date-times to timestamps, numbers to doubles, fields to their escaped names.
Rules that use `oldSelf` are evaluated on updates only, unless they have `optionalOldSelf`.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from . import formats
from .cel import BadExpression, Failed, Program, Type, escape
from .openapi import EMBEDDED, KEEP, Node, Schemas, map_keys
from .schemacheck import ABSENT, Kind, Problem, join

RULES = "x-kubernetes-validations"
_REASONS: dict[str, Kind] = {
    "FieldValueInvalid": "invalid",
    "FieldValueForbidden": "forbidden",
    "FieldValueRequired": "required",
    "FieldValueDuplicate": "duplicate",
}
_OPTIONAL_OLD = "cel.bind(oldSelf, hasOld_ ? optional.of(was_) : optional.none(), {})"


@dataclass(frozen=True)
class _Rule:
    program: Program
    expression: str
    message: str
    message_program: Program | None
    reason: str
    where: str
    transition: bool
    optional: bool


@dataclass
class _SchemaNode:
    """A node of the schema with rules on it or below it."""

    node: dict[str, Any]
    rules: list[_Rule] = field(default_factory=list)
    properties: dict[str, _SchemaNode] = field(default_factory=dict)
    extra: _SchemaNode | None = None
    items: _SchemaNode | None = None


class Rules:
    """The rules of one schema."""

    def __init__(self, schemas: Schemas, node: Node) -> None:
        """Raises BadExpression for a rule that does not compile."""
        self._schemas = schemas
        self._root = self._node_with_rules(node)

    def _node_with_rules(self, node: Node) -> _SchemaNode | None:
        if node is None or "$ref" in node:
            return None
        schema_node = _SchemaNode(node, [compiled(r, node) for r in node.get(RULES) or ()])
        for name, inner in (node.get("properties") or {}).items():
            inner_place = self._node_with_rules(inner)
            if inner_place is not None:
                schema_node.properties[name] = inner_place
        extra = node.get("additionalProperties")
        schema_node.extra = self._node_with_rules(extra) if isinstance(extra, dict) else None
        schema_node.items = self._node_with_rules(node.get("items"))
        return (
            schema_node
            if schema_node.rules or schema_node.properties or schema_node.extra or schema_node.items
            else None
        )

    def check(self, value: Any, old: Any = ABSENT) -> Iterator[Problem]:
        """A problem for every rule that the value violates. `old`: the previous value; ABSENT on creation."""
        if self._root is not None:
            yield from self._check_node(self._root, value, old, "")

    def _check_node(self, schema_node: _SchemaNode, value: Any, old: Any, path: str) -> Iterator[Problem]:
        if value is None:
            return
        if old is None:
            old = ABSENT
        if schema_node.rules:
            yield from self._evaluate(schema_node, value, old, path)
        if isinstance(value, dict):
            old_fields = old if isinstance(old, dict) else {}
            for name, inner in value.items():
                below = schema_node.properties.get(name)
                if below is None and name not in (schema_node.node.get("properties") or {}):
                    below = schema_node.extra
                if below is not None:
                    yield from self._check_node(below, inner, old_fields.get(name, ABSENT), join(path, name))
        elif isinstance(value, list) and schema_node.items is not None:
            keyed = schema_node.node.get("x-kubernetes-list-type") == "map"
            old_items = {self._key(schema_node.node, v): v for v in old} if keyed and isinstance(old, list) else {}
            for index, item in enumerate(value):
                old_item = old_items.get(self._key(schema_node.node, item), ABSENT) if old_items else ABSENT
                yield from self._check_node(schema_node.items, item, old_item, f"{path}[{index}]")

    def _key(self, node: dict[str, Any], item: Any) -> bytes:
        return orjson.dumps(map_keys(self._schemas, node, item), option=orjson.OPT_SORT_KEYS)

    def _evaluate(self, schema_node: _SchemaNode, value: Any, old: Any, path: str) -> Iterator[Problem]:
        unchanged = old is not ABSENT and old == value
        values: dict[str, Any] | None = None
        for rule in schema_node.rules:
            if (rule.transition and old is ABSENT and not rule.optional) or (unchanged and not rule.transition):
                continue
            if values is None:
                typed_old = None if old is ABSENT else self._typed(schema_node.node, old)
                values = {"self": self._typed(schema_node.node, value)}
                values |= {"oldSelf": typed_old, "was_": typed_old, "hasOld_": old is not ABSENT}
            type_name = _type_name(schema_node.node)
            try:
                if rule.program.run(values) is True:
                    continue
                text = _message(rule, values)
            except Failed as error:
                message = rule.message or f"failed rule: {rule.expression}"
                text = f"{error} evaluating rule: {message}"
                if str(error).startswith("no such overload"):
                    text = f"'{error}': call arguments did not match a supported operator, function or macro signature for rule: {message}"
                yield Problem("invalid", path, f'Invalid value: "{type_name}": {text}')
                continue
            kind = _REASONS.get(rule.reason, "invalid")
            shown = {
                "invalid": f'Invalid value: "{type_name}": {text}',
                "forbidden": f"Forbidden: {text}",
                "required": f"Required value: {text}",
                "duplicate": f'Duplicate value: "{type_name}"',
            }
            yield Problem(kind, (path + rule.where).lstrip("."), shown[kind])

    def _typed(self, node: Node, value: Any) -> Any:
        node = self._schemas.resolve(node)
        if node is None or value is None:
            return value
        if isinstance(value, dict):
            properties, extra = node.get("properties") or {}, node.get("additionalProperties")
            typed = {}
            for name, inner in value.items():
                if name in properties or not isinstance(extra, dict):
                    escaped = escape(name) if name in properties or node.get(EMBEDDED) else name
                    if escaped is not None:
                        typed[escaped] = self._typed(properties.get(name), inner)
                else:
                    typed[name] = self._typed(extra, inner)
            return typed
        if isinstance(value, list):
            return [self._typed(node.get("items"), v) for v in value]
        if node.get("type") == "number" and isinstance(value, int) and not isinstance(value, bool):
            return float(value)
        if node.get("type") == "integer" and isinstance(value, float):
            return int(value)
        if isinstance(value, str):
            return _timed(node.get("format"), value)
        return value


def compiled(rule: dict[str, Any], node: dict[str, Any]) -> _Rule:
    """One rule at a node of a schema. Raises BadExpression."""
    text = str(rule.get("rule", "")).strip()
    variables: dict[str, Type] = {"self": _kind(node), "oldSelf": _kind(node)}
    optional = bool(rule.get("optionalOldSelf"))
    source = text
    if optional:
        variables |= {"was_": "dyn", "hasOld_": "bool", "oldSelf": "dyn"}
        source = _OPTIONAL_OLD.format(text)
    program = Program(source, variables)
    if program.returns not in ("bool", "dyn"):
        raise BadExpression(f"cel expression must evaluate to a bool, not {program.returns}")
    _fields(text, node)
    message_expression = rule.get("messageExpression")
    message_program = None
    if message_expression:
        message_program = Program(
            _OPTIONAL_OLD.format(message_expression) if optional else message_expression, variables
        )
        if message_program.returns not in ("string", "dyn"):
            raise BadExpression(f"messageExpression must evaluate to a string, not {message_program.returns}")
    transition = re.search(r"\boldSelf\b", _without_text(text)) is not None
    where = str(rule.get("fieldPath") or "")
    where = re.sub(r"\['([^']*)'\]", r".\1", where)
    reason = str(rule.get("reason") or "FieldValueInvalid")
    return _Rule(program, text, str(rule.get("message") or ""), message_program, reason, where, transition, optional)


def _message(rule: _Rule, values: dict[str, Any]) -> str:
    if rule.message_program is not None:
        try:
            text = rule.message_program.run(values)
        except Failed:
            text = ""
        if isinstance(text, str) and text.strip() and "\n" not in text.strip():
            return text.strip()
    return rule.message.strip() or f"failed rule: {rule.expression}"


def _kind(node: dict[str, Any]) -> Type:
    """The static type of `self` at a node."""
    if node.get("x-kubernetes-int-or-string") or node.get("nullable") or "type" not in node:
        return "dyn"
    if node["type"] == "string":
        by_format: dict[str, Type] = {
            "date-time": "timestamp",
            "date": "timestamp",
            "duration": "duration",
            "byte": "bytes",
        }
        return by_format.get(str(node.get("format")), "string")
    # Numbers of all kinds compare with each other, which only dynamic types allow here.
    kinds: dict[str, Type] = {"object": "map", "array": "list", "boolean": "bool"}
    return kinds.get(str(node["type"]), "dyn")


def _type_name(node: dict[str, Any]) -> str:
    return str(node.get("type") or ("" if node.get("x-kubernetes-int-or-string") else "object"))


def _timed(form: Any, text: str) -> Any:
    if form == "date-time":
        moment = formats.date_time(text)
        return moment.replace(tzinfo=None) - (moment.utcoffset() or moment - moment) if moment else text
    if form == "date":
        moment = formats.date_time(text + "T00:00:00Z")
        return moment.replace(tzinfo=None) if moment else text
    if form == "duration":
        return formats.duration(text) or text
    if form == "byte":
        return base64.b64decode(text)
    return text


def _without_text(expression: str) -> str:
    """The expression with its string literals emptied."""
    return re.sub(r"""r?("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')""", "''", expression)


def _fields(expression: str, node: dict[str, Any]) -> None:
    """Check that the fields that an expression reads from `self` are in the schema, because CEL's type check sees only maps.
    Raises BadExpression."""
    for match in re.finditer(r"(?<![\w.])(?:self|oldSelf)((?:\.\??\w+)+)(\s*\()?", _without_text(expression)):
        names = [n.lstrip("?") for n in match[1][1:].split(".")]
        if match[2]:
            names.pop()  # a method
        current: Any = node
        for name in names:
            if (
                not isinstance(current, dict)
                or (current.get(KEEP) and not current.get("properties"))
                or current.get("type") != "object"
            ):
                break
            if current.get(EMBEDDED) and name in ("apiVersion", "kind", "metadata"):
                break
            fields = {escape(n): inner for n, inner in (current.get("properties") or {}).items()}
            extra = current.get("additionalProperties")
            if name in fields:
                current = fields[name]
            elif isinstance(extra, dict):
                current = extra
            elif name in ("apiVersion", "kind", "metadata") or extra:
                break
            else:
                raise BadExpression(f"undefined field '{name}'")
