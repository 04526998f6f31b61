"""Writes `status.ancestors` of BackendTLSPolicies: an entry for each target, as Istio does, and one for each of our Gateways with routes there.

Must not evaluate policies; `mesh.backend_tls` does.
"""

from __future__ import annotations

from typing import Any

from sailcloth.api.gateway_api import CONTROLLER, GROUP
from sailcloth.api.meta import Key
from sailcloth.kube import RETRIABLE, ApiError, Client, Resource
from sailcloth.lib.work_queue import WorkQueue
from sailcloth.mesh.backend_tls import BackendTlsPolicies, PolicyStatus, Target
from sailcloth.mesh.http_rules import Service
from sailcloth.mesh.kubernetes_gateways import KubernetesGateways

from . import conditions
from .status_api import merge_status

POLICIES = Resource(GROUP, "v1", "backendtlspolicies", "BackendTLSPolicy")
_MESH = "istio.io/mesh-controller"
_MOST = 16  # ancestors that a status may have
Object = dict[str, Any]


class BackendTlsStatus:
    """Call `enqueue_evaluated` after changes; `run` writes until cancelled."""

    def __init__(self, client: Client, policies: BackendTlsPolicies, gateways: KubernetesGateways) -> None:
        self._client, self._policies, self._gateways = client, policies, gateways
        self.queue = WorkQueue(self._reconcile, name="status of BackendTLSPolicies", retry=RETRIABLE)

    def enqueue_evaluated(self) -> None:
        """Queue the policies that were evaluated again since the last call, and those of services to which other routes lead."""
        for service in self._gateways.services_evaluated:
            self._policies.service_changed(Key(service.kind, service.namespace, service.name))
        self._gateways.services_evaluated.clear()
        self.queue.add_all(sorted(self._policies.evaluated))
        self._policies.evaluated.clear()

    async def run(self) -> None:
        """Write until cancelled."""
        await self.queue.run()

    async def _reconcile(self, key: Key) -> None:
        status = self._policies.status(key)
        try:
            policy = await self._client.get(POLICIES, key.name, key.namespace)
        except ApiError as error:
            if error.status != 404:
                raise
            return
        old = (policy.get("status") or {}).get("ancestors") or []
        ours = [a for a in old if a.get("controllerName") in (CONTROLLER, _MESH)]
        others = [a for a in old if a not in ours]
        wanted = [(CONTROLLER, gateway, status) for gateway in self._through(key) if status is not None]
        wanted += [(_MESH, _reference(t), s) for t, s in self._policies.target_statuses(key)]
        generation = int(policy["metadata"].get("generation") or 1)
        ancestors = [_ancestor(*w, ours, generation) for w in wanted[: _MOST - len(others)]]
        if ancestors != ours:
            await merge_status(self._client, POLICIES, key, {"ancestors": others + ancestors})

    def _through(self, key: Key) -> list[Object]:
        """References to the Gateways with routes to the services of a policy."""
        services = [Service(s.namespace, s.name) for s in self._policies.services(key) if s.kind == "Service"]
        gateways = sorted({g for service in services for g in self._gateways.gateways_to(service)})
        return [{"group": GROUP, "kind": "Gateway", "namespace": g.namespace, "name": g.name} for g in gateways]


def _reference(target: Target) -> Object:
    group = "networking.istio.io" if target.service.kind == "ServiceEntry" else ""
    section = {"sectionName": target.section} if target.section else {}
    return {"group": group, "kind": target.service.kind, "name": target.service.name, **section}


def _ancestor(controller: str, reference: Object, status: PolicyStatus, old: list[Object], generation: int) -> Object:
    named = (a for a in old if (a.get("controllerName"), a.get("ancestorRef")) == (controller, reference))
    before = next((a.get("conditions") or [] for a in named), [])
    values = [("Accepted", status.accepted), *([("ResolvedRefs", status.resolved)] if status.resolved else [])]
    now = conditions.utc_now()
    listed = [conditions.condition(kind, *verdict, generation, before, now) for kind, verdict in values]
    return {"ancestorRef": reference, "controllerName": controller, "conditions": listed}
