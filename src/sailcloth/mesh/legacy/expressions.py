"""Mixer's conditions, such as `destination.labels["app"] == "ratings" && request.method != "GET"`: conjunctions of comparisons."""

from __future__ import annotations

import re
from dataclasses import dataclass

_ATTRIBUTE = r'(?P<attribute>[a-z][\w.]*(?:\["[^"]+"\])?)'
_DEFAULT = r'(?:\s*\|\s*(?:"[^"]*"|ip\("[^"]*"\)))?'
_COMPARISON = re.compile(rf'^\(?\s*{_ATTRIBUTE}{_DEFAULT}\s*\)?\s*(?P<operator>==|!=)\s*"(?P<value>[^"]*)"$')
_MATCH = re.compile(
    rf'^match\(\s*{_ATTRIBUTE}{_DEFAULT}\s*,\s*"(?P<value>[^"]*)"\s*\)(?:\s*==\s*(?P<truth>true|false))?$'
)
_METHOD = re.compile(rf'^{_ATTRIBUTE}\.(?P<method>startsWith|endsWith)\("(?P<value>[^"]*)"\)$')
_CHOICE = re.compile(rf"^{_ATTRIBUTE}(?:\s*\|.*)?$")


@dataclass(frozen=True, slots=True)
class Comparison:
    """An attribute, and a value with a wildcard at one end that it must have; `negated`: must not have."""

    attribute: str
    value: str
    negated: bool = False


def conjunction(text: str) -> tuple[Comparison, ...] | None:
    """The comparisons of a condition; None if it is not a conjunction of such."""
    out = []
    for term in (part.strip() for part in re.split(r"&&", text) if part.strip() not in ("", "true")):
        comparison = _comparison(term[1:-1].strip() if term.startswith("(") and term.endswith(")") else term)
        if comparison is None:
            return None
        out.append(comparison)
    return tuple(out)


def _comparison(term: str) -> Comparison | None:
    if found := _COMPARISON.match(term):
        return Comparison(found["attribute"], found["value"], found["operator"] == "!=")
    if found := _MATCH.match(term):
        return Comparison(found["attribute"], found["value"], found["truth"] == "false")
    if found := _METHOD.match(term):
        value = f"{found['value']}*" if found["method"] == "startsWith" else f"*{found['value']}"
        return Comparison(found["attribute"].removesuffix("."), value)
    return None


def attributes(text: str) -> tuple[str, ...]:
    """The attributes of a value such as `request.headers["x"] | source.ip | "unknown"`, in the order in which they are tried."""
    parts = (part.strip() for part in text.split("|"))
    return tuple(part for part in parts if _CHOICE.match(part) and not part.startswith(('"', "ip(")))


def key_of(attribute: str, name: str) -> str | None:
    """The key of an attribute that is a map, such as `request.headers["x"]`; None for others."""
    head, bracket, rest = attribute.partition('["')
    return rest.removesuffix('"]') if bracket and head == name else None
