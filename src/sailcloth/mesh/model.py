"""The neutral model: services, ports, endpoints, whatever API they were written in."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field, replace

from sailcloth.api.destination_rule import LocalityLbSetting, TcpKeepalive
from sailcloth.api.meta import Key
from sailcloth.api.virtual_service import HTTPRetry


class Protocol(enum.StrEnum):
    """Protocol of a port as the mesh treats it. AUTO is detected from the first bytes."""

    HTTP = "HTTP"
    HTTP2 = "HTTP2"
    GRPC = "GRPC"
    GRPC_WEB = "GRPC-WEB"
    HTTPS = "HTTPS"
    TLS = "TLS"
    TCP = "TCP"
    MONGO = "MONGO"
    REDIS = "REDIS"
    MYSQL = "MYSQL"
    UDP = "UDP"
    AUTO = "AUTO"
    HTTP_PROXY = "HTTP_PROXY"

    @property
    def is_http(self) -> bool:
        return self in (Protocol.HTTP, Protocol.HTTP2, Protocol.GRPC, Protocol.GRPC_WEB, Protocol.HTTP_PROXY)

    @property
    def is_http2(self) -> bool:
        return self in (Protocol.HTTP2, Protocol.GRPC, Protocol.GRPC_WEB)

    @property
    def is_tls(self) -> bool:
        return self in (Protocol.HTTPS, Protocol.TLS)


_WELL_KNOWN_TCP = frozenset({25, 53, 3306, 27017})
_APP_PROTOCOLS = {
    "kubernetes.io/h2c": Protocol.HTTP2,
    "kubernetes.io/ws": Protocol.HTTP,
    "kubernetes.io/wss": Protocol.HTTPS,
}


def protocol(name: str, app_protocol: str | None = None, number: int = 0, transport: str = "TCP") -> Protocol:
    """Protocol of a Kubernetes port: appProtocol, else the port name's prefix up to the first `-`, else detection.

    Ports whose servers speak first by custom (25, 53, 3306, 27017) are TCP. Source: Istio pkg/config/kube/conversion.go.
    """
    if transport.upper() == "UDP":
        return Protocol.UDP
    if app_protocol:
        known = _APP_PROTOCOLS.get(app_protocol.lower()) or _parse(app_protocol)
        if known is not None:
            return known
    else:
        prefix = "grpc-web" if name.lower().startswith("grpc-web") else name.split("-", 1)[0]
        known = _parse(prefix)
        if known is not None:
            return known
    return Protocol.TCP if number in _WELL_KNOWN_TCP else Protocol.AUTO


def declared_protocol(text: str, number: int = 0) -> Protocol:
    """Protocol as a Gateway, ServiceEntry or Sidecar declares it; empty means detection."""
    if not text:
        return Protocol.TCP if number in _WELL_KNOWN_TCP else Protocol.AUTO
    return _parse(text) or Protocol.AUTO


def _parse(text: str) -> Protocol | None:
    try:
        return Protocol(text.upper())
    except ValueError:
        return None


class Resolution(enum.StrEnum):
    """How a proxy finds a service's endpoints."""

    EDS = "EDS"
    DNS = "DNS"
    DNS_ROUND_ROBIN = "DNS_ROUND_ROBIN"
    DYNAMIC_DNS = "DYNAMIC_DNS"
    PASSTHROUGH = "PASSTHROUGH"
    ALIAS = "ALIAS"


@dataclass(frozen=True, slots=True)
class Port:
    """A service's port; `target` is the number or name of the workload's port."""

    number: int
    name: str
    protocol: Protocol
    target: int | str | None = None


@dataclass(frozen=True, slots=True)
class Service:
    """A host name with ports, from a Kubernetes Service or a ServiceEntry."""

    host: str
    namespace: str
    name: str
    source: Key
    ports: tuple[Port, ...]
    addresses: tuple[str, ...] = ()  # virtual addresses, IP or CIDR
    allocated: tuple[str, ...] = ()  # addresses for proxies that answer DNS themselves, of a service that declares none
    resolution: Resolution = Resolution.EDS
    kubernetes: bool = False
    headless: bool = False
    external: bool = False
    alias: str = ""
    created: str = ""
    subject_alt_names: tuple[str, ...] = ()
    selector: tuple[tuple[str, str], ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    publish_not_ready: bool = False
    parts: tuple[
        Service, ...
    ] = ()  # the ServiceEntries that define the host together, if several do; in order of precedence
    more_sources: tuple[Key, ...] = ()  # other ServiceEntries whose endpoints count for the same port

    def port(self, number: int) -> Port | None:
        """The port of a number, if there is one."""
        return next((p for p in self.ports if p.number == number), None)

    def at(self, number: int) -> Service:
        """The service as it is at one port. Where several ServiceEntries define the host, those that define the port decide: the
        first of them how its endpoints are found and what it is, and those that agree with it add addresses and endpoints."""
        defining = [part for part in self.parts if part.port(number) is not None]
        if not defining:
            return self
        first = defining[0]
        same = [s for s in defining if (s.resolution, s.external) == (first.resolution, first.external)]
        return replace(
            first,
            addresses=tuple(dict.fromkeys(a for s in same for a in s.addresses)),
            allocated=tuple(dict.fromkeys(a for s in same for a in s.allocated)),
            subject_alt_names=tuple(dict.fromkeys(n for s in same for n in s.subject_alt_names)),
            more_sources=tuple(s.source for s in same[1:]),
        )


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address and port of a workload that serves a service's port."""

    address: str
    port: int
    labels: tuple[tuple[str, str], ...] = ()
    namespace: str = ""
    workload: str = ""
    service_account: str = ""
    mtls: bool = False
    healthy: bool = True
    locality: str = ""
    weight: int = 1
    hostname: str = ""


@dataclass(frozen=True, slots=True)
class RuleHead:
    """What decides whether a VirtualService holds for a host, apart from its routes: a change of routes leaves it equal, and
    wakes only what is made from the routes."""

    hosts: tuple[str, ...]  # resolved
    seen: tuple[str, ...]  # namespaces, or `*`
    created: str = ""
    http: bool = False
    attached: bool = False  # made from HTTPRoutes that are attached to the service


@dataclass(frozen=True, slots=True)
class MeshConfig:
    """The mesh-wide options that are read so far (ConfigMap `istio`, key `mesh`)."""

    trust_domain: str = "cluster.local"
    domain: str = "cluster.local"
    root_namespace: str = "istio-system"
    enable_auto_mtls: bool = True
    outbound_mode: str = "ALLOW_ANY"
    inbound_mode: str = "PASSTHROUGH"
    connect_timeout_ms: float = 10_000.0
    access_log_file: str = ""
    access_log_format: str = ""
    access_log_json: bool = False
    trust_domain_aliases: tuple[str, ...] = ()
    retries: HTTPRetry | None = None  # for routes that say nothing of retries
    keepalive: TcpKeepalive | None = None  # for DestinationRules that say nothing of it
    h2_upgrade: str = ""  # UPGRADE or DO_NOT_UPGRADE; empty: between sidecars
    path_normalization: str = "BASE"
    rule_export: tuple[str, ...] = ("*",)
    destination_export: tuple[str, ...] = ("*",)
    proxy_defaults: str = "{}"  # options of proxies (`defaultConfig`), as JSON: injection reads them
    rate_limit_store: str = (
        ""  # where GLOBAL limits are counted: redis://host:port; empty: in the control plane's memory
    )
    ingress_service: str = "istio-ingressgateway"
    merge_virtual_services: bool = True
    sidecar_clusters: str = "ALL"  # or ON_DEMAND
    detection_timeout_ms: float = 5000.0  # how long a connection's first bytes are waited for to detect its protocol
    default_export: tuple[str, ...] = field(default=("*",))
    # For DestinationRules that say nothing of localities; it holds lists, so that it cannot be part of a hash.
    locality: LocalityLbSetting | None = field(default=None, hash=False)

    @property
    def trust_domains(self) -> tuple[str, ...]:
        """The trust domain and those that count as it."""
        return (self.trust_domain, *self.trust_domain_aliases)
