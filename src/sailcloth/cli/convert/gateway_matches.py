"""Matches of VirtualServices as matches of an HTTPRoute.

A VirtualService takes the first rule that matches, an HTTPRoute the most specific one. Where these differ, the earlier rule also gets
what both rules match, which is at least as specific as either. Must not know what rules do.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from sailcloth.api.gateway_api import HTTPPathMatch, HTTPRouteMatch, ValueMatch
from sailcloth.api.meta import StringMatch
from sailcloth.api.virtual_service import HTTPMatchRequest
from sailcloth.mesh.http_route_filters import precedence

from .documents import Losses

EXACT, PREFIX, REGEX = "Exact", "PathPrefix", "RegularExpression"
_ANY = ".*"
_MOST = 128  # matches of one HTTPRoute
_METHODS = re.compile(r"[A-Z]+(\|[A-Z]+)*")
_UNKNOWN = object()  # whether both match something cannot be said


def convert(match: HTTPMatchRequest, path: str, losses: Losses) -> list[HTTPRouteMatch]:
    """The matches that together are one; none, with a loss, if a condition cannot be said."""
    reasons = {
        "scheme": "the scheme cannot be matched",
        "authority": "the authority cannot be matched besides hostnames",
        "withoutHeaders": "a header cannot be matched by absence",
        "sourceLabels": "callers cannot be matched",
        "sourceNamespace": "callers cannot be matched",
    }
    written = msgspec.to_builtins(match)
    for name, text in reasons.items():
        if written.get(name):
            losses.add(
                f"{path}.{name}", f"the match is left out: {text}", "Write it as a rule of its own host or Service."
            )
            return []
    for name in ("name", "statPrefix"):
        if written.get(name):
            losses.add(f"{path}.{name}", "statistics and logs do not have this name")
    uri = _path(match, path, losses)
    methods = _methods(match.method, f"{path}.method", losses)
    headers = _values(match.headers, f"{path}.headers", losses)
    queries = _values(match.query_params, f"{path}.queryParams", losses)
    if uri is None or methods is None or headers is None or queries is None:
        return []
    return [HTTPRouteMatch(path=uri, method=method, headers=headers, query_params=queries) for method in methods]


def _path(match: HTTPMatchRequest, path: str, losses: Losses) -> HTTPPathMatch | None:
    uri = match.uri
    if uri is None:
        return HTTPPathMatch()
    text = uri.exact or uri.prefix or uri.regex or ""
    if uri.regex is not None:
        return HTTPPathMatch(type=REGEX, value=uri.regex)
    if not text.startswith("/"):
        losses.add(f"{path}.uri", f"the match is left out: a path begins with a slash, and {text!r} does not")
        return None
    if match.ignore_uri_case:
        more = "" if uri.exact is not None else _ANY
        return HTTPPathMatch(type=REGEX, value=f"(?i){re.escape(text)}{more}")
    if uri.exact is not None:
        return HTTPPathMatch(type=EXACT, value=text)
    bare = text.rstrip("/")
    if bare:
        other = f"{bare} itself is matched too" if text.endswith("/") else f"paths such as {text}x are not matched"
        losses.add(
            f"{path}.uri.prefix", f"a prefix matches whole segments: {other}", "Use a regex for the old meaning."
        )
    return HTTPPathMatch(value=bare or "/")


def _methods(match: StringMatch | None, path: str, losses: Losses) -> list[str | None] | None:
    if match is None:
        return [None]
    if match.exact is not None:
        return [match.exact]
    if match.regex is not None and _METHODS.fullmatch(match.regex):
        return [*dict.fromkeys(match.regex.split("|"))]
    losses.add(path, "the match is left out: methods are matched by name only", "Write them as exact, or as regex A|B.")
    return None


def _values(matches: Mapping[str, StringMatch], path: str, losses: Losses) -> tuple[ValueMatch, ...] | None:
    """Headers or query parameters; None, with a loss, if one cannot be matched."""
    out = []
    for name, match in sorted(matches.items()):
        if name.startswith(("@", ":")):
            losses.add(f"{path}.{name}", "the match is left out: it is about no header that requests have")
            return None
        if match.regex is not None and match.regex != "*":
            out.append(ValueMatch(type=REGEX, name=name, value=match.regex))
        elif match.exact:
            out.append(ValueMatch(name=name, value=match.exact))
        else:
            out.append(ValueMatch(type=REGEX, name=name, value=f"{re.escape(match.prefix or '')}{_ANY}"))
    return tuple(out)


# -- order ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Match:
    """A match of a rule. `origin`: the path of the rule's own match that it narrows, on which rewrites depend."""

    match: HTTPRouteMatch
    origin: HTTPPathMatch


def ordered(rules: Sequence[list[HTTPRouteMatch]], paths: Sequence[str], losses: Losses) -> list[list[Match]]:
    """The matches of rules, with those added that keep the order of the rules. `paths`: where each rule is written."""
    own = [{match: Match(match, match.path) for match in matches} for matches in _reachable(rules)]
    out = [dict(matches) for matches in own]
    changed = True
    while changed and sum(map(len, out)) <= _MOST:
        changed = False
        for later, earlier in [(i, j) for i in range(len(out)) for j in range(i)]:
            for one, other in itertools.product(list(out[earlier].values()), list(out[later])):
                if precedence(other) >= precedence(one.match):
                    continue  # the earlier rule is tried first, as it should be
                both = conjunction(one.match, other)
                if both is None:
                    continue
                if not isinstance(both, HTTPRouteMatch) or precedence(both) > precedence(other):
                    text = (
                        f"it is tried before {paths[earlier]}, because an HTTPRoute tries the more specific match first"
                    )
                    losses.add(paths[later], text, "Make the matches of the two rules exclude each other.")
                elif both not in out[earlier]:
                    out[earlier][both] = Match(both, one.origin)
                    changed = True
    if sum(map(len, out)) > _MOST:
        text = f"more than {_MOST} matches would be needed to keep the order of the rules"
        losses.add("spec.http", text, "Make the matches exclude each other.")
        out = own
    return [list(matches.values()) for matches in out]


def _reachable(rules: Sequence[list[HTTPRouteMatch]]) -> list[list[HTTPRouteMatch]]:
    """The matches of rules without those that an earlier rule covers."""
    out: list[list[HTTPRouteMatch]] = []
    for matches in rules:
        earlier = [one for kept in out for one in kept]
        out.append([m for m in dict.fromkeys(matches) if not any(conjunction(one, m) == m for one in earlier)])
    return out


def conjunction(one: HTTPRouteMatch, other: HTTPRouteMatch) -> HTTPRouteMatch | object | None:
    """What both match: None for nothing, and no match of an HTTPRoute if it cannot be said."""
    path = _both_paths(one.path, other.path)
    if path is None or (one.method and other.method and one.method != other.method):
        return None
    headers = _both_values(one.headers, other.headers)
    queries = _both_values(one.query_params, other.query_params)
    if headers is None or queries is None:
        return None
    if not isinstance(path, HTTPPathMatch) or not isinstance(headers, tuple) or not isinstance(queries, tuple):
        return _UNKNOWN
    return HTTPRouteMatch(path=path, method=one.method or other.method, headers=headers, query_params=queries)


def _both_paths(one: HTTPPathMatch, other: HTTPPathMatch) -> HTTPPathMatch | object | None:
    if one == other:
        return one
    for first, second in ((one, other), (other, one)):
        if second.type == PREFIX and second.value == "/":
            return first
        if first.type == EXACT:
            return first if _matches(second, first.value) else None
    if one.type == other.type == PREFIX:
        short, long = sorted((one, other), key=lambda p: len(p.value))
        return long if _matches(short, long.value) else None
    return _UNKNOWN


def _matches(pattern: HTTPPathMatch, text: str) -> bool:
    if pattern.type == PREFIX:
        return text == pattern.value or text.startswith(pattern.value + "/")
    return text == pattern.value if pattern.type == EXACT else _full(pattern.value, text)


def _both_values(
    ones: tuple[ValueMatch, ...], others: tuple[ValueMatch, ...]
) -> tuple[ValueMatch, ...] | object | None:
    by_name = {match.name.lower(): match for match in ones}
    for other in others:
        one = by_name.setdefault(other.name.lower(), other)
        if one.type == EXACT and other.type == EXACT:
            if one.value != other.value:
                return None
            continue
        if one.type == EXACT or other.type == EXACT:
            exact, pattern = (one, other) if one.type == EXACT else (other, one)
            if not _full(pattern.value, exact.value):
                return None
            by_name[other.name.lower()] = exact
        elif one.value == other.value or other.value == _ANY:
            by_name[other.name.lower()] = one
        elif one.value == _ANY:
            by_name[other.name.lower()] = other
        else:
            return _UNKNOWN
    return tuple(by_name[name] for name in sorted(by_name))


def _full(pattern: str, text: str) -> bool:
    try:
        return re.fullmatch(pattern, text) is not None
    except re.error:
        return True  # perhaps: the two are then not taken for exclusive


def written(match: HTTPRouteMatch) -> dict[str, Any]:
    """A match in JSON form, with its defaults."""
    out: dict[str, Any] = {"path": {"type": match.path.type, "value": match.path.value}}
    for name, values in (("headers", match.headers), ("queryParams", match.query_params)):
        if values:
            out[name] = [{"type": v.type, "name": v.name, "value": v.value} for v in values]
    return {**out, "method": match.method} if match.method else out
