"""Kubernetes Services and the workloads behind them: protocols of ports, and services that disagree about a workload's ports."""

from __future__ import annotations

from collections.abc import Iterator

from sailcloth.api.meta import Finding
from sailcloth.mesh import injection
from sailcloth.mesh.model import Protocol, chosen_protocol

from . import unstructured
from .catalogue import finding
from .context import Context, Document
from .objects import ObjectSet, Workload
from .sidecar_injection import is_injected
from .unstructured import Object

_USER = 1337  # that of the sidecar
_OWN_CONTAINERS = ("istio-proxy", "istio-operator", "operator")
_MANAGED = "gateway.istio.io/managed"


def port_names(context: Context, service: Document) -> Iterator[Finding]:
    """Ports whose protocol neither name nor appProtocol gives. Leaves out those of Kubernetes and of the mesh itself."""
    if service.key.namespace in injection.IGNORED_NAMESPACES or _of_mesh(context, service):
        return
    if _MANAGED in service.labels:
        return
    for index, port in unstructured.objects(service.spec, "ports"):
        name, number = unstructured.text(port, "name"), unstructured.number(port, "port")
        external = unstructured.text(service.spec, "type") == "ExternalName"
        if _chosen(port)[1] != "detection" and not (external and name == "tcp"):
            continue
        at = f"spec.ports[{index}]"
        if external:
            yield finding("IST0150", service.key, at)
        else:
            target, fix = (
                unstructured.text(port, "targetPort") or "0",
                "Name it such as http-web, or set appProtocol.",
            )
            yield finding("IST0118", service.key, at, name, number, target, fix=fix)


def _of_mesh(context: Context, service: Document) -> bool:
    own = {"istio", "operator.istio.io/component"} & service.labels.keys() or service.labels.get("release") == "istio"
    return service.key.namespace == context.root and bool(own)


def _chosen(port: Object) -> tuple[Protocol, str]:
    """(protocol, what says so) of a port, as the mesh decides."""
    app = unstructured.text(port, "appProtocol") or None
    transport = unstructured.text(port, "protocol") or "TCP"
    return chosen_protocol(unstructured.text(port, "name"), app, unstructured.number(port, "port"), transport)


def associations(objects: ObjectSet) -> Iterator[Finding]:
    """Workloads with a sidecar whose services disagree: about the protocol of a port, or about the port of a target port."""
    for workload in (t for t in objects.templates if t.document.key.kind == "Deployment"):
        if _MANAGED in workload.document.labels or not is_injected(objects, workload):
            continue
        selecting = objects.services_of(workload)
        yield from _protocols(workload, selecting)
        yield from _targets(workload, selecting)


def _protocols(workload: Workload, services: list[Document]) -> Iterator[Finding]:
    found: dict[int, dict[Protocol, list[str]]] = {}
    for service in services:
        for _, port in unstructured.objects(service.spec, "ports"):
            kind = _chosen(port)[0]
            if kind is not Protocol.UDP:
                found.setdefault(unstructured.number(port, "port"), {}).setdefault(kind, []).append(service.key.name)
    key = workload.document.key
    for number, by_protocol in found.items():
        names = sorted({name for group in by_protocol.values() for name in group})
        if len(by_protocol) > 1 and len(names) > 1:
            yield finding("IST0116", key, f"{workload.path}.containers", key.name, number, names)


def _targets(workload: Workload, services: list[Document]) -> Iterator[Finding]:
    found: dict[str, dict[int, list[str]]] = {}
    for service in services:
        for _, port in unstructured.objects(service.spec, "ports"):
            target = unstructured.text(port, "targetPort")
            if target and unstructured.text(service.spec, "clusterIP") != "None":
                found.setdefault(target, {}).setdefault(unstructured.number(port, "port"), []).append(service.key.name)
    key = workload.document.key
    for target, by_port in found.items():
        names = sorted({name for group in by_port.values() for name in group})
        if len(by_port) > 1 and len(names) > 1:
            yield finding("IST0137", key, f"{workload.path}.containers", key.name, names, target, sorted(by_port))


def users(objects: ObjectSet) -> Iterator[Finding]:
    """Pods and Deployments whose application runs as the sidecar's user, so that its traffic goes around the sidecar."""
    for workload in (*objects.live, *(t for t in objects.templates if t.document.key.kind == "Deployment")):
        if unstructured.number(workload.spec, "securityContext", "runAsUser") == _USER:
            yield finding("IST0144", workload.document.key, f"{workload.path}.securityContext.runAsUser")
        for index, container in unstructured.objects(workload.spec, "containers"):
            user = unstructured.number(container, "securityContext", "runAsUser")
            if user == _USER and container.get("name") not in _OWN_CONTAINERS:
                at = f"{workload.path}.containers[{index}].securityContext.runAsUser"
                yield finding("IST0144", workload.document.key, at)
