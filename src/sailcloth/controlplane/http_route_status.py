"""Writes `status.parents` of routes of the Gateway API, and keeps the entries of other controllers.

Must not evaluate routes; `mesh.http_routes` and `mesh.kubernetes_gateways` do.
"""

from __future__ import annotations

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
Object = dict[str, Any]


class HttpRouteStatus:
    """Call `enqueue_evaluated` after changes; `run` writes until cancelled."""

    def __init__(self, client: Client, routes: HttpRoutes, gateways: KubernetesGateways) -> None:
        self._client, self._routes, self._gateways = client, routes, gateways
        self._queue = WorkQueue(self._reconcile, name="status of HTTPRoutes", retry=RETRIABLE)

    def enqueue_evaluated(self) -> None:
        """Queue the routes that were evaluated again since the last call."""
        for evaluated in (self._routes.reevaluated, self._gateways.routes_evaluated):
            self._queue.add_all(sorted(evaluated))
            evaluated.clear()

    async def run(self) -> None:
        """Write until cancelled."""
        await self._queue.run()

    async def _reconcile(self, key: Key) -> None:
        try:
            route = await self._client.get(_ROUTES[key.kind], key.name, key.namespace)
        except ApiError as error:
            if error.status != 404:
                raise
            return
        old = (route.get("status") or {}).get("parents") or []
        ours = [p for p in old if p.get("controllerName") == CONTROLLER]
        generation = int(route["metadata"].get("generation") or 1)
        statuses = [*self._gateways.status(key), *self._routes.status(key)]
        parents = [_parent(s, ours, generation) for s in statuses]
        if parents != ours:
            others = [p for p in old if p.get("controllerName") != CONTROLLER]
            await merge_status(self._client, _ROUTES[key.kind], key, {"parents": others + parents})


def _parent(status: ParentStatus, old: list[Object], generation: int) -> Object:
    reference = _reference(status.parent)
    old_conditions = next((p.get("conditions") or [] for p in old if p.get("parentRef") == reference), [])
    now = conditions.utc_now()
    return {
        "parentRef": reference,
        "controllerName": CONTROLLER,
        "conditions": [
            conditions.condition(kind, *verdict, generation, old_conditions, now)
            for kind, verdict in (("Accepted", status.accepted), ("ResolvedRefs", status.resolved))
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
