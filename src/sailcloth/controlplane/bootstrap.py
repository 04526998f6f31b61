"""The manifests of an installation: CRDs, the control plane's Service, the ingress gateway, the mesh options.

`sailctl up` applies `objects` to the local cluster. Must not talk to an API server.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import yaml

from sailcloth.api import addons, crd
from sailcloth.mesh import ingress

NAMESPACE = "istio-system"
_LABELS = {"app": "istiod", "istio": "pilot", "istio.io/rev": "default"}
_FILES = (
    "ingressgateway-certs",
    "ingressgateway-ca-certs",
)  # Secrets mounted as files, for Gateways without credentialName
_GATEWAY = {"app": "istio-ingressgateway", "istio": "ingressgateway"}


def objects(config: dict[str, Any]) -> list[dict[str, Any]]:
    """The objects in the order to apply them. `config`: `address` of the control plane (IPv4), `access_log` (bool), `telemetry`
    (bool), and `sampling` of traces (percent)."""
    telemetry = bool(config.get("telemetry", True))
    return [
        *crd.crds(),
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        mesh_config(bool(config.get("access_log", True)), telemetry, float(config.get("sampling", 1.0))),
        *control_plane(str(config.get("address", "10.42.0.1"))),
        *([*telemetry_services(), *console()] if telemetry else []),
        *ingress_gateway(),
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "IngressClass",
            "metadata": {"name": ingress.CLASS},
            "spec": {"controller": ingress.CONTROLLER},
        },
    ]


def mesh_config(access_log: bool, telemetry: bool = True, sampling: float = 1.0) -> dict[str, Any]:
    """The ConfigMap `istio`. `telemetry`: spans go to the services of `telemetry_services`, for `sampling` percent of requests."""
    options: dict[str, Any] = {
        **({"accessLogFile": "/dev/stdout"} if access_log else {}),
        "defaultConfig": {
            "discoveryAddress": "istiod.istio-system.svc:15012",
            **({"tracing": {"sampling": sampling}} if telemetry else {}),
        },
        **(addons.TRACING if telemetry else {}),
        "rootNamespace": NAMESPACE,
        "trustDomain": "cluster.local",
    }
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "istio", "namespace": NAMESPACE, "labels": {"istio.io/rev": "default"}},
        "data": {"mesh": yaml.safe_dump(options, sort_keys=False)},
    }


_TELEMETRY = {"app": "telemetry"}
_RBAC = "rbac.authorization.k8s.io"


def telemetry_services() -> list[dict[str, Any]]:
    """The Services of the process that keeps metrics and traces, and its right to read pods."""
    ports = {**addons.TELEMETRY_SERVICES, "access-logs": (("http", 3100, 3100),)}
    process = {"apiGroup": _RBAC, "kind": "User", "name": "sailcloth:telemetry"}
    return [
        *(_service(name, _TELEMETRY, of) for name, of in ports.items()),
        *_granted("sailcloth-telemetry", addons.telemetry_rules(), process, _TELEMETRY),
    ]


def console() -> list[dict[str, Any]]:
    """The console's Service, its own rights, and the account `kiali`, whose tokens log in with the rights to read and change the mesh,
    and to ask Envoys for their state through port-forward.

    The console itself may only read. The role `kiali-viewer` alone is for accounts that only look."""
    labels = {"app": addons.CONSOLE_SERVICE}
    service = _service(addons.CONSOLE_SERVICE, labels, (("http", 20001, addons.CONSOLE),))
    service["spec"]["type"] = "LoadBalancer"
    account = {"kind": "ServiceAccount", "name": addons.ACCOUNT, "namespace": NAMESPACE}
    itself = {"apiGroup": _RBAC, "kind": "User", "name": "sailcloth:console"}
    name = "sailcloth-console-account"  # who opens the URL of a local cluster changes objects as `kiali`
    head = {"apiVersion": f"{_RBAC}/v1", "metadata": {"name": name, "namespace": NAMESPACE, "labels": labels}}
    tokens = {
        "apiGroups": [""],
        "resources": ["serviceaccounts/token"],
        "resourceNames": [addons.ACCOUNT],
        "verbs": ["create"],
    }
    role = {"apiGroup": _RBAC, "kind": "Role", "name": name}
    return [
        service,
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": addons.ACCOUNT, "namespace": NAMESPACE}},
        *_granted("kiali-viewer", addons.viewer_rules(), account, labels),
        *_granted("kiali", addons.editor_rules(), account, labels),
        *_granted("sailcloth-console", addons.console_rules(), itself, labels),
        {**head, "kind": "Role", "rules": [tokens]},
        {**head, "kind": "RoleBinding", "roleRef": role, "subjects": [itself]},
    ]


def _service(name: str, selector: dict[str, str], ports: Iterable[addons.Port]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": selector},
        "spec": {
            "selector": selector,
            "ports": [{"name": n, "port": p, "targetPort": t, "protocol": "TCP"} for n, p, t in ports],
        },
    }


def _granted(
    name: str, rules: list[addons.Rule], subject: dict[str, str], labels: dict[str, str]
) -> list[dict[str, Any]]:
    """A ClusterRole, and its binding to one subject."""
    head = {"apiVersion": f"{_RBAC}/v1", "metadata": {"name": name, "labels": labels}}
    role = {"apiGroup": _RBAC, "kind": "ClusterRole", "name": name}
    return [
        {**head, "kind": "ClusterRole", "rules": rules},
        {**head, "kind": "ClusterRoleBinding", "roleRef": role, "subjects": [subject]},
    ]


def control_plane(address: str) -> list[dict[str, Any]]:
    """The Service `istiod` and its EndpointSlice, for a control plane that runs on the node, not in a pod."""
    ports = [
        ("grpc-xds", 15010, 15010),
        ("https-dns", 15012, 15012),
        ("https-webhook", 443, 15017),
        ("http-monitoring", 15014, 15014),
    ]
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "istiod", "namespace": NAMESPACE, "labels": _LABELS},
            "spec": {
                "ports": [{"name": n, "port": p, "targetPort": t, "protocol": "TCP"} for n, p, t in ports],
            },
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": "istiod-local",
                "namespace": NAMESPACE,
                "labels": {
                    "kubernetes.io/service-name": "istiod",
                    "endpointslice.kubernetes.io/managed-by": "sailcloth",
                },
            },
            "addressType": "IPv4",
            "endpoints": [
                {"addresses": [address], "conditions": {"ready": True, "serving": True, "terminating": False}}
            ],
            "ports": [{"name": n, "port": t, "protocol": "TCP"} for n, _, t in ports],
        },
    ]


def ingress_gateway() -> list[dict[str, Any]]:
    """The ingress gateway: an injected Deployment and its LoadBalancer Service."""
    ports = [("status-port", 15021, 15021), ("http2", 80, 8080), ("https", 443, 8443), ("tcp", 31400, 31400)]
    metadata = {"name": "istio-ingressgateway", "namespace": NAMESPACE, "labels": _GATEWAY}
    return [
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": "istio-ingressgateway-service-account", "namespace": NAMESPACE, "labels": _GATEWAY},
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "Role",
            "metadata": {"name": "istio-ingressgateway-sds", "namespace": NAMESPACE, "labels": _GATEWAY},
            "rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "watch", "list"]}],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "istio-ingressgateway-sds", "namespace": NAMESPACE, "labels": _GATEWAY},
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": "Role",
                "name": "istio-ingressgateway-sds",
            },
            "subjects": [
                {"kind": "ServiceAccount", "name": "istio-ingressgateway-service-account", "namespace": NAMESPACE}
            ],
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {
                "type": "LoadBalancer",
                "selector": _GATEWAY,
                "ports": [{"name": n, "port": p, "targetPort": t, "protocol": "TCP"} for n, p, t in ports],
            },
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": metadata,
            "spec": {
                "replicas": 1,
                "selector": {"matchLabels": _GATEWAY},
                "template": {
                    "metadata": {
                        "labels": {**_GATEWAY, "sidecar.istio.io/inject": "true"},
                        "annotations": {"inject.istio.io/templates": "gateway"},
                    },
                    "spec": {
                        "serviceAccountName": "istio-ingressgateway-service-account",
                        "containers": [
                            {
                                "name": "istio-proxy",
                                "image": "auto",
                                "ports": [{"containerPort": t, "name": n, "protocol": "TCP"} for n, _, t in ports],
                                "volumeMounts": [
                                    {"name": n, "mountPath": f"/etc/istio/{n}", "readOnly": True} for n in _FILES
                                ],
                            }
                        ],
                        "volumes": [
                            {"name": n, "secret": {"secretName": f"istio-{n}", "optional": True}} for n in _FILES
                        ],
                    },
                },
            },
        },
    ]
