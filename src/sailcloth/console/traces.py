"""Traces that a subject takes part in, from a tracing system with Jaeger's query API.

A trace is shown to users who may read the namespaces of all of its spans; one with a span whose namespace is not known is for users who
may read all. Must not know how spans are stored.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from . import details
from .access import Access
from .answers import USER, BadQuery, Missing, answer, flag, number, required, seconds
from .assemble import Scope, Snapshot
from .details import Subject
from .inventory import Inventory
from .schema_details import Span, Trace, TraceRow, Traces
from .sources import Tracing

Object = Mapping[str, Any]
_LIMIT, _MOST = 100, 500
_SPARE = 4  # asked for this many times as many traces as are shown: some are others' or hidden
_ID = re.compile(r"[0-9a-f]{1,32}")


class TracePages:
    """The routes of traces. look: what a request asks for, and what its user may see."""

    def __init__(
        self,
        tracing: Tracing,
        access: Access,
        look: Callable[[web.Request], Awaitable[tuple[Snapshot, Scope]]],
    ) -> None:
        self._tracing, self._access, self._look = tracing, access, look

    def routes(self) -> list[web.RouteDef]:
        """What they serve."""
        return [web.get("/api/traces", self._list), web.get("/api/traces/spans", self._trace)]

    async def _list(self, request: web.Request) -> web.Response:
        limit, errors = number(request, "limit", _LIMIT, _MOST), flag(request, "errors", False)
        snapshot, scope = await self._look(request)
        of = details.subject(request.query, scope.readable)
        details.item(snapshot, of)
        readable = None if await self._access.reads_all(request[USER]) else scope.readable
        end = snapshot.at
        start = end - seconds(snapshot.window)
        found = await asyncio.gather(
            *(self._tracing.find(name, start, end, limit * _SPARE, errors) for name in services(snapshot.inventory, of))
        )
        return answer(rows(snapshot.inventory, of, (one for each in found for one in each), readable, limit, errors))

    async def _trace(self, request: web.Request) -> web.Response:
        identifier = required(request, "id").lower()
        if not _ID.fullmatch(identifier):
            raise BadQuery("id: use hexadecimal digits")
        _, scope = await self._look(request)
        found = await self._tracing.trace(identifier)
        everything = await self._access.reads_all(request[USER])
        parsed = spans(found) if found is not None else []
        if not parsed or not (everything or is_readable(parsed, scope.readable)):
            raise Missing(
                f"no trace {identifier}, or it has spans of namespaces that you may not read",
                "Traces are kept for a day; choose another.",
            )
        return answer(tree(identifier, parsed))


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


def services(inventory: Inventory, of: Subject) -> list[str]:
    """The names that the subject's proxies give themselves in spans: APPLICATION.NAMESPACE."""
    return sorted({f"{w.app}.{w.namespace}" for w in details.workloads(inventory, of)})


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


def rows(
    inventory: Inventory,
    of: Subject,
    found: Iterable[Object],
    readable: frozenset[str] | None,
    limit: int,
    errors: bool,
) -> Traces:
    """The list of traces, the latest first. readable: the namespaces that the user may read; None: all."""
    takes_part = _takes_part(inventory, of)
    unique: dict[str, list[Part]] = {}
    for one in found:
        unique.setdefault(str(one["traceID"]), spans(one))
    listed, hidden = [], 0
    for identifier, parts in unique.items():
        if not any(map(takes_part, parts)) or (errors and not any(p.error for p in parts)):
            continue
        if readable is not None and not is_readable(parts, readable):
            hidden += 1
            continue
        first = min(parts, key=lambda p: p.start)
        listed.append(
            TraceRow(
                id=identifier,
                start=first.start / 1e6,
                duration=(max(p.start + p.duration for p in parts) - first.start) / 1e3,
                operation=first.operation,
                services=list(dict.fromkeys(p.service for p in sorted(parts, key=lambda p: p.start))),
                spans=len(parts),
                errors=sum(p.error for p in parts),
            )
        )
    return Traces(traces=sorted(listed, key=lambda row: -row.start)[:limit], hidden=hidden)


def _takes_part(inventory: Inventory, of: Subject) -> Callable[[Part], bool]:
    """Whether a span is one of the subject's."""
    names = set(services(inventory, of))
    if of.kind == "service":
        host = f"{of.name}.{of.namespace}."
        return lambda part: part.operation.startswith(host) or f"|{host}" in part.tags.get("upstream_cluster", "")
    if of.kind == "app":
        return lambda part: part.service in names
    return lambda part: (part.service in names and _pod(part).startswith(f"{of.name}-")) or _pod(part) == of.name


def _pod(part: Part) -> str:
    """The pod whose proxy made a span, from its node id: sidecar~ADDRESS~POD.NAMESPACE~DOMAIN."""
    fields = part.tags.get("node_id", "").split("~")
    return fields[2].rpartition(".")[0] if len(fields) == 4 else ""


def tree(identifier: str, parts: list[Part]) -> Trace:
    """A trace with its spans in the order of their tree. A client's and a server's span may have the same id."""
    origin = min(p.start for p in parts)
    by_id: dict[str, list[Part]] = {}
    for part in sorted(parts, key=lambda p: (p.kind == "server", p.start)):
        by_id.setdefault(part.id, []).append(part)
    children: dict[int, list[Part]] = {}
    for same in by_id.values():
        for above, part in zip([None, *same[:-1]], same, strict=True):
            parents = by_id.get(part.parent, ()) if part.parent != part.id else ()
            parent = above or (parents[-1] if parents else None)
            children.setdefault(id(parent) if parent is not None else 0, []).append(part)

    def walk() -> Iterator[tuple[int, Part]]:
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
            for depth, part in walk()
        ],
    )
