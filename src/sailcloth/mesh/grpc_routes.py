"""GRPCRoutes of the Gateway API as HTTPRoutes: a gRPC method is a path. Pure. Source: the API's specification."""

from __future__ import annotations

import re

from sailcloth.api.gateway_api import (
    GRPCMethodMatch,
    GRPCRoute,
    HTTPPathMatch,
    HTTPRoute,
    HTTPRouteMatch,
    HTTPRouteRule,
    HTTPRouteSpec,
)


def as_http(route: GRPCRoute) -> HTTPRoute:
    """The same route, by paths."""
    rules = tuple(
        HTTPRouteRule(
            name=rule.name,
            matches=tuple(HTTPRouteMatch(path=_path(m.method), headers=m.headers) for m in rule.matches),
            filters=rule.filters,
            backend_refs=rule.backend_refs,
            session_persistence=rule.session_persistence,
        )
        for rule in route.spec.rules
    )
    spec = HTTPRouteSpec(parent_refs=route.spec.parent_refs, hostnames=route.spec.hostnames, rules=rules)
    return HTTPRoute(metadata=route.metadata, spec=spec)


def _path(method: GRPCMethodMatch | None) -> HTTPPathMatch:
    if method is None or not (method.service or method.method):
        return HTTPPathMatch()
    if method.type == "RegularExpression":
        return HTTPPathMatch(type="RegularExpression", value=f"/{method.service or '[^/]+'}/{method.method or '[^/]+'}")
    if not method.service:
        return HTTPPathMatch(type="RegularExpression", value=f"/[^/]+/{re.escape(method.method)}")
    if not method.method:
        return HTTPPathMatch(type="PathPrefix", value=f"/{method.service}")
    return HTTPPathMatch(type="Exact", value=f"/{method.service}/{method.method}")
