"""Mirrors Endpoints of Services without a selector into EndpointSlices. Source: Kubernetes'
EndpointSliceMirroring controller."""

from __future__ import annotations

from sailcloth.local.apiserver.unstructured import Unstructured

from .context import ControllerContext
from .endpoint_slices import slice_for

GR = "endpointslices.discovery.k8s.io"
_MANAGED = "endpointslicemirroring-controller.k8s.io"
_SKIP = "endpointslice.kubernetes.io/skip-mirror"
_OWN = ("default", "kubernetes")  # the API server's Endpoints, whose slice `bootstrap` creates


async def reconcile(cluster: ControllerContext, namespace: str, name: str) -> None:
    """Write a slice for each subset of an Endpoints object, and remove those of subsets that are gone."""
    endpoints = cluster.store.get("endpoints", namespace, name)
    wanted: dict[str, Unstructured] = {}
    if endpoints is not None and _mirrored(cluster, endpoints, namespace, name):
        for index, subset in enumerate(endpoints.get("subsets") or ()):
            mirrored = _slice(endpoints, f"{name}-mirror-{index}", subset)
            wanted[mirrored["metadata"]["name"]] = mirrored
    for known in cluster.store.all(GR, namespace):
        labels = known["metadata"].get("labels") or {}
        if (
            labels.get("kubernetes.io/service-name") == name
            and labels.get("endpointslice.kubernetes.io/managed-by") == _MANAGED
        ):
            own = known["metadata"]["name"]
            new = wanted.pop(own, None)
            if new is None:
                await cluster.delete(GR, namespace, own)
                continue
            body = {"endpoints": new["endpoints"], "ports": new["ports"]}
            if {k: known.get(k) for k in body} != body:
                await cluster.update(GR, namespace, own, lambda o, b=body: {**o, **b})
    for new in wanted.values():
        await cluster.create(GR, new)


def _mirrored(cluster: ControllerContext, endpoints: Unstructured, namespace: str, name: str) -> bool:
    service = cluster.store.get("services", namespace, name)
    return (
        service is not None
        and not service["spec"].get("selector")
        and (namespace, name) != _OWN
        and (endpoints["metadata"].get("labels") or {}).get(_SKIP) != "true"
    )


def _slice(endpoints: Unstructured, name: str, subset: Unstructured) -> Unstructured:
    members = []
    for field, is_ready in (("addresses", True), ("notReadyAddresses", False)):
        for address in subset.get(field) or ():
            entry: Unstructured = {"addresses": [address["ip"]], "conditions": {"ready": is_ready}}
            entry |= {k: address[k] for k in ("hostname", "nodeName", "targetRef") if address.get(k)}
            members.append(entry)
    ports = [
        {"name": p.get("name", ""), "port": p["port"], "protocol": p.get("protocol", "TCP")}
        for p in subset.get("ports") or ()
    ]
    return slice_for(endpoints, name, _MANAGED, members, ports)
