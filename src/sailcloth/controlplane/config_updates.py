"""Applies changes of objects and pushes their effects: validate, activate, update proxies, update statuses.

Must not know an API server or serve anything, so that tests can run a whole control plane (`sailcloth.testing.World`).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from sailcloth.analysis.analyzers import live
from sailcloth.api import validation
from sailcloth.api.kinds import LEGACY_KINDS, MESH_KINDS
from sailcloth.api.meta import Finding, Key, Object
from sailcloth.mesh import mesh_config
from sailcloth.mesh.registry import Mesh

from . import verdicts
from .activation import Activation
from .change_log import Change, ChangeLog
from .connected_proxies import ConnectedProxies
from .refusals import Refusals
from .status import StatusWriter

log = logging.getLogger(__name__)

_POLICIES = frozenset(
    k.name for k in (*MESH_KINDS, *LEGACY_KINDS) if k.group == "security.istio.io" or k in LEGACY_KINDS
)


class ConfigUpdates:
    """`change` applies one change. All changes of one turn of the event loop are pushed together. Nothing is pushed before
    `synced`, so that proxies never get an incomplete mesh."""

    def __init__(self, mesh: Mesh, proxies: ConnectedProxies, status: StatusWriter, namespace: str) -> None:
        self._mesh, self._proxies, self._status = mesh, proxies, status
        self._defaults = mesh.config  # for options that the ConfigMap does not set
        self._namespace = namespace  # of the installation, with the ConfigMap of mesh options
        self.activation = Activation(mesh)
        self.refusals = Refusals(self.activation, proxies, self._schedule)
        self._scheduled = self._synced = False
        self._next = Change(0.0)  # what is not pushed yet
        self.changes = ChangeLog()
        self.on_settled: Callable[[], None] | None = None  # called after changes have taken effect

    def change(self, key: Key, obj: Object | Finding | None) -> bool:
        """Apply a new version of an object, its deletion (None), or a decoding error (Finding). Returns whether it was accepted:
        an invalid object (written while the webhook was down) only gets a status, and its previous version stays active."""
        self._next.received = self._next.received or time.monotonic()
        finding = obj if isinstance(obj, Finding) else _first_error(key, obj)
        if finding is not None:
            log.warning("%s", finding)
            verdicts.received(self._mesh.graph, key, None if isinstance(obj, Finding) else obj, finding)
            self._status.follow(key)
            return False
        assert not isinstance(obj, Finding)
        if key == Key("ConfigMap", self._namespace, "istio"):
            self._configure(obj)
        changed = self._mesh.objects.get(key) != obj
        self.activation.apply(key, obj)
        if key.kind in verdicts.CONDITION_KINDS:
            changed = verdicts.received(self._mesh.graph, key, obj)  # a rule that is held back is not in the mesh
            previous = live.received(self._mesh.graph, key, obj)
            changed = changed or _notes(previous) != _notes(obj)  # they are of no generation
            if changed and self._synced:
                self._next.previous.setdefault(key, previous)
        if changed and self._synced:
            self._next.objects[key] = 0 if obj is None else obj.metadata.generation
        self._status.follow(key)
        self._schedule()
        return True

    def synced(self) -> None:
        """All existing objects have been passed to `change`: start pushing."""
        self._synced = True
        self._settle()
        # Not earlier: what existed before has no previous version that could take its place.
        self.activation.on_applied = self.refusals.applied

    def recompute(self) -> None:
        """Push what follows from a graph input that was set, soon."""
        self._schedule()

    def proxy_responded(self, error: str) -> None:
        """A proxy acknowledged (empty error) or refused a response."""
        self._status.proxy_responded()
        self.refusals.result(error)

    def _configure(self, obj: Object | None) -> None:
        text = getattr(obj, "data", {}).get("mesh", "") if obj is not None else ""
        try:
            self._mesh.configure(mesh_config.parse(text, self._defaults))
            for name in mesh_config.unread(text):
                log.warning("ConfigMap %s/istio: %s has no effect here", self._namespace, name)
        except ValueError as error:
            log.error("ConfigMap %s/istio: %s; the previous options stay in effect", self._namespace, error)

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
        change, self._next = self._next, Change(0.0)
        change.received = change.received or time.monotonic()
        self._proxies.flush(touched, change)
        self.changes.add(change)
        self._status.flush(touched)
        if self.on_settled is not None:
            self.on_settled()


def _notes(obj: Object | None) -> tuple[object, object] | None:
    """The labels and annotations of an object."""
    return (obj.metadata.labels, obj.metadata.annotations) if obj is not None else None


def _first_error(key: Key, obj: Object | None) -> Finding | None:
    """The first error in an object; None if it is valid.

    Security policies take effect even if invalid: a partly wrong policy protects more than none.
    """
    if obj is None or key.kind in _POLICIES:
        return None
    return next((f for f in validation.validate(key, obj) if f.severity == "Error"), None)
