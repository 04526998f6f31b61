"""Values of charts: defaults, merging, the schema, and what is wrong with given ones. Names and meaning are those of Istio's charts.

Reads only the files `defaults/*.yaml` of this package.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from functools import cache
from importlib import resources
from typing import Any

from sailcloth.lib import bounded_yaml

from .chart import Chart

Values = dict[str, Any]
_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}


class InvalidValues(ValueError):
    """What is wrong with values, one text for each problem."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def text(chart: str) -> str:
    """The chart's values.yaml, comments included."""
    return (resources.files(__package__) / "defaults" / f"{chart}.yaml").read_text()


@cache
def _defaults(chart: str) -> Values:
    return dict(bounded_yaml.load(text(chart)))


def defaults(chart: str) -> Values:
    """The chart's own values."""
    return deepcopy(_defaults(chart))


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> Values:
    """Both, the second first in precedence; maps are merged, lists replaced, and null removes (as Helm does)."""
    out = dict(below)
    for key, value in above.items():
        if value is None:
            out.pop(key, None)
        elif isinstance(value, Mapping):
            have = out.get(key)
            out[key] = merge(have if isinstance(have, Mapping) else {}, value)
        else:
            out[key] = deepcopy(value)
    return out


def fitted(known: Mapping[str, Any], given: Mapping[str, Any]) -> Values:
    """The values, with numbers as texts where texts are wanted: `--set global.tag=1`."""
    out: Values = {}
    for key, value in given.items():
        default = known.get(key)
        if isinstance(default, dict) and isinstance(value, Mapping):
            value = fitted(default, value)
        out[key] = str(value) if isinstance(default, str) and type(value) is int else value
    return out


def problems(chart: Chart, given: Mapping[str, Any], prefix: str = "values") -> tuple[list[str], list[str]]:
    """(errors, warnings) of given values: wrong types, and paths that the chart does not know."""
    wrong: list[str] = []
    unknown: list[str] = []
    for path, fault, kind in _compare(chart, _defaults(chart.name), given, ""):
        (unknown if kind == "unknown" else wrong).append(f"{prefix}.{path}: {fault}")
    return wrong, unknown


def _compare(chart: Chart, known: Values, given: Mapping[str, Any], at: str) -> Iterator[tuple[str, str, str]]:
    for key, value in given.items():
        path = f"{at}.{key}" if at else str(key)
        if key not in known:
            near = difflib.get_close_matches(str(key), map(str, known), 1)
            yield path, "has no effect here" + (f"; is {near[0]} meant?" if near else ""), "unknown"
            continue
        default = known[key]
        if value is None:
            if isinstance(default, dict):
                yield path, "must be an object, not null", "wrong"
        elif not _fits(default, value):
            yield path, f"must be {_article(_TYPES[type(default)])}, not {value!r}", "wrong"
        elif isinstance(default, dict) and not is_open(chart, path, default):
            yield from _compare(chart, default, value, path)
        elif (choice := chart.limits.get(path, {}).get("enum")) and value not in choice:
            yield path, f"must be one of {', '.join(map(repr, choice))}, not {value!r}", "wrong"
        elif (form := chart.limits.get(path, {}).get("pattern")) and not re.search(form, value):
            yield path, f"must have the form {form}, not {value!r}", "wrong"


def _fits(default: Any, value: Any) -> bool:
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(default, bool) and isinstance(value, bool)
    return isinstance(value, type(default)) or (
        isinstance(default, int) and value == int(value if _number(value) else 0)
    )


def _number(value: Any) -> bool:
    return isinstance(value, (int, float))


def _article(name: str) -> str:
    return f"an {name}" if name[0] in "aio" else f"a {name}"


def is_open(chart: Chart, path: str, default: Values) -> bool:
    """Whether users write below a path what they want."""
    return not default or path in chart.open_values


def schema(chart: Chart) -> Values:
    """The chart's values.schema.json: types, and no values that it does not know."""
    root = _schema(chart, _defaults(chart.name), "")
    root["properties"].setdefault("global", {"type": "object"})  # Helm gives it to every chart
    return {"$schema": "http://json-schema.org/draft-07/schema#", "title": f"Values of the chart {chart.name}", **root}


def _schema(chart: Chart, default: Any, path: str) -> Values:
    out: Values = {"type": _TYPES[type(default)], **chart.limits.get(path, {})}
    if isinstance(default, dict) and not (path and is_open(chart, path, default)):
        out["additionalProperties"] = False
        out["properties"] = {k: _schema(chart, v, f"{path}.{k}" if path else k) for k, v in default.items()}
    return out


def with_defaults(chart: Chart, given: Mapping[str, Any]) -> Values:
    """All values of a release. Raises InvalidValues for wrong types."""
    wrong, _ = problems(chart, given)
    if wrong:
        raise InvalidValues(wrong)
    return merge(_defaults(chart.name), given)
