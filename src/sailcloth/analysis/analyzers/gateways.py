"""Istio's Gateways: their pods, the ports of those pods' Services, and servers that conflict."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from sailcloth.api.meta import Finding
from sailcloth.mesh import hosts, selection

from . import unstructured
from .catalogue import finding
from .objects import Document, ObjectSet, Workload, label_text
from .unstructured import Object


def selector(gateway: Document) -> dict[str, str]:
    """The labels of a Gateway's pods."""
    return unstructured.labels(gateway.spec, "selector")


def without_pods(gateway: Document) -> Finding:
    """That no pod has the labels of a Gateway's selector."""
    return finding("IST0101", gateway.key, "spec.selector", "selector", label_text(selector(gateway)))


def pods(objects: ObjectSet, gateway: Document) -> list[Workload]:
    """The pods of a Gateway, in any namespace."""
    labels = selector(gateway)
    return objects.selected(labels) if labels else objects.pods


def ports(objects: ObjectSet) -> Iterator[Finding]:
    """Ports that the Services of the Gateway's pods do not have."""
    for gateway in objects.of("Gateway"):
        workloads = pods(objects, gateway)
        if not workloads:
            yield without_pods(gateway)
            continue
        served = {p for s in objects.of("Service") if _selects(s, workloads) for p in _ports(s)}
        for index, server in unstructured.objects(gateway.spec, "servers"):
            port = unstructured.number(server, "port", "number")
            if served and port and port not in served:
                at = f"spec.servers[{index}].port.number"
                yield finding("IST0162", gateway.key, at, port, label_text(selector(gateway)))


def _selects(service: Document, workloads: list[Workload]) -> bool:
    labels = unstructured.labels(service.spec, "selector")
    return bool(labels) and any(
        w.namespace == service.key.namespace and selection.matches(labels, w.labels) for w in workloads
    )


def _ports(service: Document) -> Iterator[int]:
    """The numbers by which a Gateway may name the ports of a Service: its own, and those of the pods."""
    for _, port in unstructured.objects(service.spec, "ports"):
        yield unstructured.number(port, "port")
        yield unstructured.number(port, "targetPort")


def conflicts(objects: ObjectSet) -> Iterator[Finding]:
    """Gateways for the same pods with the same port and hosts in common."""
    by_selector: dict[tuple[str, int, str], list[tuple[Document, int, Object]]] = {}
    for gateway in objects.of("Gateway"):
        for index, server in unstructured.objects(gateway.spec, "servers"):
            port = unstructured.number(server, "port", "number")
            if port:
                key = (label_text(selector(gateway)), port, unstructured.text(server, "bind"))
                by_selector.setdefault(key, []).append((gateway, index, server))
    for (labels, port, _), servers in by_selector.items():
        for gateway, index, server in servers:
            others = [
                f"{o.key.namespace}/{o.key.name}" if o.key.namespace else o.key.name
                for o, _, other in servers
                if o is not gateway and _share_host(server, other)
            ]
            if others:
                names, at = ",".join(dict.fromkeys(others)), f"spec.servers[{index}]"
                listed = ",".join(unstructured.texts(server, "hosts"))
                yield finding("IST0145", gateway.key, at, names, labels, port, listed)


def _share_host(a: Object, b: Object) -> bool:
    pairs = product(unstructured.texts(a, "hosts"), unstructured.texts(b, "hosts"))
    return any(hosts.overlaps(_name(x), _name(y)) for x, y in pairs)


def _name(host: str) -> str:
    return hosts.normalized(host.rpartition("/")[2])
