"""Traces that a subject takes part in, from a tracing system with Jaeger's query API.

A trace is shown to users who may read the namespaces of all of its spans; one with a span whose namespace is not known is for users who
may read all. Must not know how spans are stored.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from aiohttp import web

from . import details, trace_comparison
from .access import Access
from .answers import USER, BadQuery, Missing, answer, flag, number, required, seconds
from .assemble import Scope, Snapshot
from .details import Subject
from .inventory import Inventory
from .schema_details import Traces
from .sources import Tracing
from .trace_spans import Part, is_readable, row, spans, tree

Object = Mapping[str, Any]
_LIMIT, _MOST = 100, 500
_SERVICES, _COMPARED = 12, 200  # services whose traces are compared, and the most traces of each
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
        return [
            web.get("/api/traces", self._list),
            web.get("/api/traces/spans", self._trace),
            web.get("/api/traces/comparison", self._compare),
        ]

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
        return answer(tree(*(await self._one(request))[:2]))

    async def _compare(self, request: web.Request) -> web.Response:
        identifier, parts, snapshot, readable = await self._one(request)
        services = sorted({p.service for p in parts})[:_SERVICES]
        start = snapshot.at - seconds(snapshot.window)
        others: dict[str, list[Part]] = {}
        for name in services:  # one after the other: each answer may be large
            found = await self._tracing.find(name, start, snapshot.at, _COMPARED, False)
            others |= {str(one["traceID"]): spans(one) for one in found}
        seen = {n: o for n, o in others.items() if readable is None or is_readable(o, readable)}
        return answer(trace_comparison.compare(identifier, parts, seen))

    async def _one(self, request: web.Request) -> tuple[str, list[Part], Snapshot, frozenset[str] | None]:
        """(identifier, spans of the trace of a request, what it looks at, namespaces that its user may read or None for all). Raises Missing."""
        identifier = required(request, "id").lower()
        if not _ID.fullmatch(identifier):
            raise BadQuery("id: use hexadecimal digits")
        snapshot, scope = await self._look(request)
        found = await self._tracing.trace(identifier)
        readable = None if await self._access.reads_all(request[USER]) else scope.readable
        parsed = spans(found) if found is not None else []
        if not parsed or not (readable is None or is_readable(parsed, readable)):
            raise Missing(
                f"no trace {identifier}, or it has spans of namespaces that you may not read",
                "Traces are kept for a day; choose another.",
            )
        return identifier, parsed, snapshot, readable


def services(inventory: Inventory, of: Subject) -> list[str]:
    """The names that the subject's proxies give themselves in spans: APPLICATION.NAMESPACE."""
    return sorted({f"{w.app}.{w.namespace}" for w in details.workloads(inventory, of)})


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
        listed.append(row(identifier, parts, takes_part))
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
