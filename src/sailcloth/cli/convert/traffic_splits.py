"""SMI's TrafficSplit: a VirtualService with weighted destinations.

Requests that no match of the split takes go to the service itself. Weights of v1alpha1 are quantities; they become whole numbers of the
same ratio. Must not convert access; `traffic_targets` does.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from math import gcd
from typing import Any

from sailcloth.api.validation import regexes

from .documents import NETWORKING, Document, Losses, Names, Scope, entries, made
from .istio_services import Registry
from .smi_routes import SPLIT, Match, groups, of_group

_SUFFIXES = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9}


def convert(documents: list[Document], scope: Scope) -> list[Document]:
    """Replace all TrafficSplits. HTTPRouteGroups stay, for the TrafficTargets that refer to them."""
    registry, names = Registry.of(documents, scope), Names(documents, scope)
    routes, out = groups(documents, scope), list(documents)
    for document in documents:
        if document.group == SPLIT and document.kind == "TrafficSplit":
            out[out.index(document)] = _virtual_service(document, registry, routes, names)
    return out


def _virtual_service(
    split: Document, registry: Registry, routes: dict[tuple[str, str, str], Document], names: Names
) -> Document:
    scope = registry.scope
    key = split.key(scope.namespace)
    losses = Losses(key)
    service = str(split.spec.get("service") or "")
    weighted = _destinations(split.spec, losses)
    if not service or not weighted:
        losses.add("spec", "the object is left out: it needs service, and backends with a weight above 0", "Give both.")
        return Document({}, sources=(key,), losses=tuple(losses.found))
    matches: list[dict[str, Any]] = []
    listed = entries(split.spec.get("matches"))
    for index, reference in enumerate(listed):
        group = routes.get((str(reference.get("kind") or "HTTPRouteGroup"), key.namespace, str(reference.get("name"))))
        if group is None or group.kind != "HTTPRouteGroup":
            text = f"{reference.get('kind')} {reference.get('name')} is not in the input, so no request of it is split"
            losses.add(f"spec.matches[{index}]", text, "Add it to the input.")
            continue
        for match in of_group(group):
            if (condition := _condition(match, f"spec.matches[{index}]", losses)) is not None:
                matches.append(condition)
    itself: dict[str, Any] = {"route": [{"destination": {"host": service}}]}
    http: list[dict[str, Any]] = [{"route": weighted}]
    if listed:
        http = [*([{"match": matches, "route": weighted}] if matches else []), itself]
    spec: dict[str, Any] = {"hosts": [service]}
    protocols = registry.protocols(scope.resolve(service, key.namespace))
    if "http" in protocols or listed:
        spec["http"] = http
    if "tcp" in protocols and not listed:
        spec["tcp"] = [{"route": weighted}]
    name = names.free("VirtualService", key.namespace, split.name)
    body = made(f"{NETWORKING}/v1", "VirtualService", {**split.own_metadata, "name": name}, spec)
    return Document(body, sources=(key,), losses=tuple(losses.found))


def _destinations(spec: dict[str, Any], losses: Losses) -> list[dict[str, Any]]:
    rows = []
    for index, backend in enumerate(entries(spec.get("backends"))):
        weight = _quantity(backend.get("weight", 0))
        if weight is None:
            text = f"the backend is left out: {backend.get('weight')!r} is no weight"
            losses.add(f"spec.backends[{index}].weight", text, "Write a whole number, such as 90.")
        elif weight > 0 and backend.get("service"):
            rows.append((str(backend["service"]), weight))
    scale = Decimal(1)
    while any((weight * scale) % 1 for _, weight in rows):
        scale *= 10
    whole = [int(weight * scale) for _, weight in rows]
    shared = gcd(*whole) if whole and scale > 1 else 1
    numbers = [n // shared for n in whole]
    if len(rows) == 1:
        return [{"destination": {"host": rows[0][0]}}]
    return [{"destination": {"host": h}, "weight": n} for (h, _), n in zip(rows, numbers, strict=True)]


def _quantity(value: Any) -> Decimal | None:
    """A weight, as a number or a quantity of Kubernetes such as 500m."""
    text = str(value)
    suffix = text[-1:] if text[-1:].isalpha() else ""
    try:
        number = Decimal(text.removesuffix(suffix)) * Decimal(10) ** _SUFFIXES[suffix]
    except (InvalidOperation, KeyError):
        return None
    return number if number.is_finite() and number >= 0 else None


def _condition(match: Match, path: str, losses: Losses) -> dict[str, Any] | None:
    """A match of a VirtualService; None, with a loss, for an expression that RE2 does not know."""
    if match.problem:
        losses.add(
            path, f"the match {match.name} of HTTPRouteGroup {match.group} is left out: {match.problem}", "Correct it."
        )
        return None
    for text in (match.path, *(value for _, value in match.headers)):
        if text and (problem := regexes.problem(text)):
            why = f"the match {match.name} of HTTPRouteGroup {match.group} is left out: {problem}"
            losses.add(path, why, "Write it in RE2's syntax.")
            return None
    out: dict[str, Any] = {"name": match.name} if match.name else {}
    if match.path:
        out["uri"] = {"regex": match.path}
    if match.methods:
        out["method"] = {"exact": match.methods[0]} if len(match.methods) == 1 else {"regex": "|".join(match.methods)}
    if match.headers:
        out["headers"] = {name: {"regex": value} for name, value in match.headers}
    return out
