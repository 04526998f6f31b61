"""What an installation decides about injection."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class InjectorConfig:
    """Values that fill the template. The names follow Istio's installation values."""

    image: str = "docker.io/sailcloth/proxyv2:0.1.0"
    init_image: str = ""  # of the init container; empty: the proxy's
    image_pull_policy: str = ""
    image_pull_secrets: tuple[str, ...] = ()
    revision: str = "default"
    domain: str = "cluster.local"
    trust_domain: str = "cluster.local"
    cluster_id: str = "Kubernetes"
    mesh_id: str = "cluster.local"
    network: str = ""
    ca_address: str = "istiod.istio-system.svc:15012"
    native_sidecars: bool = True
    cni: bool = False
    cni_network: bool = False  # pods name the CNI plugin in an annotation, as Multus wants it
    log_level: str = "warning"
    component_log_level: str = "misc:error"
    agent_log_level: str = "default:info"
    status_port: int = 15020
    resources: Mapping[str, Mapping[str, str]] = field(
        default_factory=lambda: {
            "requests": {"cpu": "100m", "memory": "128Mi"},
            "limits": {"cpu": "2", "memory": "1Gi"},
        }
    )
    proxy_config: dict[str, object] = field(default_factory=dict)
    prometheus_merge: bool = True
    hold_application: bool = False
    rewrite_probes: bool = True
    privileged: bool = False
    lifecycle: Mapping[str, Any] = field(default_factory=dict)
    included_ranges: str = "*"
    excluded_ranges: str = ""
    included_inbound_ports: str = "*"
    excluded_inbound_ports: str = ""
    included_outbound_ports: str = ""
    excluded_outbound_ports: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict)  # that every injected pod gets
    templates: Mapping[str, str] = field(default_factory=dict)  # users' own, by name
    values: Mapping[str, Any] = field(default_factory=dict)  # of the installation, for those templates
    default_templates: tuple[str, ...] = ("sidecar",)
    never_inject: tuple[Mapping[str, Any], ...] = ()
    always_inject: tuple[Mapping[str, Any], ...] = ()
    crl: bool = True  # mount the ConfigMap istio-ca-crl
