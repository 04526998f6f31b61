"""Plan of what a sidecar accepts: its ports with their protocols, and the mutual TLS mode of each. Source: istio.md 2.9."""

from __future__ import annotations

from dataclasses import dataclass, replace

import msgspec

from sailcloth.api import core
from sailcloth.api.destination_rule import ConnectionPoolSettings
from sailcloth.api.gateway import ServerTLSSettings
from sailcloth.api.meta import Key
from sailcloth.api.service_entry import ServiceEntry
from sailcloth.lib.incremental import Graph, derived
from sailcloth.mesh import endpoints, peer_authentication, rate_limits, registry, services
from sailcloth.mesh.envoy_filters import PatchRef
from sailcloth.mesh.model import MeshConfig, Port, Protocol, declared_protocol
from sailcloth.mesh.registry import ServiceId

from . import scope
from .proxy import Labels, Proxy


@dataclass(frozen=True, slots=True)
class Accepted:
    """One port of the workload: number, protocol, the service it belongs to, and where the application listens."""

    port: int
    protocol: Protocol
    host: str = ""
    service_port: int = 0
    endpoint: str = ""  # as a Sidecar's defaultEndpoint; empty: the original destination
    created: str = ""
    bind: str = "0.0.0.0"
    tls: bytes = b""  # the TLS settings of a Sidecar's ingress, as JSON: a value that can be a key
    pool: bytes = b""  # its connection pool, the same way
    direct: bool = False  # the proxy listens at the port itself, as nothing is captured for it

    def settings(self) -> ServerTLSSettings | None:
        """TLS that ends at the sidecar instead of the mesh's own."""
        return msgspec.json.decode(self.tls, type=ServerTLSSettings) if self.tls else None

    def connection_pool(self) -> ConnectionPoolSettings | None:
        """Limits of what goes on to the application."""
        return msgspec.json.decode(self.pool, type=ConnectionPoolSettings) if self.pool else None


@dataclass(frozen=True)
class InboundPlan:
    """Everything that the inbound listener needs."""

    ports: tuple[Accepted, ...]
    mode: str
    port_modes: tuple[tuple[int, str], ...]
    config: MeshConfig
    mark: int
    lean: bool
    namespace: str
    sources: tuple[Key, ...]
    patches: tuple[PatchRef, ...] = ()
    limits: tuple[Key, ...] = ()  # RateLimits that select the workload

    def mode_at(self, port: int) -> str:
        return dict(self.port_modes).get(port, self.mode)


@derived
def targets(graph: Graph, proxy: Proxy) -> tuple[Accepted, ...]:
    """The ports of the services that a workload belongs to, one for each port number; the oldest service wins a conflict."""
    found: list[Accepted] = []
    labels = dict(proxy.labels)
    for key in registry.selecting(graph, "service-selecting", proxy.namespace, proxy.labels):
        obj: core.Service | None = registry.read(graph, key)
        if obj is None or not endpoints.matches(obj.spec.selector, labels):
            continue
        host = f"{key.name}.{key.namespace}.svc.{registry.config(graph).domain}"
        svc = graph.get(services.service, ServiceId(host, *key))
        for port in svc.ports if svc else ():
            number = port.target if isinstance(port.target, int) else _named(graph, proxy, port)
            if number:
                found.append(Accepted(number, port.protocol, host, port.number, created=svc.created if svc else ""))
    for key in _entries(graph, proxy):
        entry: ServiceEntry = registry.read(graph, key)
        for p in entry.spec.ports:
            number = p.target_port or p.number
            protocol = declared_protocol(p.protocol, p.number)
            found.append(
                Accepted(
                    number, protocol, entry.spec.hosts[0], p.number, created=entry.metadata.creation_timestamp or ""
                )
            )
    chosen: dict[int, Accepted] = {}
    for accepted in sorted(found, key=lambda a: (a.created, a.host, a.service_port)):
        if accepted.protocol is not Protocol.UDP:
            chosen.setdefault(accepted.port, accepted)
    return tuple(chosen[p] for p in sorted(chosen))


def _entries(graph: Graph, proxy: Proxy) -> list[Key]:
    """ServiceEntries that have the workload as an endpoint: by selector in its namespace, or by address."""
    labels = dict(proxy.labels)
    out = []
    for key in registry.selecting(graph, "entry-selecting", proxy.namespace, proxy.labels):
        entry: ServiceEntry | None = registry.read(graph, key)
        selector = entry.spec.workload_selector if entry else None
        if selector is not None and endpoints.matches(selector.labels, labels):
            out.append(key)
    for ip in proxy.ips:
        out += [k for k in registry.select(graph, ("entry-address", ip)) if k not in out]
    return out


def _named(graph: Graph, proxy: Proxy, port: Port) -> int | None:
    pod: core.Pod | None = registry.read(graph, proxy.pod)
    if pod is None:
        return None
    for container in pod.spec.containers:
        for declared in container.ports:
            if declared.name == port.target:
                return declared.container_port
    return None


@derived
def accepted(graph: Graph, proxy: Proxy) -> tuple[Accepted, ...]:
    """The ports that a sidecar accepts: those of a Sidecar's ingress if it has any, else those of its services."""
    key = graph.get(scope.sidecar, proxy.namespace, proxy.labels)
    limit = registry.read(graph, key) if key else None
    own = graph.get(targets, proxy)
    if limit is None:
        return own
    shared = msgspec.json.encode(limit.spec.inbound_connection_pool) if limit.spec.inbound_connection_pool else b""
    if not limit.spec.ingress:
        return tuple(replace(a, pool=shared) for a in own) if shared else own
    hosts = {a.port: a for a in own}
    return tuple(
        Accepted(
            listener.port.number,
            declared_protocol(listener.port.protocol, listener.port.number),
            hosts[listener.port.number].host if listener.port.number in hosts else "",
            hosts[listener.port.number].service_port if listener.port.number in hosts else listener.port.number,
            listener.default_endpoint or "",
            bind=listener.bind or next(iter(proxy.ips), "0.0.0.0"),
            tls=msgspec.json.encode(listener.tls) if listener.tls else b"",
            pool=msgspec.json.encode(listener.connection_pool) if listener.connection_pool else shared,
            direct=scope.is_direct(listener.capture_mode, proxy.captured),
        )
        for listener in limit.spec.ingress
    )


@derived
def plan(
    graph: Graph,
    namespace: str,
    labels: Labels,
    ports: tuple[Accepted, ...],
    mark: int,
    lean: bool,
    patches: tuple[PatchRef, ...] = (),
) -> InboundPlan:
    """The inbound plan; equal for all pods of a workload."""
    mode, port_modes, sources = graph.get(peer_authentication.modes, namespace, labels)
    return InboundPlan(
        ports=ports,
        mode=mode,
        port_modes=port_modes,
        config=registry.config(graph),
        mark=mark,
        lean=lean,
        namespace=namespace,
        sources=sources,
        patches=patches,
        limits=graph.get(rate_limits.for_workload, namespace, labels),
    )
