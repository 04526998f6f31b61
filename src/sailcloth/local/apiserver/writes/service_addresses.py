"""Allocates cluster IPs and node ports of Services while they are written."""

from __future__ import annotations

import ipaddress
import random

import orjson

from ..errors import StatusError, invalid
from ..storage import Store
from ..unstructured import Unstructured

_NODE_PORTS = range(30_000, 32_768)


class ServiceAllocator:
    """Allocates from one range of cluster IPs."""

    def __init__(self, store: Store, cidr: str) -> None:
        self.store, self._cidr = store, ipaddress.ip_network(cidr)

    def allocate(self, obj: Unstructured, old: Unstructured | None = None) -> None:
        """Fill in cluster IP and node ports of a Service, in place. Raises StatusError if a requested one is taken, or is none that
        Services have."""
        spec = obj["spec"]
        if spec.get("type") == "ExternalName":
            spec.pop("clusterIP", None)
            spec.pop("clusterIPs", None)
            return
        uid = obj["metadata"].get("uid")
        others = [s["spec"] for s in self.store.all("services") if s["metadata"].get("uid") != uid]
        before = old["spec"] if old is not None else {}
        self._allocate_address(obj, before, {s.get("clusterIP") for s in others})
        if spec.get("type") in ("NodePort", "LoadBalancer"):
            used = {p.get("nodePort") for s in others for p in s.get("ports") or ()}
            _allocate_node_ports(obj, before, used)

    def _allocate_address(self, obj: Unstructured, before: Unstructured, taken: set[str | None]) -> None:
        spec = obj["spec"]
        address = spec.get("clusterIP") or before.get("clusterIP") or self._free_address(taken)
        if address not in ("None", before.get("clusterIP")):
            if address in taken:
                raise _invalid(obj, "spec.clusterIPs[0]", [address], "provided IP is already allocated")
            if not self._is_of_services(address):
                text = f"the provided IP ({address}) is not in the valid range. The range of valid IPs is {self._cidr}"
                raise _invalid(obj, "spec.clusterIPs[0]", [address], text)
        spec["clusterIP"], spec["clusterIPs"] = address, [address]

    def _free_address(self, taken: set[str | None]) -> str:
        base = int(self._cidr.network_address)
        for _ in range(1000):
            candidate = str(ipaddress.ip_address(base + random.randrange(256, self._cidr.num_addresses - 1)))
            if candidate not in taken:
                return candidate
        text = "the range of cluster IPs (serviceCIDR) is used up; delete Services that are not needed"
        raise StatusError(500, "InternalError", text)

    def _is_of_services(self, address: str) -> bool:
        """Whether traffic to an address may be a Service's: any other is somebody else's."""
        try:
            return ipaddress.ip_address(address) in self._cidr
        except ValueError:
            return False


def _allocate_node_ports(obj: Unstructured, before: Unstructured, used: set[int | None]) -> None:
    known = {p.get("name", ""): p.get("nodePort") for p in before.get("ports") or ()}
    for index, port in enumerate(obj["spec"].get("ports") or ()):
        number, field = port.get("nodePort"), f"spec.ports[{index}].nodePort"
        if not number:
            number = known.get(port.get("name", "")) or next(
                n for n in iter(lambda: random.choice(_NODE_PORTS), None) if n not in used
            )
        elif number in used:
            raise _invalid(obj, field, number, "provided port is already allocated")
        elif number not in _NODE_PORTS and number not in known.values():
            text = f"provided port is not in the valid range. The range of valid ports is {_NODE_PORTS[0]}-{_NODE_PORTS[-1]}"
            raise _invalid(obj, field, number, text)
        port["nodePort"] = number
        used.add(number)


def _invalid(obj: Unstructured, field: str, value: int | list[str], text: str) -> StatusError:
    if isinstance(value, list):
        text = f"failed to allocate IP {value[0]}: {text}"
    shown = orjson.dumps(value).decode()
    problem = (field, "FieldValueInvalid", f"Invalid value: {shown}: {text}")
    return invalid("Service", "", obj["metadata"]["name"], [problem])
