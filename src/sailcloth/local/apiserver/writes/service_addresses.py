"""Allocates cluster IPs and node ports of Services while they are written."""

from __future__ import annotations

import ipaddress
import random

from ..errors import StatusError, invalid
from ..storage import Store
from ..unstructured import Unstructured


class ServiceAllocator:
    """Allocates from one range of cluster IPs."""

    def __init__(self, store: Store, cidr: str) -> None:
        self.store, self._cidr = store, ipaddress.ip_network(cidr)

    def allocate(self, obj: Unstructured, old: Unstructured | None = None) -> None:
        """Fill in cluster IP and node ports of a Service, in place. Raises StatusError if a requested one is taken."""
        spec = obj["spec"]
        if spec.get("type") == "ExternalName":
            spec.pop("clusterIP", None)
            spec.pop("clusterIPs", None)
            return
        taken = {
            s["spec"].get("clusterIP")
            for s in self.store.all("services")
            if s["metadata"].get("uid") != obj["metadata"].get("uid")
        }
        if old is not None and old["spec"].get("clusterIP") and not spec.get("clusterIP"):
            spec["clusterIP"] = old["spec"]["clusterIP"]
        address = spec.get("clusterIP")
        name = obj["metadata"]["name"]
        if not address:
            base = int(self._cidr.network_address)
            for _ in range(1000):
                candidate = str(ipaddress.ip_address(base + random.randrange(256, self._cidr.num_addresses - 1)))
                if candidate not in taken:
                    address = candidate
                    break
            else:
                raise StatusError(
                    500,
                    "InternalError",
                    "the range of cluster IPs (serviceCIDR) is used up; delete Services that are not needed",
                )
            spec["clusterIP"] = address
        elif address != "None" and address in taken:
            raise invalid(
                "Service",
                "",
                name,
                [
                    (
                        "spec.clusterIPs[0]",
                        "FieldValueInvalid",
                        f'Invalid value: ["{address}"]: failed to allocate IP {address}: provided IP is already allocated',
                    )
                ],
            )
        spec["clusterIPs"] = [spec["clusterIP"]]
        if spec.get("type") in ("NodePort", "LoadBalancer"):
            used = {
                p.get("nodePort")
                for s in self.store.all("services")
                if s["metadata"].get("uid") != obj["metadata"].get("uid")
                for p in s["spec"].get("ports") or ()
            }
            before = {p.get("name", ""): p.get("nodePort") for p in (old or {"spec": {}})["spec"].get("ports") or ()}
            for index, port in enumerate(spec.get("ports") or ()):
                if not port.get("nodePort"):
                    port["nodePort"] = before.get(port.get("name", "")) or next(
                        n for n in iter(lambda: random.randrange(30_000, 32_768), None) if n not in used
                    )
                elif port["nodePort"] in used:
                    raise invalid(
                        "Service",
                        "",
                        name,
                        [
                            (
                                f"spec.ports[{index}].nodePort",
                                "FieldValueInvalid",
                                f"Invalid value: {port['nodePort']}: provided port is already allocated",
                            )
                        ],
                    )
                used.add(port["nodePort"])
