"""Logs of the pods of a subject, interleaved by time: read once, or followed as server-sent events.

The console reads them with its own right, for users who may `get` `pods/log` in the namespace. Must not keep lines.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import logging
import re
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import msgspec
from aiohttp import web

from sailcloth.analysis import access_log_words
from sailcloth.kube import ApiError, pod_logs
from sailcloth.kube.pod_logs import Line, LogOptions, Source
from sailcloth.lib import access_log_lines

from . import details
from .access import Access, Question, Refused, User
from .answers import HEADERS, USER, BadQuery, Forbidden, answer, event, number, problem
from .assemble import Scope, Snapshot
from .details import Subject
from .schema_details import AccessLog, AccessLogField, AccessLogLine, LogLine, LogLines
from .sources import Cluster

log = logging.getLogger(__name__)

Object = Mapping[str, Any]
Level = Literal["error", "warning", "info"]
PROXY = "istio-proxy"
_LINES, _MOST_LINES = 300, 2000
_CONTAINERS = 40
_STREAMS = 32
_READ_S = 30.0  # for all containers together
_LOOK_S = 5.0  # between looks at rights and pods while following
_BATCH_S, _BATCH = 0.25, 500
_QUEUE = 4000
_TEXT = 16_384  # characters of a line that are shown
_ERROR = re.compile(
    r"\b(?:ERROR|FATAL|CRITICAL|SEVERE|PANIC)\b|\"level\":\s*\"(?:error|fatal)\"|\[(?:error|critical)\]", re.I
)
_WARNING = re.compile(r"\b(?:WARN|WARNING)\b|\"level\":\s*\"warn|\[warning\]", re.I)


class LogPages:
    """The routes of logs. look: what a request asks for and its user may see; user: who sends it, if the session has not ended."""

    def __init__(
        self,
        cluster: Cluster,
        access: Access,
        look: Callable[[web.Request], Awaitable[tuple[Snapshot, Scope]]],
        user: Callable[[web.Request], Awaitable[User]],
    ) -> None:
        self._cluster, self._access, self._look, self._user = cluster, access, look, user
        self._streams = 0

    def routes(self) -> list[web.RouteDef]:
        """What they serve."""
        return [
            web.get("/api/logs", self._logs),
            web.get("/api/logs/events", self._follow),
            web.post("/api/logs/explain", _explain),
        ]

    async def _sources(self, request: web.Request) -> tuple[list[Source], list[str]]:
        """(the containers that a request asks for, names of all containers). Raises BadQuery, Missing, Forbidden."""
        snapshot, scope = await self._look(request)
        of = details.subject(request.query, scope.readable)
        await self._check(request, of)
        details.item(snapshot, of)
        pods = {name for w in details.workloads(snapshot.inventory, of) for name in w.pods}
        return choose(self._cluster.lists().get("pods", ()), of, pods, request.query)

    async def _check(self, request: web.Request, of: Subject) -> None:
        """Raises Forbidden."""
        if not await self._access.may(request[USER], Question("get", "pods/log", namespace=of.namespace)):
            raise Forbidden(
                f"you may not read the logs of namespace {of.namespace}",
                f"Ask for the right; see `kubectl auth can-i get pods --subresource=log -n {of.namespace}`.",
            )

    async def _logs(self, request: web.Request) -> web.Response:
        sources, names = await self._sources(request)
        most = number(request, "lines", _LINES, _MOST_LINES)
        problems = Problems()
        lines: deque[Line] = deque(maxlen=most)
        count = 0
        async with asyncio.timeout(_READ_S):
            async for line in pod_logs.read(self._cluster.client, sources, LogOptions(tail=most), problems.add):
                lines.append(line)
                count += 1
        shown = sorted((shown_line(line) for line in lines), key=lambda line: line.time)
        return answer(LogLines(lines=shown, containers=names, problems=problems.texts, dropped=count - len(shown)))

    async def _follow(self, request: web.Request) -> web.StreamResponse:
        """Lines as they come, until the client goes, its rights end, or the pods are others: then a browser connects again."""
        sources, names = await self._sources(request)
        most = number(request, "lines", _LINES, _MOST_LINES)
        if self._streams >= _STREAMS:
            return problem(503, f"{_STREAMS} pages follow logs already", "Close one, or pause the live tail.")
        response = web.StreamResponse(
            headers={**HEADERS, "Content-Type": "text/event-stream", "Cache-Control": "no-store"}
        )
        await response.prepare(request)
        self._streams += 1
        problems = Problems()
        queue: asyncio.Queue[Line | None] = asyncio.Queue(_QUEUE)
        pump = asyncio.create_task(_pump(self._cluster.client, sources, most, problems, queue))
        try:
            await response.write(event("lines", LogLines(lines=[], containers=names)))
            loop, told = asyncio.get_running_loop(), 0
            looked, ended = loop.time(), False
            while not ended:
                batch, ended = await _batch(queue)
                if batch or len(problems.texts) > told:
                    told = len(problems.texts)
                    await response.write(
                        event("lines", LogLines(lines=[shown_line(line) for line in batch], problems=problems.texts))
                    )
                if loop.time() - looked >= _LOOK_S:
                    looked = loop.time()
                    request[USER] = await self._user(request)
                    if [_key(s) for s in (await self._sources(request))[0]] != [_key(s) for s in sources]:
                        break
                    await response.write(b": still here\n\n")
        except (Refused, Forbidden, LookupError, ValueError, ApiError, OSError) as error:
            log.debug("following logs ends: %s", error)
        finally:
            self._streams -= 1
            pump.cancel()
            await asyncio.gather(pump, return_exceptions=True)
        return response


class Problems:
    """Containers that cannot be read, and why."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def add(self, pod: str, container: str, error: Exception) -> None:
        """A container cannot be read."""
        why = error.message or error.reason if isinstance(error, ApiError) else str(error) or type(error).__name__
        self.texts.append(f"{pod} {container}: {why}")


async def _pump(
    client: Any, sources: Sequence[Source], most: int, problems: Problems, queue: asyncio.Queue[Line | None]
) -> None:
    """Put followed lines into a queue, and None at their end."""
    try:
        async with contextlib.aclosing(
            pod_logs.read(client, sources, LogOptions(follow=True, tail=most), problems.add)
        ) as lines:
            async for line in lines:
                await queue.put(line)
    except ValueError as error:
        problems.texts.append(str(error))
    await queue.put(None)


async def _batch(queue: asyncio.Queue[Line | None]) -> tuple[list[Line], bool]:
    """(lines that have come, whether there are no more); after `_LOOK_S` without one, none."""
    try:
        first = await asyncio.wait_for(queue.get(), _LOOK_S)
    except TimeoutError:
        return [], False
    if first is None:
        return [], True
    await asyncio.sleep(_BATCH_S)
    batch = [first]
    while len(batch) < _BATCH and not queue.empty():
        item = queue.get_nowait()
        if item is None:
            return batch, True
        batch.append(item)
    return batch, False


def choose(
    pods: Iterable[Object], of: Subject, names: set[str], query: Mapping[str, str]
) -> tuple[list[Source], list[str]]:
    """(the containers of these pods that the parameters `pods` and `containers` ask for, names of all of them). Raises BadQuery."""
    inside = [
        p
        for p in pods
        if p["metadata"]["namespace"] == of.namespace and p["metadata"]["name"] in names and p.get("spec")
    ]
    wanted_pods = {name for name in query.get("pods", "").split(",") if name}
    wanted = {name for name in query.get("containers", "").split(",") if name}
    every = [(dict(pod), name) for pod in inside for name in pod_logs.containers(dict(pod))]
    chosen = [
        (pod, name)
        for pod, name in every
        if (not wanted or name in wanted) and (not wanted_pods or pod["metadata"]["name"] in wanted_pods)
    ]
    if len(chosen) > _CONTAINERS:
        raise BadQuery(f"containers: {len(chosen)} are too many; choose pods or containers, at most {_CONTAINERS}")
    return sorted(chosen, key=_key), sorted({name for _, name in every}, key=lambda name: (name == PROXY, name))


def _key(source: Source) -> tuple[str, str]:
    return source[0]["metadata"]["name"], source[1]


def shown_line(line: Line) -> LogLine:
    """A line as it is shown: one of an access log at the time of its request, since Envoy writes many at once."""
    access = access_log_lines.summary(line.text) if line.container == PROXY else None
    return LogLine(
        time=line.time if access is None or not access.start_us else _rfc3339(access.start_us),
        pod=line.pod,
        container=line.container,
        text=line.text[:_TEXT],
        access=access is not None,
        level=_level_of_text(line.text) if access is None else _level_of_request(access),
    )


def _rfc3339(micros: int) -> str:
    return dt.datetime.fromtimestamp(micros / 1e6, dt.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _level_of_text(text: str) -> Level:
    return "error" if _ERROR.search(text) else "warning" if _WARNING.search(text) else "info"


def _level_of_request(request: access_log_lines.Summary) -> Level:
    failed = request.status >= 500 or (request.status == 0 and bool(request.flags))
    return "error" if failed else "warning" if request.status >= 400 else "info"


async def _explain(request: web.Request) -> web.Response:
    """The line of an access log that the body has, in words."""
    try:
        line = msgspec.json.decode(await request.read(), type=AccessLogLine).line
    except (msgspec.ValidationError, msgspec.DecodeError):
        raise BadQuery('give {"line": "…"}') from None
    explained = access_log_words.explain(line)
    if explained is None:
        raise BadQuery("line: is none of an access log in Istio's text or JSON format")
    summary, fields = explained
    return answer(
        AccessLog(
            summary=summary,
            fields=[AccessLogField(name=f.name, value=f.value, meaning=f.meaning) for f in fields],
        )
    )
