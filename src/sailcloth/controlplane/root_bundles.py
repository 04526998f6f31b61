"""The mesh's roots and revocation lists in every namespace, in the ConfigMaps that agents and pods read: `istio-ca-root-cert` and
`istio-ca-crl`, as in Istio.

What somebody else changes is written again. Must not decide what the roots are: `certificates` does.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from sailcloth.api import core
from sailcloth.api.meta import Finding, Key, Object
from sailcloth.kube import RETRIABLE, ApiError, Client
from sailcloth.kube.resources import CONFIGMAPS
from sailcloth.lib.work_queue import WorkQueue

from .certificates import BUNDLE, BUNDLE_KEY, REVOKED, REVOKED_KEY, Certificates, config_map

log = logging.getLogger(__name__)


class RootBundles:
    """`change` reports namespaces and ConfigMaps; `run` writes until cancelled, in the namespaces that are in the mesh."""

    def __init__(
        self,
        client: Client,
        namespace: str,
        certificates: Certificates,
        in_mesh: Callable[[str], bool] = lambda _: True,
    ) -> None:
        self._client, self._namespace, self._certificates = client, namespace, certificates
        self._in_mesh = in_mesh
        self._namespaces: set[str] = set()
        self._held: dict[tuple[str, str], dict[str, str]] = {}  # data of the ConfigMaps by namespace and name
        self._started = False
        self.queue: WorkQueue[str] = WorkQueue(self._write, name="roots of a namespace", retry=RETRIABLE, workers=4)

    def change(self, key: Key, obj: Object | Finding | None) -> None:
        """Apply a change of a Namespace or a ConfigMap; others are ignored."""
        if key.kind == "Namespace":
            (self._namespaces.discard if obj is None else self._namespaces.add)(key.name)
            if obj is not None and self._started and self._in_mesh(key.name):
                self.queue.add(key.name)
        elif key.kind == "ConfigMap" and key.name in (BUNDLE, REVOKED):
            self._held.pop((key.namespace, key.name), None)
            if isinstance(obj, core.ConfigMap):
                self._held[key.namespace, key.name] = obj.data
            if self._started and self._differ(key.namespace):
                self.queue.add(key.namespace)

    async def publish(self) -> None:
        """The roots or the lists are others: write them everywhere."""
        self._started = True
        self.reselect()

    def reselect(self) -> None:
        """Other namespaces may be in the mesh: write what differs there."""
        if not self._started:
            return
        for namespace in {*self._namespaces, self._namespace}:
            if self._differ(namespace):
                self.queue.add(namespace)

    async def run(self) -> None:
        """Write until cancelled."""
        await self.queue.run()

    def _wanted(self) -> dict[str, dict[str, str] | None]:
        """The data of the ConfigMaps by name; None for one that must not be there."""
        revoked = self._certificates.revoked
        return {
            BUNDLE: {BUNDLE_KEY: self._certificates.bundle.decode()},
            REVOKED: {REVOKED_KEY: revoked.decode()} if revoked else None,
        }

    def _differ(self, namespace: str) -> bool:
        if namespace not in self._namespaces and namespace != self._namespace:
            return False
        return self._in_mesh(namespace) and any(
            self._held.get((namespace, name)) != data for name, data in self._wanted().items()
        )

    async def _write(self, namespace: str) -> None:
        if not self._in_mesh(namespace):
            return
        for name, data in self._wanted().items():
            if self._held.get((namespace, name)) == data:
                continue
            try:
                if data is None:
                    await self._client.delete(CONFIGMAPS, name, namespace)
                elif (namespace, name) == (self._namespace, BUNDLE):
                    await self._certificates.restore()
                else:
                    written = config_map(name, namespace, data)
                    await self._client.apply(CONFIGMAPS, written, field_manager="istiod", force=True)
            except ApiError as error:
                if error.status not in (403, 404, 409):  # the namespace is being deleted
                    raise
