"""EndpointSlices (and Endpoints) of services with a selector: one slice a service, following the readiness of its pods."""

from __future__ import annotations

from typing import Any

from sailcloth.local.apiserver.unstructured import Unstructured

from .context import ControllerContext
from .replicasets import is_ready, reference

GR = "endpointslices.discovery.k8s.io"
_MANAGED = "endpointslice-controller.k8s.io"


async def reconcile(cluster: ControllerContext, namespace: str, name: str) -> None:
    """Write the slice of a service. Slices of Services without a selector belong to their creators."""
    service = cluster.store.get("services", namespace, name)
    if service is None or service["metadata"].get("deletionTimestamp"):
        await cluster.delete("endpoints", namespace, name)
        return  # the slice goes with its owner
    selector = service["spec"].get("selector")
    if not selector or service["spec"].get("type") == "ExternalName":
        return
    pods = [
        p
        for p in cluster.store.all("pods", namespace)
        if p.get("status", {}).get("podIP")
        and p["status"].get("phase") not in ("Succeeded", "Failed")
        and all((p["metadata"].get("labels") or {}).get(k) == v for k, v in selector.items())
    ]
    groups: dict[tuple[tuple[str, int | None, str], ...], list[Unstructured]] = {}
    for pod in pods:
        ports = tuple(
            (p.get("name", ""), _number(pod, p.get("targetPort") or p["port"]), p.get("protocol", "TCP"))
            for p in service["spec"].get("ports") or ()
        )
        groups.setdefault(ports, []).append(pod)
    wanted: dict[str, Unstructured] = {}
    for index, (ports, members) in enumerate(sorted(groups.items(), key=str)):
        slice_name = f"{name}-{index or 'slice'}"
        wanted[slice_name] = _slice(service, slice_name, ports, members)
    await _write(cluster, namespace, name, wanted)
    await _endpoints(cluster, service, groups)


async def _write(cluster: ControllerContext, namespace: str, name: str, wanted: dict[str, Unstructured]) -> None:
    for known in cluster.store.all(GR, namespace):
        labels = known["metadata"].get("labels") or {}
        if (
            labels.get("kubernetes.io/service-name") != name
            or labels.get("endpointslice.kubernetes.io/managed-by") != _MANAGED
        ):
            continue
        own = known["metadata"]["name"]
        new = wanted.pop(own, None)
        if new is None:
            new = {"endpoints": [], "ports": known.get("ports") or []}
        body = {"endpoints": new["endpoints"], "ports": new["ports"]}
        if {k: known.get(k) for k in body} != body:
            await cluster.update(GR, namespace, own, lambda o, b=body: {**o, **b})
    for new in wanted.values():
        await cluster.create(GR, new)


def _number(pod: Unstructured, target: Any) -> int | None:
    """The number of a target port, by name from the pod's containers if need be."""
    if isinstance(target, int) or str(target).isdigit():
        return int(target)
    for container in [*pod["spec"].get("containers", ()), *(pod["spec"].get("initContainers") or ())]:
        for port in container.get("ports") or ():
            if port.get("name") == target:
                return int(port["containerPort"])
    return None


def _slice(
    service: Unstructured, name: str, ports: tuple[tuple[str, int | None, str], ...], pods: list[Unstructured]
) -> Unstructured:
    metadata = service["metadata"]
    publish = bool(service["spec"].get("publishNotReadyAddresses"))
    endpoints = []
    for pod in sorted(pods, key=lambda p: p["metadata"]["name"]):
        going = bool(pod["metadata"].get("deletionTimestamp"))
        ready = is_ready(pod)
        entry: Unstructured = {
            "addresses": [pod["status"]["podIP"]],
            "conditions": {"ready": (ready and not going) or publish, "serving": ready, "terminating": going},
            "nodeName": pod["spec"].get("nodeName", ""),
            "targetRef": {
                "kind": "Pod",
                "name": pod["metadata"]["name"],
                "namespace": metadata["namespace"],
                "uid": pod["metadata"]["uid"],
            },
        }
        if pod["spec"].get("hostname") and pod["spec"].get("subdomain") == metadata["name"]:
            entry["hostname"] = pod["spec"]["hostname"]
        endpoints.append(entry)
    told = [{"name": n, "port": p, "protocol": proto} for n, p, proto in ports if p is not None]
    return slice_for(service, name, _MANAGED, endpoints, told)


def slice_for(
    owner: Unstructured, name: str, controller: str, endpoints: list[Unstructured], ports: list[Unstructured]
) -> Unstructured:
    """A slice of a Service, or of the Endpoints of its name, which goes with it."""
    metadata = owner["metadata"]
    return {
        "metadata": {
            "name": name,
            "namespace": metadata["namespace"],
            "labels": {
                **(metadata.get("labels") or {}),
                "kubernetes.io/service-name": metadata["name"],
                "endpointslice.kubernetes.io/managed-by": controller,
            },
            "ownerReferences": [reference(owner)],
        },
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": ports,
    }


async def _endpoints(cluster: ControllerContext, service: Unstructured, groups: dict[Any, list[Unstructured]]) -> None:
    metadata = service["metadata"]
    subsets = []
    for ports, pods in sorted(groups.items(), key=str):
        subset: Unstructured = {"ports": [{"name": n, "port": p, "protocol": proto} for n, p, proto in ports if p]}
        for pod in sorted(pods, key=lambda p: p["status"]["podIP"]):
            if pod["metadata"].get("deletionTimestamp"):
                continue
            field = "addresses" if is_ready(pod) else "notReadyAddresses"
            ref = {
                "kind": "Pod",
                "name": pod["metadata"]["name"],
                "namespace": metadata["namespace"],
                "uid": pod["metadata"]["uid"],
            }
            subset.setdefault(field, []).append(
                {"ip": pod["status"]["podIP"], "nodeName": pod["spec"].get("nodeName", ""), "targetRef": ref}
            )
        if len(subset) > 1:
            subsets.append(subset)
    known = cluster.store.get("endpoints", metadata["namespace"], metadata["name"])
    if known is None:
        endpoints: Unstructured = {
            "metadata": {
                "name": metadata["name"],
                "namespace": metadata["namespace"],
                "labels": metadata.get("labels") or {},
            }
        }
        await cluster.create("endpoints", {**endpoints, "subsets": subsets} if subsets else endpoints)
    elif (known.get("subsets") or []) != subsets:
        await cluster.update("endpoints", metadata["namespace"], metadata["name"], lambda o: {**o, "subsets": subsets})
