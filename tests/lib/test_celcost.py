"""Estimated costs of CEL rules, by the numbers that a Kubernetes 1.36 API server reported for the same rules."""

from __future__ import annotations

from typing import Any

import pytest

from sailcloth.lib import celcost, celrules
from sailcloth.lib.celcost import MAX_REQUEST, RULE_LIMIT, Cardinality, Shape

Node = dict[str, Any]
TEXT: Node = {"type": "string"}
ONCE, UNBOUNDED = Cardinality(1), Cardinality(None)


def cost(rule: str, node: Node, cardinality: Cardinality = ONCE, **more: Any) -> int:
    return celcost.rule_cost(celrules.compiled({"rule": rule, **more}, node).program.tree, node, cardinality)


def fields(**properties: Node) -> Node:
    return {"type": "object", "properties": properties}


def strings(**limits: int) -> Node:
    return {"type": "object", "additionalProperties": TEXT, **limits}


@pytest.mark.parametrize(
    ("rule", "node", "cardinality", "factor"),
    [
        ("self.all(key, !self[key].contains('*'))", strings(maxProperties=4096), ONCE, "more than 100x"),
        ("self.all(key, !self[key].contains('*'))", strings(maxProperties=256), ONCE, "8.1x"),
        (
            "[has(self.a), has(self.b), has(self.c), has(self.d)].filter(x, x).size() <= 1",
            fields(a=TEXT, b=TEXT, c=TEXT, d=TEXT),
            UNBOUNDED,
            "8.7x",
        ),
        (
            "has(self.a) && self.a == 'WAYPOINT' ? !has(self.b) && !has(self.c) && !has(self.d) : !has(self.e)",
            fields(a={"type": "string", "enum": ["ANY", "WAYPOINT"]}, b=TEXT, c=TEXT, d=TEXT, e=TEXT),
            UNBOUNDED,
            "1.048576x",
        ),
    ],
)
def test_as_a_kubernetes_server_reports_it(rule: str, node: Node, cardinality: Cardinality, factor: str) -> None:
    said = celcost.excess("estimated rule cost", cost(rule, node, cardinality), RULE_LIMIT)
    assert said.startswith(f"estimated rule cost exceeds budget by factor of {factor} (try simplifying the rule, or ")


LIST: Node = {"type": "array", "items": {"type": "string", "maxLength": 10}, "maxItems": 20}


@pytest.mark.parametrize(
    ("rule", "node", "expected"),
    [
        ("true", TEXT, 0),
        ("self == 'a'", TEXT, 2),
        ("self.a.b", fields(a=fields(b={"type": "boolean"})), 3),
        ("has(self.a.b)", fields(a=fields(b={"type": "boolean"})), 2),
        ("self.size() < 3", TEXT, 3),
        ("self.startsWith('0123456789ab')", TEXT, 1 + 2),
        ("self.contains('a')", {"type": "string", "maxLength": 10}, 1 + 4),
        ("self.matches('^[a-z]$')", {"type": "string", "maxLength": 10}, 1 + 5 * 2),
        ("'a' in self", LIST, 1 + 20),
        ("self.all(x, x == 'a')", LIST, 1 + 20 * (2 + 1 + 1 + 1) + 1),
        ("cel.bind(a, self, a == 'a')", TEXT, 1 + 2),
        ("['a', 'b'].exists(x, self == x)", TEXT, 10 + 2 * (1 + 2 + 2 + 1 + 1) + 1),
    ],
)
def test_units(rule: str, node: Node, expected: int) -> None:
    assert cost(rule, node) == pytest.approx(expected, abs=3)


def test_sizes_come_from_the_schema() -> None:
    assert celcost.shape(TEXT).size == MAX_REQUEST - 2
    assert celcost.shape({"type": "string", "maxLength": 63}).size == 4 * 63, "a character may take four bytes"
    assert celcost.shape({"type": "string", "format": "byte", "maxLength": 63}).size == 63
    assert celcost.shape({"type": "array", "items": TEXT}).size == (MAX_REQUEST - 2) // 3
    assert celcost.shape({"type": "array", "items": TEXT, "maxItems": 7}).size == 7
    wide = {"type": "object", "required": ["abc"], "properties": {"abc": TEXT}}
    assert celcost.shape({"type": "array", "items": wide}).size == (MAX_REQUEST - 2) // (2 + 3 + 4 + 2 + 1)


def test_cardinality_multiplies_until_there_is_no_limit() -> None:
    assert ONCE.within({"type": "array", "maxItems": 3}).within({"type": "object", "maxProperties": 4}).times == 12
    assert ONCE.within({"type": "array"}).within({"type": "array", "maxItems": 3}).times is None
    assert UNBOUNDED.number(TEXT) == MAX_REQUEST // 3


def test_lists_that_grow_in_a_loop_are_as_long_as_the_loop() -> None:
    once = cost("self.map(x, x + 'a').size() > 0", LIST)
    twice = cost("self.map(x, x + 'a').all(y, y.contains('aaaaaaaaaaaaaaaaaaaaa'))", LIST)
    assert twice > once + 20 * 10


def test_growth_that_doubles_is_seen() -> None:
    program = celrules.compiled({"rule": "cel.bind(a, self, " + _doubling(20) + ".size() > 0)"}, TEXT).program
    assert celcost.expression_cost(program.tree, {"self": Shape(100)}, Shape(100)) > 10**7


def _doubling(times: int) -> str:
    """`a` doubled many times, in an expression that is short."""
    return "a" if not times else f"cel.bind(a, a + a, {_doubling(times - 1)})"
