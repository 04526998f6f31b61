"""Profiles: named choices of components and values, in the form of an IstioOperator's `spec`."""

from __future__ import annotations

from typing import Any

Spec = dict[str, Any]
INGRESS, EGRESS = "istio-ingressgateway", "istio-egressgateway"


def _components(pilot: bool, ingress: bool, egress: bool = False) -> Spec:
    return {
        "base": {"enabled": pilot},
        "pilot": {"enabled": pilot},
        "ingressGateways": [{"name": INGRESS, "enabled": ingress}],
        "egressGateways": [{"name": EGRESS, "enabled": egress}],
    }


_SMALL = {"requests": {"cpu": "10m", "memory": "64Mi"}}
_ADDON = {"enabled": True, "k8s": {"resources": {"requests": {"cpu": "10m", "memory": "128Mi"}}}}
_DEMO_PORTS = [
    {"name": "status-port", "port": 15021, "protocol": "TCP", "targetPort": 15021},
    {"name": "http2", "port": 80, "protocol": "TCP", "targetPort": 8080},
    {"name": "https", "port": 443, "protocol": "TCP", "targetPort": 8443},
    {"name": "tcp", "port": 31400, "protocol": "TCP", "targetPort": 31400},
    {"name": "tls", "port": 15443, "protocol": "TCP", "targetPort": 15443},
]
PROFILES: dict[str, tuple[str, Spec]] = {
    "default": ("The control plane and an ingress gateway.", {"components": _components(True, True)}),
    "demo": (
        "To try all of it on a small cluster: both gateways, telemetry, the console, access logs, every request traced, few resources.",
        {
            "meshConfig": {"accessLogFile": "/dev/stdout", "defaultConfig": {"tracing": {"sampling": 100}}},
            "components": {**_components(True, True, True), "telemetry": _ADDON, "console": _ADDON},
            "values": {
                "global": {"proxy": {"resources": _SMALL}},
                "pilot": {"resources": {"requests": {"cpu": "10m", "memory": "128Mi"}}},
                "gateways": {
                    INGRESS: {"autoscaleEnabled": False, "resources": _SMALL, "ports": _DEMO_PORTS},
                    EGRESS: {"autoscaleEnabled": False, "resources": _SMALL},
                },
            },
        },
    ),
    "minimal": ("The control plane alone.", {"components": _components(True, False)}),
    "empty": ("Nothing: a start for choices of your own.", {"components": _components(False, False)}),
    "preview": (
        "What is to become the default: the control plane and an ingress gateway, and names resolved by the agents.",
        {
            "meshConfig": {"defaultConfig": {"proxyMetadata": {"ISTIO_META_DNS_CAPTURE": "true"}}},
            "components": _components(True, True),
        },
    ),
}
DEFAULT = "default"
