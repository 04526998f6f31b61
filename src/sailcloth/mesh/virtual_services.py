"""Which VirtualService routes a host for a caller, and where its destinations lead."""

from __future__ import annotations

import msgspec

from sailcloth.api.gateway import Gateway
from sailcloth.api.meta import Key
from sailcloth.api.virtual_service import Destination, HTTPMatchRequest, HTTPRoute, VirtualService
from sailcloth.lib.incremental import Graph, derived

from . import delegates, hosts, registry, visibility
from .kinds.virtual_service import by_gateway, by_host, destinations, in_mesh, mirrors
from .verdict import Verdict


@derived
def for_host(graph: Graph, host: str, namespace: str) -> tuple[Key, ...]:
    """The VirtualServices for a host in the mesh, seen from a namespace: those that name it most specifically, oldest first.

    Their routes are joined, as at gateways. Istio takes the oldest object only and says nothing (istio.md 2.6); the mesh
    option `virtualServiceMerging: OLDEST_WINS` does the same.
    """
    for name in (host, *hosts.wildcards(host)):
        found = _visible(graph, registry.select(graph, by_host(name)), namespace)
        found = _attached(graph, found, namespace)
        if found:
            return tuple(found if registry.config(graph).merge_virtual_services else found[:1])
    return ()


def _attached(graph: Graph, keys: list[Key], namespace: str) -> list[Key]:
    """Without the HTTPRoutes of the service's own namespace, for callers whose namespace has some of its own."""
    if len(keys) < 2:
        return keys
    routes = {k for k in keys if (head := registry.head(graph, k)) is not None and head.attached}
    own = {k for k in routes if k.namespace == namespace}
    return [k for k in keys if k not in routes or k in own] if own else keys


@derived
def verdict(graph: Graph, key: Key) -> Verdict:
    """Whether rules of a VirtualService hold, and what it names that does not exist."""
    lost, notes = graph.get(conflict, key), tuple(missing_references(graph, key))
    return Verdict(True, "Conflict", lost, notes) if lost else Verdict(notes=notes)


@derived
def conflict(graph: Graph, key: Key) -> str:
    """Why rules of a VirtualService never hold in the mesh because of another one for the same host; empty if they may."""
    head, rule = registry.head(graph, key), graph.get(effective, key)
    merging = registry.config(graph).merge_virtual_services
    for host in head.hosts if head and rule else ():
        same = _visible(graph, registry.select(graph, by_host(host)), key.namespace)
        for other in same[: same.index(key)] if key in same else ():
            older = graph.get(effective, other)
            if older is None:
                continue
            if not merging:
                return f"{host} is routed by the older VirtualService {other.namespace}/{other.name}"
            if _takes_all(older) and rule is not None and _takes_all(rule):
                return (
                    f"the rule of {host} without conditions never holds: the older VirtualService "
                    f"{other.namespace}/{other.name} has one too"
                )
    return ""


def _takes_all(rule: VirtualService) -> bool:
    return any(not r.match or any(catches_all(m) for m in r.match) for r in rule.spec.http)


def catches_all(match: HTTPMatchRequest) -> bool:
    """Whether a match holds for every request."""
    uri = match.uri
    everything = uri is None or uri.prefix == "/" or uri.regex in ("*", ".*")
    return everything and not (
        match.headers or match.without_headers or match.query_params or match.method or match.authority or match.scheme
    )


@derived
def mesh_hosts(graph: Graph, namespace: str) -> tuple[tuple[str, Key], ...]:
    """Every host that a VirtualService visible in the namespace routes in the mesh, with the oldest object that does."""
    won: dict[str, Key] = {}
    for key in _visible(graph, registry.select(graph, in_mesh()), namespace):
        head = registry.head(graph, key)
        for host in head.hosts if head else ():
            won.setdefault(host, key)
    return tuple(sorted(won.items(), key=lambda item: hosts.specificity(item[0])))


@derived
def for_gateway(graph: Graph, gateway: str) -> tuple[Key, ...]:
    """VirtualServices bound to a gateway (`namespace/name`), oldest first. Visibility is the gateway's namespace."""
    return tuple(_visible(graph, registry.select(graph, by_gateway(gateway)), gateway.split("/")[0]))


def _visible(graph: Graph, keys: tuple[Key, ...], namespace: str) -> list[Key]:
    """Those of the keys whose VirtualService the namespace sees, oldest first."""
    found: list[tuple[str, str, str, Key]] = []
    for key in keys:
        head = registry.head(graph, key)
        if head is not None and visibility.sees(head.exported_to, namespace):
            found.append((head.created, key.name, key.namespace, key))
    return [key for *_, key in sorted(found)]


def destination_host(destination: Destination, namespace: str, domain: str) -> str:
    """Full host name of a destination in a VirtualService of a namespace."""
    return hosts.resolve(destination.host, namespace, domain)


@derived
def destination_hosts(graph: Graph, key: Key) -> frozenset[str]:
    """Full names of the hosts that a VirtualService sends traffic to."""
    rule = graph.get(effective, key)
    domain = registry.config(graph).domain
    return frozenset(destination_host(d, key.namespace, domain) for d in destinations(rule)) if rule else frozenset()


@derived
def mirror_hosts(graph: Graph, key: Key) -> frozenset[tuple[str, str]]:
    """(host, subset) of everything that a VirtualService mirrors requests to."""
    rule = graph.get(effective, key)
    domain = registry.config(graph).domain
    found = [m for h in rule.spec.http for m in mirrors(h)] if rule else []
    return frozenset((destination_host(m, key.namespace, domain), m.subset or "") for m in found)


@derived
def effective(graph: Graph, key: Key) -> VirtualService | None:
    """A VirtualService with the routes of its delegates in their places; None if there is no such object.

    A delegate that does not exist, is not exported to the namespace, or has hosts of its own takes only that route away.
    """
    rule = registry.read(graph, VirtualService, key)
    if rule is None or not any(route.delegate for route in rule.spec.http):
        return rule
    routes: list[HTTPRoute] = []
    for route in rule.spec.http:
        if route.delegate is None:
            routes.append(route)
        elif (child := _delegate(graph, key, route)) is not None:
            delegate, domain = registry.read(graph, VirtualService, child), registry.config(graph).domain
            if delegate is not None:
                routes += delegates.merge(route, delegate, child.namespace, key.namespace, domain)
    return msgspec.structs.replace(rule, spec=msgspec.structs.replace(rule.spec, http=tuple(routes)))


def _delegate(graph: Graph, key: Key, route: HTTPRoute) -> Key | None:
    """The VirtualService that a route delegates to, if it may."""
    if route.delegate is None:
        return None
    child = Key("VirtualService", route.delegate.namespace or key.namespace, route.delegate.name or "")
    head = registry.head(graph, child)
    return child if head and not head.hosts and visibility.sees(head.exported_to, key.namespace) else None


def missing_references(graph: Graph, key: Key) -> list[str]:
    """Gateways and delegates that a VirtualService names and that do not exist, in words for its author."""
    rule = registry.read(graph, VirtualService, key)
    if rule is None:
        return []
    out = []
    for name in rule.spec.gateways:
        namespace, _, own = name.rpartition("/")
        gateway = Key("Gateway", namespace or key.namespace, own)
        if name != "mesh" and registry.read(graph, Gateway, gateway) is None:
            out.append(f"gateway {gateway.namespace}/{gateway.name} does not exist")
    for i, route in enumerate(rule.spec.http):
        if route.delegate is not None and _delegate(graph, key, route) is None:
            where = f"{route.delegate.namespace or key.namespace}/{route.delegate.name}"
            out.append(f"http[{i}].delegate: no VirtualService {where} without hosts is exported to {key.namespace}")
    return out


@derived
def sources(graph: Graph, key: Key) -> tuple[Key, ...]:
    """The objects that a VirtualService's routes come from: itself and its delegates."""
    rule = registry.read(graph, VirtualService, key)
    found = (_delegate(graph, key, route) for route in (rule.spec.http if rule else ()))
    return (key, *dict.fromkeys(child for child in found if child is not None))
