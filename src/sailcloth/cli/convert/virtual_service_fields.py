"""Fields of VirtualServices that Istio 1.x had and removed, in their later form. Must not touch a VirtualService without them.

Upgrades to websocket are always allowed today, so `websocketUpgrade` goes without a loss.
"""

from __future__ import annotations

import copy
from typing import Any

from .documents import NETWORKING, Document, Losses, Scope, entries, mapping, number, services, texts

_HEADERS = {
    "appendHeaders": ("request", "add"),
    "appendRequestHeaders": ("request", "add"),
    "appendResponseHeaders": ("response", "add"),
    "removeRequestHeaders": ("request", "remove"),
    "removeResponseHeaders": ("response", "remove"),
}


def convert(documents: list[Document], scope: Scope) -> list[Document]:
    """Rewrite the VirtualServices that have removed fields."""
    ports = {k: {p.name: p.port for p in s.spec.ports} for k, s in services(documents, scope).items()}
    out = []
    for document in documents:
        if document.group == NETWORKING and document.kind == "VirtualService":
            body, losses = copy.deepcopy(document.body), Losses(document.key(scope.namespace))
            for protocol in ("http", "tls", "tcp"):
                for index, route in enumerate(entries(mapping(body.get("spec")).get(protocol))):
                    if protocol == "http":
                        _route(route)
                    _ports(route, f"spec.{protocol}[{index}]", losses, scope, ports)
            if body != document.body:
                body["apiVersion"] = f"{NETWORKING}/v1"
                document = document.replaced(body, losses.found)
        out.append(document)
    return out


def _route(route: dict[str, Any]) -> None:
    for name in ("websocketUpgrade", "websocket_upgrade"):
        route.pop(name, None)
    _headers(route)
    for destination in entries(route.get("route")):
        _headers(destination)
    percents = [_taken(route, name) for name in ("mirrorPercent", "mirror_percent")]
    share = next((p for p in percents if p is not None), None)
    if share is not None and route.get("mirrorPercentage") is None and "mirror" in route:
        route["mirrorPercentage"] = {"value": number(share)}
    for name in ("delay", "abort"):
        part = mapping(mapping(route.get("fault")).get(name))
        share = _taken(part, "percent")
        if share is not None and part.get("percentage") is None:
            part["percentage"] = {"value": number(share)}
    for name in ("corsPolicy", "cors_policy"):
        cors = mapping(route.get(name))
        origins = [_taken(cors, "allowOrigin"), _taken(cors, "allow_origin")]
        exact = [{"exact": origin} for listed in origins for origin in texts(listed)]
        if exact and not cors.get("allowOrigins"):
            cors["allowOrigins"] = exact


def _taken(part: dict[str, Any], name: str) -> Any:
    return part.pop(name, None)


def _headers(part: dict[str, Any]) -> None:
    """Header changes of a route or a destination; what `headers` already says stays."""
    for old, (direction, operation) in _HEADERS.items():
        for name in (old, "".join(f"_{c.lower()}" if c.isupper() else c for c in old)):
            value = part.pop(name, None)
            if not value:
                continue
            headers = part["headers"] = mapping(part.get("headers"))
            operations = headers[direction] = mapping(headers.get(direction))
            if operation == "add":
                operations["add"] = {**mapping(value), **mapping(operations.get("add"))}
            else:
                operations["remove"] = list(dict.fromkeys([*texts(operations.get("remove")), *texts(value)]))


def _ports(
    route: dict[str, Any],
    path: str,
    losses: Losses,
    scope: Scope,
    ports: dict[tuple[str, str], dict[str, int]],
) -> None:
    """Ports of destinations by name, which are by number only."""
    rows = [
        (f"{path}.route[{i}].destination", mapping(r.get("destination")))
        for i, r in enumerate(entries(route.get("route")))
    ]
    for at, destination in [*rows, (f"{path}.mirror", mapping(route.get("mirror")))]:
        name = mapping(destination.get("port")).get("name")
        if name is None:
            continue
        host = scope.resolve(str(destination.get("host") or ""), losses.key.namespace)
        number = ports.get(scope.service_of(host) or ("", ""), {}).get(str(name))
        if number is not None:
            destination["port"] = {"number": number}
            continue
        del destination["port"]
        text = f"a port by name ({name}) cannot be said, and its Service is not in the input"
        losses.add(f"{at}.port.name", text, "Give port.number, or add the Service to the input.")
