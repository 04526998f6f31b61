"""A proxy's identity and metadata, and its view, the key of its outbound configuration.

Proxies with equal views share all bytes of their outbound configuration. A view has the namespace and the labels that some rule
matches on, and must not have anything of a single pod.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sailcloth.api import core
from sailcloth.api.meta import Key
from sailcloth.api.sidecar import Sidecar
from sailcloth.lib.incremental import Graph, derived
from sailcloth.mesh import endpoints, registry, selection
from sailcloth.mesh.kinds import Traffic
from sailcloth.mesh.selection import Labels

from . import policies
from .metadata import NodeMetadata
from .policies import NO_POLICIES, Policies

ProxyKind = Literal["sidecar", "router"]
_FORWARD = ("SANITIZE", "FORWARD_ONLY", "APPEND_FORWARD", "SANITIZE_SET", "ALWAYS_FORWARD_ONLY")


@dataclass(frozen=True, slots=True)
class GatewayTopology:
    """The proxies in front of a gateway: `gatewayTopology` of its options."""

    trusted_proxies: int = 0
    client_certificates: str = (
        ""  # SANITIZE, FORWARD_ONLY, APPEND_FORWARD, SANITIZE_SET, ALWAYS_FORWARD_ONLY; empty: the default
    )
    proxy_protocol: bool = False  # whether connections start with a PROXY protocol header


@dataclass(frozen=True)
class Proxy:
    """Identity and metadata of one proxy, from its node message."""

    kind: ProxyKind
    name: str
    namespace: str
    ips: tuple[str, ...] = ()
    labels: Labels = ()
    domain: str = "cluster.local"
    mark: int = 0  # SO_MARK that distinguishes the proxy's connections from the application's; 0: by user id
    without_telemetry: bool = False  # leave out telemetry
    locality: str = ""  # region/zone/subzone if the node message has it
    topology: GatewayTopology = GatewayTopology()
    clusters: str = ""  # ALL or ON_DEMAND by the pod's annotation; empty: the mesh's default
    dns: tuple[int, ...] = ()  # IP versions for which its agent is a DNS proxy; empty: none
    additional_ports: tuple[
        tuple[int, int], ...
    ] = ()  # (port, port): a listener at the first port also listens at the second
    captured: bool = True  # whether the pod's traffic is redirected to it; else applications connect to its ports
    metadata: NodeMetadata = NodeMetadata({})

    @property
    def id(self) -> str:
        return f"{self.name}.{self.namespace}"

    @property
    def pod(self) -> Key:
        return Key("Pod", self.namespace, self.name)

    @property
    def external_sds(self) -> bool:
        """Whether its certificate is from an external server, so that the agent serves only files."""
        return self.metadata.get("SAILCLOTH_SDS") == "external"


@dataclass(frozen=True, slots=True)
class View:
    """The key of an outbound configuration."""

    kind: ProxyKind
    namespace: str
    labels: Labels
    domain: str
    sidecar: Key | None = None
    policies: Policies = NO_POLICIES  # for outbound or gateway traffic
    locality: str = ""
    on_demand: bool = False  # whether the proxy subscribes to clusters on first use
    dns: tuple[int, ...] = ()  # IP versions for which the proxy's agent is a DNS proxy; empty: none
    captured: bool = True  # whether the pod's traffic is redirected to the proxy
    external_sds: bool = False  # whether the proxy's certificate is from an external server

    @property
    def traffic(self) -> Traffic:
        """The traffic of the outbound resources: outbound or gateway."""
        return "gateway" if self.kind == "router" else "outbound"


@derived
def labels_of(graph: Graph, proxy: Proxy) -> Labels:
    """The labels by which objects select a proxy: those that its pod has now. A machine has no pod; its node message has the labels."""
    pod = registry.read(graph, core.Pod, proxy.pod)
    return tuple(sorted(pod.metadata.labels.items())) if pod is not None else proxy.labels


@derived
def view(graph: Graph, proxy: Proxy) -> View:
    """The view of a proxy, with only those labels that rules match on."""
    traffic: Traffic = "gateway" if proxy.kind == "router" else "outbound"
    all_labels = graph.get(labels_of, proxy)
    effective = policies.of_proxy(graph, proxy.namespace, all_labels, proxy.metadata, traffic)
    locality = proxy.locality or graph.get(endpoints.pod_locality, proxy.pod)
    if proxy.kind == "router":
        external = proxy.external_sds
        return View(
            "router", proxy.namespace, all_labels, proxy.domain, None, effective, locality, external_sds=external
        )
    keys = set(registry.selected_labels(graph))
    labels = tuple(pair for pair in all_labels if pair[0] in keys)
    sidecar = graph.get(selection.levels, Sidecar, proxy.namespace, labels).narrowest
    on_demand = (proxy.clusters or registry.config(graph).sidecar_clusters) == "ON_DEMAND"
    return View(
        "sidecar",
        proxy.namespace,
        labels,
        proxy.domain,
        sidecar,
        effective,
        locality,
        on_demand,
        proxy.dns,
        proxy.captured,
        proxy.external_sds,
    )


def answers_dns(metadata: Mapping[str, Any], ips: tuple[str, ...]) -> tuple[int, ...]:
    """IP versions for which a proxy's agent is a DNS proxy: those of the proxy's addresses, if it captures DNS.

    As in current Istio, `ISTIO_META_DNS_CAPTURE` alone enables allocated addresses; an explicit
    `ISTIO_META_DNS_AUTO_ALLOCATE: "false"` of older versions has no effect.
    """
    if str(metadata.get("DNS_CAPTURE", "")).lower() != "true":
        return ()
    return tuple(sorted({6 if ":" in ip else 4 for ip in ips if ip})) or (4,)


def _additional_ports(text: str) -> tuple[tuple[int, int], ...]:
    """Parse `8080:65080,8443:65443`; ignores parts that are not a pair of ports."""
    pairs = (p.split(":") for p in text.split(","))
    return tuple((int(p[0]), int(p[1])) for p in pairs if len(p) == 2 and p[0].isdigit() and p[1].isdigit())


def is_captured(metadata: Mapping[str, Any]) -> bool:
    """Whether a pod's traffic is redirected to its proxy, as the annotation `sidecar.istio.io/interceptionMode` decides."""
    return str(metadata.get("INTERCEPTION_MODE", "")).upper() != "NONE"


def locality_of_labels(labels: Mapping[str, Any]) -> str:
    """The locality in a proxy's labels, with `.` for `/`; empty if there is none."""
    return str(labels.get("topology.istio.io/locality") or labels.get("istio-locality") or "").replace(".", "/")


def _topology(metadata: dict[str, Any]) -> GatewayTopology:
    """Parse the options in the node metadata; ignores invalid values."""
    options = metadata.get("PROXY_CONFIG")
    settings = (options.get("gatewayTopology") if isinstance(options, dict) else None) or {}
    if not isinstance(settings, dict):
        return GatewayTopology()
    details = str(settings.get("forwardClientCertDetails") or "")
    return GatewayTopology(
        trusted_proxies=_count(settings.get("numTrustedProxies")),
        client_certificates=details if details in _FORWARD else "",
        proxy_protocol=isinstance(settings.get("proxyProtocol"), dict),
    )


def _count(value: Any) -> int:
    """A number of metadata from 0 to 2^31 - 1; 0 for anything else."""
    try:
        number = int(value or 0)
    except (ValueError, TypeError, OverflowError):
        return 0
    return number if 0 <= number < 1 << 31 else 0


def parse_node(node_id: str, metadata: dict[str, Any]) -> Proxy:
    """A proxy from Envoy's node id `type~ip~pod.namespace~dnsDomain` and Istio's node metadata.

    Raises ValueError with the expected form if the id is not of it.
    """
    parts = node_id.split("~")
    if len(parts) != 4 or parts[0] not in ("sidecar", "router"):
        raise ValueError(f"node id {node_id!r} is not of the form (sidecar|router)~IP~POD.NAMESPACE~DNS_DOMAIN")
    kind, ip, ident, domain = parts
    name, _, namespace = ident.rpartition(".")
    namespace = str(metadata.get("NAMESPACE") or namespace)
    labels = metadata.get("LABELS")
    labels = labels if isinstance(labels, Mapping) else {}
    ips = tuple(dict.fromkeys([ip, *str(metadata.get("INSTANCE_IPS") or "").split(",")]))
    return described(
        "router" if kind == "router" else "sidecar", name or ident, namespace, ips, labels, domain, metadata
    )


def described(
    kind: ProxyKind,
    name: str,
    namespace: str,
    ips: Iterable[str],
    labels: Mapping[str, Any],
    domain: str,
    metadata: dict[str, Any],
) -> Proxy:
    """A proxy from its identity and node metadata."""
    ips = tuple(i for i in ips if i)
    return Proxy(
        kind=kind,
        name=name,
        namespace=namespace,
        ips=ips,
        labels=tuple(sorted((str(k), str(v)) for k, v in labels.items())),
        domain=domain.partition(".svc.")[2] or domain,
        locality=locality_of_labels(labels),
        mark=_count(metadata.get("SAILCLOTH_MARK")),
        topology=_topology(metadata) if kind == "router" else GatewayTopology(),
        clusters=str(metadata.get("SAILCLOTH_CLUSTERS") or "").upper().replace("-", "_"),
        without_telemetry=str(metadata.get("SAILCLOTH_TELEMETRY", "")).lower() == "off",
        dns=answers_dns(metadata, ips),
        additional_ports=_additional_ports(str(metadata.get("SAILCLOTH_BESIDE") or "")),
        captured=is_captured(metadata),
        metadata=NodeMetadata(metadata),
    )
