"""Sidecar (networking.istio.io): the ports that a sidecar accepts, and the hosts that it can reach."""

from __future__ import annotations

from typing import Annotated, Literal

from .destination_rule import ConnectionPoolSettings
from .gateway import ServerTLSSettings
from .meta import D, Object, PortNumber, PortSelector, Struct


class WorkloadSelector(Struct):
    """Selects workloads by labels."""

    labels: Annotated[dict[str, str], D("Labels; a workload must have all of them.")] = {}


class SidecarPort(Struct):
    """A port that a sidecar listens on."""

    number: Annotated[PortNumber, D("Port number; none if it listens on a UNIX socket.")] = 0
    protocol: Annotated[str, D("HTTP, HTTPS, GRPC, HTTP2, MONGO, TCP or TLS; default: detected.")] = ""
    name: Annotated[str, D("Label of the port.")] = ""
    target_port: Annotated[PortNumber | None, D("Has no effect in a Sidecar.")] = None


CaptureMode = Literal["DEFAULT", "IPTABLES", "NONE"]


class IstioIngressListener(Struct):
    """One port that the sidecar accepts traffic on."""

    port: Annotated[SidecarPort, D("The port.")]
    bind: Annotated[str | None, D("Address to bind to.")] = None
    capture_mode: Annotated[CaptureMode | None, D("How traffic gets to the listener.")] = None
    default_endpoint: Annotated[
        str | None, D("Where the application listens: 127.0.0.1:port, 0.0.0.0:port or unix://.")
    ] = None
    tls: Annotated[ServerTLSSettings | None, D("TLS terminated by the sidecar.")] = None
    connection_pool: Annotated[ConnectionPoolSettings | None, D("Limits for this port.")] = None


class IstioEgressListener(Struct):
    """Hosts that the sidecar can reach, on all ports or on one."""

    hosts: Annotated[tuple[str, ...], D("Hosts as `namespace/name`; namespace `.` is the own one, `*` any, `~` none.")]
    port: Annotated[SidecarPort | None, D("The port; default all.")] = None
    bind: Annotated[str | None, D("Address to bind to.")] = None
    capture_mode: Annotated[CaptureMode | None, D("How traffic gets to the listener.")] = None


class EgressProxy(Struct):
    """A service that forwards traffic to unknown destinations."""

    host: Annotated[str, D("Service name.")] = ""
    subset: Annotated[str | None, D("Subset of the service.")] = None
    port: Annotated[PortSelector | None, D("Port of the service.")] = None


class OutboundTrafficPolicy(Struct):
    """How traffic to unknown destinations is handled."""

    mode: Annotated[
        Literal["REGISTRY_ONLY", "ALLOW_ANY"] | None, D("REGISTRY_ONLY rejects it, ALLOW_ANY forwards it.")
    ] = None
    egress_proxy: Annotated[EgressProxy | None, D("Send it to this service.")] = None


class SidecarSpec(Struct):
    """Scope of the sidecars of a namespace, or of selected workloads."""

    workload_selector: Annotated[
        WorkloadSelector | None, D("Workloads it applies to; default the whole namespace.")
    ] = None
    ingress: Annotated[tuple[IstioIngressListener, ...], D("Ports to accept; default: from the services.")] = ()
    egress: Annotated[tuple[IstioEgressListener, ...], D("Hosts that can be reached; default all visible ones.")] = ()
    inbound_connection_pool: Annotated[ConnectionPoolSettings | None, D("Limits for all accepted ports.")] = None
    outbound_traffic_policy: Annotated[OutboundTrafficPolicy | None, D("Unknown destinations.")] = None


class Sidecar(Object):
    """Configures the scope of sidecar proxies."""

    spec: SidecarSpec = SidecarSpec()
