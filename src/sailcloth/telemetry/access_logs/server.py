"""Access logs over HTTP: GET /api/v1/requests. Reads the files once a second; searches run in a thread, one at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping

import orjson
from aiohttp import web

from sailcloth.lib import access_log_lines
from sailcloth.telemetry.parameters import parse_time
from sailcloth.telemetry.promql.errors import BadQuery
from sailcloth.telemetry.promql.parsing import parse_duration

from .files import Chunk, LogFiles
from .store import LogStore, Query

_INTERVAL_S, _PODS_S = 1.0, 10.0
_BATCH = 1 << 20  # bytes that are stored as one
_SHARE = 2.0  # how much longer than it has worked it rests, when there is more
_MAX_LIMIT, _WAITING = 10_000, 16
PARAMETERS = frozenset(
    [
        "namespace",
        "workload",
        "pod",
        "peer",
        "direction",
        "status",
        "flags",
        "failed",
        "request_id",
        "trace",
        "method",
        "path",
        "authority",
        "since",
        "start",
        "end",
        "limit",
    ]
)


class AccessLogs:
    """The reader and the API over one store. peers: pods by address. requests_of: the request ids of a trace."""

    def __init__(
        self,
        store: LogStore,
        files: LogFiles,
        peers: Mapping[str, str],
        requests_of: Callable[[str], Collection[str]],
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self.store, self._files, self._peers, self._requests_of, self._now = store, files, peers, requests_of, now_us
        self._lock, self._waiting = asyncio.Lock(), 0

    async def run(self) -> None:
        """Read what comes, until cancelled. Waits for the pods' addresses first, for a while: lines are stored with them."""
        end = time.monotonic() + _PODS_S
        while not self._peers and time.monotonic() < end:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        while True:
            async with self._lock:
                self.store.tidy(self._files.names(), self._now())
            batch: list[Chunk] = []
            size = 0
            for chunk in self._files.chunks():
                batch.append(chunk)
                size += len(chunk.records)
                if size >= _BATCH:
                    await self._keep(batch)
                    batch, size = [], 0
            if batch:
                await self._keep(batch)
            await asyncio.sleep(_INTERVAL_S)

    async def _keep(self, batch: list[Chunk]) -> None:
        async with self._lock:
            begin = time.monotonic()
            self.store.keep(batch, self._peers, self._now())
        await asyncio.sleep(_SHARE * (time.monotonic() - begin))

    def close(self) -> None:
        """Close all files."""
        self._files.close()
        self.store.close()

    def routes(self) -> list[web.RouteDef]:
        """The API."""
        return [web.get("/api/v1/requests", self._requests)]

    async def _requests(self, request: web.Request) -> web.Response:
        try:
            query = self.query(request.query)
        except (BadQuery, ValueError) as error:
            return web.Response(status=400, text=f"{error}\n")
        if self._waiting >= _WAITING:
            return web.Response(status=503, text="too many searches wait for their turn; try again later\n")
        self._waiting += 1
        try:
            async with self._lock:
                matches, complete = await asyncio.to_thread(self.store.find, query)
        finally:
            self._waiting -= 1
        listed = []
        for pod, peer, fields in matches:
            request_fields = access_log_lines.request(pod, fields, {access_log_lines.peer(fields): peer})
            listed.append(request_fields | {"trace_id": fields.get("trace_id")})
        return web.Response(
            body=orjson.dumps({"requests": listed, "complete": complete}), content_type="application/json"
        )

    def query(self, given: Mapping[str, str]) -> Query:
        """The query of a request's parameters. Raises BadQuery and ValueError, whose text names the parameter."""
        if unknown := sorted(given.keys() - PARAMETERS):
            raise ValueError(f"unknown parameter {unknown[0]!r}; there are: {', '.join(sorted(PARAMETERS))}")
        now, text = self._now(), given.get
        namespace, workload, pod = text("namespace", ""), text("workload", ""), text("pod", "")
        peer, direction, limit = text("peer", ""), text("direction", ""), text("limit", "100")
        if direction not in ("", "in", "out"):
            raise ValueError(f"direction: {direction!r} is neither in nor out")
        if not limit.isdecimal() or not 0 < int(limit) <= _MAX_LIMIT:
            raise ValueError(f"limit: {limit!r} is no number from 1 to {_MAX_LIMIT}")
        start = now - round(parse_duration(given["since"]) * 1e6) if text("since") else 0
        ids: Collection[str] | None = [given["request_id"]] if text("request_id") else None
        if text("trace"):
            ids = [i for i in self._requests_of(given["trace"]) if ids is None or i in ids]

        def of(name: str) -> bool:
            return (
                (not namespace or name.startswith(f"{namespace}/"))
                and pod in ("", name.rpartition("/")[2])
                and (not workload or is_of(name, workload))
            )

        return Query(
            pods=of if namespace or workload or pod else None,
            peers=(lambda name: is_of(name, peer)) if peer else None,
            start_us=max(start, parse_time(given["start"]) * 1000 if text("start") else 0),
            end_us=parse_time(given["end"]) * 1000 if text("end") else 0,
            status=access_log_lines.status_range(given["status"]) if text("status") else (0, 999),
            inbound={"in": True, "out": False}.get(direction),
            flags=text("flags", ""),
            failed=text("failed", "") == "true",
            requests=ids,
            method=text("method", "").upper(),
            path=text("path", ""),
            authority=text("authority", ""),
            limit=int(limit),
        )


def is_of(pod: str, workload: str) -> bool:
    """Whether a pod (NAMESPACE/NAME) is of a workload ([NAMESPACE/]NAME), by how controllers name their pods."""
    namespace, _, name = pod.rpartition("/")
    in_namespace, _, short = workload.rpartition("/")
    return in_namespace in ("", namespace) and short in (name, *(name.rsplit("-", n)[0] for n in (1, 2)))
