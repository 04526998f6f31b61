"""Writes charts as Helm takes them: block YAML in which values are `{{ .Values.x | toJson }}`.

Pure. A test renders them by a real `helm` and compares with `render`. Must not know what the manifests say.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import yaml

from . import template as t
from . import values
from .chart import Chart

_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_./()-]*(?:[ :][A-Za-z0-9_./()-]+)*")
_WORDS = frozenset(["true", "false", "yes", "no", "on", "off", "null", "y", "n"])
_HEAD = "# Written by tools/charts.py from src/sailcloth/install; change it there.\n"


def files(chart: Chart, version: str) -> dict[str, str]:
    """The chart's files: text by path."""
    about = {
        "apiVersion": "v2",
        "name": chart.name,
        "description": chart.description,
        "type": "application",
        "version": version,
        "appVersion": version,
        "kubeVersion": ">=1.29.0-0",
        "keywords": ["sailcloth", "istio", "service mesh"],
    }
    checks = "".join(
        f"{{{{- if {_condition(c.condition)} }}}}{{{{ fail {_quoted(c.message)} }}}}{{{{- end }}}}\n"
        for c in chart.checks
    )
    return {
        "Chart.yaml": _HEAD + yaml.safe_dump(about, sort_keys=False),
        "values.yaml": _HEAD + "\n" + values.text(chart.name),
        "values.schema.json": json.dumps(values.schema(chart), indent=2) + "\n",
        **({"templates/checks.yaml": _HEAD + checks} if checks else {}),
        **{f"templates/{name}": _HEAD + "".join(map(document, nodes)) for name, nodes in chart.files.items()},
        "templates/NOTES.txt": chart.notes,
    }


def document(node: t.Node) -> str:
    """One object as the text of a template, with the line that begins a document."""
    return "".join(f"{line}\n" for line in _document(node))


def _document(node: t.Node) -> Iterator[str]:
    if isinstance(node, t.When):
        yield from _between(f"if {_condition(node.condition)}", _document(node.node))
    else:
        yield "---"
        yield from _mapping(node, "")


def _between(head: str, lines: Iterable[str], pad: str = "", otherwise: Iterable[str] | None = None) -> Iterator[str]:
    yield f"{pad}{{{{- {head} }}}}"
    yield from lines
    if otherwise is not None:
        yield f"{pad}{{{{- else }}}}"
        yield from otherwise
    yield f"{pad}{{{{- end }}}}"


# -- blocks ---------------------------------------------------------------------------------------


def _mapping(node: Mapping[str, t.Node], pad: str) -> Iterator[str]:
    if all(isinstance(n, t.When) for n in node.values()):
        raise ValueError(f"{sorted(node)}: without one of these entries the object would be null; put a When around it")
    for key, inner in node.items():
        yield from _entry(_scalar(key), inner, pad)


def _entry(key: str, node: t.Node, pad: str) -> Iterator[str]:
    match node:
        case t.When(condition, inner):
            yield from _between(f"if {_condition(condition)}", _entry(key, inner, pad), pad)
        case t.IfElse(condition, inner, otherwise):
            head = f"if {_condition(condition)}"
            yield from _between(head, _entry(key, inner, pad), pad, _entry(key, otherwise, pad))
        case dict() if node:
            yield f"{pad}{key}:"
            yield from _mapping(node, pad + "  ")
        case list() | tuple() if node:
            yield f"{pad}{key}:"
            yield from _items(node, pad)
        case t.Merge(literal, _):
            yield f"{pad}{key}:"
            yield from _mapping(literal, pad + "  ")
            yield from _spread(node, pad + "  ", "$k | toJson")  # a key may be `y` or `1`
        case t.YamlText(mapping):
            yield f"{pad}{key}: |"
            for name, inner in mapping.literal.items():
                yield f"{pad}  {name}: {{{{ {_call('toJson', inner)} }}}}"
            yield from _spread(mapping, pad + "  ", "$k")
        case _:
            yield f"{pad}{key}: {_inline(node)}"


def _spread(node: t.Merge, pad: str, key: str) -> Iterator[str]:
    for path in node.paths:
        names = "".join(f" {_quoted(k)}" for k in node.literal)
        line = f"{pad}{{{{ {key} }}}}: {{{{ $v | toJson }}}}"
        yield from _between(f"range $k, $v := omit .Values.{path}{names}", [line], pad)


def _items(nodes: Iterable[t.Node], pad: str) -> Iterator[str]:
    nodes = list(nodes)
    if all(isinstance(n, (t.When, t.Each, t.EachPair)) for n in nodes):
        raise ValueError(
            f"{nodes}: without one of these items the list would be null; use a Value or put a When around it"
        )
    for node in nodes:
        yield from _item(node, pad)


def _item(node: t.Node, pad: str) -> Iterator[str]:
    match node:
        case t.When(condition, inner):
            yield from _between(f"if {_condition(condition)}", _item(inner, pad), pad)
        case t.Each(path):
            yield from _between(f"range .Values.{path}", [f"{pad}- {{{{ toJson . }}}}"], pad)
        case t.EachPair(path):
            text = 'dict "name" $k "value" (ternary $v (toJson $v) (kindIs "string" $v)) | toJson'
            yield from _between(f"range $k, $v := .Values.{path}", [f"{pad}- {{{{ {text} }}}}"], pad)
        case dict() if node:
            first, *rest = _mapping(node, pad + "  ")
            if first.lstrip().startswith("{{"):
                raise ValueError(f"the first entry of {node} must not be under a condition")
            yield f"{pad}- {first.strip()}"
            yield from rest
        case _:
            yield f"{pad}- {_inline(node)}"


def _inline(node: t.Node) -> str:
    """A node on one line."""
    if isinstance(node, (str, bool, int, dict, list, tuple)):
        return _scalar(node)
    return f"{{{{ {_call('toJson', node)} }}}}"


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        if "{{" in value:
            return f"{{{{ {_quoted(value)} | toJson }}}}"
        if _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
            return value
    if value in ({}, [], ()):
        return "{}" if isinstance(value, dict) else "[]"
    return json.dumps(value, ensure_ascii=False)


# -- expressions ----------------------------------------------------------------------------------


def _call(function: str, node: t.Node) -> str:
    return f"{_expression(node)} | {function}"


def _expression(node: t.Node) -> str:
    """A node as an expression of Go's templates."""
    match node:
        case t.Value(path):
            return f".Values.{path}"
        case t.ReleaseName():
            return ".Release.Name"
        case t.ReleaseNamespace():
            return ".Release.Namespace"
        case t.Format(text, nodes):
            return f"(printf {_quoted(text.replace('%', '%%').replace('{}', '%s'))} {_expressions(nodes)})"
        case t.First(nodes):
            return f"(coalesce {_expressions(nodes)})"
        case t.Revisioned(before, after):
            named = f"(printf {_quoted(f'{before}-%s{after}')} .Values.revision)"
            return f"(ternary {named} {_quoted(before + after)} {_boolean(t.HAS_REVISION)})"
        case t.TrimPrefix(prefix, inner):
            return f"(trimPrefix {_quoted(prefix)} {_expression(inner)})"
        case t.Merge(literal, paths):
            names = "".join(f" {_quoted(k)}" for k in literal)
            return f"(merge {_expression(dict(literal))} {' '.join(f'(omit .Values.{p}{names})' for p in paths)})"
        case t.JsonText(inner):
            return f"(toJson {_expression(inner)})"
        case dict():
            return f"(dict {' '.join(f'{_quoted(k)} {_expression(v)}' for k, v in node.items())})".replace(" )", ")")
        case list() | tuple():
            return f"(list {_expressions(node)})"
        case bool() | int() | str():
            return _quoted(node)
    raise TypeError(f"{node!r} cannot be a part of an expression")


def _expressions(nodes: Iterable[t.Node]) -> str:
    return " ".join(map(_expression, nodes))


def _quoted(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _boolean(condition: t.Condition) -> str:
    """A condition as true or false; `and` of Go's templates yields one of its arguments."""
    return f"(not (not {_condition(condition)}))"


def _condition(condition: t.Condition) -> str:
    match condition:
        case t.Not(inner):
            return f"(not {_condition(inner)})"
        case t.Both(first, second):
            return f"(and {_condition(first)} {_condition(second)})"
        case t.Equal(node, text):
            return f"(eq {_expression(node)} {_quoted(text)})"
        case t.Contains(value, text):
            return f"(contains {_quoted(text)} {_expression(value)})"
        case t.Has(value, text):
            return f"(has {_quoted(text)} {_expression(value)})"
    return _expression(condition)
