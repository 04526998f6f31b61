"""Converts routes of the Gateway API that are attached to Services or ServiceEntries (GAMMA) to VirtualServices. Pure.

A route in the service's own namespace (producer route) applies to all clients; a route in another namespace (consumer route) only
to clients in that namespace, and replaces producer routes for them. The routes of one namespace for one host become one VirtualService:
those of requests in the API's order of precedence, those of connections by age. Later layers must not know these kinds. Routes that are
attached to gateways are the business of `kubernetes_gateways`. Source: istio.md 1.12, and the API's specification.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import repeat
from typing import NamedTuple

from sailcloth.api import virtual_service as vs
from sailcloth.api.gateway_api import HTTPRoute, ParentReference, ReferenceGrant
from sailcloth.api.meta import Key, Object, ObjectMeta, PortSelector
from sailcloth.lib.relation import Relation

from . import hosts
from .http_rules import HttpRules, Order, Service, ServicePorts, destinations

SEMANTICS = "internal.istio.io/route-semantics"
PARENTS = "internal.istio.io/parents"
ENTRY = "ServiceEntry"
_KINDS = {("", "Service"): "Service", ("core", "Service"): "Service", ("networking.istio.io", ENTRY): ENTRY}


class Group(NamedTuple):
    """The routes of one namespace for one host of a service: one VirtualService. `host`: empty for a Service, which has one."""

    service: Service
    namespace: str
    host: str = ""

    @property
    def key(self) -> Key:
        what = f"{self.service.name}~{self.service.namespace}"
        name = f"{what}~httproute" if not self.host else f"{what}~{self.host.replace('*', 'any')}~serviceentry"
        return Key("VirtualService", self.namespace, name)


@dataclass(frozen=True)
class ParentStatus:
    """The status of a route for one parent."""

    parent: ParentReference
    accepted: tuple[bool, str, str]  # whether, reason, message
    resolved: tuple[bool, str, str]


class HttpRoutes:
    """Keeps the VirtualServices in step with routes, grants and services. `put` sets or (None) removes an object of the mesh and says whether
    that changed anything; `entry_hosts` gives the hosts of a ServiceEntry."""

    def __init__(
        self,
        put: Callable[[Key, Object | None], bool],
        ports: ServicePorts,
        entry_hosts: Callable[[Service], tuple[str, ...]],
        domain: Callable[[], str],
    ) -> None:
        self._apply, self._ports, self._entry_hosts, self._domain = put, ports, entry_hosts, domain
        self._routes: dict[Key, HTTPRoute] = {}
        self._grants: dict[Key, ReferenceGrant] = {}
        self.rules = HttpRules(ports, self._grants, domain)
        self._members: Relation[Key, Group] = Relation()  # routes at their groups
        self._attached: Relation[Key, Service] = Relation()  # routes at ServiceEntries
        self._references: Relation[Group, Service] = Relation()  # groups at services that are parents or destinations
        self.reevaluated: set[Key] = set()  # routes whose status may have changed; the reader clears it

    def apply(self, key: Key, obj: Object | None) -> bool:
        """Apply a route or ReferenceGrant, or (None) its deletion. Returns whether the mesh changed."""
        if key.kind == "ReferenceGrant":
            if isinstance(obj, ReferenceGrant):
                self._grants[key] = obj
            else:
                self._grants.pop(key, None)
            return self._update_groups(self._members)
        if isinstance(obj, HTTPRoute):
            self._routes[key] = obj
        else:
            self._routes.pop(key, None)
        self._attached.put(key, self._entries(key))
        return self._update_groups(self._regroup(key))

    def entry_changed(self, namespace: str, name: str) -> bool:
        """Update the routes that are attached to a ServiceEntry that was added, changed or deleted. Returns whether the mesh changed."""
        keys = sorted(self._attached.at(Service(namespace, name, ENTRY)))
        return self._update_groups({group for key in keys for group in self._regroup(key)})

    def _entries(self, key: Key) -> list[Service]:
        route = self._routes.get(key)
        parents = map(_parent, route.spec.parent_refs if route is not None else (), repeat(key.namespace))
        return [p for p in parents if p is not None and p.kind == ENTRY]

    def _regroup(self, key: Key) -> frozenset[Group]:
        """Work out the groups of a route anew; returns these and the earlier ones."""
        route = self._routes.get(key)
        new = frozenset(self._groups(key, route) if route is not None else ())
        self.reevaluated.add(key)
        return self._members.put(key, new) | new

    def _groups(self, key: Key, route: HTTPRoute) -> Iterable[Group]:
        for parent in route.spec.parent_refs:
            target = _parent(parent, key.namespace)
            if target is not None and target.kind == ENTRY:
                yield from (Group(target, key.namespace, host) for host in self._exposed(target, route))
            elif target is not None:
                yield Group(target, key.namespace)

    def _exposed(self, entry: Service, route: HTTPRoute) -> Iterable[str]:
        """The host names that a route and a ServiceEntry have in common."""
        for host in map(hosts.normalized, self._entry_hosts(entry)):
            for name in map(hosts.normalized, route.spec.hostnames or (host,)):
                if hosts.covers(host, name):
                    yield name
                elif hosts.covers(name, host):
                    yield host

    def service_changed(self, namespace: str, name: str) -> bool:
        """Update the routes that refer to a service that was added or deleted. Returns whether the mesh changed."""
        return self._update_groups(self._references.at(Service(namespace, name)))

    def virtual_services_of(self, key: Key) -> frozenset[Key]:
        """The VirtualServices that a route is part of."""
        return frozenset(group.key for group in self._members.of(key))

    def status(self, key: Key) -> list[ParentStatus]:
        """The status of a route for each service that it is attached to."""
        route = self._routes.get(key)
        if route is None:
            return []
        unsupported, unresolved = self.rules.verdict(route, key)
        statuses = []
        for parent in route.spec.parent_refs:
            target = _parent(parent, key.namespace)
            if target is None:
                continue
            accepted = (True, "Accepted", "")
            problem = self._parent_problem(parent, target)
            if problem:
                accepted = (False, "NoMatchingParent", problem)
            elif target.kind == ENTRY and not any(self._exposed(target, route)):
                text = f"{_named(target)} has no host in common with the route"
                accepted = (False, "NoMatchingListenerHostname", text)
            elif unsupported:
                accepted = (False, "UnsupportedValue", unsupported)
            statuses.append(ParentStatus(parent, accepted, unresolved))
        return statuses

    def _parent_problem(self, parent: ParentReference, target: Service) -> str:
        """Why a route is attached to nothing by a reference to a service; empty if it is."""
        ports = self._ports(target)
        if ports is None:
            return f"{_named(target)} does not exist"
        if parent.port is not None and parent.port not in ports.values():
            return f"{_named(target)} has no port {parent.port}"
        if parent.section_name and parent.section_name not in ports:
            return f"{_named(target)} has no port named {parent.section_name}"
        if parent.section_name and parent.port is not None and ports[parent.section_name] != parent.port:
            return f"port {parent.section_name} of {_named(target)} is not {parent.port}"
        return ""

    def _attached_ports(self, route: HTTPRoute, group: Group) -> list[int]:
        """The ports of a service that a route is attached to; 0 stands for all of them."""
        ports = self._ports(group.service) or {}
        return sorted(
            {
                parent.port or (ports[parent.section_name] if parent.section_name else 0)
                for parent in route.spec.parent_refs
                if _parent(parent, group.namespace) == group.service and not self._parent_problem(parent, group.service)
            }
        )

    # -- one VirtualService -------------------------------------------------------------------------

    def _update_groups(self, groups: Iterable[Group]) -> bool:
        changed = [self._update_group(g) for g in sorted(groups)]
        return any(changed)

    def _update_group(self, group: Group) -> bool:
        routes = sorted((k, self._routes[k]) for k in self._members.at(group))
        self.reevaluated.update(k for k, _ in routes)
        if not routes:
            self._references.put(group)
            return self._apply(group.key, None)
        self._references.put(group, {group.service, *(s for k, r in routes for s in destinations(k, r))})
        if self._ports(group.service) is None:
            return self._apply(group.key, None)
        return self._apply(group.key, self._virtual_service(group, routes))

    def _virtual_service(self, group: Group, routes: list[tuple[Key, HTTPRoute]]) -> vs.VirtualService:
        http: list[tuple[Order, vs.HTTPRoute]] = []
        tls: list[vs.TLSRoute] = []
        tcp: list[vs.TCPRoute] = []
        requested: set[int] = set()
        host = group.host or f"{group.service.name}.{group.service.namespace}.svc.{self._domain()}"
        for key, route in sorted(
            routes, key=lambda r: (r[1].metadata.creation_timestamp or "", r[0].namespace, r[0].name)
        ):
            ports = self._attached_ports(route, group)
            if key.kind == "TLSRoute":
                names = route.spec.hostnames or (host,)
                tls += (
                    vs.TLSRoute(match=(vs.TLSMatchAttributes(sni_hosts=names, port=port or None),), route=targets)
                    for port in ports
                    if (targets := self.rules.connections(key, route))
                )
            elif key.kind == "TCPRoute":
                tcp += (
                    vs.TCPRoute(match=(vs.L4MatchAttributes(port=port),) if port else (), route=targets)
                    for port in ports
                    if (targets := self.rules.connections(key, route))
                )
            else:
                http += self.rules.routes(key, route, ports)
                requested.update(ports)
        http += self._unattached(group, host, requested)
        parents = ",".join(f"{k.kind}/{k.name}.{k.namespace}" for k, _ in routes)
        metadata = ObjectMeta(
            name=group.key.name,
            namespace=group.namespace,
            creation_timestamp=min(r.metadata.creation_timestamp or "" for _, r in routes),
            annotations={SEMANTICS: "gateway", PARENTS: parents},
        )
        spec = vs.VirtualServiceSpec(
            hosts=(host,),
            http=tuple(h for _, h in sorted(http, key=lambda item: item[0])),
            tls=tuple(tls),
            tcp=tuple(tcp),
            export_to=("*" if group.namespace == group.service.namespace else group.namespace,),
        )
        return vs.VirtualService(metadata=metadata, spec=spec)

    def _unattached(self, group: Group, host: str, attached: set[int]) -> Iterable[tuple[Order, vs.HTTPRoute]]:
        """The routes of ports that no route of requests is attached to: as without any."""
        if group.host:
            own = map(hosts.normalized, self._entry_hosts(group.service))
            host = next((h for h in own if hosts.covers(h, group.host)), host)
        for port in sorted(set((self._ports(group.service) or {}).values()) - attached) if 0 not in attached else ():
            destination = vs.Destination(host=host, port=PortSelector(number=port))
            route = vs.HTTPRouteDestination(destination=destination)
            yield (9, port), vs.HTTPRoute(name="default", match=(vs.HTTPMatchRequest(port=port),), route=(route,))


def _parent(parent: ParentReference, namespace: str) -> Service | None:
    """The Service or ServiceEntry that a reference names; None for another kind."""
    kind = _KINDS.get((parent.group, parent.kind))
    return Service(parent.namespace or namespace, parent.name, kind) if kind is not None else None


def _named(service: Service) -> str:
    return f"{'service' if service.kind == 'Service' else service.kind} {service.namespace}/{service.name}"
