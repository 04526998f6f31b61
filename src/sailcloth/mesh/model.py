"""The model of services, ports and endpoints, independent of the API that defines them."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sailcloth.api.destination_rule import ConnectionPoolSettings, LocalityLbSetting, OutlierDetection, TcpKeepalive
from sailcloth.api.extension_provider import DefaultProviders, ExtensionProvider
from sailcloth.api.meta import Key
from sailcloth.api.virtual_service import HTTPRetry
from sailcloth.mesh.tls_parameters import TlsParameters

THIS_MACHINE = ("0.0.0.0/8", "127.0.0.0/8", "::/128", "::1/128", "169.254.0.0/16", "fe80::/10")
"""Addresses of a machine itself and of its links; clouds serve credentials at 169.254.169.254."""
METADATA_SERVICES = ("fd00:ec2::254/128", "100.100.100.200/32", "168.63.129.16/32")
"""Addresses of clouds' metadata services elsewhere."""


class Protocol(enum.StrEnum):
    """Protocol of a port. AUTO is detected from the first bytes of a connection."""

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

    Well-known ports of server-first protocols (25, 53, 3306, 27017) are TCP. Source: Istio pkg/config/kube/conversion.go.
    """
    return chosen_protocol(name, app_protocol, number, transport)[0]


def chosen_protocol(name: str, app_protocol: str | None, number: int, transport: str) -> tuple[Protocol, str]:
    """The same, and what says so: `transport`, `appProtocol`, `name` or `number` of the port, or `detection`."""
    if transport.upper() == "UDP":
        return Protocol.UDP, "transport"
    if app_protocol:
        declared = _APP_PROTOCOLS.get(app_protocol.lower()) or _parse(app_protocol)
        if declared is not None:
            return declared, "appProtocol"
    else:
        prefix = "grpc-web" if name.lower().startswith("grpc-web") else name.split("-", 1)[0]
        declared = _parse(prefix)
        if declared is not None:
            return declared, "name"
    return (Protocol.TCP, "number") if number in _WELL_KNOWN_TCP else (Protocol.AUTO, "detection")


def declared_protocol(text: str, number: int = 0) -> Protocol:
    """Protocol that a Gateway, ServiceEntry or Sidecar declares; empty: detection."""
    if not text:
        return Protocol.TCP if number in _WELL_KNOWN_TCP else Protocol.AUTO
    return _parse(text) or Protocol.AUTO


def _parse(text: str) -> Protocol | None:
    try:
        return Protocol(text.upper())
    except ValueError:
        return None


class Resolution(enum.StrEnum):
    """How a proxy resolves a service's endpoints."""

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
    """A host with ports, from a Kubernetes Service or a ServiceEntry."""

    host: str
    namespace: str
    name: str
    source: Key
    ports: tuple[Port, ...]
    addresses: tuple[str, ...] = ()  # virtual addresses, IP or CIDR
    allocated: tuple[str, ...] = ()  # for proxies with a DNS proxy, if the service declares none
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
    """An address and port of a workload behind a service's port."""

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
class MeshConfig:
    """The supported mesh-wide options (ConfigMap `istio`, key `mesh`)."""

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
    retries: HTTPRetry | None = None  # for routes without retries
    inbound_retries: HTTPRetry | None = None  # for requests to the application
    connection_pool: ConnectionPoolSettings | None = None  # for policies without one
    outlier_detection: OutlierDetection | None = None  # for policies without one
    keepalive: TcpKeepalive | None = None  # for DestinationRules without tcpKeepalive
    h2_upgrade: str = ""  # UPGRADE or DO_NOT_UPGRADE; empty: between sidecars
    path_normalization: str = "BASE"
    rule_export: tuple[str, ...] = ("*",)
    destination_export: tuple[str, ...] = ("*",)
    proxy_defaults: str = "{}"  # options of proxies (`defaultConfig`) as JSON, for injection
    rate_limit_store: str = ""  # store of GLOBAL limits: redis://host:port; empty: the control plane's memory
    ingress_service: str = "istio-ingressgateway"
    merge_virtual_services: bool = True
    sidecar_clusters: str = "ALL"  # or ON_DEMAND
    detection_timeout_ms: float = 5000.0  # timeout of protocol detection
    compliance_policy: str = ""  # of the control plane's installation, not of the ConfigMap
    ca_certificates: tuple[str, ...] = ()  # PEM of roots that proxies trust beside the mesh's own
    mesh_tls: TlsParameters = TlsParameters()  # of mutual TLS in the mesh
    tls_defaults: TlsParameters = TlsParameters()  # of all other TLS
    default_export: tuple[str, ...] = field(default=("*",))
    blocked_key_networks: tuple[str, ...] = (
        *THIS_MACHINE,
        *METADATA_SERVICES,
    )  # where no keys of tokens are fetched from
    # Contains mappings, so it is not part of the hash.
    default_providers: DefaultProviders | None = None
    discovery_selectors: tuple[Mapping[str, Any], ...] = field(default=(), hash=False)  # of namespaces; none: all
    extension_providers: tuple[ExtensionProvider, ...] = field(default=(), hash=False)
    # For DestinationRules without localityLbSetting; not part of the hash, because it contains mappings.
    locality: LocalityLbSetting | None = field(default=None, hash=False)

    @property
    def trust_domains(self) -> tuple[str, ...]:
        """The trust domain and its aliases."""
        return (self.trust_domain, *self.trust_domain_aliases)
