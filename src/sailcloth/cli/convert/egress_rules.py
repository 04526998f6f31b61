"""EgressRule of Istio 0.x: a ServiceEntry.

For a port of protocol https the application spoke HTTP and the sidecar TLS. So the port is one of HTTP, and a DestinationRule starts TLS.
"""

from __future__ import annotations

import ipaddress
from typing import Any

from .documents import NETWORKING, Document, Losses, Names, Scope, entries, made, mapping, number, placed, slug
from .istio_services import GROUP

_API = f"{NETWORKING}/v1"
_PROTOCOLS = {"http": "HTTP", "http2": "HTTP2", "grpc": "GRPC", "https": "HTTP", "tcp": "TCP", "mongo": "MONGO"}


def convert(documents: list[Document], scope: Scope) -> list[Document]:
    """Replace all EgressRules."""
    names, out = Names(documents, scope), documents
    for document in [d for d in documents if d.group == GROUP and d.kind == "EgressRule"]:
        out = placed(out, {out.index(document)}, _converted(document, scope, names))
    return out


def _converted(rule: Document, scope: Scope, names: Names) -> list[Document]:
    key = rule.key(scope.namespace)
    losses = Losses(key)
    host = str(mapping(rule.spec.get("destination")).get("service") or "")
    ports, starting = _ports(rule.spec, losses)
    if rule.spec.get("useEgressProxy"):
        text = "traffic leaves from the sidecars"
        losses.add("spec.useEgressProxy", text, "Route the host to an egress Gateway with a VirtualService.")
    if not host or not ports:
        losses.add("spec", "the object is left out: it needs destination.service and ports", "Give both.")
        return [Document({}, sources=(key,), losses=tuple(losses.found))]
    spec: dict[str, Any] = {"hosts": [host]}
    if _is_address(host):
        spec = {"hosts": [f"{slug(rule.name)}.{key.namespace}.addresses.internal"], "addresses": [host]}
    elif host == "*":
        losses.add("spec.destination.service", "the object is left out: a host * is not allowed", "Name the domains.")
        return [Document({}, sources=(key,), losses=tuple(losses.found))]
    resolved = "NONE" if host.startswith("*") or _is_address(host) else "DNS"
    spec |= {"location": "MESH_EXTERNAL", "resolution": resolved, "ports": ports}
    metadata = {**rule.own_metadata, "name": names.free("ServiceEntry", key.namespace, rule.name)}
    out = [Document(made(_API, "ServiceEntry", metadata, spec), sources=(key,), losses=tuple(losses.found))]
    if starting:
        levels = [{"port": {"number": one}, "tls": {"mode": "SIMPLE"}} for one in starting]
        policy = {"host": spec["hosts"][0], "trafficPolicy": {"portLevelSettings": levels}}
        metadata = {**rule.own_metadata, "name": names.free("DestinationRule", key.namespace, rule.name)}
        out.append(Document(made(_API, "DestinationRule", metadata, policy), sources=(key,)))
    return out


def _ports(spec: dict[str, Any], losses: Losses) -> tuple[list[dict[str, Any]], list[int]]:
    """(the ports, the numbers of those at which the sidecar starts TLS)."""
    ports, starting = [], []
    for index, port in enumerate(entries(spec.get("ports"))):
        word = str(port.get("protocol") or "").lower()
        if word not in _PROTOCOLS or not number(port.get("port")):
            text = f"the port is left out: {word or 'no protocol'} is not a protocol that can be converted"
            losses.add(f"spec.ports[{index}]", text, f"Use one of {', '.join(_PROTOCOLS)}, and a port number.")
            continue
        port_number = int(number(port["port"]))
        name = f"{'http-tls' if word == 'https' else word}-{port_number}"
        ports.append({"number": port_number, "name": name, "protocol": _PROTOCOLS[word]})
        starting += [port_number] if word == "https" else []
    return ports, starting


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True
