"""Writes what became of HTTPRoutes at the services that they are attached to, beside what other controllers say of them.

Must not decide what a route means; that is the mesh's.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
from typing import Any

from sailcloth.api.gateway_api import GROUP, ParentReference
from sailcloth.api.meta import Key
from sailcloth.kube import ApiError, Client, Resource
from sailcloth.mesh.http_routes import HttpRoutes, ParentStatus

log = logging.getLogger(__name__)

CONTROLLER = "istio.io/gateway-controller"
_ROUTES = Resource(GROUP, "v1", "httproutes", "HTTPRoute")
_AGAIN_S = 2.0
Object = dict[str, Any]


class HttpRouteStatus:
    """`wake` after a change; `run` writes until cancelled."""

    def __init__(self, client: Client, routes: HttpRoutes) -> None:
        self._client, self._routes = client, routes
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Look whether routes are judged anew."""
        if self._routes.judged:
            self._wake.set()

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            judged = sorted(self._routes.judged)
            self._routes.judged.clear()
            for key in judged:
                try:
                    await self._write(key)
                except (ApiError, OSError) as error:
                    if isinstance(error, ApiError) and error.status == 404:
                        continue  # gone meanwhile
                    log.info("status of %s not written yet: %s", key, error)
                    self._routes.judged.add(key)
                    asyncio.get_running_loop().call_later(_AGAIN_S, self._wake.set)

    async def _write(self, key: Key) -> None:
        found = await self._client.get(_ROUTES, key.name, key.namespace)
        old = (found.get("status") or {}).get("parents") or []
        ours = [p for p in old if p.get("controllerName") == CONTROLLER]
        generation = int(found["metadata"].get("generation") or 1)
        made = [_parent(s, ours, generation) for s in self._routes.status(key)]
        if made != ours:
            parents = [p for p in old if p.get("controllerName") != CONTROLLER] + made
            await self._client.patch(
                _ROUTES, key.name, key.namespace, {"status": {"parents": parents}}, type="merge", sub="status"
            )


def _parent(status: ParentStatus, old: list[Object], generation: int) -> Object:
    reference = _reference(status.parent)
    before = next((p.get("conditions") or [] for p in old if p.get("parentRef") == reference), [])
    conditions = [
        _condition(kind, told, before, generation)
        for kind, told in (("Accepted", status.accepted), ("ResolvedRefs", status.resolved))
    ]
    return {"parentRef": reference, "controllerName": CONTROLLER, "conditions": conditions}


def _reference(parent: ParentReference) -> Object:
    given = {
        "namespace": parent.namespace,
        "name": parent.name,
        "sectionName": parent.section_name,
        "port": parent.port,
    }
    return {"group": parent.group, "kind": parent.kind, **{k: v for k, v in given.items() if v is not None}}


def _condition(kind: str, told: tuple[bool, str, str], before: list[Object], generation: int) -> Object:
    holds, reason, message = told
    status = "True" if holds else "False"
    since = next((c["lastTransitionTime"] for c in before if c["type"] == kind and c["status"] == status), None)
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "observedGeneration": generation,
        "lastTransitionTime": since or dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
