"""Takes objects in, one change at a time, and pushes what they change: judge, activate, deliver, say so.

Knows no API server and serves nothing, so that a whole control plane fits into a test (`sailcloth.testing.World`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from sailcloth.api import validation
from sailcloth.api.kinds import MESH_KINDS
from sailcloth.api.meta import Finding, Key, Object
from sailcloth.mesh import mesh_config
from sailcloth.mesh.registry import Mesh

from . import verdicts
from .activation import Activation
from .connected_proxies import ConnectedProxies
from .status import StatusWriter

log = logging.getLogger(__name__)

_POLICIES = frozenset(k.name for k in MESH_KINDS if k.group == "security.istio.io")


class ConfigUpdates:
    """`change` takes one in; what it changes is pushed in the same turn of the event loop, together with whatever else arrived
    in it. Nothing is pushed until `synced`: proxies are not sent a mesh that is only half known."""

    def __init__(self, mesh: Mesh, proxies: ConnectedProxies, status: StatusWriter, namespace: str) -> None:
        self._mesh, self._proxies, self._status = mesh, proxies, status
        self._namespace = namespace  # of the installation, where the mesh's options are
        self.activation = Activation(mesh)
        self._scheduled = self._synced = False
        self.on_settled: Callable[[], None] | None = None  # called after changes have taken effect

    def change(self, key: Key, obj: Object | Finding | None) -> bool:
        """Take in an object, its end (None), or why it could not be read. Returns whether it was taken: an object with an error
        (written while nobody validated) only gets a status, and the version before stays in effect."""
        finding = obj if isinstance(obj, Finding) else _first_error(key, obj)
        if finding is not None:
            log.warning("%s", finding)
            verdicts.received(self._mesh.graph, key, None if isinstance(obj, Finding) else obj, finding)
            self._status.follow(key)
            return False
        assert not isinstance(obj, Finding)
        if key == Key("ConfigMap", self._namespace, "istio"):
            self._configure(obj)
        self.activation.apply(key, obj)
        verdicts.received(self._mesh.graph, key, obj)
        self._status.follow(key)
        self._schedule()
        return True

    def synced(self) -> None:
        """Everything that was there at the start has been taken in."""
        self._synced = True
        self._settle()

    def _configure(self, obj: Object | None) -> None:
        text = getattr(obj, "data", {}).get("mesh", "") if obj is not None else ""
        try:
            self._mesh.configure(mesh_config.parse(text))
            for name in mesh_config.unread(text):
                log.warning("ConfigMap %s/istio: %s has no effect here", self._namespace, name)
        except ValueError as error:
            log.error("ConfigMap %s/istio: %s; the options before stay", self._namespace, error)

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._settle)

    def _settle(self) -> None:
        self._scheduled = False
        if not self._synced:
            return
        self.activation.settle()
        touched = self._mesh.graph.touched()
        self._proxies.flush(touched)
        self._status.flush(touched)
        if self.on_settled is not None:
            self.on_settled()


def _first_error(key: Key, obj: Object | None) -> Finding | None:
    """The first error in an object, None if it may take effect.

    A security policy takes effect in any case: one that is half wrong protects more than none.
    """
    if obj is None or key.kind in _POLICIES:
        return None
    return next((f for f in validation.validate(key, obj) if f.severity == "Error"), None)
