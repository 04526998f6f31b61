"""`x-kubernetes-validations`: the CEL rules of a structural schema, compiled once and asked of values. Knows no kind.

Rules see values as their schema types them: times as times, numbers as doubles, fields under their escaped names. Rules that
look at `oldSelf` are asked of changes only, unless they take it as an optional.
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
    worded: Program | None
    reason: str
    where: str
    transition: bool
    optional: bool


@dataclass
class _Place:
    """A node of the schema with rules at it or below it."""

    node: dict[str, Any]
    rules: list[_Rule] = field(default_factory=list)
    properties: dict[str, _Place] = field(default_factory=dict)
    extra: _Place | None = None
    items: _Place | None = None


class Rules:
    """The rules of one schema."""

    def __init__(self, schemas: Schemas, node: Node) -> None:
        """Raises BadExpression for a rule that does not compile."""
        self._schemas = schemas
        self._root = self._place(node)

    def _place(self, node: Node) -> _Place | None:
        if node is None or "$ref" in node:
            return None
        place = _Place(node, [compiled(r, node) for r in node.get(RULES) or ()])
        for name, inner in (node.get("properties") or {}).items():
            inner_place = self._place(inner)
            if inner_place is not None:
                place.properties[name] = inner_place
        extra = node.get("additionalProperties")
        place.extra = self._place(extra) if isinstance(extra, dict) else None
        place.items = self._place(node.get("items"))
        return place if place.rules or place.properties or place.extra or place.items else None

    def check(self, value: Any, old: Any = ABSENT) -> Iterator[Problem]:
        """Every rule that a value breaks; `old` is the value before, if there was one."""
        if self._root is not None:
            yield from self._at(self._root, value, old, "")

    def _at(self, place: _Place, value: Any, old: Any, path: str) -> Iterator[Problem]:
        if value is None:
            return
        if old is None:
            old = ABSENT
        if place.rules:
            yield from self._ask(place, value, old, path)
        if isinstance(value, dict):
            before = old if isinstance(old, dict) else {}
            for name, inner in value.items():
                below = place.properties.get(name)
                if below is None and name not in (place.node.get("properties") or {}):
                    below = place.extra
                if below is not None:
                    yield from self._at(below, inner, before.get(name, ABSENT), join(path, name))
        elif isinstance(value, list) and place.items is not None:
            keyed = place.node.get("x-kubernetes-list-type") == "map"
            known = {self._key(place.node, v): v for v in old} if keyed and isinstance(old, list) else {}
            for index, item in enumerate(value):
                was = known.get(self._key(place.node, item), ABSENT) if known else ABSENT
                yield from self._at(place.items, item, was, f"{path}[{index}]")

    def _key(self, node: dict[str, Any], item: Any) -> bytes:
        return orjson.dumps(map_keys(self._schemas, node, item), option=orjson.OPT_SORT_KEYS)

    def _ask(self, place: _Place, value: Any, old: Any, path: str) -> Iterator[Problem]:
        unchanged = old is not ABSENT and old == value
        values: dict[str, Any] | None = None
        for rule in place.rules:
            if (rule.transition and old is ABSENT and not rule.optional) or (unchanged and not rule.transition):
                continue
            if values is None:
                was = None if old is ABSENT else self._typed(place.node, old)
                values = {"self": self._typed(place.node, value)}
                values |= {"oldSelf": was, "was_": was, "hasOld_": old is not ABSENT}
            word = _word(place.node)
            try:
                if rule.program.run(values) is True:
                    continue
                text = _message(rule, values)
            except Failed as error:
                said = rule.message or f"failed rule: {rule.expression}"
                text = f"{error} evaluating rule: {said}"
                if str(error).startswith("no such overload"):
                    text = f"'{error}': call arguments did not match a supported operator, function or macro signature for rule: {said}"
                yield Problem("invalid", path, f'Invalid value: "{word}": {text}')
                continue
            kind = _REASONS.get(rule.reason, "invalid")
            shown = {
                "invalid": f'Invalid value: "{word}": {text}',
                "forbidden": f"Forbidden: {text}",
                "required": f"Required value: {text}",
                "duplicate": f'Duplicate value: "{word}"',
            }
            yield Problem(kind, (path + rule.where).lstrip("."), shown[kind])

    def _typed(self, node: Node, value: Any) -> Any:
        node = self._schemas.resolve(node)
        if node is None or value is None:
            return value
        if isinstance(value, dict):
            properties, extra = node.get("properties") or {}, node.get("additionalProperties")
            out = {}
            for name, inner in value.items():
                if name in properties or not isinstance(extra, dict):
                    known = escape(name) if name in properties or node.get(EMBEDDED) else name
                    if known is not None:
                        out[known] = self._typed(properties.get(name), inner)
                else:
                    out[name] = self._typed(extra, inner)
            return out
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
    given = rule.get("messageExpression")
    worded = None
    if given:
        worded = Program(_OPTIONAL_OLD.format(given) if optional else given, variables)
        if worded.returns not in ("string", "dyn"):
            raise BadExpression(f"messageExpression must evaluate to a string, not {worded.returns}")
    transition = re.search(r"\boldSelf\b", _without_text(text)) is not None
    where = str(rule.get("fieldPath") or "")
    where = re.sub(r"\['([^']*)'\]", r".\1", where)
    reason = str(rule.get("reason") or "FieldValueInvalid")
    return _Rule(program, text, str(rule.get("message") or ""), worded, reason, where, transition, optional)


def _message(rule: _Rule, values: dict[str, Any]) -> str:
    if rule.worded is not None:
        try:
            text = rule.worded.run(values)
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
        known: dict[str, Type] = {
            "date-time": "timestamp",
            "date": "timestamp",
            "duration": "duration",
            "byte": "bytes",
        }
        return known.get(str(node.get("format")), "string")
    # Numbers of all kinds compare with each other, which only dynamic types allow here.
    kinds: dict[str, Type] = {"object": "map", "array": "list", "boolean": "bool"}
    return kinds.get(str(node["type"]), "dyn")


def _word(node: dict[str, Any]) -> str:
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
    """Fields that are read from `self` and that the schema does not have. The language's own checks know only maps.
    Raises BadExpression."""
    for match in re.finditer(r"(?<![\w.])(?:self|oldSelf)((?:\.\??\w+)+)(\s*\()?", _without_text(expression)):
        names = [n.lstrip("?") for n in match[1][1:].split(".")]
        if match[2]:
            names.pop()  # a method
        at: Any = node
        for name in names:
            if not isinstance(at, dict) or (at.get(KEEP) and not at.get("properties")) or at.get("type") != "object":
                break
            if at.get(EMBEDDED) and name in ("apiVersion", "kind", "metadata"):
                break
            known = {escape(n): inner for n, inner in (at.get("properties") or {}).items()}
            extra = at.get("additionalProperties")
            if name in known:
                at = known[name]
            elif isinstance(extra, dict):
                at = extra
            elif name in ("apiVersion", "kind", "metadata") or extra:
                break
            else:
                raise BadExpression(f"undefined field '{name}'")
