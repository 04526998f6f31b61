"""What namespaces see: exports to namespaces that do not exist, and Sidecars that import too little or nothing."""

from __future__ import annotations

from collections.abc import Iterator

from sailcloth.api.meta import Finding
from sailcloth.mesh import hosts, registry
from sailcloth.mesh.kinds.service import EXPORT_TO
from sailcloth.view import scope

from . import selectors, unstructured
from .catalogue import finding
from .context import Context, Document
from .objects import ObjectSet
from .virtual_services import destinations, gateways


def exports(objects: ObjectSet) -> Iterator[Finding]:
    """Namespaces in exportTo that do not exist, if namespaces are among the objects."""
    known = {n.key.name for n in objects.of("Namespace")} | {d.key.namespace for d in objects.all()}
    if not objects.of("Namespace"):
        return
    for one in (d for kind in ("VirtualService", "DestinationRule", "ServiceEntry") for d in objects.of(kind)):
        for index, name in enumerate(unstructured.texts(one.spec, "exportTo")):
            if name not in ("*", ".", "~") and name not in known:
                yield finding("SAIL1009", one.key, f"spec.exportTo[{index}]", name)
    for service in objects.of("Service"):
        for name in filter(None, (n.strip() for n in service.annotations.get(EXPORT_TO, "").split(","))):
            if name not in ("*", ".", "~") and name not in known:
                yield finding("SAIL1009", service.key, f"metadata.annotations[{EXPORT_TO}]", name)


def sidecar_hosts(context: Context, sidecar: Document) -> Iterator[Finding]:
    """Hosts that a Sidecar imports and no service has."""
    for path, pattern in _patterns(sidecar):
        namespace, _, name = pattern.rpartition("/")
        if name and "*" not in name and not namespace.startswith("~"):
            idents = registry.services_of_host(context.graph, hosts.normalized(name))
            wanted = sidecar.key.namespace if namespace == "." else namespace
            if not any(wanted in ("*", i.namespace) for i in idents):
                yield finding("SAIL1024", sidecar.key, path, name)


def _patterns(sidecar: Document) -> Iterator[tuple[str, str]]:
    for index, listener in unstructured.objects(sidecar.spec, "egress"):
        for number, pattern in enumerate(unstructured.texts(listener, "hosts")):
            yield f"spec.egress[{index}].hosts[{number}]", pattern


def sidecar_defaults(context: Context, sidecar: Document) -> Iterator[Finding]:
    """The mesh's default Sidecar with a selector, and outboundTrafficPolicies without a mode."""
    if sidecar.key.namespace == context.root and selectors.of(sidecar):
        yield finding("SAIL1025", sidecar.key, "spec.workloadSelector", context.root)
    policy = sidecar.spec.get("outboundTrafficPolicy")
    if isinstance(policy, dict) and not policy.get("mode"):
        yield finding("SAIL1026", sidecar.key, "spec.outboundTrafficPolicy")


def hidden_destinations(objects: ObjectSet) -> Iterator[Finding]:
    """Destinations of the mesh's routes that the Sidecar of the route's namespace does not import."""
    by_namespace = {s.key.namespace: s for s in objects.of("Sidecar") if not selectors.of(s) and s.spec.get("egress")}
    for rule in objects.of("VirtualService"):
        sidecar = by_namespace.get(rule.key.namespace)
        if sidecar is None or "mesh" not in gateways(rule):
            continue
        patterns = tuple(pattern for _, pattern in _patterns(sidecar))
        if _imports_rule(objects, patterns, rule):
            continue  # with the rule its destinations are imported
        for path, destination in destinations(rule):
            host = objects.host(unstructured.text(destination, "host"), rule.key.namespace)
            service = objects.service(host, rule.key.namespace)
            if service and not scope.imports(patterns, service.host, service.namespace, rule.key.namespace):
                yield finding("SAIL1109", rule.key, path, sidecar.key.name, host, rule.key.namespace)


def _imports_rule(objects: ObjectSet, patterns: tuple[str, ...], rule: Document) -> bool:
    names = (objects.host(h, rule.key.namespace) for h in unstructured.texts(rule.spec, "hosts"))
    return any(scope.imports(patterns, name, rule.key.namespace, rule.key.namespace) for name in names)
