"""Objects that an installation brings, for an analysis of files alone: the ingress gateway's Service and pod."""

from __future__ import annotations

from .context import Document
from .objects import document

_PORTS = {
    "status-port": (15021, 15021),
    "http2": (80, 8080),
    "https": (443, 8443),
    "tcp": (31400, 31400),
    "tls": (15443, 15443),
}


def documents(root: str = "istio-system", ingress: str = "istio-ingressgateway") -> list[Document]:
    """The ingress gateway with this Service name in the namespace of the control plane."""
    labels = {"app": ingress, "istio": "ingressgateway"}
    ports = [{"name": n, "port": p, "targetPort": t, "protocol": "TCP"} for n, (p, t) in _PORTS.items()]
    metadata = {"name": ingress, "namespace": root, "labels": labels}
    spec = {"selector": {"istio": "ingressgateway"}, "ports": ports}
    proxy = {"name": "istio-proxy", "args": ["proxy", "router"]}
    return [
        document({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}),
        document({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [proxy]}}),
    ]
