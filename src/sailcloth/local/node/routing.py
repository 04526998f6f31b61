"""Computes DNS records and kube-proxy rules from Services and EndpointSlices.

Pure. Addresses that are not IPv4 and unknown protocols are skipped, so that one object cannot block all others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sailcloth.local.kubeproxy import PROTOCOLS, ServiceKey, Spec

Object = dict[str, Any]
DOMAIN = "svc.cluster.local"
_SERVICE = "kubernetes.io/service-name"


@dataclass
class Routing:
    """DNS names, CNAMEs, and the endpoints of each Service address."""

    names: dict[str, list[str]] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    rules: dict[ServiceKey, Spec] = field(default_factory=dict)


def compute(services: Mapping[tuple[str, str], Object], slices: Mapping[tuple[str, str], Object]) -> Routing:
    """From Services and EndpointSlices, both by (namespace, name)."""
    by_service: dict[tuple[str, str], list[Object]] = {}
    for (namespace, _), slice_ in slices.items():
        owner = (slice_["metadata"].get("labels") or {}).get(_SERVICE, "")
        by_service.setdefault((namespace, owner), []).append(slice_)
    out = Routing()
    for (namespace, name), service in services.items():
        spec, value = service["spec"], by_service.get((namespace, name), [])
        host = f"{name}.{namespace}.{DOMAIN}"
        address = spec.get("clusterIP", "")
        if spec.get("type") == "ExternalName":
            out.aliases[host] = str(spec.get("externalName", "")).lower().rstrip(".")
        elif address == "None":
            out.names[host] = []
            for each, _, hostname in _ready(value, None):
                for known in (host, f"{hostname}.{host}") if hostname else (host,):
                    if each not in out.names.setdefault(known, []):
                        out.names[known].append(each)
        elif address:
            out.names[host] = [address]
            sticky = spec.get("sessionAffinity") == "ClientIP"
            for port in spec.get("ports") or ():
                protocol = port.get("protocol", "TCP")
                if protocol in PROTOCOLS:
                    endpoints = tuple(sorted({(a, p) for a, p, _ in _ready(value, port.get("name", "")) if p}))
                    for each in (address, *_load_balancers(service)):
                        out.rules.setdefault((each, protocol, int(port["port"])), (endpoints, sticky))
    return out


def ready_endpoints(
    slices: Mapping[tuple[str, str], Object], namespace: str, name: str, port: str
) -> list[tuple[str, int]]:
    """The ready endpoints of one port of a service."""
    matches = [
        s
        for (ns, _), s in slices.items()
        if ns == namespace and (s["metadata"].get("labels") or {}).get(_SERVICE) == name
    ]
    return sorted((a, p) for a, p, _ in _ready(matches, port) if p)


def _load_balancers(service: Object) -> list[str]:
    """Addresses of a load balancer. Those that are not on the loopback are no one's to give."""
    if service["spec"].get("type") != "LoadBalancer":
        return []
    ingress = (service.get("status", {}).get("loadBalancer") or {}).get("ingress") or ()
    return [b["ip"] for b in ingress if str(b.get("ip", "")).startswith("127.")]


def _ready(slices: Iterable[Object], port_name: str | None) -> list[tuple[str, int, str]]:
    """(address, port, hostname) of ready endpoints; a port name of None means any."""
    out = []
    for slice_ in slices:
        if slice_.get("addressType", "IPv4") != "IPv4":
            continue
        number = 0
        if port_name is not None:
            ports = slice_.get("ports") or []
            number = next((int(p["port"]) for p in ports if (p.get("name") or "") == port_name and p.get("port")), 0)
            if not number:
                continue
        for endpoint in slice_.get("endpoints") or ():
            if (endpoint.get("conditions") or {}).get("ready", True):
                out += [(a, number, endpoint.get("hostname") or "") for a in endpoint.get("addresses", ())]
    return out
