"""What an installation decides about injection."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class InjectorConfig:
    """Values that fill the template. The names follow Istio's installation values."""

    image: str = "docker.io/sailcloth/proxyv2:0.1.0"
    image_pull_policy: str = ""
    revision: str = "default"
    domain: str = "cluster.local"
    trust_domain: str = "cluster.local"
    cluster_id: str = "Kubernetes"
    mesh_id: str = "cluster.local"
    network: str = ""
    ca_address: str = "istiod.istio-system.svc:15012"
    native_sidecars: bool = True
    cni: bool = False
    log_level: str = "warning"
    component_log_level: str = "misc:error"
    agent_log_level: str = "default:info"
    status_port: int = 15020
    cpu_request: str = "100m"
    memory_request: str = "128Mi"
    cpu_limit: str = "2"
    memory_limit: str = "1Gi"
    proxy_config: dict[str, object] = field(default_factory=dict)
    prometheus_merge: bool = True
    hold_application: bool = False
    never_inject: tuple[dict[str, str], ...] = ()
    always_inject: tuple[dict[str, str], ...] = ()
    crl: bool = True  # mount the ConfigMap istio-ca-crl
