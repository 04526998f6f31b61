"""Endpoints of services: EndpointSlices joined with the pods behind them, ServiceEntry endpoints, WorkloadEntries.

Independent of clusters and routes, so that a changed endpoint affects only the endpoints of its service ports.
"""

from __future__ import annotations

import re

import msgspec

from sailcloth.api import core
from sailcloth.api.meta import Key
from sailcloth.api.service_entry import ServiceEntry, WorkloadEntry, WorkloadEntrySpec
from sailcloth.api.validation.hosts import is_ip
from sailcloth.lib.incremental import Graph, derived

from . import registry, selection
from .kinds import endpoint_slice as slices
from .kinds import of_namespace, workload_entry
from .kinds.pod import by_address
from .model import Endpoint, Port, Protocol, Service

_TOPOLOGY = ("topology.kubernetes.io/region", "topology.kubernetes.io/zone", "topology.istio.io/subzone")
TLS_MODE = "security.istio.io/tlsMode"
_POD_NAME = re.compile(r"-[a-z0-9]{5,10}(-[a-z0-9]{5})?$")


@derived
def pod_at(graph: Graph, ip: str) -> Key | None:
    """The pod with an address; None if there is none."""
    keys = registry.select(graph, by_address(ip))
    return keys[0] if keys else None


def workload_name(pod: core.Pod) -> str:
    """Name of a pod's workload: the Deployment's, or the pod's own name without a pod-template-hash."""
    name = pod.metadata.name
    template_hash = pod.metadata.labels.get("pod-template-hash")
    if template_hash and f"-{template_hash}" in name:
        return name.rsplit(f"-{template_hash}", 1)[0]
    return _POD_NAME.sub("", name) if pod.metadata.labels.get("pod-template-hash") else name


def labels_of(pod: core.Pod) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(pod.metadata.labels.items()))


@derived
def of_port(graph: Graph, source: Key, host: str, port: Port) -> tuple[Endpoint, ...]:
    """All endpoints of one port of a service, sorted by address. Unready ones are marked unhealthy; terminating ones are left out.

    `source`: the key of the object that defines the service, a Kubernetes Service or a ServiceEntry.
    """
    if (service := registry.read(graph, core.Service, source)) is not None:
        endpoints = _from_slices(graph, source, service, port)
    elif (entry := registry.read(graph, ServiceEntry, source)) is not None:
        endpoints = _from_entry(graph, source, entry, port)
    else:
        return ()
    unique = {(e.address, e.port): e for e in endpoints}
    return tuple(unique[k] for k in sorted(unique))


def of_service(graph: Graph, svc: Service, port: Port) -> tuple[Endpoint, ...]:
    """Endpoints of a port over all objects that define it together; `svc` is the service as it is at the port."""
    if not svc.more_sources:
        return graph.get(of_port, svc.source, svc.host, port)
    joined: dict[tuple[str, int], Endpoint] = {}
    for source in (svc.source, *svc.more_sources):
        joined.update({(e.address, e.port): e for e in graph.get(of_port, source, svc.host, port)})
    return tuple(joined[k] for k in sorted(joined))


def _from_slices(graph: Graph, source: Key, obj: core.Service, port: Port) -> list[Endpoint]:
    endpoints = []
    for _, slice_ in registry.objects(graph, slices.by_service(source.namespace, source.name)):
        if slice_.address_type not in ("IPv4", "IPv6"):
            continue
        for entry in slice_.ports or ():
            udp = entry.protocol == "UDP"
            if (entry.name or "") != port.name or not entry.port or udp != (port.protocol is Protocol.UDP):
                continue
            for ep in slice_.endpoints:
                terminating = bool(ep.conditions.terminating)
                ready = ep.conditions.ready is not False
                if terminating or not ep.addresses or not is_ip(ep.addresses[0]):
                    continue  # one that is none would cost the port all its endpoints
                endpoints.append(
                    _endpoint(
                        graph,
                        ep.addresses[0],
                        entry.port,
                        source.namespace,
                        healthy=ready or obj.spec.publish_not_ready_addresses,
                        hostname=ep.hostname or "",
                    )
                )
    if obj.spec.selector:
        endpoints += _workloads(graph, source.namespace, obj.spec.selector, port)
    return endpoints


def _endpoint(
    graph: Graph, address: str, port: int, namespace: str, healthy: bool = True, hostname: str = ""
) -> Endpoint:
    key = graph.get(pod_at, address)
    pod = registry.read(graph, core.Pod, key) if key else None
    if pod is None or key is None:
        return Endpoint(address, port, namespace=namespace, healthy=healthy, hostname=hostname)
    return Endpoint(
        address=address,
        port=port,
        labels=labels_of(pod),
        namespace=key.namespace,
        workload=workload_name(pod),
        service_account=pod.spec.service_account_name or "default",
        mtls=pod.metadata.labels.get(TLS_MODE) == "istio",
        healthy=healthy,
        hostname=hostname,
        locality=graph.get(pod_locality, key),
    )


@derived
def pod_locality(graph: Graph, pod: Key) -> str:
    """A pod's locality as region/zone/subzone: from its label, else from its node's labels; empty if neither has it."""
    obj = registry.read(graph, core.Pod, pod)
    if obj is None:
        return ""
    labels = obj.metadata.labels
    label = labels.get("topology.istio.io/locality") or labels.get("istio-locality")
    if label:
        return label.replace(".", "/")
    node = registry.read(graph, core.Node, Key("Node", "", obj.spec.node_name)) if obj.spec.node_name else None
    node_labels = node.metadata.labels if node is not None else {}
    return "/".join(node_labels.get(name, "") for name in _TOPOLOGY).rstrip("/")


def _from_entry(graph: Graph, source: Key, obj: ServiceEntry, port: Port) -> list[Endpoint]:
    if obj.spec.workload_selector is not None:
        wanted = obj.spec.workload_selector.labels
        return _selected(graph, source.namespace, wanted, port) if wanted else []  # an empty selector selects nothing
    return [e for w in obj.spec.endpoints if (e := _from_workload(w, source.namespace, port)) is not None]


def _from_workload(
    spec: WorkloadEntrySpec, namespace: str, port: Port, healthy: bool = True, name: str = ""
) -> Endpoint | None:
    if not spec.address:
        return None
    named = spec.ports.get(port.target) if isinstance(port.target, str) else None
    number = named or spec.ports.get(port.name) or (port.target if isinstance(port.target, int) else 0) or port.number
    declared = spec.labels.get(TLS_MODE)
    return Endpoint(
        address=spec.address,
        port=0 if spec.address.startswith("unix://") else number,
        labels=tuple(sorted(spec.labels.items())),
        namespace=namespace,
        workload=spec.labels.get("app", "") or name,
        service_account=spec.service_account or "",
        healthy=healthy,
        mtls=declared == "istio" if declared else bool(spec.service_account),
        locality=spec.locality or "",
        weight=spec.weight or 1,
    )


def _selected(graph: Graph, namespace: str, selector: dict[str, str], port: Port) -> list[Endpoint]:
    endpoints = _workloads(graph, namespace, selector, port)
    for _, pod in registry.objects(graph, of_namespace(core.Pod, namespace)):
        if not is_ip(pod.status.pod_ip or "") or pod.metadata.deletion_timestamp:
            continue
        if pod.status.phase not in ("Succeeded", "Failed") and selection.matches(selector, pod.metadata.labels):
            number = port.target if isinstance(port.target, int) else port.number
            endpoints.append(_endpoint(graph, pod.status.pod_ip, number, namespace, pod.status.ready))
    return endpoints


HEALTH_CHECKED = "proxy.istio.io/health-checks-enabled"


def _workloads(graph: Graph, namespace: str, selector: dict[str, str], port: Port) -> list[Endpoint]:
    """Endpoints of the WorkloadEntries that a selector matches. With health checks, an entry is healthy if its condition `Healthy`
    is True; others always are. Source: istio.md 1.4, 2.22."""
    endpoints = []
    for key, entry in _selected_entries(graph, namespace, selector):
        checked = entry.metadata.annotations.get(HEALTH_CHECKED, "").lower() == "true"
        healthy = not checked or entry.status.condition_status("Healthy") is True
        spec = msgspec.structs.replace(entry.spec, labels=workload_entry.labels(entry))
        endpoint = _from_workload(spec, namespace, port, healthy, key.name)
        endpoints += [endpoint] if endpoint else []
    return endpoints


def _selected_entries(graph: Graph, namespace: str, selector: dict[str, str]) -> list[tuple[Key, WorkloadEntry]]:
    """WorkloadEntries of a namespace that match a selector, sorted. Reads only those with one of its labels."""
    slice_ = workload_entry.by_label(namespace, min(selector.items(), default=None))
    entries = registry.objects(graph, slice_)
    return [(key, entry) for key, entry in entries if selection.matches(selector, workload_entry.labels(entry))]
