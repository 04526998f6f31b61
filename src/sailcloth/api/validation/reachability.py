"""Finds unreachable rules of a VirtualService: an earlier rule matches all of their requests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from sailcloth.api.virtual_service import HTTPMatchRequest, VirtualServiceSpec

from . import codes
from .report import Report

_ADVICE = "Remove it, or move it before the other."
_NAMES = ("name", "stat_prefix")


@dataclass(frozen=True, slots=True)
class Unreachable:
    """A rule, or (with `match`) one match of a rule, that no request reaches. `earlier`: index of the rule that has its requests;
    None: several have."""

    kind: str  # http, tls or tcp
    rule: int
    match: int | None
    earlier: int | None
    path: str
    text: str


def check(report: Report, spec: VirtualServiceSpec) -> None:
    """Warn about them."""
    for one in unreachable(spec):
        report.warning(codes.UNREACHABLE, one.path, one.text, _ADVICE)


def unreachable(spec: VirtualServiceSpec) -> Iterator[Unreachable]:
    """Compare every rule with earlier ones."""
    for kind, rules in (("http", spec.http), ("tls", spec.tls), ("tcp", spec.tcp)):
        yield from _rules(kind, rules)
    yield from _prefixes(spec)


def _rules(kind: str, rules: Any) -> Iterator[Unreachable]:
    seen: dict[bytes, tuple[int, str]] = {}
    everything: int | None = None
    for index, rule in enumerate(rules):
        at = f"spec.{kind}[{index}]"
        if everything is not None:
            text = f"the rule is never used: spec.{kind}[{everything}] matches everything; only the last rule can have no match"
            yield Unreachable(kind, index, None, everything, at, text)
        elif not rule.match:
            everything = index
        repeated = 0
        for number, match in enumerate(rule.match):
            match_path = f"{at}.match[{number}]"
            previous = seen.setdefault(_same(match), (index, match_path))
            if previous[1] != match_path:
                repeated += 1
                text = f"the match is never used: it is the same as {previous[1]}"
                yield Unreachable(kind, index, number, previous[0], match_path, text)
        if rule.match and repeated == len(rule.match):
            text = "the rule is never used: earlier rules have all its matches"
            yield Unreachable(kind, index, None, None, at, text)


def _same(match: Any) -> bytes:
    """The conditions of a match as bytes, without its name; equal for equal matches."""
    if any(getattr(match, name, None) for name in _NAMES):
        match = msgspec.structs.replace(match, name=None, stat_prefix=None)
    return msgspec.json.encode(match, order="deterministic")


def _prefixes(spec: VirtualServiceSpec) -> Iterator[Unreachable]:
    """Matches of paths under an earlier prefix whose other conditions the later match has, too."""
    seen: dict[str, list[tuple[set[bytes], int, str]]] = {}
    for index, rule in enumerate(spec.http):
        for number, match in enumerate(rule.match):
            uri, at = match.uri, f"spec.http[{index}].match[{number}]"
            path = None if uri is None else uri.prefix if uri.prefix is not None else uri.exact
            if uri is None or path is None or match.ignore_uri_case:
                continue
            conditions = _conditions(match)
            # `_rules` reports an equal prefix as a duplicate.
            longest = len(path) - (uri.prefix is not None)
            hidden = next(
                (
                    (path[:n], *earlier)
                    for n in range(longest + 1)
                    for earlier in seen.get(path[:n], ())
                    # Within a rule, an exact path under a prefix is harmless: both lead to the same.
                    if earlier[0] <= conditions and (uri.prefix is not None or earlier[1] != index)
                ),
                None,
            )
            if hidden is not None:
                prefix, _, rule_index, place = hidden
                text = f"the match is never used: {place} matches all paths with the prefix {prefix!r}"
                yield Unreachable("http", index, number, rule_index, f"{at}.uri", text)
            if uri.prefix is not None and len(seen.get(uri.prefix, ())) < _MOST:
                seen.setdefault(uri.prefix, []).append((conditions, index, at))


_MOST = 64  # matches of one prefix that are compared


def _conditions(match: HTTPMatchRequest) -> set[bytes]:
    """The conditions of a match beside its path, one by one."""
    fields = (f for f in match.__struct_fields__ if f not in ("uri", "ignore_uri_case", *_NAMES))
    return {
        msgspec.json.encode((field, value), order="deterministic")
        for field in fields
        if (value := getattr(match, field))
    }
