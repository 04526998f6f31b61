"""Which VirtualServices route a host for a client, their delegates, and their destinations."""

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
    """The VirtualServices for a host in the mesh, visible in a namespace: those with the most specific matching host, oldest first.

    Their routes are joined, as at gateways. Istio uses only the oldest object without a warning (istio.md 2.6); so does the mesh
    option `virtualServiceMerging: OLDEST_WINS`.
    """
    for name in (host, *hosts.wildcards(host)):
        rules = _visible(graph, registry.select(graph, by_host(name)), namespace)
        rules = _attached(graph, rules, namespace)
        if rules:
            return tuple(rules if registry.config(graph).merge_virtual_services else rules[:1])
    return ()


def _attached(graph: Graph, keys: list[Key], namespace: str) -> list[Key]:
    """Drops producer routes (HTTPRoutes in the service's namespace) for clients whose namespace has consumer routes."""
    if len(keys) < 2:
        return keys
    routes = {k for k in keys if (head := registry.head(graph, k)) is not None and head.attached}
    local = {k for k in routes if k.namespace == namespace}
    return [k for k in keys if k not in routes or k in local] if local else keys


@derived
def verdict(graph: Graph, key: Key) -> Verdict:
    """Whether another VirtualService overrides rules of this one; notes references that do not exist."""
    overridden, notes = graph.get(conflict, key), tuple(missing_references(graph, key))
    return Verdict(True, "Conflict", overridden, notes) if overridden else Verdict(notes=notes)


@derived
def conflict(graph: Graph, key: Key) -> str:
    """Why rules of a VirtualService never apply in the mesh, because of another one for the same host; empty if they do."""
    head, rule = registry.head(graph, key), graph.get(effective, key)
    merging = registry.config(graph).merge_virtual_services
    for host in head.hosts if head and rule else ():
        same = _visible(graph, registry.select(graph, by_host(host)), key.namespace)
        for older_key in same[: same.index(key)] if key in same else ():
            older = graph.get(effective, older_key)
            if older is None:
                continue
            if not merging:
                return f"{host} is routed by the older VirtualService {older_key.namespace}/{older_key.name}"
            if _has_catch_all(older) and rule is not None and _has_catch_all(rule):
                return (
                    f"the rule of {host} without conditions never applies: the older VirtualService "
                    f"{older_key.namespace}/{older_key.name} has one, too"
                )
    return ""


def _has_catch_all(rule: VirtualService) -> bool:
    return any(not r.match or any(catches_all(m) for m in r.match) for r in rule.spec.http)


def catches_all(match: HTTPMatchRequest) -> bool:
    """Whether a match matches every request."""
    uri = match.uri
    everything = uri is None or uri.prefix == "/" or uri.regex in ("*", ".*")
    return everything and not (
        match.headers or match.without_headers or match.query_params or match.method or match.authority or match.scheme
    )


@derived
def mesh_hosts(graph: Graph, namespace: str) -> tuple[tuple[str, Key], ...]:
    """Every host of a VirtualService for the mesh that is visible in the namespace, with the oldest such object."""
    won: dict[str, Key] = {}
    for key in _visible(graph, registry.select(graph, in_mesh()), namespace):
        head = registry.head(graph, key)
        for host in head.hosts if head else ():
            won.setdefault(host, key)
    return tuple(sorted(won.items(), key=lambda item: hosts.specificity(item[0])))


@derived
def for_gateway(graph: Graph, gateway: str) -> tuple[Key, ...]:
    """VirtualServices bound to a gateway (`namespace/name`) and visible in its namespace, oldest first."""
    return tuple(_visible(graph, registry.select(graph, by_gateway(gateway)), gateway.split("/")[0]))


def _visible(graph: Graph, keys: tuple[Key, ...], namespace: str) -> list[Key]:
    """The keys of VirtualServices that are visible in a namespace, oldest first."""
    visible: list[tuple[str, str, str, Key]] = []
    for key in keys:
        head = registry.head(graph, key)
        if head is not None and visibility.sees(head.exported_to, namespace):
            visible.append((head.created, key.name, key.namespace, key))
    return [key for *_, key in sorted(visible)]


def destination_host(destination: Destination, namespace: str, domain: str) -> str:
    """Full host name of a destination in a VirtualService of a namespace."""
    return hosts.resolve(destination.host, namespace, domain)


@derived
def destination_hosts(graph: Graph, key: Key) -> frozenset[str]:
    """Full names of a VirtualService's destination hosts."""
    rule = graph.get(effective, key)
    domain = registry.config(graph).domain
    return frozenset(destination_host(d, key.namespace, domain) for d in destinations(rule)) if rule else frozenset()


@derived
def mirror_hosts(graph: Graph, key: Key) -> frozenset[tuple[str, str]]:
    """(host, subset) of all mirror destinations of a VirtualService."""
    rule = graph.get(effective, key)
    domain = registry.config(graph).domain
    mirrored = [m for h in rule.spec.http for m in mirrors(h)] if rule else []
    return frozenset((destination_host(m, key.namespace, domain), m.subset or "") for m in mirrored)


@derived
def effective(graph: Graph, key: Key) -> VirtualService | None:
    """A VirtualService with its delegates merged in; None if it does not exist.

    A delegate that does not exist, is not exported to the namespace, or has hosts of its own only removes its route.
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
    """The VirtualService that a route delegates to; None if it does not exist or may not be a delegate."""
    if route.delegate is None:
        return None
    child = Key("VirtualService", route.delegate.namespace or key.namespace, route.delegate.name or "")
    head = registry.head(graph, child)
    return child if head and not head.hosts and visibility.sees(head.exported_to, key.namespace) else None


def missing_references(graph: Graph, key: Key) -> list[str]:
    """Messages about gateways and delegates of a VirtualService that do not exist."""
    rule = registry.read(graph, VirtualService, key)
    if rule is None:
        return []
    messages = []
    for name in rule.spec.gateways:
        namespace, _, gateway_name = name.rpartition("/")
        gateway = Key("Gateway", namespace or key.namespace, gateway_name)
        if name != "mesh" and registry.read(graph, Gateway, gateway) is None:
            messages.append(f"gateway {gateway.namespace}/{gateway.name} does not exist")
    for i, route in enumerate(rule.spec.http):
        if route.delegate is not None and _delegate(graph, key, route) is None:
            where = f"{route.delegate.namespace or key.namespace}/{route.delegate.name}"
            messages.append(
                f"http[{i}].delegate: no VirtualService {where} without hosts is exported to {key.namespace}"
            )
    return messages


@derived
def sources(graph: Graph, key: Key) -> tuple[Key, ...]:
    """The objects that a VirtualService's routes derive from: itself and its delegates."""
    rule = registry.read(graph, VirtualService, key)
    delegates = (_delegate(graph, key, route) for route in (rule.spec.http if rule else ()))
    return (key, *dict.fromkeys(child for child in delegates if child is not None))
