"""Estimates the worst-case cost of CEL rules of a structural schema, in the units and with the limits of Kubernetes' API server.

A name or a field costs 1, a call 1, a new list 10, a new map 30; reading through a string or a list costs a tenth of its size,
a regular expression a quarter of its length for that. Sizes come from maxLength, maxItems and maxProperties; without one a
value may be as large as a request. A rule inside lists and maps runs once for each of their elements. Must not evaluate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from .cel import escape
from .openapi import EMBEDDED, Node

RULE_LIMIT = 10_000_000
SCHEMA_LIMIT = 100_000_000
MAX_REQUEST = 3 << 20
ITERATIONS = 10_000  # of one evaluation; the interpreter ends it then
_LARGEST = (1 << 64) - 1  # an estimate beyond this is this
_WHOLE = MAX_REQUEST - 2  # a value that fills a request, without its quotes or brackets
_FORMATS = {"duration": (32, 4), "date": (12, 12), "date-time": (35, 22)}  # largest and smallest size as JSON
_TRAVERSAL, _REGEX = 0.1, 0.25
_NEW_LIST, _NEW_MAP = 10, 30


_ANY: Node = {}  # of a value without a schema: its parts are as large as it is


@dataclass(frozen=True)
class Shape:
    """What is known of a value: its largest size (bytes of a string, elements of a list or map, 1 of a scalar), its schema, the
    shape of a list's elements."""

    size: int = 1
    node: Node = None
    item: Shape | None = None

    def total(self) -> int:
        """The size with that of computed elements."""
        return self.size * max(1, self.item.total()) if self.item is not None else self.size

    def field(self, name: str) -> Shape:
        """A field, by its escaped name, or a value of a map."""
        if self.node is _ANY:
            return self
        node = self.node or {}
        for key, inner in (node.get("properties") or {}).items():
            if escape(key) == name:
                return shape(inner)
        extra = node.get("additionalProperties")
        if isinstance(extra, dict):
            return shape(extra)
        if name == "metadata" and node.get(EMBEDDED):
            return shape(_METADATA)
        return self.item or UNKNOWN

    def element(self) -> Shape:
        """An element of a list, or a value of a map."""
        if self.node is _ANY:
            return self
        if self.item is not None:
            return self.item
        node = self.node or {}
        inner = node.get("items") or node.get("additionalProperties")
        return shape(inner) if isinstance(inner, dict) else UNKNOWN


SCALAR = Shape()
UNKNOWN = Shape(_WHOLE)
_KEY = Shape(0)  # keys of maps count as short, whatever their length
_METADATA: Node = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 253}, "generateName": {"type": "string", "maxLength": 253}},
}


def shape(node: Node) -> Shape:
    """The shape of values of a schema."""
    if node is None:
        return UNKNOWN
    kind = node.get("type")
    if kind in ("integer", "number", "boolean"):
        return Shape(1, node)
    if kind == "string":
        if node.get("enum"):
            return Shape(max(len(str(v)) for v in node["enum"]), node)
        if "maxLength" in node:
            return Shape(node["maxLength"] * (1 if node.get("format") == "byte" else 4), node)
        return Shape(_FORMATS.get(str(node.get("format")), (_WHOLE, 0))[0], node)
    if kind == "array":
        return Shape(node.get("maxItems", _WHOLE // (_smallest(node.get("items")) + 1)), node)
    if kind == "object" and isinstance(node.get("additionalProperties"), dict):
        return Shape(node.get("maxProperties", _WHOLE // (_smallest(node["additionalProperties"]) + 6) + 1), node)
    return Shape(node.get("maxProperties", _WHOLE), node)


def _smallest(node: Node) -> int:
    """The least bytes that a value takes as JSON."""
    if node is None:
        return 1
    kind = node.get("type")
    if kind == "string":
        return _FORMATS.get(str(node.get("format")), (0, 2))[1]
    if kind == "object":
        properties = node.get("properties") or {}
        needed = [n for n in node.get("required") or () if n in properties and "default" not in properties[n]]
        return 2 + sum(len(n) + 4 + _smallest(properties[n]) for n in needed)
    return {"array": 2, "boolean": 4}.get(str(kind), 1)


@dataclass(frozen=True)
class Cardinality:
    """How often a rule at a node of a schema runs: a number, or None inside a list or map without a limit."""

    times: int | None = 1

    def within(self, node: dict[str, Any]) -> Cardinality:
        """At the elements of a list, or the values of a map."""
        limit = node.get("maxItems") if node.get("type") == "array" else node.get("maxProperties")
        return Cardinality(None if self.times is None or limit is None else self.times * limit)

    def number(self, node: dict[str, Any]) -> int:
        """For a rule at `node`: as many of them as fit into a request, without a limit."""
        return MAX_REQUEST // (_smallest(node) + 1) if self.times is None else self.times


def rule_cost(tree: Any, node: dict[str, Any], cardinality: Cardinality) -> int:
    """The worst-case cost of a rule (its `cel.Program.tree`) at a node, in one request."""
    return min(_LARGEST, expression_cost(tree, {}, shape(node)) * cardinality.number(node))


def expression_cost(tree: Any, variables: Mapping[str, Shape], default: Shape) -> int:
    """The worst-case cost of one evaluation. Variables without a shape of their own have the default."""
    return min(_LARGEST, _Estimator(default).visit(tree, dict(variables))[0])


def largest_result(tree: Any, size: int) -> int:
    """The bytes that an intermediate result may have, over variables of `size` bytes together."""
    estimator = _Estimator(Shape(size, _ANY))
    estimator.visit(tree, {})
    return min(_LARGEST, estimator.largest)


def excess(what: str, cost: int, limit: int) -> str:
    """The message for a cost over its limit, in Kubernetes' words; empty if it is within."""
    if cost <= limit:
        return ""
    factor = cost / limit
    shown = "more than 100x" if factor > 100 else f"{factor:.6f}x" if factor < 1.5 else f"{factor:.1f}x"
    advice = "try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared"
    return f"{what} exceeds budget by factor of {shown} ({advice})"


Scope = dict[str, Shape]
Estimate = tuple[int, Shape]


class _Estimator:
    """Walks a `cel.expr.Expr`."""

    def __init__(self, default: Shape) -> None:
        self._default, self._measuring = default, default.node is _ANY
        self.largest = 0  # of all results

    def visit(self, tree: Any, scope: Scope) -> Estimate:
        """(cost, shape of the result)."""
        visit: Callable[[Any, Scope], Estimate] = getattr(self, f"_{tree.WhichOneof('expr_kind')}")
        cost, result = visit(tree, scope)
        self.largest = max(self.largest, result.total())
        return min(cost, _LARGEST), replace(result, size=min(result.size, _LARGEST))

    def _const_expr(self, tree: Any, _: Scope) -> Estimate:
        constant = tree.const_expr
        kind = constant.WhichOneof("constant_kind")
        if kind in ("string_value", "bytes_value"):
            return 0, Shape(len(getattr(constant, kind)))
        return 0, SCALAR

    def _ident_expr(self, tree: Any, scope: Scope) -> Estimate:
        return 1, scope.get(tree.ident_expr.name, self._default)

    def _select_expr(self, tree: Any, scope: Scope) -> Estimate:
        select = tree.select_expr
        cost, operand = self.visit(select.operand, scope)
        if select.test_only:
            return cost, SCALAR
        return cost + 1, operand.field(select.field)

    def _list_expr(self, tree: Any, scope: Scope) -> Estimate:
        elements = [self.visit(e, scope) for e in tree.list_expr.elements]
        item = max((s for _, s in elements), key=lambda s: s.size, default=None)
        return _NEW_LIST + sum(c for c, _ in elements), Shape(len(elements), item=item)

    def _struct_expr(self, tree: Any, scope: Scope) -> Estimate:
        entries = tree.struct_expr.entries
        cost, values = _NEW_MAP, []
        for entry in entries:
            if entry.WhichOneof("key_kind") == "map_key":
                cost += self.visit(entry.map_key, scope)[0]
            more, value = self.visit(entry.value, scope)
            cost += more
            values.append(value)
        return cost, Shape(len(entries), item=max(values, key=lambda s: s.size, default=None))

    def _comprehension_expr(self, tree: Any, scope: Scope) -> Estimate:
        loop = tree.comprehension_expr
        range_cost, items = self.visit(loop.iter_range, scope)
        init_cost, initial = self.visit(loop.accu_init, scope)
        within = {**scope, loop.accu_var: initial}
        if loop.iter_range.WhichOneof("expr_kind") == "list_expr" and not loop.iter_range.list_expr.elements:
            cost, result = self.visit(loop.result, within)  # cel.bind: a variable and no loop
            return init_cost + cost, result
        node, items_size = items.node or {}, items.size
        keyed = node.get("type") == "object" and items.item is None
        if self._measuring:  # elements of one value are together as large as it is
            items = replace(items, size=min(items.size, ITERATIONS))
            if items.node is _ANY:
                items = replace(items, item=Shape(max(1, items_size // max(1, items.size)), _ANY), node=None)
        within[loop.iter_var] = _KEY if keyed else items.element()
        condition = self.visit(loop.loop_condition, within)[0]
        step, accumulated = self.visit(loop.loop_step, within)
        grown = accumulated.size - initial.size
        if grown > 0:
            within[loop.accu_var] = replace(accumulated, size=initial.size + grown * items.size)
        result_cost, result = self.visit(loop.result, within)
        return range_cost + init_cost + items.size * (condition + step) + result_cost, result

    def _call_expr(self, tree: Any, scope: Scope) -> Estimate:
        call = tree.call_expr
        parts = ([call.target] if call.HasField("target") else []) + list(call.args)
        estimates = [self.visit(p, scope) for p in parts]
        costs, shapes = [c for c, _ in estimates], [s for _, s in estimates]
        name = call.function
        if name in ("_&&_", "_||_"):
            return sum(costs), SCALAR
        if name == "_?_:_":
            return costs[0] + max(costs[1:]), max(shapes[1:], key=lambda s: s.size)
        own, result = self._function(name, shapes, parts)
        return sum(costs) + own, result

    def _function(self, name: str, of: list[Shape], parts: list[Any]) -> Estimate:
        """(the cost of a call without its arguments, the shape of its result)."""
        first = of[0] if of else SCALAR
        second = of[1] if len(of) > 1 else SCALAR
        if name == "_+_":
            total = Shape(first.size + second.size, item=second.item or first.item or _element_of(second, first))
            lists = any(_is_list(s, p) for s, p in zip(of, parts, strict=True))
            return 1 if lists else _part(total.size), total if lists or total.size > 2 else SCALAR
        if name in ("_==_", "_!=_", "_<_", "_<=_", "_>_", "_>=_"):
            return _part(min(first.size, second.size)), SCALAR
        if name in ("_[_]", "_?._", "_[?_]"):
            key = parts[1].const_expr.string_value if parts[1].WhichOneof("expr_kind") == "const_expr" else ""
            if self._measuring and not key and second.node is _ANY and parts[1].WhichOneof("expr_kind") == "ident_expr":
                return 1, Shape(max(1, first.size // min(first.size, ITERATIONS)), _ANY)  # values by the keys of a loop
            return 1, first.field(escape(key) or key) if key else first.element()
        if name in ("value", "orValue", "or", "optional.of", "optional.ofNonZeroValue", "dyn"):
            return 1, max(of, key=lambda s: s.size)
        if name == "@in":
            return (second.size if _is_list(second, parts[1]) else 1), SCALAR
        if name in ("startsWith", "endsWith"):
            return _part(second.size), SCALAR
        if name == "contains":
            return _part(first.size) * _part(second.size), SCALAR
        if name in ("matches", "find", "findAll"):
            cost = _part(first.size + 1) * math.ceil(second.size * _REGEX)
            return cost, SCALAR if name == "matches" or self._measuring else Shape(first.size, item=Shape(first.size))
        if name.startswith("sets."):
            return first.size * second.size, SCALAR
        if name in ("isSorted", "sum", "min", "max", "indexOf", "lastIndexOf") and _is_list(first, parts[0]):
            item = first.element()
            return first.size * _part(item.size), item if name in ("min", "max") else SCALAR
        if name in _SAME_SIZE:
            return _part(first.size), replace(first, node=None)
        if name == "replace":
            return _part(first.size), Shape(first.size * max(1, of[2].size) if len(of) > 2 else first.size)
        if name == "split":
            return _part(first.size), Shape(first.size, item=SCALAR if self._measuring else Shape(first.size))
        if name == "join":
            each = first.element().size + second.size
            return _part(first.size * each), Shape(first.size * each)
        if name == "size" or not of or first.size == 1:
            return 1, SCALAR
        if name in _READS:
            return _part(first.size), Shape(first.size)
        return 1, SCALAR


_SAME_SIZE = frozenset(
    ("lowerAscii", "upperAscii", "substring", "trim", "charAt", "string", "bytes", "reverse", "strings.quote", "format")
)
_READS = frozenset(
    ("url", "isURL", "ip", "isIP", "cidr", "isCIDR", "quantity", "isQuantity", "validate", "indexOf", "lastIndexOf")
)  # fmt: skip


def _part(size: int) -> int:
    """What it costs to read through something."""
    return math.ceil(size * _TRAVERSAL)


def _is_list(value: Shape, tree: Any) -> bool:
    if value.item is not None or tree.WhichOneof("expr_kind") == "list_expr":
        return True
    return value.node is not None and value.node.get("type") == "array"


def _element_of(*shapes: Shape) -> Shape | None:
    return next((s.element() for s in shapes if s.node is not None and s.node.get("type") == "array"), None)
