"""Converts matches and filters of an HTTPRoute's rule to the parts of a VirtualService's route. Pure.

Must not know services, grants or other routes; `http_routes` does. Source: the Gateway API's specification.
"""

from __future__ import annotations

import re

import msgspec

from sailcloth.api import virtual_service as vs
from sailcloth.api.gateway_api import (
    HTTPBackendReference,
    HTTPHeaderFilter,
    HTTPPathModifier,
    HTTPRedirectFilter,
    HTTPRouteFilter,
    HTTPRouteMatch,
    HTTPRouteRule,
    SessionPersistence,
)
from sailcloth.api.meta import Key, StringMatch, duration_ms

from .extended_routes import Session

_RANKS = {"Exact": 0, "PathPrefix": 1, "RegularExpression": 2}


def precedence(match: HTTPRouteMatch) -> tuple[int, int, int, int, int]:
    """Sort key of a match: the more specific match first. Source: HTTPRoute.spec.rules.matches."""
    rank = _RANKS.get(match.path.type, 3)
    if match == HTTPRouteMatch():
        rank = 4  # matches every request: no later route would apply
    return rank, -len(match.path.value), match.method is None, -len(match.headers), -len(match.query_params)


def with_match(converted: vs.HTTPRoute, rule: HTTPRouteRule, match: HTTPRouteMatch, port: int) -> vs.HTTPRoute:
    """A rule with one of its matches, on which prefix rewrites depend."""
    uri = None
    if match.path.type == "Exact":
        uri = StringMatch(exact=match.path.value)
    elif match.path.type == "RegularExpression":
        uri = StringMatch(regex=match.path.value)
    elif match.path.value not in ("", "/"):
        uri = StringMatch(prefix=match.path.value.rstrip("/"))
    condition = vs.HTTPMatchRequest(
        uri=uri,
        method=StringMatch(exact=match.method) if match.method else None,
        headers={h.name: _value(h.type, h.value) for h in reversed(match.headers)},
        query_params={q.name: _value(q.type, q.value) for q in reversed(match.query_params)},
        port=port or None,
    )
    everything = vs.HTTPMatchRequest()
    rewrite = next((f.url_rewrite for f in rule.filters if f.url_rewrite is not None), None)
    converted_rewrite = (
        _rewritten(rewrite.path, rewrite.hostname, match) if rewrite is not None and converted.route else None
    )
    return msgspec.structs.replace(
        converted, match=() if condition == everything else (condition,), rewrite=converted_rewrite
    )


def _value(kind: str, value: str) -> StringMatch:
    return StringMatch(regex=value) if kind == "RegularExpression" else StringMatch(exact=value)


def _rewritten(path: HTTPPathModifier | None, hostname: str | None, match: HTTPRouteMatch) -> vs.HTTPRewrite:
    if path is None:
        return vs.HTTPRewrite(authority=hostname)
    if path.type == "ReplaceFullPath":
        whole = vs.RegexRewrite(match="/.*", rewrite=path.replace_full_path or "/")
        return vs.HTTPRewrite(authority=hostname, uri_regex_rewrite=whole)
    old, new = match.path.value.rstrip("/"), (path.replace_prefix_match or "").rstrip("/")
    if new:
        if old:
            return vs.HTTPRewrite(authority=hostname, uri=new)
        return vs.HTTPRewrite(
            authority=hostname, uri_regex_rewrite=vs.RegexRewrite(match="^/(.*)", rewrite=f"{new}/\\1")
        )
    # Without a replacement, the remainder keeps its slash; an empty remainder becomes `/`.
    remainder = vs.RegexRewrite(match=f"^{re.escape(old)}(/?)(.*)", rewrite="/\\2")
    return vs.HTTPRewrite(authority=hostname, uri_regex_rewrite=remainder)


def is_of_backend(step: HTTPRouteFilter) -> bool:
    """Whether a filter of a backend makes its requests a route of their own: Envoy has no rewrites or redirects of single destinations."""
    return step.url_rewrite is not None or step.request_redirect is not None


def for_backend(rule: HTTPRouteRule, backend: HTTPBackendReference) -> HTTPRouteRule:
    """The rule for the requests of one of its backends, whose filters count before the rule's."""
    own = tuple(f for f in backend.filters if is_of_backend(f))
    changed = {f.type for f in own}
    rest = tuple(f for f in rule.filters if not (is_of_backend(f) and changed))
    left = msgspec.structs.replace(backend, filters=tuple(f for f in backend.filters if not is_of_backend(f)))
    redirected = any(f.request_redirect is not None for f in own)
    headers_ = left.filters if redirected and not any(_is_headers(f) for f in rest) else ()
    return msgspec.structs.replace(rule, backend_refs=(left,), filters=(*rest, *headers_, *own))


def _is_headers(step: HTTPRouteFilter) -> bool:
    return step.request_header_modifier is not None or step.response_header_modifier is not None


def session(persistence: SessionPersistence | None, key: Key, index: int) -> Session | None:
    """The session that a rule keeps; its default name is of the route and the rule."""
    if persistence is None:
        return None
    name = persistence.session_name or f"session-{key.name}-{index}"
    lasting = persistence.type == "Cookie" and persistence.cookie_config.lifetime_type == "Permanent"
    lifetime = duration_ms(timeout(persistence.absolute_timeout)) or 0 if lasting else 0
    return Session(name=name, header=persistence.type == "Header", lifetime_ms=round(lifetime))


def session_problem(persistence: SessionPersistence | None) -> str:
    """What of a session cannot be kept; empty for nothing."""
    if persistence is None:
        return ""
    if persistence.type not in ("Cookie", "Header"):
        return f"sessionPersistence.type {persistence.type} is unknown; use Cookie or Header"
    if persistence.type == "Header" and not persistence.session_name:
        return "sessionPersistence.sessionName is needed for type Header"
    if timeout(persistence.idle_timeout) is not None:
        return "sessionPersistence.idleTimeout is not supported; use absoluteTimeout"
    if persistence.type == "Cookie" and persistence.cookie_config.lifetime_type == "Permanent":
        return (
            ""
            if timeout(persistence.absolute_timeout)
            else "a permanent cookie needs sessionPersistence.absoluteTimeout"
        )
    if timeout(persistence.absolute_timeout):
        return "sessionPersistence.absoluteTimeout is for cookies with cookieConfig.lifetimeType: Permanent"
    return ""


def redirect_path(path: HTTPPathModifier | None) -> str | None:
    """The path of a redirect; None if it keeps the path."""
    if path is None:
        return None
    if path.type == "ReplaceFullPath":
        return path.replace_full_path
    return f"%PREFIX()%{path.replace_prefix_match or '/'}"


def derived_port(redirect: HTTPRedirectFilter) -> str | None:
    """How the port of a redirect without one is found: the scheme's default port, or the request's port if it keeps the scheme."""
    if redirect.port is not None:
        return None
    return "FROM_PROTOCOL_DEFAULT" if redirect.scheme else "FROM_REQUEST_PORT"


def headers(filters: tuple[HTTPRouteFilter, ...]) -> vs.Headers | None:
    """The header operations of a rule's or backend's filters; None without any."""
    request = next((f.request_header_modifier for f in filters if f.request_header_modifier is not None), None)
    response = next((f.response_header_modifier for f in filters if f.response_header_modifier is not None), None)
    if request is None and response is None:
        return None
    return vs.Headers(request=_operations(request), response=_operations(response))


def _operations(header_filter: HTTPHeaderFilter | None) -> vs.HeaderOperations | None:
    if header_filter is None:
        return None
    return vs.HeaderOperations(
        set={h.name: _formatted(h.value) for h in header_filter.set},
        add={h.name: _formatted(h.value) for h in header_filter.add},
        remove=header_filter.remove,
    )


def _formatted(value: str) -> str:
    """A value as the Gateway API means it: a per cent sign stands for itself."""
    return value.replace("%", "%%")


def cors_policy(step: HTTPRouteFilter) -> vs.CorsPolicy | None:
    """The CORS policy of a filter; None for other filters."""
    cors = step.cors
    if cors is None:
        return None
    return vs.CorsPolicy(
        allow_origins=tuple(_origin(o) for o in cors.allow_origins),
        allow_methods=cors.allow_methods,
        allow_headers=cors.allow_headers,
        expose_headers=cors.expose_headers,
        allow_credentials=cors.allow_credentials,
        max_age=f"{cors.max_age}s" if cors.max_age is not None else None,
        unmatched_preflights="IGNORE",
    )


def _origin(text: str) -> StringMatch:
    if "*" not in text:
        return StringMatch(exact=text)
    return StringMatch(regex=".*".join(re.escape(part) for part in text.split("*")))


def timeout(text: str | None) -> str | None:
    """A duration; 0 means none."""
    return None if text is None or re.fullmatch(r"0+(ns|us|µs|ms|s|m|h)?", text) else text
