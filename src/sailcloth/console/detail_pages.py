"""The routes about one workload, service, application or namespace. Must not assemble answers itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from aiohttp import web

from sailcloth.analysis.describe import MeshSnapshot
from sailcloth.kube import ApiError
from sailcloth.kube.resources import EVENTS

from . import details, runtimes, series
from .access import Access, Question
from .answers import USER, answer, required, seconds
from .assemble import Scope, Snapshot
from .described_mesh import DescribedMesh
from .details import Subject
from .findings import Found
from .sources import Cluster, ControlPlane, Metrics

Object = dict[str, Any]
_PODS = 50  # whose runtimes are shown
Look = Callable[[web.Request], Awaitable[tuple[Snapshot, Scope]]]
"""What a request asks for, and what its user may see of it."""


class DetailPages:
    """Overviews and charts of one thing. findings: those of the analysis that a user may see."""

    def __init__(
        self,
        cluster: Cluster,
        metrics: Metrics,
        control_plane: ControlPlane,
        access: Access,
        look: Look,
        findings: Callable[[Scope], Awaitable[Found]],
    ) -> None:
        self._cluster, self._metrics, self._control_plane = cluster, metrics, control_plane
        self._access, self._look, self._findings = access, look, findings
        self._mesh = DescribedMesh()

    def routes(self) -> list[web.RouteDef]:
        """What they serve."""
        return [
            web.get("/api/details", self._details),
            web.get("/api/details/namespace", self._namespace),
            web.get("/api/series", self._series),
            web.get("/api/runtimes", self._runtimes),
        ]

    async def described(self) -> MeshSnapshot:
        """The mesh of the cluster's objects, with its proxies."""
        return await self._mesh.snapshot(
            self._cluster.lists(), self._cluster.config(), await self._cluster.recent_options()
        )

    async def _details(self, request: web.Request) -> web.Response:
        snapshot, of, readable = await self._subject(request)
        lists = self._cluster.lists()
        mesh = await self.described()
        found = details.details(snapshot, of, lists, self._control_plane.sync, mesh, readable)
        raw, notes = await self._events(request, of.namespace)
        events = details.events(raw, found)
        return answer(msgspec.structs.replace(found, events=events, notes=[*found.notes, *notes]))

    async def _subject(self, request: web.Request) -> tuple[Snapshot, Subject, frozenset[str]]:
        snapshot, scope = await self._look(request)
        return snapshot, details.subject(request.query, scope.readable), scope.readable

    async def _series(self, request: web.Request) -> web.Response:
        snapshot, of, readable = await self._subject(request)
        chosen = series.view(of, request.query)
        at = series.times(seconds(snapshot.window), snapshot.at)
        known = None if await self._access.reads_all(request[USER]) else readable
        queries = series.queries(of, chosen, at.step, known)
        found = await asyncio.gather(*(self._metrics.range(query.expression, at) for query in queries))
        return answer(series.charts(chosen, at, zip(queries, found, strict=True)))

    async def _runtimes(self, request: web.Request) -> web.Response:
        snapshot, of, _ = await self._subject(request)
        at = series.times(seconds(snapshot.window), snapshot.at)
        pods = sorted({pod for w in details.workloads(snapshot.inventory, of) for pod in w.pods})[:_PODS]
        asked = (of.namespace, pods)
        found = await self._metrics.query(runtimes.discovery(*asked), snapshot.at) if pods else []
        panels = runtimes.panels(found, *asked, at.step)
        answers = await asyncio.gather(*(self._metrics.range(query, at) for *_, query in panels))
        return answer(runtimes.answer(at, zip(panels, answers, strict=True)))

    async def _namespace(self, request: web.Request) -> web.Response:
        name = required(request, "name")
        snapshot, scope = await self._look(request)
        if name not in scope.readable:
            raise details.no_namespace(name)
        raw, notes = await self._events(request, name)
        events, findings = details.events(raw, None), await self._findings(scope)
        return answer(details.namespace(snapshot, name, scope.readable, events, notes, findings))

    async def _events(self, request: web.Request, namespace: str) -> tuple[list[Object], list[str]]:
        """The events of a namespace, and why there are none."""
        if not await self._access.may(request[USER], Question("list", "events", namespace=namespace)):
            return [], [f"Events are not shown: you may not list the events of namespace {namespace}."]
        try:
            return (await self._cluster.client.list(EVENTS, namespace))[0], []
        except ApiError as error:
            return [], [f"Events are not shown: the console cannot list them: {error.message or error.reason}."]
