"""Ports: protocols that the mesh does not know or cannot detect, targets that no container has, aliases and shared TCP ports."""

from __future__ import annotations

from collections.abc import Iterator

from sailcloth.api.meta import Finding
from sailcloth.api.service_entry import ServiceEntry
from sailcloth.mesh import hosts, injection, registry
from sailcloth.mesh.model import Protocol, chosen_protocol
from sailcloth.mesh.services import allocatable

from . import unstructured
from .catalogue import finding
from .context import Context, Document
from .objects import ObjectSet, Workload

# Ports of servers that speak first: file transfer, shells, mail, MySQL.
_SERVER_FIRST = frozenset((21, 22, 25, 110, 143, 587, 3306, 33060))


def _ports(service: Document) -> Iterator[tuple[str, int, dict[str, object], bool]]:
    """(path, number, port, whether its protocol is detected)."""
    for index, port in unstructured.objects(service.spec, "ports"):
        number, app = unstructured.number(port, "port"), unstructured.text(port, "appProtocol") or None
        chosen = chosen_protocol(
            unstructured.text(port, "name"), app, number, unstructured.text(port, "protocol") or "TCP"
        )
        yield f"spec.ports[{index}]", number, port, chosen[0] is Protocol.AUTO


def protocols(context: Context, service: Document) -> Iterator[Finding]:
    """Protocols that are unknown, and detection where it only costs time."""
    if service.key.namespace in injection.IGNORED_NAMESPACES or "gateway.istio.io/managed" in service.labels:
        return
    for path, number, port, detected in _ports(service):
        app, target = unstructured.text(port, "appProtocol"), unstructured.number(port, "targetPort") or number
        if detected and app:
            yield finding("SAIL1021", service.key, f"{path}.appProtocol", app)
        elif detected and target in _SERVER_FIRST:
            yield finding("SAIL1104", service.key, path, number, target)


def targets(objects: ObjectSet) -> Iterator[Finding]:
    """Target ports by name that no container of the selected workloads has. Numbers work whether or not containers list them."""
    for service in objects.of("Service"):
        selector = unstructured.labels(service.spec, "selector")
        if not selector or service.key.namespace in (*injection.IGNORED_NAMESPACES, objects.root):
            continue
        pods = objects.selected(selector, service.key.namespace)
        if not pods:
            continue
        names = {name for pod in pods for name in _container_ports(pod)}
        for path, number, port, _ in _ports(service):
            target = port.get("targetPort")
            if isinstance(target, str) and target not in names:
                yield finding("SAIL1022", service.key, f"{path}.targetPort", f"{pods[0].document.key}", target, number)


def _container_ports(pod: Workload) -> list[str]:
    """Names of the ports of a pod's containers."""
    return [unstructured.text(p, "name") for c in pod.containers for _, p in unstructured.objects(c, "ports")]


def aliases(context: Context, service: Document) -> Iterator[Finding]:
    """ExternalName services that lead to a service of the mesh."""
    name = unstructured.text(service.spec, "externalName")
    if unstructured.text(service.spec, "type") == "ExternalName" and name:
        host = context.host(name.rstrip("."), service.key.namespace)
        if context.service(host, service.key.namespace) is not None:
            yield finding("SAIL1105", service.key, "spec.externalName", name)


def duplicate_entries(objects: ObjectSet) -> Iterator[Finding]:
    """ServiceEntries of different namespaces that define one port of a host: only those of one namespace count."""
    defining: dict[tuple[str, int], list[tuple[Document, int]]] = {}
    for entry in objects.of("ServiceEntry"):
        if unstructured.texts(entry.spec, "exportTo") == ["."]:
            continue
        for host in dict.fromkeys(map(hosts.normalized, unstructured.texts(entry.spec, "hosts"))):
            for index, port in unstructured.objects(entry.spec, "ports"):
                defining.setdefault((host, unstructured.number(port, "number")), []).append((entry, index))
    for (host, number), found in defining.items():
        names = sorted({f"{e.key.namespace}/{e.key.name}" for e, _ in found})
        for entry, index in found if len({e.key.namespace for e, _ in found}) > 1 else ():
            yield finding("SAIL1023", entry.key, f"spec.ports[{index}]", names, host, number)


def shared_tcp_ports(objects: ObjectSet) -> Iterator[Finding]:
    """TCP ports of several entries that neither have addresses nor get some."""
    by_port: dict[tuple[str, int], list[tuple[Document, int]]] = {}
    for entry in objects.of("ServiceEntry"):
        if unstructured.items(entry.spec, "addresses") or _gets_address(objects, entry):
            continue
        for index, port in unstructured.objects(entry.spec, "ports"):
            if unstructured.text(port, "protocol").upper() in ("TCP", "MONGO", "MYSQL", "REDIS"):
                key = entry.key.namespace, unstructured.number(port, "number")
                by_port.setdefault(key, []).append((entry, index))
    for (_, number), found in by_port.items():
        names = sorted({e.key.name for e, _ in found})
        for entry, index in found if len(names) > 1 else ():
            yield finding("SAIL1103", entry.key, f"spec.ports[{index}]", names, number)


def _gets_address(objects: ObjectSet, entry: Document) -> bool:
    typed = registry.read(objects.graph, ServiceEntry, entry.key)
    return typed is not None and bool(allocatable(typed))


def workload_groups(objects: ObjectSet) -> Iterator[Finding]:
    """WorkloadGroups with the same labels, and those whose service account does not exist where accounts are known."""
    by_labels: dict[tuple[str, tuple[tuple[str, str], ...]], list[Document]] = {}
    accounts = {(a.key.namespace, a.key.name) for a in objects.of("ServiceAccount")}
    known = {namespace for namespace, _ in accounts}
    for group in objects.of("WorkloadGroup"):
        labels = unstructured.labels(group.spec, "metadata", "labels")
        if labels:
            by_labels.setdefault((group.key.namespace, tuple(sorted(labels.items()))), []).append(group)
        account = unstructured.text(group.spec, "template", "serviceAccount")
        if account and group.key.namespace in known and (group.key.namespace, account) not in accounts:
            at = "spec.template.serviceAccount"
            yield finding("SAIL1032", group.key, at, f"{group.key.namespace}/{account}")
    for found in by_labels.values():
        for group in found if len(found) > 1 else ():
            yield finding("SAIL1031", group.key, "spec.metadata.labels", sorted(g.key.name for g in found))
