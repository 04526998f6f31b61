"""CORS policies as Envoy protobuf. Pure."""

from __future__ import annotations

from envoy.config.route.v3 import route_components_pb2 as route_pb
from envoy.extensions.filters.http.cors.v3 import cors_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb
from envoy.type.matcher.v3 import regex_pb2, string_pb2
from envoy.type.v3 import percent_pb2

from sailcloth.api.meta import duration_ms
from sailcloth.envoy.inputs import FilterInputs
from sailcloth.envoy.protobuf import pack
from sailcloth.view.routes import RoutePlan

FILTER = "envoy.filters.http.cors"
_DISABLED = hcm_pb.HttpFilter(name=FILTER, typed_config=pack(cors_pb2.Cors()), disabled=True)


def http_filters(inputs: FilterInputs) -> list[hcm_pb.HttpFilter]:
    """The CORS filter: in every HTTP filter chain, disabled unless a route enables it."""
    return [_DISABLED]


def route(plan: RoutePlan, out: route_pb.Route) -> None:
    """Sets the route's own configuration of the CORS filter."""
    policy = plan.rule.cors_policy if plan.rule is not None else None
    if policy is None:
        return
    cors_policy = cors_pb2.CorsPolicy(
        allow_methods=",".join(policy.allow_methods),
        allow_headers=",".join(policy.allow_headers),
        expose_headers=",".join(policy.expose_headers),
    )
    for origin in policy.allow_origins:
        if origin.regex is not None:
            matcher = string_pb2.StringMatcher(safe_regex=regex_pb2.RegexMatcher(regex=origin.regex))
        elif origin.prefix is not None:
            matcher = string_pb2.StringMatcher(prefix=origin.prefix)
        else:
            matcher = string_pb2.StringMatcher(exact=origin.exact or "")
        cors_policy.allow_origin_string_match.append(matcher)
    cors_policy.allow_origin_string_match.extend(string_pb2.StringMatcher(exact=o) for o in policy.allow_origin)
    cors_policy.filter_enabled.default_value.CopyFrom(percent_pb2.FractionalPercent(numerator=100))
    if policy.max_age:
        cors_policy.max_age = str(int((duration_ms(policy.max_age) or 0) / 1000))
    if policy.allow_credentials is not None:
        cors_policy.allow_credentials.value = policy.allow_credentials
    cors_policy.forward_not_matching_preflights.value = policy.unmatched_preflights != "IGNORE"
    out.typed_per_filter_config[FILTER].CopyFrom(pack(cors_policy))
