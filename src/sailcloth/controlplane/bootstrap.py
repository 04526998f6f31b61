"""The manifests of an installation: CRDs, the control plane's Service, the ingress gateway, the mesh options.

`sailctl up` applies `objects` to the local cluster. Must not talk to an API server.
"""

from __future__ import annotations

from typing import Any

from sailcloth.api import crd
from sailcloth.api.kinds import MESH_KINDS, Kind
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
    lines = ["accessLogFile: /dev/stdout"] if access_log else []
    lines += ["defaultConfig:", "  discoveryAddress: istiod.istio-system.svc:15012"]
    if telemetry:
        lines += ["  tracing:", f"    sampling: {sampling:g}", *_PROVIDERS.splitlines()]
    lines += ["rootNamespace: istio-system"]
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "istio", "namespace": NAMESPACE, "labels": {"istio.io/rev": "default"}},
        "data": {"mesh": "\n".join([*lines, "trustDomain: cluster.local", ""])},
    }


_PROVIDERS = """\
defaultProviders:
  tracing: [zipkin]
extensionProviders:
- name: zipkin
  zipkin: {service: zipkin.istio-system.svc.cluster.local, port: 9411}
- name: jaeger
  opentelemetry: {service: jaeger-collector.istio-system.svc.cluster.local, port: 4317}"""
_TELEMETRY = {"app": "telemetry"}
# Names and ports of the Services that Istio's add-ons have.
_TELEMETRY_PORTS = {
    "prometheus": [("http", 9090, 9090)],
    "zipkin": [("http-query", 9411, 9411)],
    "jaeger-collector": [("http-zipkin", 9411, 9411), ("grpc-otel", 4317, 4317), ("http-otel", 4318, 4318)],
    "tracing": [("http-query", 80, 16686)],
    "tempo": [("http", 3200, 3200)],
    "access-logs": [("http", 3100, 3100)],
}


def telemetry_services() -> list[dict[str, Any]]:
    """The Services of the process that keeps metrics and traces, and its right to read pods."""
    name = "sailcloth-telemetry"
    group = "rbac.authorization.k8s.io"
    services = [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": service, "namespace": NAMESPACE, "labels": _TELEMETRY},
            "spec": {
                "selector": _TELEMETRY,
                "ports": [{"name": n, "port": p, "targetPort": t, "protocol": "TCP"} for n, p, t in ports],
            },
        }
        for service, ports in _TELEMETRY_PORTS.items()
    ]
    return [
        *services,
        {
            "apiVersion": f"{group}/v1",
            "kind": "ClusterRole",
            "metadata": {"name": name, "labels": _TELEMETRY},
            "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}],
        },
        {
            "apiVersion": f"{group}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": name, "labels": _TELEMETRY},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": name},
            "subjects": [{"apiGroup": group, "kind": "User", "name": "sailcloth:telemetry"}],
        },
    ]


def console() -> list[dict[str, Any]]:
    """The console's Service, its own rights, and the account `kiali`, whose tokens log in with the rights to read and change the mesh,
    and to ask Envoys for their state through port-forward.

    The console itself may only read. The role `kiali-viewer` alone is for accounts that only look."""
    group, labels = "rbac.authorization.k8s.io", {"app": "kiali"}
    read = ["get", "list", "watch"]
    rules = [
        {"apiGroups": [""], "resources": ["namespaces", "pods", "services", "events"], "verbs": read},
        {"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": read},
        {"apiGroups": ["apps"], "resources": ["deployments", "statefulsets", "daemonsets"], "verbs": read},
        {
            "apiGroups": sorted({kind.group for kind in MESH_KINDS if kind.conditions}),
            "resources": ["*"],
            "verbs": read,
        },
        {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["istio"], "verbs": ["get"]},
        {"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]},
    ]
    reviews = [
        {"apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"]},
        {"apiGroups": ["authorization.k8s.io"], "resources": ["subjectaccessreviews"], "verbs": ["create"]},
    ]
    change = [
        {
            "apiGroups": [g],
            "resources": sorted(k.plural for k in kinds),
            "verbs": ["get", "create", "update", "delete"],
        }
        for g, kinds in _changeable().items()
    ]
    admin = {
        "apiGroups": [""],
        "resources": ["pods/portforward"],
        "verbs": ["get", "create"],
    }  # Envoy's, as in Kiali's role
    account = {"kind": "ServiceAccount", "name": "kiali", "namespace": NAMESPACE}
    itself = {"apiGroup": group, "kind": "User", "name": "sailcloth:console"}
    out: list[dict[str, Any]] = [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "kiali", "namespace": NAMESPACE, "labels": labels},
            "spec": {
                "type": "LoadBalancer",
                "selector": labels,
                "ports": [{"name": "http", "port": 20001, "targetPort": 20001, "protocol": "TCP"}],
            },
        },
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "kiali", "namespace": NAMESPACE}},
    ]
    grants = (
        ("kiali-viewer", rules, account),
        ("kiali", [*change, admin], account),
        ("sailcloth-console", [*rules, *reviews], itself),
    )
    for name, granted, subject in grants:
        role = {"apiGroup": group, "kind": "ClusterRole", "name": name}
        head = {"apiVersion": f"{group}/v1", "metadata": {"name": name, "labels": labels}}
        out += [
            {**head, "kind": "ClusterRole", "rules": granted},
            {**head, "kind": "ClusterRoleBinding", "roleRef": role, "subjects": [subject]},
        ]
    name = "sailcloth-console-account"  # who opens the URL of a local cluster changes objects as `kiali`
    head = {"apiVersion": f"{group}/v1", "metadata": {"name": name, "namespace": NAMESPACE, "labels": labels}}
    tokens = {
        "apiGroups": [""],
        "resources": ["serviceaccounts/token"],
        "resourceNames": ["kiali"],
        "verbs": ["create"],
    }
    role = {"apiGroup": group, "kind": "Role", "name": name}
    return [
        *out,
        {**head, "kind": "Role", "rules": [tokens]},
        {**head, "kind": "RoleBinding", "roleRef": role, "subjects": [itself]},
    ]


def _changeable() -> dict[str, list[Kind]]:
    """The kinds that the console may change, by API group."""
    out: dict[str, list[Kind]] = {}
    for kind in MESH_KINDS:
        if kind.conditions:
            out.setdefault(kind.group, []).append(kind)
    return out


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
