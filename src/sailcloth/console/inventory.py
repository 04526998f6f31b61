"""What is in the cluster, as the console shows it: namespaces, workloads, services, objects of the mesh. Pure: API objects in.

Must not judge: health and traffic join it in `assemble`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from sailcloth.analysis.health import Replicas
from sailcloth.api import workload_labels

Object = Mapping[str, Any]
Name = tuple[str, str]  # namespace and name
_SIDECAR = "sidecar.istio.io/status"


@dataclass(frozen=True)
class Workload:
    """`sidecar`: whether its pods have proxies; `injected`: whether their namespace asks for them; `pods`: their names."""

    kind: str
    namespace: str
    name: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    replicas: Replicas
    pods: tuple[str, ...] = ()
    sidecar: bool = False
    gateway: bool = False

    @property
    def wants_sidecar(self) -> bool:
        """Whether its pods do not opt out of injection."""
        return "false" not in (
            self.labels.get("sidecar.istio.io/inject"),
            self.annotations.get("sidecar.istio.io/inject"),
        )

    @property
    def app(self) -> str:
        """The application, as Istio's metrics name it."""
        return workload_labels.canonical_service(self.labels) or self.name

    @property
    def version(self) -> str:
        return workload_labels.canonical_revision(self.labels)


@dataclass(frozen=True)
class Service:
    """`selector` is empty for one without pods of its own."""

    namespace: str
    name: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    selector: Mapping[str, str]
    ports: tuple[int, ...] = ()


@dataclass(frozen=True)
class Inventory:
    """`config`: objects of the mesh with `kind` and `apiVersion`. `stale`: names (POD.NAMESPACE) of proxies that do not have everything."""

    namespaces: Mapping[str, Object] = field(default_factory=dict)
    workloads: Mapping[Name, Workload] = field(default_factory=dict)
    services: Mapping[Name, Service] = field(default_factory=dict)
    config: Sequence[Object] = ()

    @cached_property
    def service_badges(self) -> dict[Name, set[str]]:
        """What rules do to services: requestRouting, trafficShifting, faultInjection, requestTimeout, mirroring, circuitBreaker."""
        out: dict[Name, set[str]] = {}
        for obj in self.config:
            spec = obj.get("spec") or {}
            if obj["kind"] == "VirtualService":
                badges, hosts = _of_virtual_service(spec), spec.get("hosts") or ()
            elif obj["kind"] == "DestinationRule":
                policy = spec.get("trafficPolicy") or {}
                badges = {"circuitBreaker"} if policy.get("connectionPool") or policy.get("outlierDetection") else set()
                hosts = (spec.get("host", ""),)
            else:
                continue
            for host in hosts:
                name, _, rest = str(host).partition(".")
                namespace = rest.split(".")[0] if rest else obj["metadata"]["namespace"]
                if (namespace, name) in self.services:
                    out.setdefault((namespace, name), set()).update(badges)
        return out

    def injected(self, namespace: str) -> bool:
        """Whether pods of a namespace get proxies."""
        labels = (self.namespaces.get(namespace) or {}).get("metadata", {}).get("labels") or {}
        return labels.get("istio-injection") == "enabled" or "istio.io/rev" in labels


def inventory(lists: Mapping[str, Sequence[Object]], config: Sequence[Object], stale: frozenset[str]) -> Inventory:
    """The inventory of lists by plural (namespaces, pods, services, deployments, statefulsets, daemonsets). `stale`: proxies that do not
    have everything, as POD.NAMESPACE."""
    pods: dict[Name, list[Object]] = {}
    for pod in lists.get("pods", ()):
        pods.setdefault((pod["metadata"]["namespace"], _workload_of(pod)), []).append(pod)
    workloads = {}
    for kind in ("Deployment", "StatefulSet", "DaemonSet"):
        for obj in lists.get(f"{kind.lower()}s", ()):
            name = _name(obj)
            workloads[name] = _workload(kind, obj, pods.pop(name, []), stale)
    for name, alone in pods.items():
        workloads[name] = _workload("Pod", alone[0], alone, stale)
    return Inventory(
        {obj["metadata"]["name"]: obj for obj in lists.get("namespaces", ())},
        workloads,
        {_name(obj): _service(obj) for obj in lists.get("services", ())},
        config,
    )


def _workload(kind: str, obj: Object, pods: Sequence[Object], stale: frozenset[str]) -> Workload:
    metadata, spec, status = obj["metadata"], obj.get("spec") or {}, obj.get("status") or {}
    template = spec.get("template", {}).get("metadata", {}) if kind != "Pod" else metadata
    sidecar = any(_SIDECAR in (p["metadata"].get("annotations") or {}) for p in pods)
    names = tuple(sorted(p["metadata"]["name"] for p in pods))
    synced = len([n for n in names if f"{n}.{metadata['namespace']}" not in stale]) if sidecar else None
    if kind == "Pod":
        ready = sum(_is_ready(p) for p in pods)
        counts = (len(pods), len(pods), ready)
    elif kind == "DaemonSet":
        counts = tuple(
            status.get(k) or 0 for k in ("desiredNumberScheduled", "currentNumberScheduled", "numberAvailable")
        )  # type: ignore[assignment]
    else:
        counts = (spec.get("replicas", 1), status.get("replicas") or 0, status.get("availableReplicas") or 0)
    return Workload(
        kind,
        metadata["namespace"],
        metadata["name"],
        template.get("labels") or {},
        metadata.get("annotations") or {},
        Replicas(*counts, synced),
        names,
        sidecar,
        any(_is_gateway(p) for p in pods),
    )


def _service(obj: Object) -> Service:
    metadata = obj["metadata"]
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    spec = obj.get("spec") or {}
    ports = tuple(int(p["port"]) for p in spec.get("ports") or ())
    return Service(*_name(obj), labels, annotations, spec.get("selector") or {}, ports)


def _workload_of(pod: Object) -> str:
    """The name of the workload that a pod belongs to: the Deployment of its ReplicaSet, or its owner, or itself."""
    metadata = pod["metadata"]
    owner = next((o for o in metadata.get("ownerReferences") or () if o.get("controller")), None)
    if owner is None:
        return str(metadata["name"])
    suffix = (metadata.get("labels") or {}).get("pod-template-hash", "")
    return str(owner["name"]).removesuffix(f"-{suffix}") if suffix else str(owner["name"])


def _of_virtual_service(spec: Object) -> set[str]:
    out = set()
    for route in (*(spec.get("http") or ()), *(spec.get("tcp") or ()), *(spec.get("tls") or ())):
        destinations = route.get("route") or ()
        out |= {"faultInjection"} if route.get("fault") else set()
        out |= {"requestTimeout"} if route.get("timeout") else set()
        out |= {"mirroring"} if route.get("mirror") or route.get("mirrors") else set()
        out |= {"trafficShifting"} if len([d for d in destinations if d.get("weight", 1)]) > 1 else set()
        out |= (
            {"requestRouting"}
            if route.get("match") or any(d["destination"].get("subset") for d in destinations)
            else set()
        )
    return out


def _is_gateway(pod: Object) -> bool:
    return any(c.get("name") == "istio-proxy" and "router" in (c.get("args") or ()) for c in _containers([pod]))


def _containers(pods: Iterable[Object]) -> Iterable[Object]:
    for pod in pods:
        yield from (pod.get("spec") or {}).get("containers") or ()


def _is_ready(pod: Object) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def _name(obj: Object) -> Name:
    return obj["metadata"]["namespace"], obj["metadata"]["name"]
