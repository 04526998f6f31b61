"""Services: each LoadBalancer has its own address on the host's loopback, where its ports have their declared numbers."""

from __future__ import annotations

import ipaddress
from itertools import chain

from sailcloth.local.apiserver.storage import Store
from sailcloth.local.apiserver.unstructured import Unstructured

from .context import ControllerContext


def services_selecting(store: Store, namespace: str, labels: dict[str, str]) -> list[str]:
    """Names of the services that select a pod with these labels."""
    out = []
    for service in store.all("services", namespace):
        selector = service["spec"].get("selector")
        if selector and all(labels.get(k) == v for k, v in selector.items()):
            out.append(service["metadata"]["name"])
    return out


def _address(store: Store, service: Unstructured, pool: ipaddress.IPv4Network) -> str:
    """The address that a service has, or asks for (`spec.loadBalancerIP`), or the first free one. Empty if there is none."""
    uid = service["metadata"]["uid"]
    taken = {a for s in store.all("services") if s["metadata"]["uid"] != uid for a in _current_addresses(s)}
    asked = service["spec"].get("loadBalancerIP")
    candidates = [asked] if asked else chain(_current_addresses(service), map(str, pool.hosts()))
    return next((a for a in candidates if a not in taken and _in_pool(a, pool)), "")


def _current_addresses(service: Unstructured) -> list[str]:
    ingress = (service.get("status", {}).get("loadBalancer") or {}).get("ingress") or ()
    return [i["ip"] for i in ingress if i.get("ip")]


def _in_pool(address: str, pool: ipaddress.IPv4Network) -> bool:
    try:
        return ipaddress.ip_address(address) in pool
    except ValueError:
        return False


async def reconcile(cluster: ControllerContext, namespace: str, name: str, pool: ipaddress.IPv4Network) -> None:
    """Assign the address of a LoadBalancer, which it keeps while it has that type. The node publishes its ports there."""
    service = cluster.store.get("services", namespace, name)
    if service is None or service["metadata"].get("deletionTimestamp"):
        return
    wanted: Unstructured = {"loadBalancer": {}}
    if service["spec"].get("type") == "LoadBalancer" and (address := _address(cluster.store, service, pool)):
        wanted = {"loadBalancer": {"ingress": [{"ip": address, "ipMode": "VIP"}]}}
    if service.get("status") != wanted:
        await cluster.update("services", namespace, name, lambda o: {**o, "status": wanted}, sub="status")
