"""Services: each load balancer has an address of its own on the host's loopback, where its ports are what they are called."""

from __future__ import annotations

import ipaddress
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


def _address(store: Store, service: Object, pool: ipaddress.IPv4Network) -> str:
    """The address that a service has, or asks for (`spec.loadBalancerIP`), or the first free one. Empty if there is none."""
    uid = service["metadata"]["uid"]
    taken = {a for s in store.all("services") if s["metadata"]["uid"] != uid for a in _held(s)}
    asked = service["spec"].get("loadBalancerIP")
    candidates = [asked] if asked else [*_held(service), *map(str, pool.hosts())]
    return next((a for a in candidates if a not in taken and _within(a, pool)), "")


def _held(service: Object) -> list[str]:
    found = (service.get("status", {}).get("loadBalancer") or {}).get("ingress") or ()
    return [i["ip"] for i in found if i.get("ip")]


def _within(address: str, pool: ipaddress.IPv4Network) -> bool:
    try:
        return ipaddress.ip_address(address) in pool
    except ValueError:
        return False


async def reconcile(cluster: Cluster, namespace: str, name: str, pool: ipaddress.IPv4Network) -> None:
    """A LoadBalancer keeps its address as long as it is one; the node publishes its ports there."""
    service = cluster.store.get("services", namespace, name)
    if service is None or service["metadata"].get("deletionTimestamp"):
        return
    wanted: Object = {"loadBalancer": {}}
    if service["spec"].get("type") == "LoadBalancer" and (address := _address(cluster.store, service, pool)):
        wanted = {"loadBalancer": {"ingress": [{"ip": address, "ipMode": "VIP"}]}}
    if service.get("status") != wanted:
        await cluster.change("services", namespace, name, lambda o: {**o, "status": wanted}, sub="status")
