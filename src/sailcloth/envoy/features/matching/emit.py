"""Route matches as Envoy protobuf. Pure."""

from __future__ import annotations

from envoy.config.route.v3 import route_components_pb2 as route_pb
from envoy.type.matcher.v3 import regex_pb2

from sailcloth.api.virtual_service import HTTPMatchRequest
from sailcloth.envoy.resources import matcher
from sailcloth.view.routes import RoutePlan


def route(plan: RoutePlan, out: route_pb.Route) -> None:
    """Sets `match`."""
    match = plan.match
    if match is None:
        out.match.prefix = "/"
        return
    _path(match, out.match, plan.segments)
    for name, value in (("method", match.method), ("authority", match.authority), ("scheme", match.scheme)):
        if value is not None:
            out.match.headers.append(matcher.header(":" + name, value))
    out.match.headers.extend(matcher.header(name, value) for name, value in sorted(match.headers.items()))
    for name, value in sorted(match.without_headers.items()):
        inverted = matcher.header(name, value, invert=True)
        inverted.treat_missing_header_as_empty = not inverted.HasField("present_match")
        out.match.headers.append(inverted)
    for name, value in sorted(match.query_params.items()):
        if value.exact is None and not value.prefix and value.regex is None:
            parameter = route_pb.QueryParameterMatcher(name=name, present_match=True)
        else:
            parameter = route_pb.QueryParameterMatcher(name=name, string_match=matcher.string_match(value))
        out.match.query_parameters.append(parameter)
    if match.ignore_uri_case:
        out.match.case_sensitive.value = False


def _path(match: HTTPMatchRequest, out: route_pb.RouteMatch, segments: bool) -> None:
    uri = match.uri
    if uri is None:
        out.prefix = "/"
    elif uri.exact is not None:
        out.path = uri.exact
    elif uri.regex is not None:
        out.safe_regex.CopyFrom(regex_pb2.RegexMatcher(regex=".*" if uri.regex == "*" else uri.regex))
    elif segments and (prefix := (uri.prefix or "").rstrip("/")):
        out.path_separated_prefix = prefix
    else:
        out.prefix = uri.prefix or "/"
