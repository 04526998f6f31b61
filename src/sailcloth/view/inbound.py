"""Plans of a sidecar's inbound ports, with protocol and TLS settings. Source: istio.md 2.9."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sailcloth.api import core
from sailcloth.api.destination_rule import ConnectionPoolSettings
from sailcloth.api.gateway import ServerTLSSettings
from sailcloth.api.meta import Key
from sailcloth.api.service_entry import ServiceEntry
from sailcloth.api.sidecar import Sidecar
from sailcloth.lib.incremental import Graph, derived
from sailcloth.mesh import registry, selection, services
from sailcloth.mesh.kinds import service, service_entry
from sailcloth.mesh.model import MeshConfig, Port, Protocol, Service, declared_protocol
from sailcloth.mesh.registry import ServiceId

from . import policies, scope
from .policies import NO_POLICIES, Policies
from .proxy import Proxy, labels_of


@dataclass(frozen=True, slots=True)
class InboundPort:
    """One port of the workload: number, protocol, its service, and where the application listens."""

    port: int
    protocol: Protocol
    host: str = ""
    service_port: int = 0
    endpoint: str = ""  # a Sidecar's defaultEndpoint; empty: the original destination
    created: str = ""
    bind: str = "0.0.0.0"
    tls: ServerTLSSettings | None = None  # user TLS settings that the sidecar terminates, instead of mutual TLS
    connection_pool: ConnectionPoolSettings | None = None  # limits of connections to the application
    detect: bool = False  # whether some callers may not speak HTTP, although the port is declared so
    direct: bool = False  # the proxy binds to the port, because traffic is not redirected


@dataclass(frozen=True)
class InboundPlan:
    """All inputs of the inbound listener."""

    ports: tuple[InboundPort, ...]
    config: MeshConfig
    mark: int
    without_telemetry: bool
    policies: Policies = NO_POLICIES
    external_sds: bool = False  # whether the workload's certificate is from an external server


@derived
def targets(graph: Graph, proxy: Proxy) -> tuple[InboundPort, ...]:
    """The ports of the services that a workload belongs to, one for each port number."""
    ports: list[InboundPort] = []
    for svc in selecting(graph, proxy):
        for port in svc.ports:
            number = port.target if isinstance(port.target, int) else _named(graph, proxy, port)
            if number:
                ports.append(InboundPort(number, port.protocol, svc.host, port.number, created=svc.created))
    for entry in _entries(graph, proxy).values():
        for p in entry.spec.ports:
            number = p.target_port or p.number
            protocol = declared_protocol(p.protocol, p.number)
            ports.append(
                InboundPort(
                    number, protocol, entry.spec.hosts[0], p.number, created=entry.metadata.creation_timestamp or ""
                )
            )
    claims: dict[int, list[InboundPort]] = {}
    for inbound_port in sorted(ports, key=lambda a: (a.created, a.host, a.service_port)):
        if inbound_port.protocol is not Protocol.UDP:
            claims.setdefault(inbound_port.port, []).append(inbound_port)
    return tuple(_chosen(claims[number]) for number in sorted(claims))


def selecting(graph: Graph, proxy: Proxy) -> list[Service]:
    """The Kubernetes Services whose selectors match a workload."""
    pairs = graph.get(labels_of, proxy)
    labels = dict(pairs)
    found = []
    for key, obj in registry.by_selector(graph, service.by_selector_label, proxy.namespace, pairs):
        if selection.matches(obj.spec.selector, labels):
            host = f"{key.name}.{key.namespace}.svc.{registry.config(graph).domain}"
            svc = graph.get(services.service, ServiceId(host, *key))
            found += [svc] if svc is not None else []
    return found


def _chosen(claims: list[InboundPort]) -> InboundPort:
    """Which of several services, oldest first, says what a port is: the first that says HTTP, since its callers send HTTP/2 between
    sidecars and the application gets what the service declares. Callers of the others may send anything, so it is detected."""
    http = next((c for c in claims if c.protocol.is_http), None)
    if http is None:
        return claims[0]
    return replace(http, detect=any(not c.protocol.is_http for c in claims))


def _entries(graph: Graph, proxy: Proxy) -> dict[Key, ServiceEntry]:
    """ServiceEntries that have the workload as an endpoint: by selector in its namespace, or by address."""
    pairs = graph.get(labels_of, proxy)
    labels = dict(pairs)
    entries: dict[Key, ServiceEntry] = {}
    for key, entry in registry.by_selector(graph, service_entry.by_selector_label, proxy.namespace, pairs):
        selector = entry.spec.workload_selector
        if selector is not None and selector.labels and selection.matches(selector.labels, labels):
            entries[key] = entry
    for ip in proxy.ips:
        entries |= registry.objects(graph, service_entry.by_address(ip))
    return entries


def _named(graph: Graph, proxy: Proxy, port: Port) -> int | None:
    pod = registry.read(graph, core.Pod, proxy.pod)
    if pod is None:
        return None
    for container in pod.spec.containers:
        for declared in container.ports:
            if declared.name == port.target:
                return declared.container_port
    return None


@derived
def inbound_ports(graph: Graph, proxy: Proxy) -> tuple[InboundPort, ...]:
    """The inbound ports of a sidecar: those of a Sidecar's ingress listeners, or else those of its services."""
    key = graph.get(selection.levels, Sidecar, proxy.namespace, graph.get(labels_of, proxy)).narrowest
    limit = registry.read(graph, Sidecar, key) if key else None
    service_ports = graph.get(targets, proxy)
    shared = limit.spec.inbound_connection_pool if limit is not None else None
    shared = shared if shared is not None else registry.config(graph).connection_pool
    if limit is None or not limit.spec.ingress:
        return tuple(replace(a, connection_pool=shared) for a in service_ports) if shared else service_ports
    hosts = {a.port: a for a in service_ports}
    return tuple(
        InboundPort(
            listener.port.number,
            declared_protocol(listener.port.protocol, listener.port.number),
            hosts[listener.port.number].host if listener.port.number in hosts else "",
            hosts[listener.port.number].service_port if listener.port.number in hosts else listener.port.number,
            listener.default_endpoint or "",
            bind=listener.bind or next(iter(proxy.ips), "0.0.0.0"),
            tls=listener.tls,
            connection_pool=listener.connection_pool or shared,
            direct=scope.binds_to_port(listener.capture_mode, proxy.captured),
        )
        for listener in limit.spec.ingress
    )


@derived
def plan(graph: Graph, proxy: Proxy) -> InboundPlan:
    """The inbound plan; equal for all pods of a workload."""
    ports = graph.get(inbound_ports, proxy) if proxy.kind == "sidecar" else ()
    effective = policies.of_proxy(graph, proxy.namespace, graph.get(labels_of, proxy), proxy.metadata, "inbound")
    config = registry.config(graph)
    return InboundPlan(ports, config, proxy.mark, proxy.without_telemetry, effective, proxy.external_sds)
