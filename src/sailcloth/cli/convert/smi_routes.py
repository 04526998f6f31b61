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
    """One match of an HTTPRouteGroup. `methods`: none for all; `headers`: expressions by name; an empty `path` is any."""

    group: str
    name: str
    path: str
    methods: tuple[str, ...]
    headers: tuple[tuple[str, str], ...]


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
    )


def ports_of(document: Document) -> list[int]:
    """The ports of a TCPRoute; none for all."""
    listed = mapping(document.spec.get("matches")).get("ports")
    return [int(port) for port in listed] if isinstance(listed, list) else []


def groups(documents: Iterable[Document], scope: Scope) -> dict[tuple[str, str, str], Document]:
    """The route objects by (kind, namespace, name)."""
    return {
        (d.kind, d.key(scope.namespace).namespace, d.name): d
        for d in documents
        if d.group == SPECS and d.kind in ROUTES
    }
