"""Warnings of rules in a VirtualService that no request can come to, as an earlier one takes all of theirs."""

from __future__ import annotations

from typing import Any

import msgspec

from sailcloth.api.virtual_service import HTTPMatchRequest, VirtualServiceSpec

from . import codes
from .report import Report

_ADVICE = "Remove it, or move it before the other."


def check(report: Report, spec: VirtualServiceSpec) -> None:
    """Compare every rule with those before it."""
    for kind, rules in (("http", spec.http), ("tls", spec.tls), ("tcp", spec.tcp)):
        _rules(report, f"spec.{kind}", rules)
    _prefixes(report, spec)


def _rules(report: Report, path: str, rules: Any) -> None:
    seen: dict[Any, str] = {}
    everything = ""
    for index, rule in enumerate(rules):
        at = f"{path}[{index}]"
        if everything:
            text = f"the rule is never used: {everything} takes everything, and only the last rule can have no match"
            report.warning(codes.UNREACHABLE, at, text, _ADVICE)
        elif not rule.match:
            everything = at
        repeated = 0
        for number, match in enumerate(rule.match):
            here = f"{at}.match[{number}]"
            before = seen.setdefault(_same(match), here)
            if before != here:
                repeated += 1
                text = f"the match is never used: it is the same as {before}"
                report.warning(codes.UNREACHABLE, here, text, _ADVICE)
        if rule.match and repeated == len(rule.match):
            report.warning(codes.UNREACHABLE, at, "the rule is never used: all its matches stand before it", _ADVICE)


def _same(match: Any) -> Any:
    """What decides whether two matches are the same; their names do not."""
    builtin = msgspec.to_builtins(match)
    builtin.pop("name", None)
    builtin.pop("statPrefix", None)
    return repr(_sorted(builtin))


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return sorted((k, _sorted(v)) for k, v in value.items())
    return [_sorted(v) for v in value] if isinstance(value, list) else value


def _prefixes(report: Report, spec: VirtualServiceSpec) -> None:
    """A prefix with no other condition hides later rules for paths below it."""
    seen: list[tuple[str, str]] = []
    for index, rule in enumerate(spec.http):
        for number, match in enumerate(rule.match):
            uri, at = match.uri, f"spec.http[{index}].match[{number}]"
            if uri is None:
                continue
            path = uri.prefix if uri.prefix is not None else uri.exact
            if path is not None and not match.ignore_uri_case:
                hidden = next((a for p, a in seen if path.startswith(p) and (path != p or uri.prefix is None)), None)
                if hidden is not None:
                    text = f"the match is never used: {hidden} takes all paths with a shorter prefix"
                    report.warning(codes.UNREACHABLE, f"{at}.uri", text, _ADVICE)
            if uri.prefix is not None and _only_uri(match):
                seen.append((uri.prefix, at))


def _only_uri(match: HTTPMatchRequest) -> bool:
    return set(msgspec.to_builtins(match)) <= {"uri", "name", "statPrefix"}
