"""Tells Ingresses where they are reached: at the addresses of the ingress gateway's service.

Must not decide what an Ingress means; that is the mesh's.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any

from sailcloth.api.meta import Key
from sailcloth.kube import ApiError, Client, Resource

log = logging.getLogger(__name__)

_INGRESSES = Resource("networking.k8s.io", "v1", "ingresses", "Ingress")
_SERVICES = Resource("", "v1", "services", "Service")
_AGAIN_S = 2.0


class IngressStatus:
    """`touch` names Ingresses that are ours; `run` writes until cancelled."""

    def __init__(self, client: Client, namespace: str, service: str) -> None:
        self._client, self._namespace, self._service = client, namespace, service
        self._waiting: dict[Key, None] = {}
        self._wake = asyncio.Event()

    def touch(self, key: Key) -> None:
        """An Ingress came or changed."""
        self._waiting[key] = None
        self._wake.set()

    async def run(self) -> None:
        """Write the addresses, and look again for those whose gateway has none yet."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                found = await self._client.get(_SERVICES, self._service, self._namespace)
                addresses = found.get("status", {}).get("loadBalancer", {}).get("ingress") or []
            except (ApiError, OSError):
                addresses = []
            if not addresses:
                asyncio.get_running_loop().call_later(_AGAIN_S, self._wake.set)
                continue
            for key in list(self._waiting):
                try:
                    await self._write(key, addresses)
                except (ApiError, OSError) as error:
                    log.info("status of %s not written yet: %s", key, error)
                    asyncio.get_running_loop().call_later(_AGAIN_S, self._wake.set)
                else:
                    self._waiting.pop(key, None)

    async def _write(self, key: Key, addresses: list[dict[str, Any]]) -> None:
        plain = [{k: a[k] for k in ("ip", "hostname") if k in a} for a in addresses]
        status = {"status": {"loadBalancer": {"ingress": plain}}}
        with contextlib.suppress(ApiError):  # gone meanwhile, or of a server without the kind
            await self._client.patch(_INGRESSES, key.name, key.namespace, status, type="merge", sub="status")
