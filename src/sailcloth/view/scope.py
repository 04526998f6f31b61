"""Scoping: the hosts that a view can see, and the egress listeners of its Sidecar."""

from __future__ import annotations

from dataclasses import dataclass

from sailcloth.api.meta import Key
from sailcloth.api.sidecar import IstioEgressListener, Sidecar
from sailcloth.lib.incremental import Graph, derived
from sailcloth.mesh import hosts, registry, services, virtual_services
from sailcloth.mesh.model import Service

from .proxy import View


@derived
def spec(graph: Graph, view: View) -> Sidecar | None:
    """The Sidecar object of a view, if any."""
    return registry.read(graph, Sidecar, view.sidecar) if view.sidecar else None


@derived
def exported(graph: Graph, namespace: str) -> tuple[str, ...]:
    """All hosts that are exported to a namespace, sorted."""
    idents = registry.services_visible_to(graph, "*") + registry.services_visible_to(graph, namespace)
    return tuple(sorted({i.host for i in idents}))


@derived
def visible(graph: Graph, view: View) -> tuple[str, ...]:
    """Hosts that a view can reach on any port, sorted: those exported to it and imported by its Sidecar, and the destinations of
    imported VirtualServices."""
    hosts_ = graph.get(exported, view.namespace)
    limit = graph.get(spec, view)
    if limit is None or not limit.spec.egress:
        return hosts_
    imported = {h for h in hosts_ if _imported(graph, view, h, limit.spec.egress)}
    return tuple(sorted(imported | _destinations(graph, view, limit)))


def _imported(graph: Graph, view: View, host: str, listeners: tuple[IstioEgressListener, ...]) -> bool:
    svc = graph.get(services.by_host, host, view.namespace)
    return svc is not None and any(imports(e.hosts, svc.host, svc.namespace, view.namespace) for e in listeners)


def imports(patterns: tuple[str, ...], host: str, namespace: str, view_namespace: str) -> bool:
    """Whether `namespace/host` patterns of an egress listener import a host of a namespace; `~namespace/host` and `~/host` exclude."""
    verdicts = [
        excludes
        for pattern in patterns
        for name, excludes in _for_namespace(pattern, namespace, view_namespace)
        if hosts.covers(name, host)
    ]
    return bool(verdicts) and not any(verdicts)


def _for_namespace(pattern: str, namespace: str, view_namespace: str) -> tuple[tuple[str, bool], ...]:
    """The host of a pattern, and whether the pattern excludes it, if the pattern is for the namespace; otherwise nothing."""
    ns, _, name = pattern.rpartition("/")
    excludes = ns.startswith("~")
    ns = (ns[1:] or "*") if excludes else ns
    ns = view_namespace if ns == "." else ns
    return ((hosts.normalized(name), excludes),) if ns in ("*", namespace) else ()


def _destinations(graph: Graph, view: View, limit: Sidecar) -> set[str]:
    """Existing destination hosts of VirtualServices that the Sidecar imports."""
    rules = {key for _, key in graph.get(virtual_services.mesh_hosts, view.namespace)}
    imported = [k for k in rules if any(imports_rule(graph, e.hosts, k, view) for e in limit.spec.egress)]
    destinations = {host for key in imported for host in graph.get(virtual_services.destination_hosts, key)}
    return {host for host in destinations if graph.get(services.by_host, host, view.namespace) is not None}


def imports_rule(graph: Graph, patterns: tuple[str, ...], key: Key, view: View) -> bool:
    """Whether an egress listener imports a VirtualService: one of its hosts overlaps a pattern for its namespace, and no
    exclusion covers it."""
    head = registry.head(graph, key)
    if head is None:
        return False
    entries = [entry for pattern in patterns for entry in _for_namespace(pattern, key.namespace, view.namespace)]
    return any(
        any(hosts.overlaps(name, host) for name, excludes in entries if not excludes)
        and not any(hosts.covers(name, host) for name, excludes in entries if excludes)
        for host in head.hosts
    )


@derived
def on_port(graph: Graph, view: View, port: int) -> frozenset[str] | None:
    """The hosts that a Sidecar allows on one port; None: all of `visible`."""
    limit = graph.get(spec, view)
    if limit is None or not limit.spec.egress:
        return None
    exact = tuple(e for e in limit.spec.egress if e.port is not None and e.port.number == port)
    listeners = exact or tuple(e for e in limit.spec.egress if e.port is None)
    return frozenset(h for h in graph.get(visible, view) if _imported(graph, view, h, listeners))


@dataclass(frozen=True, slots=True)
class EgressListener:
    """A Sidecar's egress listener at its own address. `direct`: binds to the port, applications connect to it."""

    address: str  # IP address, or unix:///path
    port: int  # 0 for a socket
    direct: bool
    protocol: str  # as declared; empty: each service's own

    @property
    def every_port(self) -> bool:
        """Whether the request determines the destination port, not the listener: at UNIX sockets and HTTP proxies."""
        return not self.port or self.protocol == "HTTP_PROXY"


@derived
def egress_listeners(graph: Graph, view: View) -> tuple[EgressListener, ...]:
    """The egress listeners of a view's Sidecar that need a listener of their own, in its order."""
    limit = graph.get(spec, view)
    listeners = []
    for listener in limit.spec.egress if limit is not None else ():
        if listener.port is None:
            continue
        address = listener.bind or ""
        direct = address.startswith("unix://") or binds_to_port(listener.capture_mode, view.captured)
        protocol = listener.port.protocol.upper()
        address = address or ("127.0.0.1" if direct else "0.0.0.0")
        if direct or protocol == "HTTP_PROXY" or address not in ("0.0.0.0", "::"):
            listeners.append(EgressListener(address, listener.port.number, direct, protocol))
    return tuple(listeners)


def binds_to_port(capture_mode: str | None, captured: bool) -> bool:
    """Whether a Sidecar listener binds to its port: by its captureMode, or because the workload's traffic is not redirected."""
    return capture_mode == "NONE" or (capture_mode in (None, "DEFAULT") and not captured)


@derived
def hosts_behind(graph: Graph, view: View, listener: EgressListener) -> tuple[str, ...]:
    """The hosts of an egress listener for every port, sorted."""
    limit = graph.get(spec, view)
    egress = limit.spec.egress if limit is not None else ()
    ports = [e for e in egress if e.port is not None and e.port.number == listener.port]
    matching = tuple(e for e in ports if listener.port or e.bind == listener.address)
    return tuple(h for h in graph.get(visible, view) if _imported(graph, view, h, matching))


def service(graph: Graph, view: View, host: str) -> Service | None:
    """The service of a host in a view; None if it is not visible."""
    return graph.get(services.by_host, host, view.namespace)


def service_at(graph: Graph, view: View, host: str, port: int) -> Service | None:
    """The service of a host as it is at one port; None if the view sees no service of that name."""
    svc = service(graph, view, host)
    return svc.at(port) if svc is not None else None


def addresses(svc: Service, view: View) -> tuple[str, ...]:
    """The addresses of a service for a view: its own, or the allocated ones if the view's agent is a DNS proxy, which resolves
    names to them."""
    if svc.addresses:
        return svc.addresses
    return tuple(a for a in svc.allocated if (6 if ":" in a else 4) in view.dns)
