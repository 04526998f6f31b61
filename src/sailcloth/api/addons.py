"""The telemetry and the console as others see them: names and ports of Services, which are those of Istio's add-ons, the rights that
each needs, and where proxies send spans.

The local cluster and the charts have them from here, so that commands find the same on both. Must not know how either runs.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .kinds import MESH_KINDS, Kind

Rule = dict[str, Any]
Port = tuple[str, int, int]
"""Name, port of the Service, port of the pod."""
PROMETHEUS, ZIPKIN, OTLP_GRPC, OTLP_HTTP, JAEGER, TEMPO, CONSOLE = 9090, 9411, 4317, 4318, 16686, 3200, 20001
TELEMETRY_SERVICES: dict[str, tuple[Port, ...]] = {
    "prometheus": (("http", 9090, PROMETHEUS),),
    "zipkin": (("http-query", 9411, ZIPKIN),),
    "jaeger-collector": (
        ("http-zipkin", 9411, ZIPKIN),
        ("grpc-otel", 4317, OTLP_GRPC),
        ("http-otel", 4318, OTLP_HTTP),
    ),
    "tracing": (("http-query", 80, JAEGER),),
    "tempo": (("http", 3200, TEMPO),),
}
CONSOLE_SERVICE = "kiali"
ACCOUNT = "kiali"
"""The account whose tokens log in, with the roles `kiali` and `kiali-viewer`."""
TRACING: dict[str, Any] = {
    "defaultProviders": {"tracing": ["zipkin"]},
    "extensionProviders": [
        {"name": "zipkin", "zipkin": {"service": "zipkin.istio-system.svc.cluster.local", "port": 9411}},
        {
            "name": "jaeger",
            "opentelemetry": {"service": "jaeger-collector.istio-system.svc.cluster.local", "port": 4317},
        },
    ],
}
"""Options of the mesh with which its spans come to the telemetry."""
_READ = ["get", "list", "watch"]


def telemetry_rules() -> list[Rule]:
    """What the telemetry may do: find the pods that it scrapes."""
    return [_rule("", ["pods"], _READ)]


def viewer_rules() -> list[Rule]:
    """What the console shows to who may read everything that it knows."""
    return [
        _rule("", ["namespaces", "pods", "services", "events"], _READ),
        _rule("", ["pods/log"], ["get"]),
        _rule("discovery.k8s.io", ["endpointslices"], _READ),
        _rule("apps", ["deployments", "statefulsets", "daemonsets"], _READ),
        *(_rule(group, kinds, _READ) for group, kinds in _changeable().items()),
        _rule("", ["configmaps"], ["get"]) | {"resourceNames": ["istio"]},
    ]


def console_rules() -> list[Rule]:
    """What the console itself may do: read, and ask who a user is and what they may do. It writes with their own token."""
    return [
        *viewer_rules(),
        _rule("authentication.k8s.io", ["tokenreviews"], ["create"]),
        _rule("authorization.k8s.io", ["subjectaccessreviews"], ["create"]),
    ]


def editor_rules() -> list[Rule]:
    """What the account `kiali` may do beyond reading: change objects of the mesh, and ask Envoys, as Kiali's may."""
    return [
        *(_rule(group, kinds, ["get", "create", "update", "delete"]) for group, kinds in _changeable().items()),
        _rule("", ["pods/portforward"], ["get", "create"]),
    ]


def _rule(group: str, resources: Iterable[str], verbs: list[str]) -> Rule:
    return {"apiGroups": [group], "resources": list(resources), "verbs": verbs}


def _changeable() -> dict[str, list[str]]:
    """Plurals of the kinds that the console reads and users change with it, by API group."""
    out: dict[str, list[str]] = {}
    kinds: Iterable[Kind] = sorted((k for k in MESH_KINDS if k.conditions), key=lambda k: (k.group, k.plural))
    for kind in kinds:
        out.setdefault(kind.group, []).append(kind.plural)
    return out
