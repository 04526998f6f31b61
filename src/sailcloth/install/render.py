"""Evaluates a chart with values: the objects that `helm template` would print for the same ones.

Pure. Must not know what the manifests say.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sailcloth.api.revision import suffixed

from . import template as t
from .chart import Chart, Release
from .values import InvalidValues

Object = dict[str, Any]
_ABSENT: Any = object()
_ESCAPED = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}  # as Go's encoding/json writes them


def render(chart: Chart, release: Release) -> list[Object]:
    """The chart's objects, in order. Raises InvalidValues if the values ask for what the chart refuses."""
    context = _Context(release)
    problems = [c.message for c in chart.checks if context.holds(c.condition)]
    if problems:
        raise InvalidValues(problems)
    nodes = (node for nodes in chart.files.values() for node in nodes)
    return [made for node in nodes if (made := context.of(node)) is not _ABSENT]


def go_json(value: Any) -> str:
    """JSON as Go writes it: sorted keys, no spaces, and `<`, `>`, `&` escaped."""
    text = json.dumps(_numbers(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.translate(_ESCAPED)


def _numbers(value: Any) -> Any:
    """The value with whole numbers as integers: JSON has one kind of number."""
    if isinstance(value, Mapping):
        return {str(k): _numbers(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_numbers(v) for v in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


@dataclass(frozen=True)
class _Context:
    release: Release

    def of(self, node: t.Node) -> Any:
        """The node's value, or _ABSENT."""
        match node:
            case dict():
                return {k: v for k, n in node.items() if (v := self.of(n)) is not _ABSENT}
            case list() | tuple():
                return [v for n in node for v in self._items(n)]
            case t.When(condition, inner):
                return self.of(inner) if self.holds(condition) else _ABSENT
            case t.IfElse(condition, inner, otherwise):
                return self.of(inner if self.holds(condition) else otherwise)
            case t.YamlText(mapping):
                return "".join(f"{k}: {go_json(v)}\n" for k, v in self._merged(mapping).items())
            case _:
                return self._text(node)

    def _text(self, node: t.Node) -> Any:
        match node:
            case t.Value(path):
                return _numbers(self._at(path))
            case t.ReleaseName():
                return self.release.name
            case t.ReleaseNamespace():
                return self.release.namespace
            case t.Format(text, nodes):
                return text.format(*(self.of(n) for n in nodes))
            case t.First(nodes):
                return next((v for n in nodes if (v := self.of(n))), None)
            case t.Revisioned(before, after):
                return suffixed(before, str(self._at("revision") or ""), after)
            case t.TrimPrefix(prefix, inner):
                return str(self.of(inner)).removeprefix(prefix)
            case t.Merge():
                return self._merged(node)
            case t.JsonText(inner):
                return go_json(self.of(inner))
            case str() | bool() | int():
                return node
        raise TypeError(f"{node!r} is no part of a template")

    def _items(self, node: t.Node) -> Iterator[Any]:
        match node:
            case t.Each(path):
                yield from _numbers(self._at(path)) or ()
            case t.EachPair(path):
                for name, value in sorted((self._at(path) or {}).items()):
                    yield {"name": name, "value": value if isinstance(value, str) else go_json(value)}
            case _:
                if (made := self.of(node)) is not _ABSENT:
                    yield made

    def _merged(self, node: t.Merge) -> Object:
        out = {k: v for k, n in node.literal.items() if (v := self.of(n)) is not _ABSENT}
        for path in node.paths:
            out |= {k: _numbers(v) for k, v in sorted((self._at(path) or {}).items()) if k not in node.literal}
        return out

    def holds(self, condition: t.Condition) -> bool:
        match condition:
            case t.Not(inner):
                return not self.holds(inner)
            case t.Both(first, second):
                return self.holds(first) and self.holds(second)
            case t.Equal(node, text):
                return bool(self.of(node) == text)
            case t.Contains(value, text) | t.Has(value, text):
                return text in (self.of(value) or "")
        return bool(self.of(condition))

    def _at(self, path: str) -> Any:
        value: Any = self.release.values
        for name in path.split("."):
            value = value.get(name) if isinstance(value, Mapping) else None
        return value
