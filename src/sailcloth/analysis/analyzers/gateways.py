"""Istio's Gateways: their pods, the ports of those pods' Services, and servers that conflict."""

from __future__ import annotations

from collections.abc import Iterator

from sailcloth.api.meta import Finding
from sailcloth.mesh import hosts

from . import unstructured
from .catalogue import finding
from .context import Context, Document
from .objects import ObjectSet, Workload, label_text


def selector(gateway: Document) -> dict[str, str]:
    """The labels of a Gateway's pods."""
    return unstructured.labels(gateway.spec, "selector")


def pods(objects: ObjectSet, gateway: Document) -> list[Workload]:
    """The pods of a Gateway, in any namespace."""
    labels = selector(gateway)
    return objects.selected(labels) if labels else objects.pods


def selects(context: Context, gateway: Document) -> Iterator[Finding]:
    """A selector of no pod."""
    if selector(gateway) and not context.selects(selector(gateway)):
        yield finding("IST0101", gateway.key, "spec.selector", "selector", label_text(selector(gateway)))


def ports(objects: ObjectSet) -> Iterator[Finding]:
    """Ports that the Services of the Gateway's pods do not have."""
    for gateway in objects.of("Gateway"):
        workloads = pods(objects, gateway)
        services = {id(s): s for w in workloads for s in objects.services_of(w)}
        served = {p for s in services.values() for p in _ports(s)}
        for index, server in unstructured.objects(gateway.spec, "servers"):
            port = unstructured.number(server, "port", "number")
            if served and port and port not in served:
                at = f"spec.servers[{index}].port.number"
                yield finding("IST0162", gateway.key, at, port, label_text(selector(gateway)))


def _ports(service: Document) -> Iterator[int]:
    """The numbers by which a Gateway may name the ports of a Service: its own, and those of the pods."""
    for _, port in unstructured.objects(service.spec, "ports"):
        yield unstructured.number(port, "port")
        yield unstructured.number(port, "targetPort")


def conflicts(objects: ObjectSet) -> Iterator[Finding]:
    """Gateways of a common pod with the same port and hosts in common."""
    by_port: dict[tuple[int, str], list[tuple[Document, int, list[str]]]] = {}
    of_gateway: dict[Document, set[int]] = {}
    for gateway in objects.of("Gateway"):
        of_gateway[gateway] = {id(pod) for pod in pods(objects, gateway)}
        for index, server in unstructured.objects(gateway.spec, "servers"):
            port = unstructured.number(server, "port", "number")
            if port:
                key = (port, unstructured.text(server, "bind"))
                by_port.setdefault(key, []).append((gateway, index, unstructured.texts(server, "hosts")))
    for (port, _), servers in by_port.items():
        shared = _Hosts([listed for _, _, listed in servers])
        for position, (gateway, index, listed) in enumerate(servers):
            others = (servers[p][0] for p in shared.with_common(position))
            names = dict.fromkeys(
                full_name(o) for o in others if o is not gateway and of_gateway[o] & of_gateway[gateway]
            )
            if names:
                labels, at = label_text(selector(gateway)), f"spec.servers[{index}]"
                yield finding("IST0145", gateway.key, at, ",".join(names), labels, port, ",".join(listed))


def full_name(one: Document) -> str:
    """`namespace/name`."""
    return f"{one.key.namespace}/{one.key.name}" if one.key.namespace else one.key.name


class _Hosts:
    """The hosts of several servers, without their namespaces."""

    def __init__(self, servers: list[list[str]]) -> None:
        self._servers = [[hosts.normalized(h.rpartition("/")[2]) for h in listed] for listed in servers]
        self._exact: dict[str, set[int]] = {}
        self._wild: list[tuple[str, int]] = []
        for position, listed in enumerate(self._servers):
            for host in listed:
                self._exact.setdefault(host, set()).add(position)
                if host.startswith("*"):
                    self._wild.append((host, position))

    def with_common(self, position: int) -> list[int]:
        """The servers with a host that one of this server's matches, or the other way round."""
        found: set[int] = set()
        for host in self._servers[position]:
            found |= self._exact[host]
            found.update(p for pattern, p in self._wild if hosts.overlaps(pattern, host))
            if host.startswith("*"):
                found.update(p for name, users in self._exact.items() if hosts.covers(host, name) for p in users)
        return sorted(found - {position})
