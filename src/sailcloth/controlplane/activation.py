"""Holds back what would break traffic, whatever the order in which objects arrive.

Two promises: a VirtualService takes effect only when every host and subset it sends traffic to exists; a DestinationRule's
subset goes away only when no VirtualService in effect sends traffic to it. Until then the version in effect before stays (or,
for a new VirtualService, the host's default route), and `held` says what is missing. Differs from Istio, which answers such
requests with 503.
"""

from __future__ import annotations

from collections.abc import Iterable

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
    """Stands between the store and the mesh. `apply` notes what is wanted, `settle` puts into effect what may be."""

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh
        self._pending: dict[Key, Object | None] = {}
        self._users: dict[Subset, set[Key]] = {}  # VirtualServices in effect that send traffic to a subset
        self._uses: dict[Key, set[Subset]] = {}
        self.held: dict[Key, tuple[str, str]] = {}  # object -> (reason, message)

    def apply(self, key: Key, obj: Object | None) -> None:
        """Note that an object is to be this, or (None) to go away."""
        self._pending[key] = obj

    def settle(self) -> bool:
        """Put into effect everything that nothing holds back. Returns whether the mesh changed."""
        changed = False
        progress = True
        while progress and self._pending:
            progress = False
            for key in list(self._pending):
                obj = self._pending[key]
                reason = self._reason(key, obj)
                if reason is not None:
                    self._hold(key, reason)
                    continue
                del self._pending[key]
                self._hold(key, None)
                progress = True
                if self._mesh.apply(key, obj):
                    changed = True
                if key.kind == "VirtualService":
                    self._note(key, obj)
        return changed

    def _hold(self, key: Key, reason: tuple[str, str] | None) -> None:
        if self.held.get(key) == reason:
            return
        if reason is None:
            del self.held[key]
        else:
            self.held[key] = reason
        verdicts.hold(self._mesh.graph, key, reason)

    def _reason(self, key: Key, obj: Object | None) -> tuple[str, str] | None:
        if isinstance(obj, VirtualService):
            return self._missing(key, obj)
        if key.kind == "DestinationRule":
            return self._needed(key, obj)
        return None

    def _missing(self, key: Key, rule: VirtualService) -> tuple[str, str] | None:
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

    def _defines(self, host: str, subset: str, but: Key | None = None) -> bool:
        return any(subset == s.name for rule in self._rules(host, but) for s in rule.spec.subsets)

    def _rules(self, host: str, but: Key | None) -> Iterable[DestinationRule]:
        for name in (host, *hosts.wildcards(host)):
            for key in registry.select(self._mesh.graph, by_host(name)):
                rule = self._mesh.objects.get(key)
                if key != but and isinstance(rule, DestinationRule):
                    yield rule

    def _needed(self, key: Key, new: Object | None) -> tuple[str, str] | None:
        old = self._mesh.objects.get(key)
        if not isinstance(old, DestinationRule):
            return None
        kept = {s.name for s in new.spec.subsets} if isinstance(new, DestinationRule) else set()
        host = hosts.resolve(old.spec.host, key.namespace, self._mesh.config.domain)
        moved = isinstance(new, DestinationRule) and new.spec.host != old.spec.host
        for subset in old.spec.subsets:
            if subset.name in kept and not moved:
                continue
            users = {
                u for (h, s), who in self._users.items() if s == subset.name and hosts.covers(host, h) for u in who
            }
            if users and not self._defines(host, subset.name, but=key):
                user = min(users)
                return (
                    "SubsetInUse",
                    f"subset {subset.name} of {host} is still in use by {user}; it stays until that changes",
                )
        return None

    def _note(self, key: Key, obj: Object | None) -> None:
        for subset in self._uses.pop(key, set()):
            self._users[subset].discard(key)
            if not self._users[subset]:
                del self._users[subset]
        if isinstance(obj, VirtualService):
            domain = self._mesh.config.domain
            used = {
                (virtual_services.destination_host(d, key.namespace, domain), d.subset)
                for d in destinations(obj)
                if d.subset
            }
            if used:
                self._uses[key] = {(h, str(s)) for h, s in used}
                for subset in self._uses[key]:
                    self._users.setdefault(subset, set()).add(key)
