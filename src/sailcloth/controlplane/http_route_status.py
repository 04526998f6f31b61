"""Writes `status.parents` of routes of the Gateway API, and keeps the entries of other controllers.

Must not evaluate routes; `mesh.http_routes` and `mesh.kubernetes_gateways` do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from sailcloth.api.gateway_api import CONTROLLER, GROUP, ParentReference
from sailcloth.api.meta import Key
from sailcloth.kube import RETRIABLE, ApiError, Client, Resource
from sailcloth.lib.work_queue import WorkQueue
from sailcloth.mesh.http_routes import HttpRoutes, ParentStatus
from sailcloth.mesh.kubernetes_gateways import KubernetesGateways

from . import conditions
from .status_api import merge_status

_KINDS = ("HTTPRoute", "GRPCRoute", "TLSRoute", "TCPRoute", "UDPRoute")
_ROUTES = {k: Resource(GROUP, "v1", f"{k.lower()}s", k) for k in _KINDS}
_COUNT_S = 1.0  # between looks at how many proxies have a route
Object = dict[str, Any]


class HttpRouteStatus:
    """Call `enqueue_evaluated` after changes, and `proxies_changed` when proxies have answered, come or gone; `run` writes until cancelled.

    counted: how many proxies have what is made of some objects, in words. The message of `Accepted` says it, since the specification has no place
    of its own."""

    def __init__(
        self,
        client: Client,
        routes: HttpRoutes,
        gateways: KubernetesGateways,
        counted: Callable[[Iterable[Key]], str] = lambda _: "",
    ) -> None:
        self._client, self._routes, self._gateways, self._counted = client, routes, gateways, counted
        self._known: set[Key] = set()
        self._seen: dict[Key, str] = {}  # the counts at the last look
        self._shown: dict[Key, str] = {}  # those in statuses
        self._outdated = False
        self.queue = WorkQueue(self._reconcile, name="status of HTTPRoutes", retry=RETRIABLE)

    def enqueue_evaluated(self) -> None:
        """Queue the routes that were evaluated again since the last call."""
        for evaluated in (self._routes.reevaluated, self._gateways.routes_evaluated):
            self._known |= evaluated
            self._outdated = self._outdated or bool(evaluated)
            self.queue.add_all(sorted(evaluated))
            evaluated.clear()

    def proxies_changed(self) -> None:
        """Proxies have acknowledged or refused something, have come or gone."""
        self._outdated = True

    async def run(self) -> None:
        """Write until cancelled."""
        counting = asyncio.create_task(self._count())
        try:
            await self.queue.run()
        finally:
            counting.cancel()

    async def _count(self) -> None:
        while True:
            await asyncio.sleep(_COUNT_S)
            if self._outdated:
                self.recount()

    def recount(self) -> None:
        """Queue the routes with other counts than their statuses say, if they were the same at the last look: a push that is under way, or
        pods that start one after the other, are not worth a write."""
        self._outdated = False
        for key in self._known:
            now = self._counted(self._virtual_services_of(key))
            if now != self._seen.get(key, ""):
                self._seen[key], self._outdated = now, True
            elif now != self._shown.get(key, ""):
                self._shown[key] = now
                self.queue.add(key)

    def _virtual_services_of(self, key: Key) -> frozenset[Key]:
        return self._gateways.virtual_services_of(key) | self._routes.virtual_services_of(key)

    async def _reconcile(self, key: Key) -> None:
        try:
            route = await self._client.get(_ROUTES[key.kind], key.name, key.namespace)
        except ApiError as error:
            if error.status != 404:
                raise
            self._known.discard(key)
            self._seen.pop(key, None)
            self._shown.pop(key, None)
            return
        old = (route.get("status") or {}).get("parents") or []
        ours = [p for p in old if p.get("controllerName") == CONTROLLER]
        generation = int(route["metadata"].get("generation") or 1)
        statuses = [*self._gateways.status(key), *self._routes.status(key)]
        parents = [_parent(s, ours, generation, self._shown.get(key, "")) for s in statuses]
        if parents != ours:
            others = [p for p in old if p.get("controllerName") != CONTROLLER]
            await merge_status(self._client, _ROUTES[key.kind], key, {"parents": others + parents})


def _parent(status: ParentStatus, old: list[Object], generation: int, count: str) -> Object:
    reference = _reference(status.parent)
    accepted = (*status.accepted[:2], count) if status.accepted[0] else status.accepted
    old_conditions = next((p.get("conditions") or [] for p in old if p.get("parentRef") == reference), [])
    now = conditions.utc_now()
    return {
        "parentRef": reference,
        "controllerName": CONTROLLER,
        "conditions": [
            conditions.condition(kind, *verdict, generation, old_conditions, now)
            for kind, verdict in (("Accepted", accepted), ("ResolvedRefs", status.resolved))
        ],
    }


def _reference(parent: ParentReference) -> Object:
    fields = {
        "namespace": parent.namespace,
        "name": parent.name,
        "sectionName": parent.section_name,
        "port": parent.port,
    }
    return {"group": parent.group, "kind": parent.kind, **{k: v for k, v in fields.items() if v is not None}}
