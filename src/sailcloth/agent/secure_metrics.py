"""Ports of metrics with mutual TLS, and the plain ones for the pod only, by Istio's variables of a proxy's environment (Istio 1.31).

Whoever has a certificate of the mesh may scrape. Pure.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

log = logging.getLogger(__name__)

ENVOY_PORT, MERGED_PORT = "ENVOY_SECURE_METRICS_PORT", "ENVOY_SECURE_MERGED_METRICS_PORT"
LOCAL_ONLY = "METRICS_LOCALHOST_ACCESS_ONLY"
_TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
_SDS = {
    "api_config_source": {
        "api_type": "GRPC",
        "grpc_services": [{"envoy_grpc": {"cluster_name": "sds-grpc"}}],
        "set_node_on_first_message_only": True,
        "transport_api_version": "V3",
    },
    "initial_fetch_timeout": "0s",
    "resource_api_version": "V3",
}
TRANSPORT: dict[str, Any] = {
    "name": "envoy.transport_sockets.tls",
    "typed_config": {
        "@type": _TLS,
        "common_tls_context": {
            "alpn_protocols": ["h2", "http/1.1"],
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
            "tls_certificate_sds_secret_configs": [{"name": "default", "sds_config": _SDS}],
            "validation_context_sds_secret_config": {"name": "ROOTCA", "sds_config": _SDS},
        },
        "require_client_certificate": True,
    },
}
"""The transport socket of such a port: the workload's certificate, and the mesh's roots."""


@dataclass(frozen=True)
class SecureMetrics:
    """Ports; 0: none. `local_only`: the plain pages are for the pod itself."""

    envoy: int = 0
    merged: int = 0
    local_only: bool = False

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> SecureMetrics:
        """What is not understood is logged, and is none."""
        local_only = env.get(LOCAL_ONLY, "").lower() == "true"
        return cls(_port(env, ENVOY_PORT), _port(env, MERGED_PORT), local_only)


def _port(env: Mapping[str, str], name: str) -> int:
    text = env.get(name) or "0"
    if text.isdecimal() and int(text) < 65536:
        return int(text)
    log.warning("%s=%r is no port", name, text[:20])
    return 0
