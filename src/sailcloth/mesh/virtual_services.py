"""Which VirtualService routes a host for a caller, and where its destinations lead."""

from __future__ import annotations

import msgspec

from sailcloth.api.meta import Key
from sailcloth.api.virtual_service import Destination, HTTPRoute, VirtualService
from sailcloth.lib.incremental import Graph, derived

from . import delegates, hosts, registry


@derived
def for_host(graph: Graph, host: str, namespace: str) -> Key | None:
    """The VirtualService for a host in the mesh, seen from a namespace: the most specific host, then the oldest object.

    Source: istio.md 2.6 (no merging of two VirtualServices in sidecars).
    """
    for name in (host, *hosts.wildcards(host)):
        found = _visible(graph, registry.select(graph, ("vs-host", name)), namespace)
        if found:
            return found[0]
    return None


@derived
def mesh_hosts(graph: Graph, namespace: str) -> tuple[tuple[str, Key], ...]:
    """Every host that a VirtualService visible in the namespace routes in the mesh, with the object that wins it."""
    won: dict[str, Key] = {}
    for key in _visible(graph, registry.select(graph, ("vs-mesh",)), namespace):
        head = registry.head(graph, key)
        for host in head.hosts if head else ():
            won.setdefault(host, key)
    return tuple(sorted(won.items(), key=lambda item: hosts.specificity(item[0])))


@derived
def for_gateway(graph: Graph, gateway: str) -> tuple[Key, ...]:
    """VirtualServices bound to a gateway (`namespace/name`), oldest first. Visibility is the gateway's namespace."""
    return tuple(_visible(graph, registry.select(graph, ("vs-gateway", gateway)), gateway.split("/")[0]))


def _visible(graph: Graph, keys: tuple[Key, ...], namespace: str) -> list[Key]:
    """Those of the keys whose VirtualService the namespace sees, oldest first."""
    found: list[tuple[str, str, str, Key]] = []
    for key in keys:
        head = registry.head(graph, key)
        if head is not None and ("*" in head.seen or namespace in head.seen):
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
def effective(graph: Graph, key: Key) -> VirtualService | None:
    """A VirtualService with the routes of its delegates in their places; None if there is no such object.

    A delegate that does not exist, is not exported to the namespace, or has hosts of its own takes only that route away.
    """
    rule: VirtualService | None = registry.read(graph, key)
    if rule is None or not any(route.delegate for route in rule.spec.http):
        return rule
    routes: list[HTTPRoute] = []
    for route in rule.spec.http:
        if route.delegate is None:
            routes.append(route)
            continue
        child = Key("VirtualService", route.delegate.namespace or key.namespace, route.delegate.name or "")
        head, found = registry.head(graph, child), registry.read(graph, child)
        if head is not None and not head.hosts and ("*" in head.seen or key.namespace in head.seen):
            routes += delegates.merge(route, found, child.namespace, key.namespace, registry.config(graph).domain)
    return msgspec.structs.replace(rule, spec=msgspec.structs.replace(rule.spec, http=routes))


def destinations(rule: VirtualService) -> list[Destination]:
    """All destinations that a VirtualService sends traffic to, mirrors included."""
    out = [r.destination for h in rule.spec.http for r in h.route]
    out += [m for h in rule.spec.http for m in _mirrors(h)]
    out += [r.destination for t in rule.spec.tls for r in t.route]
    out += [r.destination for t in rule.spec.tcp for r in t.route]
    return out


def _mirrors(route: HTTPRoute) -> list[Destination]:
    return ([route.mirror] if route.mirror else []) + [m.destination for m in route.mirrors]
