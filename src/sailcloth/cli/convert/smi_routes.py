"""What SMI's TrafficSplit and TrafficTarget share: HTTPRouteGroups and TCPRoutes of specs.smi-spec.io, of any version."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from .documents import Document, Scope, entries, mapping, texts

SPLIT, ACCESS, SPECS = "split.smi-spec.io", "access.smi-spec.io", "specs.smi-spec.io"
ROUTES = ("HTTPRouteGroup", "TCPRoute", "UDPRoute")


@dataclass(frozen=True)
class Match:
    """One match of an HTTPRouteGroup. `methods`: none for all; `headers`: expressions by name; an empty `path` is any; `problem`: why it
    is none."""

    group: str
    name: str
    path: str
    methods: tuple[str, ...]
    headers: tuple[tuple[str, str], ...]
    problem: str = ""


def of_group(document: Document) -> list[Match]:
    """The matches of an HTTPRouteGroup; before v1alpha3 they are beside the metadata."""
    rows = entries(document.spec.get("matches")) or entries(document.body.get("matches"))
    return [_match(document.name, row) for row in rows]


def _match(group: str, row: dict[str, Any]) -> Match:
    methods = tuple(m.upper() for m in texts(row.get("methods")))
    headers = row.get("headers")
    pairs = [mapping(headers)] if isinstance(headers, dict) else entries(headers)
    return Match(
        group,
        str(row.get("name") or ""),
        str(row.get("pathRegex") or ""),
        () if "*" in methods else methods,
        tuple((str(k).lower(), str(v)) for pair in pairs for k, v in pair.items()),
        _problem(row),
    )


def _problem(row: dict[str, Any]) -> str:
    """The field of a match that has not its type: without it, the match would be of more requests."""
    methods, headers, path = row.get("methods", []), row.get("headers", {}), row.get("pathRegex", "")
    if not isinstance(methods, list) or not all(isinstance(m, str) for m in methods):
        return "methods is no list of texts"
    if not isinstance(headers, dict) and (not isinstance(headers, list) or len(entries(headers)) != len(headers)):
        return "headers is no list of maps"
    return "" if isinstance(path, str) else "pathRegex is no text"


def ports_of(document: Document) -> list[int] | None:
    """The ports of a TCPRoute, none for all; None if they are no numbers."""
    matches = document.spec.get("matches", {})
    listed = matches.get("ports", []) if isinstance(matches, dict) else None
    return listed if isinstance(listed, list) and all(type(port) is int for port in listed) else None


def groups(documents: Iterable[Document], scope: Scope) -> dict[tuple[str, str, str], Document]:
    """The route objects by (kind, namespace, name)."""
    return {
        (d.kind, d.key(scope.namespace).namespace, d.name): d
        for d in documents
        if d.group == SPECS and d.kind in ROUTES
    }
