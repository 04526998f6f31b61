"""Objects for ambient mode: what needs a waypoint and has none, and workloads between two modes. As for Istio's waypoints; this
mesh has sidecars only."""

from __future__ import annotations

from collections.abc import Iterator

from sailcloth.api.meta import Finding
from sailcloth.mesh import injection

from . import unstructured
from .catalogue import finding
from .context import Document
from .objects import GATEWAY_API, ObjectSet, Workload
from .selectors import REDIRECTION
from .virtual_services import gateways

_WAYPOINT, _WAYPOINT_NAMESPACE = "istio.io/use-waypoint", "istio.io/use-waypoint-namespace"
_HTTP = ("hosts", "notHosts", "methods", "notMethods", "paths", "notPaths")


def _is_ambient(objects: ObjectSet, namespace: str) -> bool:
    labels = objects.namespace_labels(namespace)
    return labels.get(injection.MODE) == "ambient" and not injection.of_namespace(labels)


def _concerns_http(policy: Document) -> bool:
    """Whether a waypoint, not the node's proxy, has to enforce a policy."""
    if policy.key.kind == "AuthorizationPolicy":
        return any(
            unstructured.items(unstructured.mapping(operation, "operation"), field)
            for _, rule in unstructured.objects(policy.spec, "rules")
            for _, operation in unstructured.objects(rule, "to")
            for field in _HTTP
        )
    if policy.key.kind == "VirtualService":
        return bool(unstructured.items(policy.spec, "http")) and "mesh" in gateways(policy)
    if policy.key.kind == "DestinationRule":
        return bool(unstructured.items(policy.spec, "subsets") or unstructured.mapping(policy.spec, "trafficPolicy"))
    return True


_POLICIES = ("AuthorizationPolicy", "RequestAuthentication", "WasmPlugin", "Telemetry")


def waypoints(objects: ObjectSet) -> Iterator[Finding]:
    """Policies and routes of HTTP in ambient namespaces that no waypoint enforces."""
    for policy in (d for kind in (*_POLICIES, "VirtualService", "DestinationRule") for d in objects.of(kind)):
        namespace = policy.key.namespace
        if not _is_ambient(objects, namespace) or not _concerns_http(policy):
            continue
        labels = objects.namespace_labels(namespace)
        of_service = any(s.labels.get(_WAYPOINT) for s in objects.of("Service") if s.key.namespace == namespace)
        if not labels.get(_WAYPOINT) and not of_service:
            yield finding("SAIL1040", policy.key, "metadata.namespace", policy.key.kind, namespace)
        attached = unstructured.items(policy.spec, "targetRefs") or "targetRef" in policy.spec
        if policy.key.kind in _POLICIES and not attached and "selector" in policy.spec:
            yield finding("SAIL1041", policy.key, "spec.selector", policy.key.kind)


def namespaces(objects: ObjectSet) -> Iterator[Finding]:
    """Rules for ambient services outside of the services' namespace."""
    for rule in (d for kind in ("VirtualService", "DestinationRule") for d in objects.of(kind)):
        names = unstructured.texts(rule.spec, "hosts") or [unstructured.text(rule.spec, "host")]
        for name in names if _concerns_http(rule) else ():
            service = objects.service(objects.host(name, rule.key.namespace), rule.key.namespace)
            if service is None or not service.kubernetes or service.namespace == rule.key.namespace:
                continue
            if _is_ambient(objects, service.namespace):
                kind, at = rule.key.kind, "spec.hosts" if "hosts" in rule.spec else "spec.host"
                yield finding("SAIL1042", rule.key, at, kind, name, service.namespace)


def workloads(objects: ObjectSet) -> Iterator[Finding]:
    """Workloads with a sidecar in ambient mode, and waypoints that do not exist or are not used."""
    for pod in objects.pods:
        key = pod.document.key
        labelled = pod.labels.get(injection.MODE) == "ambient"
        ambient = labelled or (pod.labels.get(injection.MODE) != "none" and _is_ambient(objects, pod.namespace))
        redirected = pod.annotations.get(REDIRECTION) == "enabled"
        sidecar = pod.has_proxy and "gateway.networking.k8s.io/gateway-name" not in pod.labels
        injected = injection.of_pod(pod.labels, pod.annotations) is True
        if (ambient and sidecar) or ((labelled or redirected) and injected):
            yield finding("SAIL1043", key, "metadata.labels", key.name)
        yield from _waypoint(objects, pod, ambient or redirected)


def _waypoint(objects: ObjectSet, pod: Workload, ambient: bool) -> Iterator[Finding]:
    key, name = pod.document.key, pod.labels.get(_WAYPOINT, "")
    if not name or name == "none":
        return
    namespace = pod.labels.get(_WAYPOINT_NAMESPACE, pod.namespace)
    at = f"metadata.labels[{_WAYPOINT}]"
    if not ambient:
        yield finding("SAIL1045", key, at, key.name)
    if objects.get("Gateway", namespace, name, GATEWAY_API) is None:
        yield finding("SAIL1044", key, at, f"{namespace}/{name}")
