"""Gateways and ListenerSets of the Gateway API and the routes that are attached to them, as Gateways and VirtualServices of Istio. Pure.

Each listener becomes a Gateway, and each host name of a listener a VirtualService with the routes of all HTTPRoutes for it, in the API's
order of precedence. A change updates the host names that it concerns. Later layers must not know the Gateway API. Source: istio.md 1.12, and the
API's specification.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from operator import itemgetter
from typing import Any, NamedTuple

from sailcloth.api import core
from sailcloth.api import virtual_service as vs
from sailcloth.api.gateway_api import (
    CONTROLLER,
    GatewayClass,
    HTTPRoute,
    KubernetesGateway,
    Listener,
    ParentReference,
)
from sailcloth.api.meta import Key, Object, ObjectMeta
from sailcloth.lib.relation import Relation

from . import gateway_attachment, gateway_listeners, gateway_parameters, gateway_references, hosts, listener_sets
from .gateway_listeners import GATEWAY, LISTENER_SET, GatewayState, ListenerState
from .gateway_references import References
from .http_routes import PARENTS, SEMANTICS, ParentStatus
from .http_rules import HttpRules, Order, Service, destinations
from .listener_sets import ListenerSets, ListenerSetState
from .merged_listeners import FIRST, Change, MergedListeners, Name

KIND = GATEWAY
OWN_CLASSES = ("istio", "sailcloth")
"""Classes that are ours also where there is no object, as Istio has them."""
WAYPOINT = "istio-waypoint"
_NO_WAYPOINTS = "waypoints are not supported yet; routes and policies at Services and workloads hold in their sidecars"
KINDS = frozenset((KIND, "GatewayClass"))
_NOT_FOUND = vs.HTTPRoute(name="no-route", direct_response=vs.HTTPDirectResponse(status=404))
Lookup = Callable[[Key], Object | None]


class HostName(NamedTuple):
    """One host name of a listener (by its ident): one VirtualService."""

    gateway: Key
    listener: str
    host: str

    @property
    def key(self) -> Key:
        name = f"{self.gateway.name}~{self.listener}~{self.host.replace('*', 'any')}"
        return Key("VirtualService", self.gateway.namespace, name)


class KubernetesGateways:
    """Keeps the generated objects in step. `put` sets or (None) removes an object of the mesh and says whether that changed anything;
    `lookup` reads one. `references`: judges certificates."""

    def __init__(
        self,
        put: Callable[[Key, Object | None], bool],
        lookup: Lookup,
        references: References,
        rules: HttpRules,
        domain: Callable[[], str],
    ) -> None:
        self._put, self._lookup, self._rules, self._domain = put, lookup, rules, domain
        self._references = references
        self._classes = set(OWN_CLASSES)
        self._foreign: set[str] = set()  # classes of other controllers
        self._gateways: dict[Key, KubernetesGateway] = {}
        self._sets = ListenerSets()
        self._merged: dict[Key, MergedListeners] = {}  # by Gateway
        self._routes: dict[Key, HTTPRoute] = {}
        self._routes_of: Relation[Key, Key] = Relation()  # routes at Gateways and ListenerSets
        self._routes_to: Relation[Key, Service] = Relation()  # routes at backends
        self._members: Relation[Key, HostName] = Relation()  # routes at what they are served under
        self._converted: dict[Key, list[tuple[Order, vs.HTTPRoute]]] = {}  # by route, until it is attached anew
        self._attached: Relation[Key, tuple[Key, str]] = Relation()  # routes at Gateways and idents of listeners
        self._named: Relation[Key, tuple[Key, Name]] = Relation()  # routes at all names that may take hosts of theirs
        self.states: dict[Key, GatewayState] = {}
        self.sets: dict[Key, ListenerSetState] = {}  # those that name a Gateway of ours
        self.classes_evaluated: set[str] = (
            set()
        )  # those and the following may have other statuses; the reader clears them
        self.gateways_evaluated: set[Key] = set()
        self.sets_evaluated: set[Key] = set()
        self.routes_evaluated: set[Key] = set()
        self.services_evaluated: set[Service] = set()  # those to which other routes may lead

    # -- changes --------------------------------------------------------------------------------

    def apply(self, key: Key, obj: Object | None) -> bool:
        """Apply a GatewayClass or Gateway, or (None) its deletion. Returns whether the mesh changed."""
        if key.kind == "GatewayClass":
            own = obj is None and key.name in OWN_CLASSES
            ours = own or (isinstance(obj, GatewayClass) and obj.spec.controller_name == CONTROLLER)
            (self._classes.add if ours else self._classes.discard)(key.name)
            (self._foreign.discard if ours or obj is None else self._foreign.add)(key.name)
            self.classes_evaluated |= {key.name} if ours else set()
            return self._evaluate([k for k, g in self._gateways.items() if g.spec.gateway_class_name == key.name])
        if isinstance(obj, KubernetesGateway):
            self._gateways[key] = obj
        else:
            self._gateways.pop(key, None)
        return self._evaluate([key])

    def apply_set(self, key: Key, obj: Object | None) -> bool:
        """Apply a ListenerSet, or (None) its deletion. Returns whether the mesh changed."""
        before = self._sets.gateway(key)
        if not self._sets.apply(key, obj):
            return False
        new = self._sets.get(key)
        self._references.put(key, gateway_references.of_listeners(new.spec.listeners) if new is not None else ())
        left = before is not None and before != self._sets.gateway(key) and self._evaluate_set(key, before)
        return self._evaluate([key]) or left

    def apply_route(self, key: Key, obj: Object | None) -> bool:
        """Apply an HTTPRoute, or (None) its deletion. Returns whether the mesh changed."""
        self._routes.pop(key, None)
        route = obj if isinstance(obj, HTTPRoute) and gateway_attachment.parents(key, obj) else None
        if route is not None:
            self._routes[key] = route
        parents = gateway_attachment.parents(key, route)
        touched = self._routes_of.put(key, parents) | set(parents)
        self.services_evaluated |= self._routes_to.put(key, destinations(key, route) if route is not None else ())
        changed = self._attach([key])
        self._count_again(touched)
        return changed

    def service_changed(self, namespace: str, name: str) -> bool:
        """Update what refers to a service that was added or deleted."""
        return self._attach(sorted(self._routes_to.at(Service(namespace, name))))

    def grants_changed(self, namespace: str) -> bool:
        """Update what refers to objects in a namespace after a change of its ReferenceGrants."""
        routes = {r for s in self._routes_to if s.namespace == namespace for r in self._routes_to.at(s)}
        changed = self._evaluate(self._references.foreign_users(namespace))
        return self._attach(sorted(r for r in routes if r.namespace != namespace)) or changed

    def secret_changed(self, changed: Key) -> bool:
        """Update the Gateways and ListenerSets with certificates from a Secret or ConfigMap."""
        return self._evaluate(self._references.users(changed))

    def namespace_changed(self, name: str) -> bool:
        """Update the ListenerSets and routes of a namespace whose labels have changed."""
        routes = sorted(k for k in self._routes if k.namespace == name)
        changed = [self._evaluate(self._sets.of_namespace(name)), self._attach(routes)]
        self._count_again({parent for route in routes for parent in self._routes_of.of(route)})
        return any(changed)

    def _count_again(self, parents: Iterable[Key]) -> None:
        """The numbers of routes that are attached to listeners may be others."""
        for parent in parents:
            if parent in self.states:
                self.gateways_evaluated.add(parent)
            elif parent in self.sets:
                self.sets_evaluated.add(parent)

    # -- Gateways and ListenerSets --------------------------------------------------------------

    def _evaluate(self, keys: Iterable[Key]) -> bool:
        changed = []
        for key in keys:
            if key.kind != LISTENER_SET:
                changed.append(self._evaluate_gateway(key))
            elif (gateway := self._sets.gateway(key)) is not None:
                changed.append(self._evaluate_set(key, gateway))
        return any(changed)

    def _evaluate_gateway(self, key: Key) -> bool:
        """Evaluate a Gateway again, with all of its ListenerSets."""
        gateway = self._gateways.get(key)
        self.gateways_evaluated.add(key)
        sets = self._sets.of_gateway(key)
        old, merged = self._merged.pop(key, MergedListeners()), MergedListeners()
        if gateway is not None and gateway.spec.gateway_class_name == WAYPOINT not in self._foreign:
            self._references.put(key)
            self.states[key] = GatewayState(gateway, accepted=(False, "Invalid", _NO_WAYPOINTS))
        elif gateway is None or gateway.spec.gateway_class_name not in self._classes:
            self._references.put(key)
            self.states.pop(key, None)
        else:
            self._references.put(key, gateway_references.of_gateway(gateway))
            merged.put(key, FIRST, self._judge(key, gateway.spec.listeners, key, gateway))
            own = gateway.spec.tls.backend.client_certificate_ref
            client = self._references.certificate(own, key) if own is not None else None
            named = gateway.spec.infrastructure.parameters_ref
            config_map = self._lookup(Key("ConfigMap", key.namespace, named.name)) if named is not None else None
            self.states[key] = gateway_listeners.evaluate(
                gateway,
                merged.of(key),
                self._services(key, gateway),
                client,
                gateway_parameters.read(named, config_map),
            )
            self._merged[key] = merged
            for each in sets:
                self._merge(each, key, merged)
        changed = self._follow(key, merged.since(old), [key, *sets])
        shown = gateway_listeners.client_of(key, self.states.get(key))
        return self._put(gateway_listeners.client_key(key.namespace, key.name), shown) or changed

    def _evaluate_set(self, key: Key, gateway: Key) -> bool:
        """Evaluate a ListenerSet again, and what is in conflict with it at a Gateway."""
        merged = self._merged.get(gateway)
        if merged is None:
            return False
        self.gateways_evaluated.add(gateway)
        return self._follow(gateway, self._merge(key, gateway, merged), [key])

    def _merge(self, key: Key, gateway: Key, merged: MergedListeners) -> Change:
        """Merge the listeners of a ListenerSet into those of a Gateway: none if it does not name it, or is not allowed."""
        obj, at = self._sets.get(key), self.states[gateway].gateway
        if obj is None or self._sets.gateway(key) != gateway or not self._allows(at, key):
            return merged.put(key, FIRST)
        return merged.put(key, self._sets.rank(key), self._judge(key, obj.spec.listeners, gateway, at))

    def _judge(
        self, parent: Key, listeners: Iterable[Listener], key: Key, gateway: KubernetesGateway
    ) -> tuple[ListenerState, ...]:
        references = self._references
        return gateway_listeners.judge(parent, listeners, key, gateway, references.certificate, references.roots)

    def _allows(self, gateway: KubernetesGateway, key: Key) -> bool:
        return listener_sets.allows(gateway, key.namespace, self._labels(key.namespace))

    def _follow(self, key: Key, change: Change, parents: list[Key]) -> bool:
        """Update what follows from changed listeners of a Gateway. parents: the Gateway or ListenerSets that were evaluated."""
        state, merged = self.states.get(key), self._merged.get(key, MergedListeners())
        changed, serving = [], []
        for ident, listener in change.listeners.items():
            if state is not None and state.opens and listener is not None and listener.serves:
                serving.append(
                    (gateway_listeners.server_key(key, ident), gateway_listeners.server(key, state, listener))
                )
            else:
                changed.append(self._put(gateway_listeners.server_key(key, ident), None))
        changed += [self._put(*server) for server in serving]
        for each in {*parents, *(s.parent for s in change.listeners.values() if s is not None)}:
            if each.kind == LISTENER_SET:
                self._settle_set(each)
        routes = {r for name in change.names for r in self._named.at((key, name))}
        routes = routes.union(*(self._routes_of.at(parent) for parent in parents))
        changed.append(self._attach(sorted(routes)))
        concerned: dict[HostName, None] = {}
        for name, before in change.names.items():
            around = (before, merged.serving.get(name), *merged.below(name))
            concerned |= dict.fromkeys(HostName(key, s.ident, s.hostname) for s in around if s is not None)
        return any([*changed, *(self._update(h) for h in concerned)])

    def _settle_set(self, key: Key) -> None:
        """Evaluate the state of a ListenerSet, once the listeners of its Gateway are."""
        gateway = self._sets.gateway(key)
        state = self.states.get(gateway) if gateway is not None else None
        self.sets_evaluated.add(key)
        if gateway is None or state is None:
            self.sets.pop(key, None)
            return
        listeners = self._merged[gateway].of(key)
        allowed = self._allows(state.gateway, key)
        self.sets[key] = listener_sets.evaluate(gateway, state.opens, allowed, listeners)

    def _services(self, key: Key, gateway: KubernetesGateway) -> tuple[str, ...]:
        """Hosts of the services whose pods serve a Gateway: those that its addresses name, or the one that is made for it."""
        named = tuple(a.value for a in gateway.spec.addresses if a.type == "Hostname")
        if named:
            return tuple(hosts.resolve(n, key.namespace, self._domain()) for n in named)
        return (f"{workload_name(gateway)}.{key.namespace}.svc.{self._domain()}",)

    # -- routes ---------------------------------------------------------------------------------

    def _attach(self, keys: Iterable[Key]) -> bool:
        """Work out the host names of routes anew, and update these and the earlier ones."""
        concerned: dict[HostName, None] = {}
        for key in keys:
            self._converted.pop(key, None)
            new = self._hosts(key)
            concerned |= dict.fromkeys(sorted(self._members.put(key, new) | new))
            self.routes_evaluated.add(key)
            self.services_evaluated |= self._routes_to.of(key)
        changed = [self._update(host) for host in concerned]
        return any(changed)

    def _hosts(self, key: Key) -> frozenset[HostName]:
        """What a route is served under. Notes the listeners that it is attached to, and the names that may take hosts of it."""
        route = self._routes.get(key)
        found: set[HostName] = set()
        attached: set[tuple[Key, str]] = set()
        named: set[tuple[Key, Name]] = set()
        for parent in route.spec.parent_refs if route is not None else ():
            at = gateway_attachment.parent(parent, key.namespace)
            gateway = self._gateway_of(at) if at is not None else None
            if route is None or at is None or gateway is None or self._unsupported(key, route):
                continue
            for listener in self._listeners(parent, at, key):
                shared = gateway_listeners.overlap(listener, route.spec.hostnames)
                port = gateway_listeners.port_of(listener.listener)
                attached |= {(gateway, listener.ident)} if shared else set()
                named |= {(gateway, Name(port, p)) for host in shared for p in (host, *hosts.wildcards(host))}
                if listener.serves:
                    exposed = self._merged[gateway].exposed(listener, route.spec.hostnames)
                    found |= {HostName(gateway, listener.ident, host) for host in exposed}
        self._attached.put(key, attached)
        self._named.put(key, named)
        return frozenset(found)

    def _gateway_of(self, parent: Key) -> Key | None:
        """The Gateway of a parent, if it is ours."""
        if parent.kind == LISTENER_SET:
            return self.sets[parent].gateway if parent in self.sets else None
        return parent if parent in self.states else None

    def _unsupported(self, key: Key, route: HTTPRoute) -> bool:
        return bool(self._rules.verdict(route, key)[0])

    def _listeners(self, parent: ParentReference, at: Key, key: Key) -> list[ListenerState]:
        """The listeners that a reference names and that let the route's namespace and kind in."""
        labels = self._labels(key.namespace)
        named = gateway_attachment.named(parent, self._of(at))
        return [s for s in named if key.kind in s.kinds and s.allows(key.namespace, labels)]

    def _of(self, parent: Key) -> tuple[ListenerState, ...]:
        """The listeners of a Gateway or ListenerSet."""
        return self.sets[parent].listeners if parent.kind == LISTENER_SET else self.states[parent].listeners

    def _labels(self, namespace: str) -> Mapping[str, str]:
        obj = self._lookup(Key("Namespace", "", namespace))
        return obj.metadata.labels if isinstance(obj, core.Namespace) else {}

    def _is_guarded(self, host: HostName) -> bool:
        """Whether a listener has a host name beside a wider one on its port, which must not take what it has no route for."""
        merged = self._merged.get(host.gateway, MergedListeners())
        listener = merged.states.get(host.listener)
        return (
            listener is not None and listener.serves and listener.hostname == host.host and merged.is_guarded(listener)
        )

    def _update(self, host: HostName) -> bool:
        routes = sorted((k, self._routes[k]) for k in self._members.at(host) if k in self._routes)
        if not routes and not self._is_guarded(host):
            return self._put(host.key, None)
        state = self._merged.get(host.gateway, MergedListeners()).states.get(host.listener)
        listener = state.listener if state is not None else None
        layers = self._layers(listener, host.host, routes)
        metadata = ObjectMeta(
            name=host.key.name,
            namespace=host.gateway.namespace,
            creation_timestamp=min((r.metadata.creation_timestamp or "" for _, r in routes), default=None),
            annotations={
                SEMANTICS: "gateway",
                PARENTS: ",".join(f"{k.kind}/{k.name}.{k.namespace}" for k, _ in routes),
            },
        )
        spec = vs.VirtualServiceSpec(
            hosts=(host.host,),
            gateways=(f"{host.gateway.namespace}/{host.gateway.name}~{host.listener}",),
            **layers,
        )
        return self._put(host.key, vs.VirtualService(metadata=metadata, spec=spec))

    def _layers(self, listener: Listener | None, host: str, routes: list[tuple[Key, HTTPRoute]]) -> dict[str, Any]:
        """The routes of a VirtualService, by their field: of requests in the API's precedence, or of connections and datagrams, the oldest
        route's."""
        if listener is None or listener.protocol in ("HTTP", "HTTPS"):
            found = sorted((r for key, route in routes for r in self._rules_of(key, route)), key=itemgetter(0))
            return {"http": tuple(r for _, r in found) or (_NOT_FOUND,)}
        oldest = sorted(routes, key=lambda r: (r[1].metadata.creation_timestamp or "", r[0].namespace, r[0].name))
        convert = self._rules.datagrams if listener.protocol == "UDP" else self._rules.connections
        targets = next((t for key, route in oldest if (t := convert(key, route))), ())
        if not targets:
            return {}
        if gateway_listeners.is_passthrough(listener):
            return {"tls": (vs.TLSRoute(match=(vs.TLSMatchAttributes(sni_hosts=(host,)),), route=targets),)}
        return {"tcp": (vs.TCPRoute(route=targets),)}

    def _rules_of(self, key: Key, route: HTTPRoute) -> list[tuple[Order, vs.HTTPRoute]]:
        """(precedence, route) of each match of each rule."""
        found = self._converted.get(key)
        if found is None:
            found = self._converted[key] = list(self._rules.routes(key, route))
        return found

    # -- statuses -------------------------------------------------------------------------------

    def attached(self, gateway: Key, listener: str) -> int:
        """How many routes are attached to a listener of a Gateway or its ListenerSets, by its ident."""
        return self._attached.count((gateway, listener))

    def listeners(self, gateway: Key) -> list[ListenerState]:
        """The listeners of a Gateway and of its ListenerSets."""
        return list(self._merged.get(gateway, MergedListeners()).states.values())

    def sets_of(self, gateway: Key) -> list[Key]:
        """The ListenerSets that name a Gateway, sorted."""
        return self._sets.of_gateway(gateway)

    def attached_sets(self, gateway: Key) -> int:
        """How many ListenerSets are attached to a Gateway: those that it allows and that are accepted."""
        return sum(key in self.sets and self.sets[key].accepted[0] for key in self.sets_of(gateway))

    def gateways_to(self, service: Service) -> list[Key]:
        """The Gateways with routes to a service, sorted."""
        return sorted({g for route in self._routes_to.at(service) for g, _ in self._attached.of(route)})

    def is_ours(self, name: str) -> bool:
        """Whether a GatewayClass is of this controller."""
        return name in self._classes

    def virtual_services_of(self, key: Key) -> frozenset[Key]:
        """The VirtualServices that a route is part of."""
        return frozenset(host.key for host in self._members.of(key))

    def status(self, key: Key) -> list[ParentStatus]:
        """The status of an HTTPRoute for each of our Gateways, and of their ListenerSets, that it names."""
        route = self._routes.get(key)
        statuses = []
        for parent in route.spec.parent_refs if route is not None else ():
            at = gateway_attachment.parent(parent, key.namespace)
            if route is not None and at is not None and self._gateway_of(at) is not None:
                unsupported, resolved = self._rules.verdict(route, key)
                allowed = self._listeners(parent, at, key)
                accepted = gateway_attachment.accepted(parent, self._of(at), allowed, key, route)
                if accepted[0] and unsupported:
                    accepted = (False, "UnsupportedValue", unsupported)
                statuses.append(ParentStatus(parent, accepted, resolved))
        return statuses


def workload_name(gateway: KubernetesGateway) -> str:
    """The name of the Deployment, Service and ServiceAccount that are made for a Gateway, as Istio names them."""
    return f"{gateway.metadata.name}-{gateway.spec.gateway_class_name}"
