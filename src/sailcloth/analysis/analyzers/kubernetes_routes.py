"""The Gateway API's own references: classes, listeners, parents, backends and grants."""

from __future__ import annotations

from collections.abc import Iterator

from sailcloth.api.meta import Finding

from . import unstructured
from .catalogue import finding
from .context import Document
from .objects import GATEWAY_API, ObjectSet
from .unstructured import Object

ROUTES = ("HTTPRoute", "GRPCRoute", "TLSRoute", "TCPRoute", "UDPRoute")
BUILT_IN_CLASSES = ("istio", "istio-remote", "istio-waypoint", "istio-east-west", "istio-agentgateway")


def classes(objects: ObjectSet) -> Iterator[Finding]:
    """Gateways of a class that neither exists nor is the mesh's."""
    known = {c.key.name for c in objects.of("GatewayClass")} | set(BUILT_IN_CLASSES)
    for gateway in objects.of("Gateway", GATEWAY_API):
        name = unstructured.text(gateway.spec, "gatewayClassName")
        if name not in known and objects.of("GatewayClass"):
            yield finding("SAIL1013", gateway.key, "spec.gatewayClassName", name)


_Listener = tuple[int, str, str]  # (port, protocol, host)


def _listeners(gateway: Document) -> Iterator[tuple[int, str, _Listener]]:
    """(index, name, listener) of a Gateway."""
    for index, one in unstructured.objects(gateway.spec, "listeners"):
        protocol, host = unstructured.text(one, "protocol"), unstructured.text(one, "hostname") or "*"
        yield index, unstructured.text(one, "name"), (unstructured.number(one, "port"), protocol, host)


def listeners(objects: ObjectSet) -> Iterator[Finding]:
    """Listeners that are the same in one Gateway, or in several with a common address."""
    shared: dict[tuple[str, int, str], list[tuple[Document, int]]] = {}
    for gateway in objects.of("Gateway", GATEWAY_API):
        same: dict[_Listener, list[tuple[int, str]]] = {}
        for index, name, listener in _listeners(gateway):
            same.setdefault(listener, []).append((index, name))
            for _, address in unstructured.objects(gateway.spec, "addresses"):
                key = unstructured.text(address, "value"), listener[0], listener[2]
                shared.setdefault(key, []).append((gateway, index))
        for (port, protocol, host), found in same.items():
            if len(found) > 1:
                at = f"spec.listeners[{found[1][0]}]"
                yield finding("SAIL1015", gateway.key, at, [n for _, n in found], port, protocol, host)
    for (_, port, host), users in shared.items():
        names = sorted({f"{g.key.namespace}/{g.key.name}" for g, _ in users})
        for gateway, index in users if len(names) > 1 else ():
            yield finding("SAIL1014", gateway.key, f"spec.listeners[{index}]", names, port, host)


def parents(objects: ObjectSet) -> Iterator[Finding]:
    """Parents of routes and ListenerSets that do not exist."""
    references = [
        (route, f"spec.parentRefs[{index}]", parent)
        for route in _routes(objects)
        for index, parent in unstructured.objects(route.spec, "parentRefs")
    ]
    sets = objects.of("ListenerSet", GATEWAY_API)
    references += [(s, "spec.parentRef", unstructured.mapping(s.spec, "parentRef")) for s in sets]
    for document, at, parent in references:
        kind, namespace = unstructured.text(parent, "kind") or "Gateway", _namespace(document, parent)
        group = "" if kind == "Service" else GATEWAY_API
        name = unstructured.text(parent, "name")
        if kind in ("Gateway", "ListenerSet", "Service") and objects.get(kind, namespace, name, group) is None:
            yield finding("SAIL1018", document.key, at, kind, f"{namespace}/{name}")


def backends(objects: ObjectSet) -> Iterator[Finding]:
    """Services that routes lead to, and that do not exist."""
    for route in _routes(objects):
        for path, backend in _backends(route):
            kind, namespace = unstructured.text(backend, "kind") or "Service", _namespace(route, backend)
            name = unstructured.text(backend, "name")
            of_core = unstructured.text(backend, "group") == "" and kind == "Service"
            if of_core and name and objects.get("Service", namespace, name) is None:
                yield finding("SAIL1017", route.key, f"{path}.name", f"{namespace}/{name}")


def _routes(objects: ObjectSet) -> list[Document]:
    return [d for kind in ROUTES for d in objects.of(kind, GATEWAY_API)]


def _namespace(route: Document, reference: Object) -> str:
    return unstructured.text(reference, "namespace") or route.key.namespace


def _backends(route: Document) -> Iterator[tuple[str, Object]]:
    for index, rule in unstructured.objects(route.spec, "rules"):
        at = f"spec.rules[{index}]"
        for number, backend in unstructured.objects(rule, "backendRefs"):
            yield f"{at}.backendRefs[{number}]", backend
        for number, one in unstructured.objects(rule, "filters"):
            mirror = unstructured.mapping(one, "requestMirror", "backendRef")
            if mirror:
                yield f"{at}.filters[{number}].requestMirror.backendRef", mirror


def grants(objects: ObjectSet) -> Iterator[Finding]:
    """Namespaces of ReferenceGrants that do not exist, if namespaces are among the objects."""
    known = {n.key.name for n in objects.of("Namespace")} | {d.key.namespace for d in objects.all()}
    for grant in objects.of("ReferenceGrant") if objects.of("Namespace") else ():
        for index, source in unstructured.objects(grant.spec, "from"):
            namespace = unstructured.text(source, "namespace")
            if namespace and namespace not in known:
                yield finding("SAIL1016", grant.key, f"spec.from[{index}].namespace", namespace)
