"""Rewrites as Envoy protobuf. Pure."""

from __future__ import annotations

from envoy.config.route.v3 import route_components_pb2 as route_pb

from sailcloth.view.routes import RoutePlan


def route(plan: RoutePlan, out: route_pb.Route) -> None:
    """Sets the rewrite fields of the route action; an explicit authority overrides one set by headers."""
    rewrite = plan.rule.rewrite if plan.rule is not None else None
    if rewrite is None or not out.HasField("route"):
        return
    if rewrite.uri_regex_rewrite is not None and rewrite.uri_regex_rewrite.match:
        out.route.regex_rewrite.pattern.regex = rewrite.uri_regex_rewrite.match
        out.route.regex_rewrite.substitution = rewrite.uri_regex_rewrite.rewrite or ""
    elif rewrite.uri is not None:
        if out.match.HasField("safe_regex"):
            out.route.regex_rewrite.pattern.regex = out.match.safe_regex.regex
            out.route.regex_rewrite.substitution = rewrite.uri
        else:
            out.route.prefix_rewrite = rewrite.uri
    if rewrite.authority:
        out.route.host_rewrite_literal = rewrite.authority
