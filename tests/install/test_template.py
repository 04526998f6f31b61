"""Every node of a template: what it evaluates to, and what Helm is given."""

from __future__ import annotations

from typing import Any

import pytest

from sailcloth.install import helm, values
from sailcloth.install import template as t
from sailcloth.install.chart import Chart, Release
from sailcloth.install.charts import CHARTS
from sailcloth.install.render import go_json, render

VALUES: dict[str, Any] = {
    "name": "a",
    "no": "",
    "off": False,
    "two": 2,
    "map": {"y": "1", "a": 2.0},
    "list": ["x", {"k": "<v>"}],
}
V = t.Value
CASES: list[tuple[str, t.Node, Any, str]] = [
    ("a text", "plain text", "plain text", "k: plain text"),
    ("a text that is no text in YAML", "yes", "yes", 'k: "yes"'),
    ("a text for templates", "{{ x }}", "{{ x }}", 'k: {{ "{{ x }}" | toJson }}'),
    ("nothing", {}, {}, "k: {}"),
    ("a value", V("two"), 2, "k: {{ .Values.two | toJson }}"),
    ("a text of values", t.Format("{}-1%", (V("name"),)), "a-1%", 'k: {{ (printf "%s-1%%" .Values.name) | toJson }}'),
    ("the first", t.First((V("no"), "b")), "b", 'k: {{ (coalesce .Values.no "b") | toJson }}'),
    (
        "no prefix",
        t.TrimPrefix("istio-", t.ReleaseName()),
        "r",
        'k: {{ (trimPrefix "istio-" .Release.Name) | toJson }}',
    ),
    ("JSON", t.JsonText(V("map")), '{"a":2,"y":"1"}', "k: {{ (toJson .Values.map) | toJson }}"),
    (
        "a choice",
        t.IfElse(V("off"), 1, [V("name")]),
        ["a"],
        "{{- if .Values.off }}\nk: 1\n{{- else }}\nk:\n- {{ .Values.name | toJson }}\n{{- end }}",
    ),
    (
        "items",
        [1, t.Each("list"), t.When(V("off"), 2)],
        [1, "x", {"k": "<v>"}],
        "k:\n- 1\n{{- range .Values.list }}\n- {{ toJson . }}\n{{- end }}\n{{- if .Values.off }}\n- 2\n{{- end }}",
    ),
    (
        "a merged map",
        t.Merge({"y": "own"}, ("map",)),
        {"y": "own", "a": 2},
        'k:\n  y: own\n  {{- range $k, $v := omit .Values.map "y" }}\n  {{ $k | toJson }}: {{ $v | toJson }}\n  {{- end }}'.replace(
            "  y: own", '  "y": own'
        ),
    ),
    (
        "a text of YAML",
        t.YamlText(t.Merge({"first": V("two")}, ("map",))),
        'first: 2\na: 2\ny: "1"\n',
        "k: |\n  first: {{ .Values.two | toJson }}\n"
        '  {{- range $k, $v := omit .Values.map "first" }}\n  {{ $k }}: {{ $v | toJson }}\n  {{- end }}',
    ),
]


@pytest.mark.parametrize(("node", "value", "text"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_nodes(node: t.Node, value: Any, text: str) -> None:
    chart = Chart("c", "", {"f": ({"k": node, "gone": t.When(V("off"), 1)},)}, "")
    assert render(chart, Release("r", "n", VALUES)) == [{"k": value}]
    assert helm.document({"k": node}) == f"---\n{text}\n"


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        (V("name"), True),
        (V("no"), False),
        (V("absent.too"), False),
        (t.Not(V("off")), True),
        (t.Both(V("name"), V("off")), False),
        (t.Equal(V("name"), "a"), True),
        (t.Contains(V("name"), "/"), False),
        (t.Has(V("list"), "x"), True),
    ],
)
def test_conditions(condition: t.Condition, holds: bool) -> None:
    chart = Chart("c", "", {"f": (t.When(condition, {"k": 1}),)}, "", checks=(t.Check(condition, "no"),))
    release = Release("r", "n", VALUES)
    if holds:
        with pytest.raises(values.InvalidValues, match="no"):
            render(chart, release)
    else:
        assert render(chart, release) == []


@pytest.mark.parametrize(
    "node", [{"a": t.When(V("off"), 1)}, {"l": [t.Each("list")]}, {"l": [{"a": t.When(V("off"), 1)}]}]
)
def test_what_could_become_null_in_helm_is_refused(node: t.Node) -> None:
    with pytest.raises(ValueError, match="null"):
        helm.document(node)


def test_json_is_as_gos() -> None:
    assert go_json({"b": [1.0, 1.5, None], "a": "<é&>"}) == '{"a":"\\u003cé\\u0026\\u003e","b":[1,1.5,null]}'


def test_values_that_charts_read_have_defaults() -> None:
    """A path that the defaults lack is an error in Helm, or an entry that is null."""
    optional = {"labels.app", "labels.istio"}
    for chart in CHARTS.values():
        lacking = {
            p for p in set(_paths(chart.files)) | set(_paths(chart.checks)) if not _has(values.defaults(chart.name), p)
        }
        assert lacking <= optional


def _paths(node: Any) -> list[str]:
    if isinstance(node, t.Value | t.Each | t.EachPair):
        return [node.path]
    if isinstance(node, dict):
        return [p for n in node.values() for p in _paths(n)]
    if isinstance(node, (list, tuple)):
        return [p for n in node for p in _paths(n)]
    if isinstance(node, t.Merge):
        return [*node.paths, *_paths(dict(node.literal))]
    fields = getattr(node, "__dataclass_fields__", {})
    return [p for name in fields for p in _paths(getattr(node, name))]


def _has(have: Any, path: str) -> bool:
    for name in path.split("."):
        if not isinstance(have, dict) or name not in have:
            return False
        have = have[name]
    return True


def test_null_removes_and_lists_replace() -> None:
    below = {"a": {"b": 1, "c": [1, 2]}, "d": 1}
    assert values.merge(below, {"a": {"b": None, "c": [3]}, "d": {"e": 1}}) == {"a": {"c": [3]}, "d": {"e": 1}}


@pytest.mark.parametrize(
    ("given", "wrong", "unknown"),
    [
        ({"pilot": {"replicaCount": "2"}}, ["values.pilot.replicaCount: must be an integer, not '2'"], []),
        ({"pilot": {"autoscaleEnabled": 1}}, ["values.pilot.autoscaleEnabled: must be a boolean, not 1"], []),
        ({"pilot": {"replicaCont": 2}}, [], ["values.pilot.replicaCont: has no effect here; is replicaCount meant?"]),
        ({"pilot": None}, ["values.pilot: must be an object, not null"], []),
        ({"global": {"imagePullPolicy": "Often"}}, ["values.global.imagePullPolicy: must be one of"], []),
        ({"meshConfig": {"anything": {"goes": 1}}, "pilot": {"env": {"A": 1}}}, [], []),
    ],
)
def test_what_is_wrong_with_values(given: dict[str, Any], wrong: list[str], unknown: list[str]) -> None:
    found_wrong, found_unknown = values.problems(CHARTS["istiod"], given)
    assert [f[: len(w)] for f, w in zip(found_wrong, wrong, strict=True)] == wrong
    assert found_unknown == unknown
