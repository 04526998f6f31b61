"""Route matches as Envoy protobuf. Pure."""

from __future__ import annotations

from envoy.config.route.v3 import route_components_pb2 as route_pb
from envoy.type.matcher.v3 import metadata_pb2, regex_pb2, value_pb2
from envoy.type.v3 import percent_pb2

from sailcloth.api.meta import StringMatch
from sailcloth.api.virtual_service import HTTPMatchRequest
from sailcloth.envoy.resources import jwt_claims, matcher
from sailcloth.mesh import extended_routes
from sailcloth.mesh.extended_routes import ExtendedRoute
from sailcloth.view.routes import RoutePlan

_CLAIMS = "@request.auth.claims"


def route(plan: RoutePlan, out: route_pb.Route) -> None:
    """Sets `match`."""
    match = plan.match
    if isinstance(plan.rule, ExtendedRoute) and extended_routes.is_partial(plan.rule):
        part = percent_pb2.FractionalPercent(denominator=percent_pb2.FractionalPercent.MILLION)
        part.numerator = round(plan.rule.share * 10_000)
        out.match.runtime_fraction.default_value.CopyFrom(part)
    if match is None:
        out.match.prefix = "/"
        return
    _path(match, out.match, plan.segments)
    for name, value in (("method", match.method), ("authority", match.authority), ("scheme", match.scheme)):
        if value is not None:
            out.match.headers.append(matcher.header(":" + name, value))
    for name, value in sorted(match.headers.items()):
        if (claim := _claim(name)) is not None:
            out.match.dynamic_metadata.append(_with_claim(claim, value))
        else:
            out.match.headers.append(matcher.header(name, value))
    for name, value in sorted(match.without_headers.items()):
        if (claim := _claim(name)) is not None:
            out.match.dynamic_metadata.append(_with_claim(claim, value, invert=True))
            continue
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


def _claim(name: str) -> list[str] | None:
    """The path of the claim that a header's name stands for: `@request.auth.claims.a.b`, or `@request.auth.claims[a][b]` for names
    with dots; None for other headers."""
    rest = name.removeprefix(_CLAIMS)
    if rest == name:
        return None
    if rest.startswith("[") and rest.endswith("]"):
        return rest[1:-1].split("][")
    return rest.removeprefix(".").split(".")


def _with_claim(path: list[str], value: StringMatch, invert: bool = False) -> metadata_pb2.MetadataMatcher:
    if value.exact is None and not value.prefix and value.regex is None:
        out = jwt_claims.matcher(path, value_pb2.ValueMatcher(present_match=True))
    else:
        out = jwt_claims.matcher(path, jwt_claims.text_or_list(matcher.string_match(value)))
    out.invert = invert
    return out


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
