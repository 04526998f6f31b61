"""Spans of a trace in Jaeger's JSON, their tree, and a trace as a row. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .schema_details import Span, Trace, TraceRow

Object = Mapping[str, Any]


@dataclass(frozen=True)
class Part:
    """A span as it came. Times in microseconds; `namespace` is empty if it is not known."""

    id: str
    parent: str
    service: str
    namespace: str
    operation: str
    kind: str
    start: int
    duration: int
    error: bool
    tags: Mapping[str, str]


def spans(trace: Object) -> list[Part]:
    """The spans of a trace in Jaeger's JSON."""
    processes = trace.get("processes") or {}
    parts = []
    for one in trace["spans"]:
        tags = {str(t["key"]): _text(t.get("value")) for t in one.get("tags") or ()}
        service = str((processes.get(one.get("processID")) or {}).get("serviceName") or "")
        parents = [r["spanID"] for r in one.get("references") or () if r.get("refType") == "CHILD_OF"]
        parts.append(
            Part(
                id=str(one["spanID"]),
                parent=str(parents[0]) if parents else "",
                service=service,
                namespace=tags.get("istio.namespace") or service.partition(".")[2],
                operation=str(one.get("operationName") or ""),
                kind=tags.get("span.kind", "internal"),
                start=int(one.get("startTime") or 0),
                duration=int(one.get("duration") or 0),
                error=tags.get("error", "false") not in ("false", ""),
                tags={k: v for k, v in sorted(tags.items()) if k != "span.kind" and v not in ("-", "")},
            )
        )
    return parts


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def is_readable(parts: Iterable[Part], readable: frozenset[str]) -> bool:
    """Whether all spans are in these namespaces."""
    return all(part.namespace in readable for part in parts)


def row(identifier: str, parts: Sequence[Part], own: Callable[[Part], bool] = lambda _: False) -> TraceRow:
    """A trace as a row. own: whether a span is of the subject that the row is shown for."""
    first = min(parts, key=lambda p: p.start)
    longest: dict[str, float] = {}
    for part in filter(own, parts):
        side = "outbound" if part.kind == "client" else "inbound"
        longest[side] = max(longest.get(side, 0.0), part.duration / 1e3)
    return TraceRow(
        id=identifier,
        start=first.start / 1e6,
        duration=(max(p.start + p.duration for p in parts) - first.start) / 1e3,
        operation=first.operation,
        services=list(dict.fromkeys(p.service for p in sorted(parts, key=lambda p: p.start))),
        spans=len(parts),
        errors=sum(p.error for p in parts),
        own=longest,
    )


def ordered(parts: Sequence[Part]) -> Iterator[tuple[int, Part]]:
    """(depth, span) in the order of their tree. A client's and a server's span may have the same id."""
    by_id: dict[str, list[Part]] = {}
    for part in sorted(parts, key=lambda p: (p.kind == "server", p.start)):
        by_id.setdefault(part.id, []).append(part)
    children: dict[int, list[Part]] = {}
    for same in by_id.values():
        for above, part in zip([None, *same[:-1]], same, strict=True):
            parents = by_id.get(part.parent, ()) if part.parent != part.id else ()
            parent = above or (parents[-1] if parents else None)
            children.setdefault(id(parent) if parent is not None else 0, []).append(part)

    seen: set[int] = set()
    waiting = [(0, part) for part in sorted(children.get(0, ()), key=lambda p: p.start, reverse=True)]
    while waiting:
        depth, part = waiting.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        yield depth, part
        below = sorted(children.get(id(part), ()), key=lambda p: p.start, reverse=True)
        waiting += [(depth + 1, child) for child in below]
    yield from ((0, part) for part in parts if id(part) not in seen)  # a circle of parents


def tree(identifier: str, parts: Sequence[Part]) -> Trace:
    """A trace with its spans in the order of their tree."""
    origin = min(p.start for p in parts)
    return Trace(
        id=identifier,
        start=origin / 1e6,
        duration=(max(p.start + p.duration for p in parts) - origin) / 1e3,
        spans=[
            Span(
                id=part.id,
                parent=part.parent,
                depth=depth,
                service=part.service,
                operation=part.operation,
                kind=part.kind,
                start=(part.start - origin) / 1e3,
                duration=part.duration / 1e3,
                error=part.error,
                tags=dict(part.tags),
            )
            for depth, part in ordered(parts)
        ],
    )
