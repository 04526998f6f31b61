"""Converts HTTPRoutes of the Gateway API that are attached to services (GAMMA) to VirtualServices. Pure.

A route in the service's own namespace (producer route) applies to all clients; a route in another namespace (consumer route) only
to clients in that namespace, and replaces producer routes for them. The routes of one namespace for one service become one list
in the API's order of precedence. Later layers must not know HTTPRoutes. Those that are attached to
gateways are the business of `kubernetes_gateways`. Source: istio.md 1.12, and the API's specification.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from sailcloth.api import virtual_service as vs
from sailcloth.api.gateway_api import HTTPRoute, ParentReference, ReferenceGrant
from sailcloth.api.meta import Key, Object, ObjectMeta, PortSelector

from .http_rules import HttpRules, Order, Service, destinations

SEMANTICS = "internal.istio.io/route-semantics"
PARENTS = "internal.istio.io/parents"


class Group(NamedTuple):
    """The routes of one namespace for one service: one VirtualService."""

    service: Service
    namespace: str

    @property
    def key(self) -> Key:
        return Key("VirtualService", self.namespace, f"{self.service.name}~{self.service.namespace}~httproute")


@dataclass(frozen=True)
class ParentStatus:
    """The status of a route for one parent."""

    parent: ParentReference
    accepted: tuple[bool, str, str]  # whether, reason, message
    resolved: tuple[bool, str, str]


class HttpRoutes:
    """Keeps the VirtualServices in step with HTTPRoutes, grants and services. `put` sets or (None) removes an object of the mesh
    and says whether that changed anything; `ports` gives a service's ports by name, None if there is no such service."""

    def __init__(
        self,
        put: Callable[[Key, Object | None], bool],
        ports: Callable[[Service], Mapping[str, int] | None],
        domain: Callable[[], str],
    ) -> None:
        self._apply, self._ports, self._domain = put, ports, domain
        self._routes: dict[Key, HTTPRoute] = {}
        self._grants: dict[Key, ReferenceGrant] = {}
        self.rules = HttpRules(ports, self._grants, domain)
        self._members: dict[Group, set[Key]] = {}
        self._groups_of_service: dict[Service, set[Group]] = {}  # groups with a service as parent or destination
        self._services_of_group: dict[Group, set[Service]] = {}
        self.reevaluated: set[Key] = set()  # routes whose status may have changed; the reader clears it

    def apply(self, key: Key, obj: Object | None) -> bool:
        """Apply an HTTPRoute or ReferenceGrant, or (None) its deletion. Returns whether the mesh changed."""
        if key.kind == "ReferenceGrant":
            if isinstance(obj, ReferenceGrant):
                self._grants[key] = obj
            else:
                self._grants.pop(key, None)
            return self._update_groups(self._members)
        old = self._routes.pop(key, None)
        if isinstance(obj, HTTPRoute):
            self._routes[key] = obj
        old_groups, new_groups = (
            set(_groups(key, o)) if o is not None else set() for o in (old, self._routes.get(key))
        )
        for group in old_groups - new_groups:
            self._members[group].discard(key)
        for group in new_groups:
            self._members.setdefault(group, set()).add(key)
        self.reevaluated.add(key)
        return self._update_groups(old_groups | new_groups)

    def service_changed(self, namespace: str, name: str) -> bool:
        """Update the routes that refer to a service that was added or deleted. Returns whether the mesh changed."""
        return self._update_groups(self._groups_of_service.get(Service(namespace, name), ()))

    def status(self, key: Key) -> list[ParentStatus]:
        """The status of a route for each service that it is attached to."""
        route = self._routes.get(key)
        if route is None:
            return []
        unsupported, unresolved = self.rules.verdict(route, key)
        statuses = []
        for parent in route.spec.parent_refs:
            if not _is_service(parent):
                continue
            accepted = (True, "Accepted", "")
            problem = self._parent_problem(parent, key.namespace)
            if problem:
                accepted = (False, "NoMatchingParent", problem)
            elif unsupported:
                accepted = (False, "UnsupportedValue", unsupported)
            statuses.append(ParentStatus(parent, accepted, unresolved))
        return statuses

    def _parent_problem(self, parent: ParentReference, namespace: str) -> str:
        """Why a route is attached to nothing by a reference to a service; empty if it is."""
        target = _service(parent, namespace)
        ports = self._ports(target)
        if ports is None:
            return f"service {target.namespace}/{target.name} does not exist"
        if parent.port is not None and parent.port not in ports.values():
            return f"service {target.namespace}/{target.name} has no port {parent.port}"
        if parent.section_name and parent.section_name not in ports:
            return f"service {target.namespace}/{target.name} has no port named {parent.section_name}"
        if parent.section_name and parent.port is not None and ports[parent.section_name] != parent.port:
            return f"port {parent.section_name} of service {target.namespace}/{target.name} is not {parent.port}"
        return ""

    def _attached_ports(self, route: HTTPRoute, group: Group) -> list[int]:
        """The ports of a service that a route is attached to; 0 stands for all of them."""
        ports = self._ports(group.service) or {}
        return sorted(
            {
                parent.port or (ports[parent.section_name] if parent.section_name else 0)
                for parent in route.spec.parent_refs
                if _group(parent, group.namespace) == group and not self._parent_problem(parent, group.namespace)
            }
        )

    # -- one VirtualService -------------------------------------------------------------------------

    def _update_groups(self, groups: Iterable[Group]) -> bool:
        changed = [self._update_group(g) for g in sorted(groups)]
        return any(changed)

    def _update_group(self, group: Group) -> bool:
        routes = sorted((k, self._routes[k]) for k in self._members.get(group, ()))
        self.reevaluated.update(k for k, _ in routes)
        for service in self._services_of_group.pop(group, ()):
            self._groups_of_service[service].discard(group)
        if not routes:
            self._members.pop(group, None)
            return self._apply(group.key, None)
        named = {group.service, *(s for k, r in routes for s in destinations(k, r))}
        self._services_of_group[group] = named
        for service in named:
            self._groups_of_service.setdefault(service, set()).add(group)
        if self._ports(group.service) is None:
            return self._apply(group.key, None)
        return self._apply(group.key, self._virtual_service(group, routes))

    def _virtual_service(self, group: Group, routes: list[tuple[Key, HTTPRoute]]) -> vs.VirtualService:
        http = [r for key, route in routes for r in self.rules.routes(key, route, self._attached_ports(route, group))]
        http += self._unattached(group, {p for key, route in routes for p in self._attached_ports(route, group)})
        parents = ",".join(f"{k.kind}/{k.name}.{k.namespace}" for k, _ in routes)
        metadata = ObjectMeta(
            name=group.key.name,
            namespace=group.namespace,
            creation_timestamp=min(r.metadata.creation_timestamp or "" for _, r in routes),
            annotations={SEMANTICS: "gateway", PARENTS: parents},
        )
        spec = vs.VirtualServiceSpec(
            hosts=(f"{group.service.name}.{group.service.namespace}.svc.{self._domain()}",),
            http=tuple(h for _, h in sorted(http, key=lambda item: item[0])),
            export_to=("*" if group.namespace == group.service.namespace else group.namespace,),
        )
        return vs.VirtualService(metadata=metadata, spec=spec)

    def _unattached(self, group: Group, attached: set[int]) -> Iterable[tuple[Order, vs.HTTPRoute]]:
        """The routes of ports that no HTTPRoute is attached to: as without any."""
        host = f"{group.service.name}.{group.service.namespace}.svc.{self._domain()}"
        for port in sorted(set((self._ports(group.service) or {}).values()) - attached) if 0 not in attached else ():
            destination = vs.Destination(host=host, port=PortSelector(number=port))
            route = vs.HTTPRouteDestination(destination=destination)
            yield (9, port), vs.HTTPRoute(name="default", match=(vs.HTTPMatchRequest(port=port),), route=(route,))


def _is_service(parent: ParentReference) -> bool:
    return parent.group in ("", "core") and parent.kind == "Service"


def _service(parent: ParentReference, namespace: str) -> Service:
    return Service(parent.namespace or namespace, parent.name)


def _group(parent: ParentReference, namespace: str) -> Group | None:
    return Group(_service(parent, namespace), namespace) if _is_service(parent) else None


def _groups(key: Key, route: HTTPRoute) -> Iterable[Group]:
    return (g for p in route.spec.parent_refs if (g := _group(p, key.namespace)) is not None)
