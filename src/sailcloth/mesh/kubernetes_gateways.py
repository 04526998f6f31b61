"""Gateways of the Gateway API and the HTTPRoutes that are attached to them, as Gateways and VirtualServices of Istio. Pure.

Each listener becomes a Gateway, and each host name of a listener a VirtualService with the routes of all HTTPRoutes for it, in the API's
order of precedence. A change updates the host names that it concerns. Later layers must not know the Gateway API. Source: istio.md 1.12, and the
API's specification.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import itemgetter
from typing import Any, NamedTuple

from sailcloth.api import core
from sailcloth.api import virtual_service as vs
from sailcloth.api.gateway_api import (
    CONTROLLER,
    GROUP,
    GatewayClass,
    HTTPRoute,
    KubernetesGateway,
    Listener,
    ParentReference,
    SecretReference,
)
from sailcloth.api.meta import Key, Object, ObjectMeta

from . import gateway_listeners, hosts
from .gateway_listeners import GatewayState, ListenerState, Verdict
from .http_routes import PARENTS, SEMANTICS, ParentStatus
from .http_rules import HttpRules, Order, Service, destinations

KIND = "KubernetesGateway"
OWN_CLASSES = ("istio", "sailcloth")
"""Classes that are ours also where there is no object, as Istio has them."""
KINDS = frozenset((KIND, "GatewayClass"))
_NOT_FOUND = vs.HTTPRoute(name="no-route", direct_response=vs.HTTPDirectResponse(status=404))
Lookup = Callable[[Key], Object | None]


class HostName(NamedTuple):
    """One host name of a listener: one VirtualService."""

    gateway: Key
    listener: str
    host: str

    @property
    def key(self) -> Key:
        name = f"{self.gateway.name}~{self.listener}~{self.host.replace('*', 'any')}"
        return Key("VirtualService", self.gateway.namespace, name)


class KubernetesGateways:
    """Keeps the generated objects in step. `put` sets or (None) removes an object of the mesh and says whether that changed anything;
    `lookup` reads one. `certificate`: whether a Secret has a usable certificate, by namespace and name; None if there is no such Secret. `roots`: the same of CA
    certificates, in a Secret or ConfigMap."""

    def __init__(
        self,
        put: Callable[[Key, Object | None], bool],
        lookup: Lookup,
        certificate: Callable[[str, str], bool | None],
        roots: Callable[[Key], bool | None],
        rules: HttpRules,
        domain: Callable[[], str],
    ) -> None:
        self._put, self._lookup, self._rules, self._domain = put, lookup, rules, domain
        self._certificate, self._has_roots = certificate, roots
        self._classes = set(OWN_CLASSES)
        self._gateways: dict[Key, KubernetesGateway] = {}
        self._routes: dict[Key, HTTPRoute] = {}
        self._routes_of: dict[Key, set[Key]] = {}  # by Gateway
        self._routes_to: dict[Service, set[Key]] = {}  # by backend
        self._hosts_of: dict[Key, set[HostName]] = {}  # by route
        self._converted: dict[Key, list[tuple[Order, vs.HTTPRoute]]] = {}  # by route, until it is attached anew
        self._members: dict[HostName, set[Key]] = {}
        self._servers: dict[Key, set[Key]] = {}  # generated Gateways, by Gateway
        self._guarded: dict[Key, set[HostName]] = {}  # host names that are not left to a wider listener, by Gateway
        self._attached: dict[tuple[Key, str], set[Key]] = {}  # routes by Gateway and listener
        self._attached_to: dict[Key, set[tuple[Key, str]]] = {}  # the reverse
        self.states: dict[Key, GatewayState] = {}
        self.classes_evaluated: set[str] = (
            set()
        )  # those and the following may have other statuses; the reader clears them
        self.gateways_evaluated: set[Key] = set()
        self.routes_evaluated: set[Key] = set()
        self.services_evaluated: set[Service] = set()  # those to which other routes may lead

    # -- changes --------------------------------------------------------------------------------

    def apply(self, key: Key, obj: Object | None) -> bool:
        """Apply a GatewayClass or Gateway, or (None) its deletion. Returns whether the mesh changed."""
        if key.kind == "GatewayClass":
            own = obj is None and key.name in OWN_CLASSES
            ours = own or (isinstance(obj, GatewayClass) and obj.spec.controller_name == CONTROLLER)
            (self._classes.add if ours else self._classes.discard)(key.name)
            self.classes_evaluated |= {key.name} if ours else set()
            return self._evaluate(k for k, g in self._gateways.items() if g.spec.gateway_class_name == key.name)
        if isinstance(obj, KubernetesGateway):
            self._gateways[key] = obj
        else:
            self._gateways.pop(key, None)
        return self._evaluate([key])

    def apply_route(self, key: Key, obj: Object | None) -> bool:
        """Apply an HTTPRoute, or (None) its deletion. Returns whether the mesh changed."""
        old = self._routes.pop(key, None)
        for gateway in _gateways(key, old):
            self._routes_of[gateway].discard(key)
        for service in destinations(key, old) if old is not None else ():
            self._routes_to.get(service, set()).discard(key)
            self.services_evaluated.add(service)
        touched = {g for g in _gateways(key, old) if g in self.states}
        if isinstance(obj, HTTPRoute) and any(_gateways(key, obj)):
            self._routes[key] = obj
            for gateway in _gateways(key, obj):
                self._routes_of.setdefault(gateway, set()).add(key)
            for service in destinations(key, obj):
                self._routes_to.setdefault(service, set()).add(key)
        changed = self._attach([key])
        self.gateways_evaluated |= touched | {g for g in _gateways(key, self._routes.get(key)) if g in self.states}
        return changed

    def service_changed(self, namespace: str, name: str) -> bool:
        """Update what refers to a service that was added or deleted."""
        return self._attach(sorted(self._routes_to.get(Service(namespace, name), ())))

    def grants_changed(self) -> bool:
        """Update all after a change of ReferenceGrants."""
        return self._evaluate(list(self._gateways))

    def secret_changed(self, changed: Key) -> bool:
        """Update the Gateways with certificates from a Secret or ConfigMap."""
        return self._evaluate(
            key
            for key, gateway in self._gateways.items()
            if any(Key(r.kind, r.namespace or key.namespace, r.name) == changed for r in _certificates(gateway))
        )

    def namespace_changed(self, name: str) -> bool:
        """Update the routes of a namespace whose labels have changed."""
        return self._attach(sorted(k for k in self._routes if k.namespace == name))

    # -- Gateways -------------------------------------------------------------------------------

    def _evaluate(self, keys: Iterable[Key]) -> bool:
        changed = [self._evaluate_one(key) for key in list(keys)]
        return any(changed)

    def _evaluate_one(self, key: Key) -> bool:
        gateway = self._gateways.get(key)
        self.gateways_evaluated.add(key)
        if gateway is None or gateway.spec.gateway_class_name not in self._classes:
            self.states.pop(key, None)
        else:
            self.states[key] = gateway_listeners.evaluate(
                gateway, self._services(key, gateway), self._secret, self._roots
            )
        state = self.states.get(key)
        accepted = state is not None and state.accepted[0]
        servers = (
            dict(gateway_listeners.server(key, state, s) for s in state.listeners if s.serves)
            if state and accepted
            else {}
        )
        outdated = self._servers.pop(key, set()) - servers.keys()
        if servers:
            self._servers[key] = set(servers)
        changed = [self._put(k, None) for k in sorted(outdated)] + [self._put(k, o) for k, o in servers.items()]
        client = gateway_listeners.client_of(key, state)
        changed.append(self._put(gateway_listeners.client_key(key.namespace, key.name), client))
        changed.append(self._attach(sorted(self._routes_of.get(key, ()))))
        guarded = set(self._empty(key, state))
        changed += [self._update(h) for h in sorted(guarded | self._guarded.pop(key, set()))]
        if guarded:
            self._guarded[key] = guarded
        return any(changed)

    def _services(self, key: Key, gateway: KubernetesGateway) -> tuple[str, ...]:
        """Hosts of the services whose pods serve a Gateway: those that its addresses name, or the one that is made for it."""
        named = tuple(a.value for a in gateway.spec.addresses if a.type == "Hostname")
        if named:
            return tuple(hosts.resolve(n, key.namespace, self._domain()) for n in named)
        return (f"{workload_name(gateway)}.{key.namespace}.svc.{self._domain()}",)

    def _secret(self, reference: SecretReference, namespace: str) -> Verdict:
        own = reference.namespace or namespace
        if reference.group not in ("", "core") or reference.kind != "Secret":
            return False, "InvalidCertificateRef", f"{reference.group}/{reference.kind} is no certificate; use a Secret"
        if own != namespace and not self._rules.granted(Service(own, reference.name), namespace, "Gateway", "Secret"):
            text = f"no ReferenceGrant in {own} lets Gateways of {namespace} use Secret {reference.name}"
            return False, "RefNotPermitted", text
        usable = self._certificate(own, reference.name)
        if usable:
            return True, "ResolvedRefs", ""
        text = "has no valid certificate with its key" if usable is not None else "does not exist"
        return False, "InvalidCertificateRef", f"Secret {own}/{reference.name} {text}"

    def _roots(self, reference: SecretReference, namespace: str) -> Verdict:
        own = reference.namespace or namespace
        if reference.group not in ("", "core") or reference.kind not in ("ConfigMap", "Secret"):
            text = f"{reference.kind} {reference.name} has no CA certificates; use a ConfigMap with ca.crt"
            return False, "InvalidCACertificateKind", text
        what = f"{reference.kind} {own}/{reference.name}"
        if own != namespace and not self._rules.granted(
            Service(own, reference.name), namespace, "Gateway", reference.kind
        ):
            return False, "RefNotPermitted", f"no ReferenceGrant in {own} lets Gateways of {namespace} use {what}"
        usable = self._has_roots(Key(reference.kind, own, reference.name))
        if usable:
            return True, "ResolvedRefs", ""
        text = "has no PEM certificates in ca.crt" if usable is not None else "does not exist"
        return False, "InvalidCACertificateRef", f"{what} {text}"

    def _empty(self, key: Key, state: GatewayState | None) -> Iterator[HostName]:
        """Host names of listeners beside a wider one on the same port: what they have no route for, the wider one must not take."""
        for listener in state.listeners if state is not None else ():
            wider = (
                any(o.serves and gateway_listeners.narrower(listener, o) for o in state.listeners) if state else False
            )
            if listener.serves and wider:
                yield HostName(key, listener.listener.name, listener.hostname)

    # -- routes ---------------------------------------------------------------------------------

    def _attach(self, keys: Iterable[Key]) -> bool:
        """Work out the host names of routes anew, and update these and the earlier ones."""
        concerned: dict[HostName, None] = {}
        for key in keys:
            self._converted.pop(key, None)
            new = set(self._hosts(key))
            old = self._hosts_of.pop(key, set())
            for host in old - new:
                self._members[host].discard(key)
            for host in new:
                self._members.setdefault(host, set()).add(key)
            if new:
                self._hosts_of[key] = new
            concerned |= dict.fromkeys(sorted(old | new))
            self.routes_evaluated.add(key)
            if (route := self._routes.get(key)) is not None:
                self.services_evaluated.update(destinations(key, route))
        changed = [self._update(host) for host in concerned]
        return any(changed)

    def _hosts(self, key: Key) -> Iterator[HostName]:
        route = self._routes.get(key)
        for place in self._attached_to.pop(key, ()):
            self._attached[place].discard(key)
        for parent in route.spec.parent_refs if route is not None else ():
            gateway = _gateway(parent, key.namespace)
            state = self.states.get(gateway) if gateway is not None else None
            if route is None or gateway is None or state is None or self._unsupported(key, route):
                continue
            for listener in self._listeners(parent, state, key):
                found = gateway_listeners.exposed(listener, state.listeners, route.spec.hostnames)
                if gateway_listeners.exposed(listener, (), route.spec.hostnames):
                    place = gateway, listener.listener.name
                    self._attached.setdefault(place, set()).add(key)
                    self._attached_to.setdefault(key, set()).add(place)
                if listener.serves:
                    yield from (HostName(gateway, listener.listener.name, host) for host in found)

    def _unsupported(self, key: Key, route: HTTPRoute) -> bool:
        return bool(self._rules.verdict(route, key)[0])

    def _listeners(self, parent: ParentReference, state: GatewayState, key: Key) -> list[ListenerState]:
        """The listeners that a reference names and that let the route's namespace and kind in."""
        labels = self._labels(key.namespace)
        return [
            s
            for s in _named(parent, state)
            if key.kind in s.kinds and s.allows(state.gateway.metadata.namespace, key.namespace, labels)
        ]

    def _labels(self, namespace: str) -> Mapping[str, str]:
        obj = self._lookup(Key("Namespace", "", namespace))
        return obj.metadata.labels if isinstance(obj, core.Namespace) else {}

    def _update(self, host: HostName) -> bool:
        routes = sorted((k, self._routes[k]) for k in self._members.get(host, ()) if k in self._routes)
        if not routes:
            self._members.pop(host, None)
            if host not in set(self._empty(host.gateway, self.states.get(host.gateway))):
                return self._put(host.key, None)
        state = self.states.get(host.gateway)
        listener = (
            next((s.listener for s in state.listeners if s.listener.name == host.listener), None) if state else None
        )
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
        """How many routes are attached to a listener."""
        return len(self._attached.get((gateway, listener), ()))

    def gateways_to(self, service: Service) -> list[Key]:
        """The Gateways with routes to a service, sorted."""
        routes = self._routes_to.get(service, ())
        return sorted({gateway for route in routes for gateway, _ in self._attached_to.get(route, ())})

    def is_ours(self, name: str) -> bool:
        """Whether a GatewayClass is of this controller."""
        return name in self._classes

    def status(self, key: Key) -> list[ParentStatus]:
        """The status of an HTTPRoute for each of our Gateways that it names."""
        route = self._routes.get(key)
        statuses = []
        for parent in route.spec.parent_refs if route is not None else ():
            gateway = _gateway(parent, key.namespace)
            state = self.states.get(gateway) if gateway is not None else None
            if route is not None and state is not None:
                unsupported, resolved = self._rules.verdict(route, key)
                accepted = self._accepted(parent, state, key, route)
                if accepted[0] and unsupported:
                    accepted = (False, "UnsupportedValue", unsupported)
                statuses.append(ParentStatus(parent, accepted, resolved))
        return statuses

    def _accepted(self, parent: ParentReference, state: GatewayState, key: Key, route: HTTPRoute) -> Verdict:
        if not _named(parent, state):
            what = f"listener {parent.section_name}" if parent.section_name else f"listener on port {parent.port}"
            return False, "NoMatchingParent", f"the Gateway has no {what}"
        allowed = self._listeners(parent, state, key)
        if not allowed:
            return (
                False,
                "NotAllowedByListeners",
                f"allowedRoutes of no listener has {key.kind}s of namespace {key.namespace}",
            )
        if not any(gateway_listeners.exposed(s, (), route.spec.hostnames) for s in allowed):
            return False, "NoMatchingListenerHostname", "no listener has a host name in common with the route"
        return True, "Accepted", ""


def workload_name(gateway: KubernetesGateway) -> str:
    """The name of the Deployment, Service and ServiceAccount that are made for a Gateway, as Istio names them."""
    return f"{gateway.metadata.name}-{gateway.spec.gateway_class_name}"


def _named(parent: ParentReference, state: GatewayState) -> list[ListenerState]:
    return [
        s
        for s in state.listeners
        if parent.section_name in (None, s.listener.name) and parent.port in (None, s.listener.port)
    ]


def _gateway(parent: ParentReference, namespace: str) -> Key | None:
    if (parent.group, parent.kind) != (GROUP, "Gateway"):
        return None
    return Key(KIND, parent.namespace or namespace, parent.name)


def _gateways(key: Key, route: HTTPRoute | None) -> list[Key]:
    parents = route.spec.parent_refs if route is not None else ()
    return list(dict.fromkeys(g for p in parents if (g := _gateway(p, key.namespace)) is not None))


def _certificates(gateway: KubernetesGateway) -> Iterator[SecretReference]:
    if (client := gateway.spec.tls.backend.client_certificate_ref) is not None:
        yield client
    for listener in gateway.spec.listeners:
        yield from listener.tls.certificate_refs if listener.tls is not None else ()
        validation = gateway_listeners.client_validation(gateway, listener)
        yield from validation.ca_certificate_refs if validation is not None else ()
