"""Values of the gateways that an installation has, which Istio's installer names and labels in its own way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import values
from .profiles import INGRESS
from .translate import K8S_OF_GATEWAY, VALUES_OF_GATEWAY, translated

ACCOUNT = "-service-account"  # end of the service account's name, which is in certificates and policies
_FILES = ("ingressgateway-certs", "ingressgateway-ca-certs")  # Secrets for Gateways without credentialName
_EGRESS_PORTS = [
    {"name": "http2", "port": 80, "protocol": "TCP", "targetPort": 8080},
    {"name": "https", "port": 443, "protocol": "TCP", "targetPort": 8443},
]


def gateway_defaults(kind: str, name: str, root: Mapping[str, Any]) -> values.Values:
    """Of a gateway among `components.<kind>`; `root`: the values `global`."""
    out: values.Values = {"serviceAccount": {"name": name + ACCOUNT}}
    if kind == "egressGateways":
        out["service"] = {"type": "ClusterIP", "ports": _EGRESS_PORTS}
    if name == INGRESS:
        out["volumes"] = [{"name": n, "secret": {"secretName": f"istio-{n}", "optional": True}} for n in _FILES]
        out["volumeMounts"] = [{"name": n, "mountPath": f"/etc/istio/{n}", "readOnly": True} for n in _FILES]
    if root.get("imagePullPolicy"):
        out["imagePullPolicy"] = root["imagePullPolicy"]
    if isinstance(root.get("imagePullSecrets"), list):
        out["imagePullSecrets"] = [{"name": n} for n in root["imagePullSecrets"]]
    return out


def of_values(given: Mapping[str, Any], at: str) -> tuple[values.Values, list[str]]:
    """Those of `values.gateways.NAME`, and warnings."""
    return translated(given, VALUES_OF_GATEWAY, at)


def of_component(gateway: Mapping[str, Any], at: str) -> tuple[values.Values, list[str]]:
    """Those of an entry of `components.ingressGateways`, and warnings."""
    out, warnings = translated(gateway.get("k8s") or {}, K8S_OF_GATEWAY, f"{at}.k8s")
    if gateway.get("label"):
        out["labels"] = dict(gateway["label"])
    known = ("name", "namespace", "enabled", "label", "k8s")
    return out, [*warnings, *(f"{at}.{k}: has no effect here" for k in gateway if k not in known)]
