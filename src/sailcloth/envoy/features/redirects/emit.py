"""Redirects and direct responses as Envoy protobuf. Pure."""

from __future__ import annotations

import base64
import re

from envoy.config.core.v3 import base_pb2
from envoy.config.route.v3 import route_components_pb2 as route_pb

from sailcloth.api.virtual_service import HTTPRedirect
from sailcloth.envoy.resources import service_metadata
from sailcloth.view.routes import RoutePlan

_CODES = {
    301: route_pb.RedirectAction.MOVED_PERMANENTLY,
    302: route_pb.RedirectAction.FOUND,
    303: route_pb.RedirectAction.SEE_OTHER,
    307: route_pb.RedirectAction.TEMPORARY_REDIRECT,
    308: route_pb.RedirectAction.PERMANENT_REDIRECT,
}
_NOWHERE = "unknown"  # the destination in metrics: the answer comes from the proxy itself
_DEFAULT_PORTS = {"http": 80, "https": 443}
_SEGMENTS = "%PREFIX()%"  # a redirect of an HTTPRoute that replaces the matched segments of the path

# Envoy keeps the port of the request's host unless the host is replaced. This leaves it out of the finished location.
_WITHOUT_PORT = (
    "%CEL(re.extract(response.headers['location'], "
    r"'^([a-z]+://(?:[[][^]]*[]]|[^:/?#]*))(?::[0-9]+)?(.*)$', '\\1\\2'))%"
)


def route(plan: RoutePlan, out: route_pb.Route) -> None:
    """Sets `redirect` or `direct_response`."""
    rule = plan.rule
    if rule is None or (rule.redirect is None and rule.direct_response is None):
        return
    service_metadata.add(out.metadata, name=_NOWHERE)
    if rule.redirect is not None:
        _redirect(plan, rule.redirect, out)
    elif rule.direct_response is not None:
        out.direct_response.status = rule.direct_response.status
        body = rule.direct_response.body
        if body is not None and body.string is not None:
            out.direct_response.body.inline_string = body.string
        elif body is not None and body.bytes is not None:
            out.direct_response.body.inline_bytes = base64.b64decode(body.bytes)
    elif not plan.targets:
        out.direct_response.status = 500


def _redirect(plan: RoutePlan, redirect: HTTPRedirect, out: route_pb.Route) -> None:
    action = route_pb.RedirectAction(
        host_redirect=redirect.authority or "",
        response_code=_CODES.get(redirect.redirect_code or 301, route_pb.RedirectAction.MOVED_PERMANENTLY),
    )
    if redirect.scheme:
        action.scheme_redirect = redirect.scheme
    if redirect.prefix_rewrite is not None:
        action.prefix_rewrite = redirect.prefix_rewrite
    elif redirect.uri and redirect.uri.startswith(_SEGMENTS):
        _replace_segments(plan, redirect.uri.removeprefix(_SEGMENTS).rstrip("/"), action)
    elif redirect.uri:
        action.path_redirect = redirect.uri
    port = redirect.port or 0
    if redirect.derive_port == "FROM_REQUEST_PORT" and redirect.authority:
        port = plan.port
    if redirect.derive_port == "FROM_PROTOCOL_DEFAULT" or port == _DEFAULT_PORTS.get(redirect.scheme or "", -1):
        if not redirect.authority:
            out.response_headers_to_add.add(
                header=base_pb2.HeaderValue(key="location", value=_WITHOUT_PORT),
                append_action=base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS,
            )
    elif port and (redirect.port or port not in _DEFAULT_PORTS.values()):
        action.port_redirect = port
    out.redirect.CopyFrom(action)


def _replace_segments(plan: RoutePlan, new: str, action: route_pb.RedirectAction) -> None:
    """Replaces the matched segments of the path by `new`, which does not end with a slash."""
    uri = plan.match.uri if plan.match is not None else None
    old = ((uri.prefix if uri is not None else None) or "").rstrip("/")
    if old and new:
        action.prefix_rewrite = new
        return
    action.regex_rewrite.pattern.regex = f"^{re.escape(old)}/?(.*)"
    action.regex_rewrite.substitution = f"{new}/\\1"
