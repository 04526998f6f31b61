"""Writes the ingress gateway's addresses to `status.loadBalancer` of Ingresses.

Must not evaluate Ingresses; `mesh.ingress` does.
"""

from __future__ import annotations

from sailcloth.api.meta import Key
from sailcloth.kube import RETRIABLE, ApiError, Client, Resource
from sailcloth.lib.work_queue import WorkQueue

from .status_api import merge_status

_INGRESSES = Resource("networking.k8s.io", "v1", "ingresses", "Ingress")
_SERVICES = Resource("", "v1", "services", "Service")
_NO_ADDRESS_S = 2.0  # retry interval while the service has no address


class IngressStatus:
    """`follow` adds an Ingress of our class; `run` writes until cancelled."""

    def __init__(self, client: Client, namespace: str, service: str) -> None:
        self._client, self._namespace, self._service = client, namespace, service
        self.queue = WorkQueue(self._reconcile, name="status of Ingresses", retry=RETRIABLE)

    def follow(self, key: Key) -> None:
        """An Ingress was added or changed."""
        self.queue.add(key)

    async def run(self) -> None:
        """Write the addresses until cancelled."""
        await self.queue.run()

    async def _reconcile(self, key: Key) -> None:
        addresses = await self._addresses()
        if not addresses:
            self.queue.add(key, _NO_ADDRESS_S)
            return
        await merge_status(self._client, _INGRESSES, key, {"loadBalancer": {"ingress": addresses}})

    async def _addresses(self) -> list[dict[str, str]]:
        """The load balancer addresses of the gateway's service; empty if it has none or does not exist."""
        try:
            service = await self._client.get(_SERVICES, self._service, self._namespace)
        except ApiError as error:
            if error.status != 404:
                raise
            return []
        addresses = service.get("status", {}).get("loadBalancer", {}).get("ingress") or []
        return [{k: a[k] for k in ("ip", "hostname") if k in a} for a in addresses]
