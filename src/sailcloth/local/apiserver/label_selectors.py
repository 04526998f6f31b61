"""Label selectors, as text in requests and as LabelSelector objects."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from sailcloth.lib import label_selector as _matcher

from .errors import bad_request

EQUALITY = re.compile(r"^([^=!\s]+)\s*(==|!=|=)\s*(\S*)$")
_LABEL_VALUE = re.compile(r"[A-Za-z0-9_.-]*")
_ORDER = re.compile(r"^([^<>=!\s]+)\s*([<>])\s*(-?[0-9]{1,18})$")
_SET = re.compile(r"^(\S+)\s+(in|notin)\s*\(([^)]*)\)$")


def parse(text: str | None) -> Callable[[dict[str, str]], bool]:
    """A label selector over a label map. Raises StatusError for one that cannot be read."""
    terms: list[Callable[[dict[str, str]], bool]] = []
    for raw in re.split(r",(?![^()]*\))", text) if text else []:
        term = raw.strip()
        if parsed := _SET.match(term):
            values = {_label_value(v.strip()) for v in parsed[3].split(",")}
            inside = parsed[2] == "in"
            terms.append(lambda m, k=parsed[1], v=values, i=inside: (m.get(k) in v) == i)  # type: ignore[misc]
        elif parsed := EQUALITY.match(term):
            equal, value = parsed[2] != "!=", _label_value(parsed[3])
            terms.append(lambda m, k=parsed[1], v=value, e=equal: (m.get(k) == v) == e)  # type: ignore[misc]
        elif parsed := _ORDER.match(term):
            bound, more = int(parsed[3]), parsed[2] == ">"
            terms.append(lambda m, k=parsed[1], b=bound, g=more: _is_beyond(m.get(k, ""), b, g))  # type: ignore[misc]
        elif re.fullmatch(r"!?[A-Za-z0-9_./-]+", term):
            absent, key = term.startswith("!"), term.lstrip("!")
            terms.append(lambda m, k=key, a=absent: (k in m) != a)  # type: ignore[misc]
        else:
            raise bad_request(f"unable to parse requirement: {term!r} is not a label selector")
    return lambda m: all(t(m) for t in terms)


def _label_value(text: str) -> str:
    """Raises StatusError for what no label has."""
    if len(text) > 63 or not _LABEL_VALUE.fullmatch(text):
        raise bad_request(f"unable to parse requirement: {text!r} is not the value of a label")
    return text


def _is_beyond(value: str, bound: int, greater: bool) -> bool:
    """Whether a label's value is a whole number above, or below, a bound."""
    if not re.fullmatch(r"-?\d{1,18}", value, re.ASCII):
        return False
    return int(value) > bound if greater else int(value) < bound


def label_selector(selector: dict[str, Any] | None) -> Callable[[dict[str, str]], bool]:
    """A LabelSelector object (matchLabels, matchExpressions); an empty one matches everything."""
    return lambda labels: _matcher.matches(selector, labels)
