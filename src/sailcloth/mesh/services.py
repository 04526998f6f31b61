"""Services from Kubernetes Services and ServiceEntries, and precedence among several with one host."""

from __future__ import annotations

from dataclasses import replace

from sailcloth.api import core
from sailcloth.api.meta import Key
from sailcloth.api.service_entry import ServiceEntry
from sailcloth.lib.incremental import Graph, derived

from . import hosts, registry, visibility
from .kinds import service as service_kind
from .kinds import service_entry as entry_kind
from .model import Port, Protocol, Resolution, Service, declared_protocol, protocol
from .registry import ServiceId


@derived
def service(graph: Graph, ident: ServiceId) -> Service | None:
    """The service that an object defines for one of its hosts; None if the object does not exist or has no usable port."""
    obj = registry.read(graph, core.Service, ident.key)
    if obj is not None:
        return _from_service(obj, ident, registry.config(graph).domain)
    entry = registry.read(graph, ServiceEntry, ident.key)
    return _from_entry(entry, ident) if entry is not None else None


def _from_service(obj: core.Service, ident: ServiceId, domain: str) -> Service:
    spec = obj.spec
    ports = tuple(
        Port(p.port, p.name, protocol(p.name, p.app_protocol, p.port, p.protocol), p.target_port or p.port)
        for p in spec.ports
        if p.protocol != "UDP"
    )
    headless = spec.cluster_ip == "None"
    alias = spec.type == "ExternalName"
    addresses = tuple(a for a in (spec.cluster_ips or [spec.cluster_ip]) if a and a != "None")
    return Service(
        host=ident.host,
        namespace=ident.namespace,
        name=ident.name,
        source=ident.key,
        ports=ports,
        addresses=() if alias else addresses,
        resolution=Resolution.ALIAS if alias else Resolution.PASSTHROUGH if headless else Resolution.EDS,
        kubernetes=True,
        headless=headless,
        alias=hosts.resolve(spec.external_name.rstrip("."), ident.namespace, domain) if alias else "",
        created=obj.metadata.creation_timestamp or "",
        selector=tuple(sorted(spec.selector.items())),
        labels=tuple(sorted(obj.metadata.labels.items())),
        publish_not_ready=spec.publish_not_ready_addresses,
    )


_ENTRY_RESOLUTION = {
    "NONE": Resolution.PASSTHROUGH,
    "STATIC": Resolution.EDS,
    "DNS": Resolution.DNS,
    "DNS_ROUND_ROBIN": Resolution.DNS_ROUND_ROBIN,
    "DYNAMIC_DNS": Resolution.DYNAMIC_DNS,
}


def _from_entry(obj: ServiceEntry, ident: ServiceId) -> Service:
    spec = obj.spec
    return Service(
        host=ident.host,
        namespace=ident.namespace,
        name=ident.name,
        source=ident.key,
        ports=tuple(
            Port(p.number, p.name, declared_protocol(p.protocol, p.number), p.target_port or p.number)
            for p in spec.ports
            if p.protocol.upper() != "UDP"
        ),
        addresses=tuple(spec.addresses),
        allocated=_allocated(obj, ident.host),
        resolution=_ENTRY_RESOLUTION[spec.resolution],
        external=spec.location == "MESH_EXTERNAL",
        created=obj.metadata.creation_timestamp or "",
        subject_alt_names=tuple(spec.subject_alt_names),
        labels=tuple(sorted(obj.metadata.labels.items())),
    )


def allocatable(obj: ServiceEntry) -> tuple[str, ...]:
    """The hosts of an entry that need an allocated address: none if it declares addresses, has resolution NONE, or opts out by its
    label. Source: istio.md 2.14."""
    spec = obj.spec
    opted_out = obj.metadata.labels.get("networking.istio.io/enable-autoallocate-ip", "").lower() == "false"
    if spec.addresses or spec.resolution == "NONE" or opted_out:
        return ()
    return tuple(dict.fromkeys(h for h in spec.hosts if not h.startswith("*")))


def _allocated(obj: ServiceEntry, host: str) -> tuple[str, ...]:
    allocatable_hosts = allocatable(obj)
    return tuple(
        a.value
        for a in obj.status.addresses
        if a.value and a.host in allocatable_hosts and hosts.normalized(a.host) == host
    )


@derived
def by_host(graph: Graph, host: str, namespace: str) -> Service | None:
    """The service that a proxy in a namespace means by a host name.

    A Kubernetes Service beats a ServiceEntry; of several ServiceEntries those that are not for every namespace come first, then
    the oldest. Those in the winner's namespace define the host together, each the ports that it has (`Service.at`).
    Source: istio.md 2.8, and Istio's order of services that are exported to a namespace.
    """
    ranked = [
        ("*" in exported, s)
        for ident in registry.services_of_host(graph, host)
        if visibility.sees(exported := _exported_to(graph, ident), namespace)
        and (s := graph.get(service, ident)) is not None
    ]
    ranked.sort(key=lambda r: (not r[1].kubernetes, r[0], r[1].created, r[1].namespace, r[1].name))
    candidates = [s for _, s in ranked]
    if not candidates or candidates[0].kubernetes:
        return candidates[0] if candidates else None
    first = candidates[0]
    parts = tuple(s for s in candidates if s.namespace == first.namespace)
    if len(parts) == 1:
        return first
    ports = {p.number: p for s in reversed(parts) for p in s.ports}
    return replace(
        first,
        ports=tuple(ports[number] for number in sorted(ports)),
        addresses=tuple(dict.fromkeys(a for s in parts for a in s.addresses)),
        allocated=tuple(dict.fromkeys(a for s in parts for a in s.allocated)),
        parts=parts,
    )


@derived
def datagram_port(graph: Graph, host: str, number: int, namespace: str) -> tuple[Key, Port] | None:
    """A UDP port of a Kubernetes Service that is visible in a namespace, with the Service's key. `Service.ports` has none of them, because
    sidecars leave datagrams alone."""
    for ident in registry.services_of_host(graph, host):
        obj = registry.read(graph, core.Service, ident.key)
        if obj is None or not visibility.sees(_exported_to(graph, ident), namespace):
            continue
        for p in obj.spec.ports:
            if p.protocol == "UDP" and p.port == number:
                return ident.key, Port(p.port, p.name, Protocol.UDP, p.target_port or p.port)
    return None


def _exported_to(graph: Graph, ident: ServiceId) -> tuple[str, ...]:
    """Namespaces that an object's services are exported to; `*` for all."""
    config = registry.config(graph)
    obj = registry.read(graph, core.Service, ident.key)
    if obj is not None:
        return service_kind.exported_namespaces(ident.key, obj, config)
    entry = registry.read(graph, ServiceEntry, ident.key)
    return entry_kind.exported_namespaces(ident.key, entry, config) if entry is not None else ()


def resolve_alias(graph: Graph, svc: Service, namespace: str) -> Service | None:
    """The service that an ExternalName points to; follows at most ten aliases, because of loops."""
    current: Service | None = svc
    for _ in range(10):
        if current is None or current.resolution is not Resolution.ALIAS:
            return current
        current = graph.get(by_host, current.alias, namespace)
    return None
