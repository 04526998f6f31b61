"""HTTPRoutes of services that speak gRPC as GRPCRoutes, if all that they say can be said of methods and metadata. Else they stay."""

from __future__ import annotations

import re
from typing import Any

_METHOD = re.compile(r"/(?P<service>[A-Za-z_][\w.]*)(?:/(?P<method>\w+))?")
_FILTERS = ("RequestHeaderModifier", "ResponseHeaderModifier", "RequestMirror")


def spec(of_http: dict[str, Any]) -> dict[str, Any] | None:
    """The spec of a GRPCRoute; None if an HTTPRoute is needed."""
    rules = []
    for rule in of_http["rules"]:
        filters = [*rule.get("filters", ()), *(f for b in rule.get("backendRefs", ()) for f in b.get("filters", ()))]
        if {"timeouts", "retry"} & set(rule) or any(f["type"] not in _FILTERS for f in filters):
            return None
        matches = [_match(match) for match in rule.get("matches", ())]
        if any(match is None for match in matches) or not rule.get("backendRefs"):
            return None
        kept = {k: v for k, v in rule.items() if k != "matches"}
        rules.append({**({"matches": matches} if matches != [{}] else {}), **kept})
    return {**of_http, "rules": rules}


def _match(match: dict[str, Any]) -> dict[str, Any] | None:
    if "queryParams" in match or match.get("method") not in (None, "POST"):
        return None
    kind, value = match["path"]["type"], match["path"]["value"]
    headers = {"headers": match["headers"]} if "headers" in match else {}
    if (kind, value) == ("PathPrefix", "/"):
        return headers
    found = _METHOD.fullmatch(value)
    if found is None or kind == "RegularExpression" or (kind == "Exact") != bool(found["method"]):
        return None
    method = {"type": "Exact", "service": found["service"]}
    return {"method": {**method, **({"method": found["method"]} if found["method"] else {})}, **headers}
