"""Services: the address of load balancers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sailcloth.local.apiserver.storage import Store

if TYPE_CHECKING:
    from . import Cluster

Object = dict[str, Any]


def selecting(store: Store, namespace: str, labels: dict[str, str]) -> list[str]:
    """Names of the services that select a pod with these labels."""
    out = []
    for service in store.all("services", namespace):
        selector = service["spec"].get("selector")
        if selector and all(labels.get(k) == v for k, v in selector.items()):
            out.append(service["metadata"]["name"])
    return out


async def reconcile(cluster: Cluster, namespace: str, name: str, address: str) -> None:
    """A LoadBalancer's address is the host's: its ports are published there."""
    service = cluster.store.get("services", namespace, name)
    if service is None or service["metadata"].get("deletionTimestamp"):
        return
    wanted: Object = {"loadBalancer": {}}
    if service["spec"].get("type") == "LoadBalancer":
        wanted = {"loadBalancer": {"ingress": [{"ip": address, "ipMode": "VIP"}]}}
    if service.get("status") != wanted:
        await cluster.change("services", namespace, name, lambda o: {**o, "status": wanted}, sub="status")
