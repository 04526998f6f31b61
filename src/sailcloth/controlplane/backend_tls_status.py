"""Writes `status.ancestors` of BackendTLSPolicies: an entry for each of our Gateways with routes to their services.

Must not evaluate policies; `mesh.backend_tls` does.
"""

from __future__ import annotations

from typing import Any

from sailcloth.api.gateway_api import CONTROLLER, GROUP
from sailcloth.api.meta import Key
from sailcloth.kube import RETRIABLE, ApiError, Client, Resource
from sailcloth.lib.work_queue import WorkQueue
from sailcloth.mesh.backend_tls import BackendTlsPolicies
from sailcloth.mesh.kubernetes_gateways import KubernetesGateways

from . import conditions
from .status_api import merge_status

POLICIES = Resource(GROUP, "v1", "backendtlspolicies", "BackendTLSPolicy")
_MOST = 16  # ancestors that a status may have
Object = dict[str, Any]


class BackendTlsStatus:
    """Call `enqueue_evaluated` after changes; `run` writes until cancelled."""

    def __init__(self, client: Client, policies: BackendTlsPolicies, gateways: KubernetesGateways) -> None:
        self._client, self._policies, self._gateways = client, policies, gateways
        self._queue = WorkQueue(self._reconcile, name="status of BackendTLSPolicies", retry=RETRIABLE)

    def enqueue_evaluated(self) -> None:
        """Queue the policies that were evaluated again since the last call, and those of services to which other routes lead."""
        for service in self._gateways.services_evaluated:
            self._policies.service_changed(service)
        self._gateways.services_evaluated.clear()
        self._queue.add_all(sorted(self._policies.evaluated))
        self._policies.evaluated.clear()

    async def run(self) -> None:
        """Write until cancelled."""
        await self._queue.run()

    async def _reconcile(self, key: Key) -> None:
        status = self._policies.status(key)
        if status is None:
            return
        try:
            policy = await self._client.get(POLICIES, key.name, key.namespace)
        except ApiError as error:
            if error.status != 404:
                raise
            return
        old = (policy.get("status") or {}).get("ancestors") or []
        ours = [a for a in old if a.get("controllerName") == CONTROLLER]
        others = [a for a in old if a.get("controllerName") != CONTROLLER]
        generation = int(policy["metadata"].get("generation") or 1)
        gateways = sorted({g for service in self._policies.targets(key) for g in self._gateways.gateways_to(service)})
        values = {"Accepted": status.accepted, "ResolvedRefs": status.resolved}
        ancestors = []
        for gateway in gateways[: _MOST - len(others)]:
            ref = {"group": GROUP, "kind": "Gateway", "namespace": gateway.namespace, "name": gateway.name}
            before = next((a.get("conditions") or [] for a in ours if a.get("ancestorRef") == ref), [])
            now = conditions.utc_now()
            listed = [conditions.condition(kind, *v, generation, before, now) for kind, v in values.items()]
            ancestors.append({"ancestorRef": ref, "controllerName": CONTROLLER, "conditions": listed})
        if ancestors != ours:
            await merge_status(self._client, POLICIES, key, {"ancestors": others + ancestors})
