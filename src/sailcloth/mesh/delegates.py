"""Delegation: merges the routes of a delegate VirtualService into a route of a root one. Pure. Source: istio.md 2.6.

A delegate may only narrow the root's matches. It inherits the fields that it does not set.
"""

from __future__ import annotations

from typing import Any

import msgspec

from sailcloth.api.meta import StringMatch
from sailcloth.api.virtual_service import Abort, Delay, Destination, HTTPMatchRequest, HTTPRoute, VirtualService

from . import hosts

_INHERITED = (
    "rewrite",
    "direct_response",
    "timeout",
    "retries",
    "fault",
    "mirror",
    "mirrors",
    "mirror_percent",
    "mirror_percent_deprecated",
    "mirror_percentage",
    "cors_policy",
    "headers",
)
_MERGED = ("headers", "fault")  # parts that root and delegate may both set: joined, the delegate has the last word
_MAPS = ("headers", "without_headers", "query_params", "source_labels")
_SINGLE = ("scheme", "method", "authority", "port", "source_namespace")


def merge(
    root: HTTPRoute, delegate: VirtualService, namespace: str, root_namespace: str, domain: str
) -> list[HTTPRoute]:
    """The delegate's routes that replace the root's route. Drops routes whose matches are not within the root's.

    Completes destination hosts with the delegate's `namespace`, because the root may be in another (`root_namespace`).
    """
    routes = []
    for route in delegate.spec.http:
        matches = _matches(root.match, route.match)
        if matches is None or route.delegate is not None:
            continue
        fields: dict[str, Any] = {"match": matches, "name": _join(root.name, route.name)}
        for field in _INHERITED:
            value = getattr(route, field)
            fields[field] = value if value not in (None, ()) else getattr(root, field)
        for field in _MERGED:
            fields[field] = _merged(getattr(root, field), getattr(route, field))
        merged = msgspec.structs.replace(route, **fields)
        routes.append(merged if namespace == root_namespace else _qualified(merged, namespace, domain))
    return routes


def _merged(root: Any, delegate: Any) -> Any:
    """Two values of one field: objects field by field, maps key by key, lists one after the other. A delay or an abort stays as
    one of the two wrote it, since its fields belong together."""
    if root is None or delegate is None:
        return root if delegate is None else delegate
    if isinstance(delegate, (Delay, Abort)):
        return delegate
    if isinstance(delegate, msgspec.Struct):
        fields = {f: _merged(getattr(root, f), getattr(delegate, f)) for f in delegate.__struct_fields__}
        return msgspec.structs.replace(delegate, **fields)
    if isinstance(delegate, dict):
        return {**root, **delegate}
    return tuple(dict.fromkeys((*root, *delegate))) if isinstance(delegate, tuple) else delegate


_Matches = tuple[HTTPMatchRequest, ...]


def _join(*names: str | None) -> str | None:
    return "-".join(n for n in names if n) or None


def _matches(root: _Matches, delegate: _Matches) -> _Matches | None:
    """All intersections of a root's match with a delegate's match within it; None if one of the delegate's is within none."""
    if not root or not delegate:
        return delegate or root
    matches = []
    for narrow in delegate:
        joined = [_intersection(wide, narrow) for wide in root if _fits(wide, narrow)]
        if not joined:
            return None
        matches += joined
    return tuple(matches)


def _fits(wide: HTTPMatchRequest, narrow: HTTPMatchRequest) -> bool:
    for field in ("uri", *_SINGLE):
        a, b = getattr(wide, field), getattr(narrow, field)
        if a is not None and b is not None and a != b and not (isinstance(a, StringMatch) and _within(a, b)):
            return False
    for field in _MAPS:
        a, b = getattr(wide, field), getattr(narrow, field)
        for key in a.keys() & b.keys():
            if a[key] != b[key] and not (isinstance(a[key], StringMatch) and _within(a[key], b[key])):
                return False
    return not (wide.gateways and narrow.gateways and not set(narrow.gateways) <= set(wide.gateways))


def _within(wide: StringMatch, narrow: StringMatch) -> bool:
    """Whether `wide` matches everything that `narrow` matches, as far as this can be decided."""
    if wide.regex is not None:
        return False
    if wide.exact is not None:
        return narrow.exact == wide.exact
    if wide.prefix is not None:
        text = narrow.exact if narrow.exact is not None else narrow.prefix
        return text is not None and text.startswith(wide.prefix)
    return True


def _intersection(wide: HTTPMatchRequest, narrow: HTTPMatchRequest) -> HTTPMatchRequest:
    fields: dict[str, Any] = {"name": _join(wide.name, narrow.name)}
    for field in ("uri", "gateways", "stat_prefix", *_SINGLE):
        value = getattr(narrow, field)
        fields[field] = value if value not in (None, ()) else getattr(wide, field)
    for field in _MAPS:
        fields[field] = {**getattr(wide, field), **getattr(narrow, field)}
    fields["ignore_uri_case"] = narrow.ignore_uri_case if narrow.uri is not None else wide.ignore_uri_case
    return msgspec.structs.replace(narrow, **fields)


def _qualified(route: HTTPRoute, namespace: str, domain: str) -> HTTPRoute:
    def full(destination: Destination) -> Destination:
        return msgspec.structs.replace(destination, host=hosts.resolve(destination.host, namespace, domain))

    return msgspec.structs.replace(
        route,
        route=tuple(msgspec.structs.replace(r, destination=full(r.destination)) for r in route.route),
        mirror=full(route.mirror) if route.mirror else None,
        mirrors=tuple(msgspec.structs.replace(m, destination=full(m.destination)) for m in route.mirrors),
    )
