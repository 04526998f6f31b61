"""CEL rules of schemas: Kubernetes' functions, transition rules, messages, and expressions that do not compile."""

from __future__ import annotations

from typing import Any

import pytest

from sailcloth.lib.cel import BadExpression
from sailcloth.lib.celrules import RULES, Rules
from sailcloth.lib.openapi import Schemas
from sailcloth.lib.schemacheck import ABSENT

Object = dict[str, Any]
TEXT: Object = {"type": "string"}
NUMBERS: Object = {"type": "array", "items": {"type": "integer"}}
LOOSE: Object = {"x-kubernetes-int-or-string": True}


def broken(schema: Object, rule: str, value: Any, old: Any = ABSENT, **more: Any) -> list[tuple[str, str]]:
    rules = Rules(Schemas({}), {**schema, RULES: [{"rule": rule, **more}]})
    return [(p.path, p.text) for p in rules.check(value, old)]


@pytest.mark.parametrize(
    ("schema", "value", "rule"),
    [
        (TEXT, "http://a.b:80/p?q=1", "url(self).getHost() == 'a.b:80' && url(self).getHostname() == 'a.b'"),
        (TEXT, "http://a.b:80/p?q=1", "url(self).getPort() == '80' && url(self).getQuery() == {'q': ['1']}"),
        (TEXT, "http://[::1]:8/x", "url(self).getHostname() == '::1' && url(self).getEscapedPath() == '/x'"),
        (TEXT, "a b", "!isURL(self) && isURL('https://x') && url('/p').getScheme() == ''"),
        (TEXT, "10.1.2.3", "isIP(self) && ip(self).family() == 4 && !ip(self).isLoopback()"),
        (TEXT, "10.1.2.3", "cidr('10.0.0.0/8').containsIP(self) && cidr('10.0.0.0/8').containsIP(ip(self))"),
        (TEXT, "fd00::1", "ip(self).family() == 6 && ip.isCanonical(self) && !ip.isCanonical('FD00::1')"),
        (TEXT, "10.1.2.3/8", "cidr(self).masked() == cidr('10.0.0.0/8') && cidr(self).prefixLength() == 8"),
        (TEXT, "10.1.2.3/8", "string(cidr(self).ip()) == '10.1.2.3' && cidr(self).containsCIDR('10.9.0.0/16')"),
        (TEXT, "0.75", "quantity(self).add(quantity('500m')).isGreaterThan(quantity('1'))"),
        (TEXT, "1Gi", "quantity(self) == quantity('1024Mi') && quantity(self).asInteger() == 1073741824"),
        (TEXT, "1Gi", "isQuantity(self) && !isQuantity('x') && quantity(self).compareTo(quantity('1G')) == 1"),
        (TEXT, "a12b3", "self.find('[0-9]+') == '12' && self.findAll('[0-9]+') == ['12', '3']"),
        (TEXT, "a-b", "self.split('-').join('+') == 'a+b' && self.replace('-', '') == 'ab' && self.substring(2) == 'b'"),
        (TEXT, "Ab", "self.lowerAscii() == 'ab' && self.charAt(0) == 'A' && ' x '.trim() == 'x'"),
        (TEXT, "x", "'%s=%d'.format([self, 1]) == 'x=1' && self.matches('^[a-z]$')"),
        (TEXT, "ab", "!format.dns1123Label().validate(self).hasValue()"),
        (TEXT, "A_", "format.dns1123Label().validate(self).hasValue()"),
        (TEXT, "A_", "format.named('dns1123Label').value().validate(self).value()[0].contains('RFC 1123')"),
        (NUMBERS, [1, 2, 3], "self.isSorted() && self.sum() == 6 && self.min() == 1 && self.max() == 3"),
        (NUMBERS, [1, 2, 1], "self.indexOf(1) == 0 && self.lastIndexOf(1) == 2 && self.indexOf(9) == -1"),
        (NUMBERS, [1, 2], "sets.contains(self, [1]) && sets.equivalent(self, [2, 1]) && sets.intersects(self, [2, 3])"),
        (NUMBERS, [1, 2], "self.exists_one(x, x == 1) && self.map(x, x * 2) == [2, 4] && self.filter(x, x > 1) == [2]"),
        (LOOSE, 5, "type(self) == int ? self == 5 : self == '5'"),
        (LOOSE, "5", "type(self) == int ? self == 5 : self == '5'"),
        ({"type": "string", "format": "duration"}, "1h", "self > duration('59m')"),
        ({"type": "string", "format": "date-time"}, "2024-05-01T00:00:00Z", "self.getFullYear() == 2024"),
        ({"type": "number"}, 5, "self == 5.0 && self > 4"),
        ({"type": "object", "additionalProperties": TEXT}, {"a": "1"}, "self.all(k, self[k] == '1') && 'a' in self"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)  # fmt: skip
def test_the_functions_that_definitions_use(schema: Object, value: Any, rule: str) -> None:
    assert broken(schema, rule, value) == []


def fields(**types: str) -> Object:
    return {"type": "object", "properties": {k.replace("_", "-"): {"type": t} for k, t in types.items()}}


def test_fields_have_their_escaped_names_and_may_be_absent() -> None:
    schema = fields(namespace="string", a_b="integer", c="string")
    rule = "self.__namespace__ == 'x' && self.a__dash__b == 1 && !has(self.c) && self.?c.orValue('z') == 'z'"
    assert broken(schema, rule, {"namespace": "x", "a-b": 1}) == []


def test_what_a_broken_rule_says() -> None:
    schema = fields(low="integer", high="integer")
    rule, value = "self.low <= self.high", {"low": 2, "high": 1}
    assert broken(schema, rule, value) == [("", f'Invalid value: "object": failed rule: {rule}')]
    assert broken(schema, rule, value, message="low is high") == [("", 'Invalid value: "object": low is high')]
    found = broken(schema, rule, value, messageExpression="'not ' + string(self.low)", message="x", fieldPath=".low")
    assert found == [("low", 'Invalid value: "object": not 2')]
    assert broken(schema, rule, value, reason="FieldValueForbidden", message="m") == [("", "Forbidden: m")]
    assert broken(schema, rule, value, reason="FieldValueRequired", message="m") == [("", "Required value: m")]
    assert broken(schema, rule, value, reason="FieldValueDuplicate") == [("", 'Duplicate value: "object"')]
    assert broken(schema, rule, value, messageExpression="string(1 / 0)", message="m")[0][1].endswith(": m")


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("self.all(k, int(k) > 0)", "type conversion error from 'string' to 'int' evaluating rule: m"),
        ("self['no'] == '1'", "no such key: no evaluating rule: m"),
        ("1 / (size(self) - 1) == 1", "division by zero evaluating rule: m"),
        ("[1][size(self)] == 1", "index out of bounds: 1 evaluating rule: m"),
    ],
)
def test_an_evaluation_that_fails_says_why(rule: str, words: str) -> None:
    schema = {"type": "object", "additionalProperties": TEXT}
    assert broken(schema, rule, {"a": "1"}, message="m") == [("", f'Invalid value: "object": {words}')]


def test_transition_rules_are_asked_of_changes() -> None:
    rule = "self == oldSelf"
    assert broken(TEXT, rule, "a") == []
    assert broken(TEXT, rule, "a", "a") == []
    assert broken(TEXT, rule, "a", "b", message="immutable") == [("", 'Invalid value: "string": immutable')]
    optional = "oldSelf.hasValue() ? self == oldSelf.value() : self != 'bad'"
    assert broken(TEXT, optional, "bad", optionalOldSelf=True)
    assert not broken(TEXT, optional, "good", optionalOldSelf=True)
    assert broken(TEXT, optional, "good", "better", optionalOldSelf=True)


def test_items_of_keyed_lists_have_a_past_and_others_have_none() -> None:
    item = {**fields(name="string", size="integer"), RULES: [{"rule": "self.size >= oldSelf.size"}]}
    keyed = {"type": "array", "items": item, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}
    old = [{"name": "a", "size": 3}, {"name": "b", "size": 1}]
    new = [{"name": "b", "size": 0}, {"name": "a", "size": 3}]
    assert [p.path for p in Rules(Schemas({}), keyed).check(new, old)] == ["[0]"]
    assert not list(Rules(Schemas({}), {"type": "array", "items": item}).check(new, old))


def test_what_did_not_change_is_not_asked_again() -> None:
    assert broken(TEXT, "self != 'old'", "old", "old") == []
    assert broken(TEXT, "self != 'old'", "old", "other")


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("self.siez > 1", "undefined field 'siez'"),
        ("self.size > ", "Syntax error"),
        ("nothing(self)", "undeclared reference to 'nothing'"),
        ("size(self)", "must evaluate to a bool"),
        ("1 + 'a' == 2", "found no matching overload for '_+_'"),
        ("other == 1", "undeclared reference to 'other'"),
    ],
)
def test_expressions_that_do_not_compile(rule: str, words: str) -> None:
    with pytest.raises(BadExpression) as caught:
        broken(fields(size="integer"), rule, {"size": 1})
    assert words in str(caught.value)
