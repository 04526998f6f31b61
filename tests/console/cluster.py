"""A small shop as the console sees it: API objects and samples."""

from __future__ import annotations

from typing import Any

from sailcloth.analysis import traffic_graph
from sailcloth.console.assemble import Scope, Snapshot
from sailcloth.console.inventory import Inventory, inventory

Object = dict[str, Any]


def deployment(
    name: str, namespace: str = "shop", replicas: int = 1, available: int | None = None, **labels: str
) -> Object:
    metadata = {"name": name, "namespace": namespace}
    template = {"metadata": {"labels": {"app": name.rpartition("-")[0] or name, "version": "v1", **labels}}}
    ready = replicas if available is None else available
    status = {"replicas": replicas, "availableReplicas": ready}
    return {"metadata": metadata, "spec": {"replicas": replicas, "template": template}, "status": status}


def pod(name: str, owner: str, namespace: str = "shop", sidecar: bool = True, router: bool = False) -> Object:
    metadata: Object = {
        "name": name,
        "namespace": namespace,
        "labels": {"pod-template-hash": "abc"},
        "ownerReferences": [{"kind": "ReplicaSet", "name": f"{owner}-abc", "controller": True}],
    }
    metadata["labels"]["app"] = owner.rpartition("-")[0] or owner
    containers: list[Object] = [] if router else [{"name": "app"}]
    containers += (
        [{"name": "istio-proxy", "args": ["proxy", "router" if router else "sidecar"]}] if sidecar or router else []
    )
    if sidecar or router:
        metadata["annotations"] = {"sidecar.istio.io/status": "{}"}
    conditions = [{"type": "Ready", "status": "True"}]
    states = [{"name": c["name"], "ready": True, "restartCount": 0} for c in containers]
    address = f"10.0.0.{sum(map(ord, name)) % 250 + 1}"
    status = {"phase": "Running", "podIP": address, "conditions": conditions, "containerStatuses": states}
    return {"metadata": metadata, "spec": {"containers": containers, "nodeName": "node-1"}, "status": status}


def service(name: str, namespace: str = "shop", **annotations: str) -> Object:
    metadata = {"name": name, "namespace": namespace, "annotations": annotations}
    port = {"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}
    spec = {"clusterIP": f"10.96.0.{sum(map(ord, name)) % 250 + 1}", "selector": {"app": name}, "ports": [port]}
    return {"metadata": metadata, "spec": spec}


def endpoints(of: str, *pods: Object, namespace: str = "shop") -> Object:
    return {
        "metadata": {"name": f"{of}-1", "namespace": namespace, "labels": {"kubernetes.io/service-name": of}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": [
            {
                "addresses": [pod["status"]["podIP"]],
                "conditions": {"ready": True},
                "nodeName": "node-1",
                "targetRef": {"kind": "Pod", "name": pod["metadata"]["name"]},
            }
            for pod in pods
        ],
    }


def event(kind: str, name: str, last: str, namespace: str = "shop", type: str = "Normal") -> Object:
    about = {"kind": kind, "name": name, "namespace": namespace}
    metadata = {"name": f"{name}.1", "namespace": namespace}
    return {
        "metadata": metadata,
        "involvedObject": about,
        "type": type,
        "reason": "Pulled",
        "message": name,
        "lastTimestamp": last,
    }


LISTS: dict[str, list[Object]] = {
    "namespaces": [
        {"metadata": {"name": "shop", "labels": {"istio-injection": "enabled"}}},
        {"metadata": {"name": "bank"}},
        {"metadata": {"name": "istio-system"}},
    ],
    "deployments": [
        deployment("web-v1"),
        deployment("cart-v1", replicas=2, available=1),
        deployment("lonely-v1"),
        deployment("ledger-v1", "bank"),
        deployment("ingress", "istio-system"),
    ],
    "pods": [
        pod("web-v1-abc-1", "web-v1"),
        pod("cart-v1-abc-1", "cart-v1"),
        pod("lonely-v1-abc-1", "lonely-v1", sidecar=False),
        pod("ledger-v1-abc-1", "ledger-v1", "bank"),
        pod("ingress-abc-1", "ingress", "istio-system", router=True),
    ],
    "services": [service("web"), service("cart"), service("ledger", "bank")],
}
LISTS["endpointslices"] = [endpoints("web", LISTS["pods"][0]), endpoints("cart", LISTS["pods"][1])]
EVENTS = [
    event("Pod", "cart-v1-abc-1", "2026-11-30T08:00:00Z"),
    event("ReplicaSet", "cart-v1-abc", "2026-11-30T08:00:02Z"),
    event("Pod", "web-v1-abc-1", "2026-11-30T08:00:01Z", type="Warning"),
    event("Pod", "ledger-v1-abc-1", "2026-11-30T08:00:03Z", "bank"),
]
VIRTUAL_SERVICE: Object = {
    "kind": "VirtualService",
    "apiVersion": "networking.istio.io/v1",
    "metadata": {"name": "cart", "namespace": "shop"},
    "spec": {
        "hosts": ["cart"],
        "http": [
            {"fault": {"abort": {}}, "timeout": "1s", "route": [{"destination": {"host": "cart", "subset": "v1"}}]}
        ],
    },
    "status": {
        "conditions": [
            {"type": "Accepted", "status": "True", "reason": "Accepted"},
            {"type": "Programmed", "status": "True", "message": "3/3 proxies"},
        ]
    },
}
REFUSED: Object = {
    "kind": "Gateway",
    "apiVersion": "networking.istio.io/v1",
    "metadata": {"name": "edge", "namespace": "bank"},
    "spec": {},
    "status": {
        "conditions": [{"type": "Accepted", "status": "False", "reason": "Invalid", "message": "spec.servers: none"}]
    },
}


def sample(value: float, source: str, destination: str, code: str = "200", **labels: str) -> traffic_graph.Sample:
    """`source` and `destination` are NAMESPACE/WORKLOAD; the service is the workload's name without its version."""
    (from_namespace, _, from_name), (to_namespace, _, to_name) = source.partition("/"), destination.partition("/")
    app = to_name.rpartition("-")[0] or to_name
    return {
        "reporter": "source",
        "source_workload": from_name,
        "source_workload_namespace": from_namespace,
        "source_canonical_service": from_name.rpartition("-")[0] or from_name,
        "source_canonical_revision": "v1",
        "destination_workload": to_name,
        "destination_workload_namespace": to_namespace,
        "destination_service": f"{app}.{to_namespace}.svc.cluster.local",
        "destination_service_name": app,
        "destination_service_namespace": to_namespace,
        "destination_canonical_service": app,
        "destination_canonical_revision": "v1",
        "request_protocol": "http",
        "response_code": code,
        **labels,
    }, value


TRAFFIC = traffic_graph.graph(
    [
        sample(4.0, "istio-system/ingress", "shop/web-v1"),
        sample(3.0, "shop/web-v1", "shop/cart-v1"),
        sample(1.0, "shop/web-v1", "shop/cart-v1", "503"),
        sample(2.0, "shop/cart-v1", "bank/ledger-v1"),
    ]
)
ALL = frozenset({"shop", "bank", "istio-system"})
EVERYTHING = Scope(ALL, ALL)


def inventory_of(stale: frozenset[str] = frozenset()) -> Inventory:
    return inventory(LISTS, [VIRTUAL_SERVICE, REFUSED], stale)


def snapshot(traffic: traffic_graph.Graph = TRAFFIC, *notes: str) -> Snapshot:
    return Snapshot(inventory_of(), traffic, "1m", 1000.0, notes)


PEER_AUTHENTICATION: Object = {
    "kind": "PeerAuthentication",
    "apiVersion": "security.istio.io/v1",
    "metadata": {"name": "default", "namespace": "shop"},
    "spec": {"mtls": {"mode": "STRICT"}},
}


def jaeger_span(
    trace: str, identifier: str, parent: str, process: str, start: int, duration: int = 1000, **tags: str
) -> Object:
    """A span in Jaeger's JSON. start: microseconds after 1000 s; tags: `kind`, `operation`, and others with `_` for `.`."""
    operation, kind = tags.pop("operation", ""), tags.pop("kind", "server")
    listed = [{"key": k, "type": "string", "value": v} for k, v in {**tags, "span.kind": kind}.items()]
    return {
        "traceID": trace,
        "spanID": identifier,
        "operationName": operation,
        "references": [{"refType": "CHILD_OF", "traceID": trace, "spanID": parent}] if parent else [],
        "startTime": 1_000_000_000 + start,
        "duration": duration,
        "tags": listed,
        "processID": process,
    }


def _node(pod: str) -> str:
    return f"sidecar~10.0.0.1~{pod}.shop~shop.svc.cluster.local"


_WEB, _CART = _node("web-v1-abc-1"), _node("cart-v1-abc-1")
_OPERATION = "cart.shop.svc.cluster.local:80/*"
TRACES: list[Object] = [
    {
        "traceID": "0" * 31 + "1",
        "spans": [
            jaeger_span("1", "a", "", "p1", 0, 12_000, node_id=_WEB, operation="web.shop.svc.cluster.local:80/*"),
            jaeger_span("1", "b", "a", "p1", 1000, 10_000, node_id=_WEB, operation=_OPERATION, kind="client"),
            jaeger_span("1", "c", "b", "p2", 2000, 8000, node_id=_CART, operation=_OPERATION, error="true"),
        ],
        "processes": {"p1": {"serviceName": "web.shop"}, "p2": {"serviceName": "cart.shop"}},
    },
    {
        "traceID": "0" * 31 + "2",
        "spans": [
            jaeger_span("2", "a", "", "p1", 5_000_000, node_id=_CART, operation=_OPERATION),
            jaeger_span("2", "b", "a", "p2", 5_000_100, operation="ledger.bank.svc.cluster.local:80/*"),
        ],
        "processes": {"p1": {"serviceName": "cart.shop"}, "p2": {"serviceName": "ledger.bank"}},
    },
]


def _generated(kind: str, namespace: str, name: str) -> Object:
    path = f"/apis/networking.istio.io/v1/namespaces/{namespace}/{kind}/{name}"
    return {"filter_metadata": {"istio": {"config": path}}}


def _route(host: str, **more: Any) -> Object:
    return {"name": host, "domains": [host], "routes": [{"match": {"prefix": "/"}, **more}]}


_ADMIN = "type.googleapis.com/envoy.admin.v3"
_CART_RULE = _generated("destination-rule", "shop", "cart")
DUMP: Object = {
    "configs": [
        {
            "@type": f"{_ADMIN}.ClustersConfigDump",
            "dynamic_active_clusters": [
                {
                    "cluster": {
                        "name": "outbound|80|v1|cart.shop.svc.cluster.local",
                        "type": "EDS",
                        "metadata": _CART_RULE,
                    }
                },
                {"cluster": {"name": "outbound|80||ledger.bank.svc.cluster.local", "type": "EDS"}},
            ],
        },
        {
            "@type": f"{_ADMIN}.RoutesConfigDump",
            "dynamic_route_configs": [
                {
                    "route_config": {
                        "name": "80",
                        "virtual_hosts": [
                            _route(
                                "cart.shop.svc.cluster.local:80", metadata=_generated("virtual-service", "shop", "cart")
                            ),
                            _route(
                                "web.shop.svc.cluster.local:80", metadata=_generated("virtual-service", "bank", "spy")
                            ),
                            _route("ledger.bank.svc.cluster.local:80"),
                        ],
                    }
                }
            ],
        },
    ]
}
