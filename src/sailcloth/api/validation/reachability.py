"""Warns about unreachable rules of a VirtualService, because an earlier rule matches all of their requests."""

from __future__ import annotations

from typing import Any

import msgspec

from sailcloth.api.virtual_service import HTTPMatchRequest, VirtualServiceSpec

from . import codes
from .report import Report

_ADVICE = "Remove it, or move it before the other."


def check(report: Report, spec: VirtualServiceSpec) -> None:
    """Compare every rule with earlier ones."""
    for kind, rules in (("http", spec.http), ("tls", spec.tls), ("tcp", spec.tcp)):
        _rules(report, f"spec.{kind}", rules)
    _prefixes(report, spec)


def _rules(report: Report, path: str, rules: Any) -> None:
    seen: dict[bytes, str] = {}
    everything = ""
    for index, rule in enumerate(rules):
        at = f"{path}[{index}]"
        if everything:
            text = f"the rule is never used: {everything} matches everything; only the last rule can have no match"
            report.warning(codes.UNREACHABLE, at, text, _ADVICE)
        elif not rule.match:
            everything = at
        repeated = 0
        for number, match in enumerate(rule.match):
            match_path = f"{at}.match[{number}]"
            previous = seen.setdefault(_same(match), match_path)
            if previous != match_path:
                repeated += 1
                text = f"the match is never used: it is the same as {previous}"
                report.warning(codes.UNREACHABLE, match_path, text, _ADVICE)
        if rule.match and repeated == len(rule.match):
            report.warning(codes.UNREACHABLE, at, "the rule is never used: earlier rules have all its matches", _ADVICE)


def _same(match: Any) -> bytes:
    """The conditions of a match as bytes, without its name; equal for equal matches."""
    if getattr(match, "name", None) or getattr(match, "stat_prefix", None):
        match = msgspec.structs.replace(match, name=None, stat_prefix=None)
    return msgspec.json.encode(match, order="deterministic")


def _prefixes(report: Report, spec: VirtualServiceSpec) -> None:
    """Warn about rules for paths under an earlier rule's prefix that has no other condition."""
    seen: dict[str, str] = {}
    for index, rule in enumerate(spec.http):
        for number, match in enumerate(rule.match):
            uri, at = match.uri, f"spec.http[{index}].match[{number}]"
            if uri is None:
                continue
            path = uri.prefix if uri.prefix is not None else uri.exact
            if path is not None and seen and not match.ignore_uri_case:
                longest = (
                    len(path) if uri.prefix is None else len(path) - 1
                )  # `_rules` reports an equal prefix as a duplicate
                hidden = next((path[:n] for n in range(longest + 1) if path[:n] in seen), None)
                if hidden is not None:
                    text = f"the match is never used: {seen[hidden]} matches all paths with the prefix {hidden!r}"
                    report.warning(codes.UNREACHABLE, f"{at}.uri", text, _ADVICE)
            if uri.prefix is not None and _only_uri(match):
                seen.setdefault(uri.prefix, at)


def _only_uri(match: HTTPMatchRequest) -> bool:
    fields = match.__struct_fields__
    return not any(getattr(match, f) for f in fields if f not in ("uri", "name", "stat_prefix", "ignore_uri_case"))
