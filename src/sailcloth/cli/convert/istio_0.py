"""RouteRules and DestinationPolicies of Istio 0.x: one VirtualService and one DestinationRule for each host.

Of several rules the one with the highest precedence was tried first, and what none matched went to the service: that is written out as
a last route. Must not know the fields of a RouteRule; `route_rules` does.
"""

from __future__ import annotations

from typing import Any

from . import route_rules
from .documents import NETWORKING, Document, Losses, Names, Scope, entries, made, mapping, number, placed, without_empty
from .istio_services import GROUP, Registry

_API = f"{NETWORKING}/v1"
_POOL = {"httpMaxPendingRequests": "http1MaxPendingRequests", "httpMaxRequests": "http2MaxRequests",
         "httpMaxRequestsPerConnection": "maxRequestsPerConnection", "httpMaxRetries": "maxRetries"}  # fmt: skip
_OUTLIERS = {"httpConsecutiveErrors": "consecutive5xxErrors", "httpDetectionInterval": "interval",
             "sleepWindow": "baseEjectionTime", "httpMaxEjectionPercent": "maxEjectionPercent"}  # fmt: skip
_BALANCERS = {"ROUND_ROBIN": "ROUND_ROBIN", "LEAST_CONN": "LEAST_REQUEST", "RANDOM": "RANDOM"}
_HTTP_ONLY = (
    "redirect",
    "rewrite",
    "httpReqTimeout",
    "httpReqRetries",
    "httpFault",
    "corsPolicy",
    "mirror",
    "appendHeaders",
)


def convert(documents: list[Document], scope: Scope) -> list[Document]:
    """Replace all RouteRules and DestinationPolicies."""
    found = {i: d for i, d in enumerate(documents) if d.group == GROUP and d.kind in ("RouteRule", "DestinationPolicy")}
    if not found:
        return documents
    registry, names = Registry.of(documents, scope), Names(documents, scope)
    by_host: dict[str, list[Document]] = {}
    policies: dict[str, list[Document]] = {}
    nowhere = []
    for document in found.values():
        destination = mapping(document.spec.get("destination"))
        if not (destination.get("name") or destination.get("service")):
            losses = Losses(document.key(scope.namespace))
            losses.add("spec.destination", "the object is left out: it names no destination", "Give destination.name.")
            nowhere.append(Document({}, sources=(losses.key,), losses=tuple(losses.found)))
            continue
        host = registry.host(destination, document.key(scope.namespace).namespace)
        (by_host if document.kind == "RouteRule" else policies).setdefault(host, []).append(document)
    services = [_virtual_service(host, rules, registry, names) for host, rules in by_host.items()]
    return placed(documents, set(found), [*services, *_rules(services, policies, registry, names), *nowhere])


def _home(host: str, documents: list[Document], scope: Scope) -> tuple[str, bool]:
    """(namespace of the object for a host, whether one of the documents writes it)."""
    spaces = [d.key(scope.namespace).namespace for d in documents]
    service = scope.service_of(host)
    namespace = service[0] if service is not None and service[0] in spaces else spaces[0]
    return namespace, any(d.metadata.get("namespace") == namespace for d in documents)


def _virtual_service(host: str, rules: list[Document], registry: Registry, names: Names) -> Document:
    scope = registry.scope
    namespace, given = _home(host, rules, scope)
    http: list[dict[str, Any]] = []
    tcp: list[dict[str, Any]] = []
    losses = []
    protocols = registry.protocols(host)
    for rule in sorted(rules, key=lambda d: (-number(d.spec.get("precedence")), d.name)):
        own = Losses(rule.key(scope.namespace))
        match = mapping(rule.spec.get("match"))
        spec = _from(rule.spec, own.key.namespace, namespace)
        as_http = "tcp" not in match and ("http" in protocols or any(rule.spec.get(field) for field in _HTTP_ONLY))
        if as_http and (route := route_rules.http_route(spec, namespace, registry, own)) is not None:
            http.append(route)
        as_tcp = "request" not in match and ("tcp" in match or "tcp" in protocols)
        if as_tcp and (route := route_rules.tcp_route(spec, namespace, registry, own)) is not None:
            tcp.append(route)
        losses += own.found
    default = {"route": [{"destination": {"host": registry.written(host, namespace)}}]}
    for routes in (http, tcp):
        if routes and "match" in routes[-1]:
            routes.append(default)
    sources = tuple(d.key(scope.namespace) for d in rules)
    if not http and not tcp:
        return Document({}, sources=sources, losses=tuple(losses))
    wanted = (scope.service_of(host) or ("", host))[1]
    name = names.free("VirtualService", namespace, wanted)
    body = made(
        _API,
        "VirtualService",
        {"name": name, **scope.named(namespace, given)},
        without_empty({"hosts": [registry.written(host, namespace)], "http": http, "tcp": tcp}),
    )
    return Document(body, sources=sources, losses=tuple(losses))


def _from(spec: dict[str, Any], namespace: str, home: str) -> dict[str, Any]:
    """A spec as a rule of the namespace `home` writes it: it names the rule's own namespace if that is another."""
    if namespace == home:
        return spec

    def named(service: Any) -> dict[str, Any]:
        one = mapping(service)
        return {**one, "namespace": one.get("namespace") or namespace} if one.get("name") else one

    match = mapping(spec.get("match"))
    routes = [{**r, "destination": named(r.get("destination"))} for r in entries(spec.get("route"))]
    parts = {name: named(spec.get(name)) for name in ("destination", "mirror")}
    return {**spec, **parts, "route": routes, "match": {**match, "source": named(match.get("source"))}}


# -- DestinationRules -----------------------------------------------------------------------------


def _rules(
    services: list[Document], policies: dict[str, list[Document]], registry: Registry, names: Names
) -> list[Document]:
    """The DestinationRules of all hosts with policies or subsets."""
    scope = registry.scope
    for host, documents in policies.items():
        for document in documents:
            registry.subset(host, mapping(mapping(document.spec.get("destination")).get("labels")))
    fallback = services[0] if services else None
    out = []
    for host in dict.fromkeys([*policies, *registry.subsets]):
        documents = policies.get(host, [])
        user = next((s for s in services if host in _destinations(s, scope)), fallback)
        namespace, given = _home(host, [*([user] if user is not None and user.body else []), *documents], scope)
        whole: dict[str, Any] = {}
        of_subset: dict[str, dict[str, Any]] = {}
        losses = []
        for document in documents:
            own = Losses(document.key(scope.namespace))
            subset = registry.subset(host, mapping(mapping(document.spec.get("destination")).get("labels")))
            policy = _policy(document.spec, own)
            if subset is None:
                whole |= policy
            else:
                of_subset[subset] = of_subset.get(subset, {}) | policy
            losses += own.found
        subsets = [
            without_empty({"name": name, "labels": dict(pairs), "trafficPolicy": of_subset.get(name)})
            for pairs, name in registry.subsets.get(host, {}).items()
        ]
        name = names.free("DestinationRule", namespace, (scope.service_of(host) or ("", host))[1])
        spec = {
            "host": registry.written(host, namespace),
            **without_empty({"trafficPolicy": whole, "subsets": subsets}),
        }
        body = made(_API, "DestinationRule", {"name": name, **scope.named(namespace, given)}, spec)
        sources = tuple(d.key(scope.namespace) for d in documents) or (user.sources if user is not None else ())
        if not whole and not subsets:
            body = {}
        out.append(Document(body, sources=sources, losses=tuple(losses)))
    return out


def _destinations(service: Document, scope: Scope) -> set[str]:
    """The full hosts that a VirtualService sends to."""
    namespace = service.key(scope.namespace).namespace
    found = set()
    for route in [*service.spec.get("http", ()), *service.spec.get("tcp", ())]:
        named = [mapping(r.get("destination")).get("host") for r in route.get("route", ())]
        named.append(mapping(route.get("mirror")).get("host"))
        found |= {scope.resolve(host, namespace) for host in named if host}
    return found


def _policy(spec: dict[str, Any], losses: Losses) -> dict[str, Any]:
    """The traffic policy of a DestinationPolicy."""
    if mapping(spec.get("source")):
        text = "the policy holds for all callers"
        losses.add("spec.source", text, "Give the DestinationRule a workloadSelector for callers of its own namespace.")
    out: dict[str, Any] = {}
    balancing = mapping(spec.get("loadBalancing"))
    name = str(balancing.get("name") or "")
    if name in _BALANCERS:
        out["loadBalancer"] = {"simple": _BALANCERS[name]}
    elif balancing:
        losses.add("spec.loadBalancing", f"load balancing {name or 'custom'} has no equivalent", "Use ROUND_ROBIN.")
    breaker = mapping(spec.get("circuitBreaker"))
    if set(breaker) - {"simpleCb"}:
        losses.add("spec.circuitBreaker", "a custom circuit breaker has no equivalent", "Write it as simpleCb.")
    simple = mapping(breaker.get("simpleCb"))
    tcp = without_empty({"maxConnections": simple.get("maxConnections")})
    http = without_empty({new: simple.get(old) for old, new in _POOL.items()})
    pool = without_empty({"tcp": tcp, "http": http})
    outliers = without_empty({new: simple.get(old) for old, new in _OUTLIERS.items()})
    return {**out, **without_empty({"connectionPool": pool, "outlierDetection": outliers})}
