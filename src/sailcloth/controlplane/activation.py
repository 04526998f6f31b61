"""Blocks changes that would break traffic, in whatever order objects arrive.

A VirtualService takes effect only when every host and subset that it routes to exists. A subset of a DestinationRule is removed
only when no active VirtualService routes to it. Until then the previous version stays active (for a new VirtualService: the
host's default route), and `blocked` holds the reason. Differs from Istio, which answers such requests with 503.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sailcloth.api.destination_rule import DestinationRule
from sailcloth.api.meta import Key, Object
from sailcloth.api.virtual_service import VirtualService
from sailcloth.mesh import hosts, registry, virtual_services
from sailcloth.mesh.kinds.destination_rule import by_host
from sailcloth.mesh.kinds.virtual_service import destinations
from sailcloth.mesh.registry import Mesh

from . import verdicts

Subset = tuple[str, str]  # (host, subset)


class Activation:
    """Queue of changes between the store and the mesh. `apply` adds a change; `settle` applies those that are not blocked."""

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh
        self._pending: dict[Key, Object | None] = {}
        self._users_of: dict[Subset, set[Key]] = {}  # active VirtualServices that route to a subset
        self._subsets_of: dict[Key, set[Subset]] = {}
        self._refused: dict[Key, Object] = {}  # versions that were taken back
        self.blocked: dict[Key, tuple[str, str]] = {}  # object -> (reason, message)
        self.on_applied: Callable[[Key, Object | None], None] | None = None  # called with the version before

    def apply(self, key: Key, obj: Object | None) -> None:
        """Queue a new version of an object, or its deletion (None). A version that was taken back stays so."""
        if obj is None or self._refused.get(key) != obj:
            self._refused.pop(key, None)
            self._pending[key] = obj

    def take_back(self, key: Key, previous: Object | None, reason: tuple[str, str]) -> None:
        """Let the previous version of an object take effect again (None: as if there were no object), until there is a new one."""
        refused = self._mesh.objects.get(key)
        if refused is not None:
            self._refused[key] = refused
            self._set_blocked(key, reason)
            self._put(key, previous)

    def try_again(self, key: Key) -> None:
        """Queue the version that was taken back."""
        refused = self._refused.pop(key, None)
        if refused is not None and key not in self._pending:
            self._pending[key] = refused

    def settle(self) -> bool:
        """Apply all changes that are not blocked. Returns whether the mesh changed."""
        changed = False
        progress = True
        while progress and self._pending:
            progress = False
            for key in list(self._pending):
                obj = self._pending[key]
                reason = self._blocking_reason(key, obj)
                if reason is not None:
                    self._set_blocked(key, reason)
                    continue
                del self._pending[key]
                self._set_blocked(key, None)
                progress = True
                previous = self._mesh.objects.get(key)
                if self._put(key, obj):
                    changed = True
                    if self.on_applied is not None and obj is not None:
                        self.on_applied(key, previous)
        return changed

    def _put(self, key: Key, obj: Object | None) -> bool:
        """Change the mesh. Returns whether that changed anything."""
        changed = self._mesh.apply(key, obj)
        if key.kind == "VirtualService":
            self._track_subsets(key, obj)
        return changed

    def _set_blocked(self, key: Key, reason: tuple[str, str] | None) -> None:
        if self.blocked.get(key) == reason:
            return
        if reason is None:
            del self.blocked[key]
        else:
            self.blocked[key] = reason
        verdicts.set_blocked(self._mesh.graph, key, reason)

    def _blocking_reason(self, key: Key, obj: Object | None) -> tuple[str, str] | None:
        if isinstance(obj, VirtualService):
            return self._missing_destination(key, obj)
        if key.kind == "DestinationRule":
            return self._subset_in_use(key, obj)
        return None

    def _missing_destination(self, key: Key, rule: VirtualService) -> tuple[str, str] | None:
        domain = self._mesh.config.domain
        for destination in destinations(rule):
            host = virtual_services.destination_host(destination, key.namespace, domain)
            graph = self._mesh.graph
            if not any(registry.services_of_host(graph, h) for h in (host, *hosts.wildcards(host))):
                return "HostNotFound", f"destination host {host} does not exist; the rules wait for it"
            if destination.subset and not self._defines(host, destination.subset):
                text = f"subset {destination.subset} of {host} is not defined by any DestinationRule; the rules wait for it"
                return "SubsetNotFound", text
        return None

    def _defines(self, host: str, subset: str, excluding: Key | None = None) -> bool:
        return any(subset == s.name for rule in self._rules(host, excluding) for s in rule.spec.subsets)

    def _rules(self, host: str, excluding: Key | None) -> Iterable[DestinationRule]:
        for name in (host, *hosts.wildcards(host)):
            for key in registry.select(self._mesh.graph, by_host(name)):
                rule = self._mesh.objects.get(key)
                if key != excluding and isinstance(rule, DestinationRule):
                    yield rule

    def _subset_in_use(self, key: Key, new: Object | None) -> tuple[str, str] | None:
        old = self._mesh.objects.get(key)
        if not isinstance(old, DestinationRule):
            return None
        remaining = {s.name for s in new.spec.subsets} if isinstance(new, DestinationRule) else set()
        host = hosts.resolve(old.spec.host, key.namespace, self._mesh.config.domain)
        host_changed = isinstance(new, DestinationRule) and new.spec.host != old.spec.host
        for subset in old.spec.subsets:
            if subset.name in remaining and not host_changed:
                continue
            users = {
                u for (h, s), keys in self._users_of.items() if s == subset.name and hosts.covers(host, h) for u in keys
            }
            if users and not self._defines(host, subset.name, excluding=key):
                user = min(users)
                return (
                    "SubsetInUse",
                    f"subset {subset.name} of {host} is still in use by {user}; it stays until that changes",
                )
        return None

    def _track_subsets(self, key: Key, obj: Object | None) -> None:
        for subset in self._subsets_of.pop(key, set()):
            self._users_of[subset].discard(key)
            if not self._users_of[subset]:
                del self._users_of[subset]
        if isinstance(obj, VirtualService):
            domain = self._mesh.config.domain
            used = {
                (virtual_services.destination_host(d, key.namespace, domain), d.subset)
                for d in destinations(obj)
                if d.subset
            }
            if used:
                self._subsets_of[key] = {(h, str(s)) for h, s in used}
                for subset in self._subsets_of[key]:
                    self._users_of.setdefault(subset, set()).add(key)
