"""Redirects and direct responses as Envoy protobuf. Pure."""

from __future__ import annotations

import base64

from envoy.config.route.v3 import route_components_pb2 as route_pb

from sailcloth.view.routes import RoutePlan

_CODES = {
    301: route_pb.RedirectAction.MOVED_PERMANENTLY,
    302: route_pb.RedirectAction.FOUND,
    303: route_pb.RedirectAction.SEE_OTHER,
    307: route_pb.RedirectAction.TEMPORARY_REDIRECT,
    308: route_pb.RedirectAction.PERMANENT_REDIRECT,
}


def route(plan: RoutePlan, out: route_pb.Route) -> None:
    """Sets `redirect` or `direct_response`."""
    rule = plan.rule
    if rule is None:
        return
    if rule.redirect is not None:
        redirect = rule.redirect
        action = route_pb.RedirectAction(
            host_redirect=redirect.authority or "",
            response_code=_CODES.get(redirect.redirect_code or 301, route_pb.RedirectAction.MOVED_PERMANENTLY),
        )
        if redirect.uri:
            exact = plan.match is not None and plan.match.uri is not None and plan.match.uri.prefix is not None
            if exact and redirect.uri.startswith("%PREFIX()%"):
                action.prefix_rewrite = redirect.uri.removeprefix("%PREFIX()%")
            else:
                action.path_redirect = redirect.uri
        if redirect.scheme:
            action.scheme_redirect = redirect.scheme
        port = redirect.port or (plan.port if redirect.derive_port == "FROM_REQUEST_PORT" else 0)
        if port and (port, redirect.scheme) not in ((80, "http"), (443, "https")):
            action.port_redirect = port
        out.redirect.CopyFrom(action)
    elif rule.direct_response is not None:
        out.direct_response.status = rule.direct_response.status
        body = rule.direct_response.body
        if body is not None and body.string is not None:
            out.direct_response.body.inline_string = body.string
        elif body is not None and body.bytes is not None:
            out.direct_response.body.inline_bytes = base64.b64decode(body.bytes)
    elif not plan.targets:
        out.direct_response.status = 500
