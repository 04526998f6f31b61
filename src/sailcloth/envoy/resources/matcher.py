"""Matchers of strings and headers."""

from __future__ import annotations

from envoy.config.route.v3 import route_components_pb2 as route_pb
from envoy.type.matcher.v3 import regex_pb2, string_pb2

from sailcloth.api.meta import StringMatch


def string_match(value: StringMatch) -> string_pb2.StringMatcher:
    """Envoy's matcher for a string match; an empty one matches everything."""
    if value.exact is not None:
        return string_pb2.StringMatcher(exact=value.exact)
    if value.regex is not None:
        return string_pb2.StringMatcher(safe_regex=regex_pb2.RegexMatcher(regex=value.regex))
    return string_pb2.StringMatcher(prefix=value.prefix or "")


def header(name: str, value: StringMatch, invert: bool = False) -> route_pb.HeaderMatcher:
    """Envoy's matcher for a header; an empty match, or the pattern `*`, asks only for its presence."""
    empty = not value.exact and not value.prefix and not value.regex
    if empty or value.regex == "*":
        return route_pb.HeaderMatcher(name=name, present_match=True, invert_match=invert)
    return route_pb.HeaderMatcher(name=name, string_match=string_match(value), invert_match=invert)
