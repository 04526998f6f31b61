"""Meshes of one kind each: what the first configuration of one proxy costs, and what one change costs, by size.

What is quick in a mesh of plain HTTP services may be slow where all are TCP, headless or behind one gateway. An exponent well
above 1 says that something looks at everything for each thing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import yaml

from sailcloth.analysis import manifests, offline
from sailcloth.controlplane.connected_proxies import ConnectedProxies
from sailcloth.view.proxy import parse_node

from . import machine, meshes
from .graph import _Connection
from .meshes import Object

SIZES = (100, 800)
_CHANGES = 9
_HTTP = {"name": "http", "port": 80}
_TCP = {"name": "tcp", "port": 7000}
_TLS = {"number": 443, "name": "tls", "protocol": "TLS"}


@dataclass(frozen=True)
class _Shape:
    make: Callable[[int], list[Object]]  # size -> objects
    change: Callable[[int], Object]  # number of the change -> the object that replaces one of them
    router: bool = False


def _service(number: int, *ports: Object, **spec: Any) -> Object:
    made = meshes.service(number)
    made["spec"] |= {"ports": list(ports), **spec}
    return made


def _slice(number: int, port: Object, endpoints: int = 1) -> Object:
    made = meshes.endpoints(number)
    addresses = [f"10.{100 + number // 250}.{n}.{number % 250 + 1}" for n in range(endpoints)]
    made["ports"] = [port]
    made["endpoints"] = [{"addresses": [a], "conditions": {"ready": True}} for a in addresses]
    return made


def _networking(kind: str, number: int, **spec: Any) -> Object:
    metadata = {"name": f"o{number}", "namespace": "default"}
    return {"apiVersion": "networking.istio.io/v1", "kind": kind, "metadata": metadata, "spec": spec}


def _rule(number: int, host: str, timeout: int = 0, prefix: str = "", gateway: str = "o0") -> Object:
    route: Object = {"route": [{"destination": {"host": f"s{number}"}}]}
    route |= {"timeout": f"{timeout}s"} if timeout else {}
    route |= {"match": [{"uri": {"prefix": prefix}}]} if prefix else {}
    return _networking("VirtualService", number, hosts=[host], gateways=[gateway], http=[route])


def _gateway(number: int, host: str, port: Object, **tls: Any) -> Object:
    server = {"port": port, "hosts": [host], **({"tls": tls} if tls else {})}
    return _networking("Gateway", number, selector={"istio": "ingressgateway"}, servers=[server])


def _outside(number: int, address: str = "") -> Object:
    endpoints = {"endpoints": [{"address": address}]} if address else {}
    hosts = [f"h{number}.example.com"]
    return _networking("ServiceEntry", number, hosts=hosts, resolution="DNS", ports=[_TLS], **endpoints)


def _alias(number: int) -> Object:
    name = f"s{number}.default.svc.cluster.local"
    made = _service(number, _HTTP, type="ExternalName", externalName=name, clusterIP="")
    made["metadata"]["name"] = f"x{number}"
    return made


def _kubernetes(kind: str, name: str, **spec: Any) -> Object:
    """An object of the Gateway API."""
    metadata = {"name": name, "namespace": "default", "creationTimestamp": "2026-01-01T00:00:00Z"}
    return {"apiVersion": "gateway.networking.k8s.io/v1", "kind": kind, "metadata": metadata, "spec": spec}


def _edge() -> list[Object]:
    """A Gateway of the Gateway API, with the Service that is made for it."""
    pods = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "edge-sailcloth", "namespace": "default"}}
    spec = {"selector": {"istio": "ingressgateway"}, "ports": [{"name": "http", "port": 80}], "clusterIP": "10.98.0.1"}
    listeners = [{"name": "http", "port": 80, "protocol": "HTTP"}]
    return [{**pods, "spec": spec}, _kubernetes("Gateway", "edge", gatewayClassName="sailcloth", listeners=listeners)]


def _http_route(number: int, host: str, timeout: int = 0, prefix: str = "/") -> Object:
    rule: Object = {
        "matches": [{"path": {"type": "PathPrefix", "value": prefix}}],
        "backendRefs": [{"name": f"s{number}", "port": 80}],
    }
    rule |= {"timeouts": {"request": f"{timeout}s"}} if timeout else {}
    return _kubernetes("HTTPRoute", f"o{number}", parentRefs=[{"name": "edge"}], hostnames=[host], rules=[rule])


_PLAIN = _gateway(0, "*", {"number": 80, "name": "http", "protocol": "HTTP"})
_SECURE = {"number": 443, "name": "https", "protocol": "HTTPS"}
SHAPES = {
    "tcp": _Shape(lambda n: [_service(i, _TCP) for i in range(n)], lambda k: _service(3, _TCP, clusterIP=f"10.99.0.{k + 1}")),
    "a port each": _Shape(
        lambda n: [_service(i, {"name": "http", "port": 10000 + i}) for i in range(n)],
        lambda k: _service(3, {"name": "http", "port": 10003}, {"name": "http-b", "port": 40000 + k}),
    ),
    "detected": _Shape(
        lambda n: [_service(i, {"name": "x", "port": 8000}) for i in range(n)],
        lambda k: _service(3, {"name": "x", "port": 8000}, clusterIP=f"10.99.0.{k + 1}"),
    ),
    "headless tcp": _Shape(
        lambda n: [o for i in range(n) for o in (_service(i, _TCP, clusterIP="None"), _slice(i, _TCP))],
        lambda k: _slice(3, _TCP, k + 2),
    ),
    "outside": _Shape(lambda n: [_outside(i) for i in range(n)], lambda k: _outside(3, f"a{k}.example.com")),
    "other names": _Shape(
        lambda n: [o for i in range(n // 2) for o in (_service(i, _HTTP), _alias(i))],
        lambda k: meshes.virtual_service(3, k + 1),
    ),
    "gateway, a host each": _Shape(
        lambda n: [_PLAIN, *(o for i in range(n) for o in (_service(i, _HTTP), _rule(i, f"h{i}.com")))],
        lambda k: _rule(3, "h3.com", k + 1),
        router=True,
    ),
    "gateway, one host": _Shape(
        lambda n: [_PLAIN, *(o for i in range(n) for o in (_service(i, _HTTP), _rule(i, "h.com", prefix=f"/{i}")))],
        lambda k: _rule(3, "h.com", k + 1, prefix="/3"),
        router=True,
    ),
    "gateway, a certificate each": _Shape(
        lambda n: [
            o
            for i in range(n)
            for o in (
                _service(i, _HTTP),
                _gateway(i, f"h{i}.com", _SECURE, mode="SIMPLE", credentialName=f"c{i}"),
                _rule(i, f"h{i}.com", gateway=f"o{i}"),
            )
        ],
        lambda k: _rule(3, "h3.com", k + 1, gateway="o3"),
        router=True,
    ),
    "HTTPRoutes, a host each": _Shape(
        lambda n: [*_edge(), *(o for i in range(n) for o in (_service(i, _HTTP), _http_route(i, f"h{i}.com")))],
        lambda k: _http_route(3, "h3.com", k + 1),
        router=True,
    ),
    "HTTPRoutes, one host": _Shape(
        lambda n: [*_edge(), *(o for i in range(n) for o in (_service(i, _HTTP), _http_route(i, "h.com", prefix=f"/{i}")))],
        lambda k: _http_route(3, "h.com", k + 1, prefix="/3"),
        router=True,
    ),
}  # fmt: skip


async def _nobody(_: dict[str, str]) -> str | None:
    return None


def _measured(shape: _Shape, size: int) -> tuple[float, dict[str, float]]:
    """(milliseconds of the first configuration, of a change) for one proxy."""
    text = yaml.dump_all(shape.make(size), Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper))
    mesh = offline.mesh_of(manifests.load([text])[0])
    proxies = ConnectedProxies(mesh, _nobody)
    kind = "router" if shape.router else "sidecar"
    labels = {"istio": "ingressgateway"} if shape.router else {"app": "client"}
    proxy = parse_node(
        f"{kind}~10.0.0.1~client.default~default.svc.cluster.local", {"NAMESPACE": "default", "LABELS": labels}
    )
    begin = time.perf_counter()
    proxies.join(_Connection(), proxy)  # type: ignore[arg-type]
    proxies.flush()
    first, took = (time.perf_counter() - begin) * 1e3, []
    for number in range(_CHANGES):
        changed = manifests.load([meshes.dump(shape.change(number))])[0]
        begin = time.perf_counter()
        for key, obj in changed:
            mesh.apply(key, obj)
        proxies.flush()
        took.append((time.perf_counter() - begin) * 1e3)
    return round(first, 1), machine.spread(took[2:])


async def run() -> dict[str, Any]:
    """Milliseconds and exponents of growth by shape; sizes in services, endpoints or rules."""
    out: dict[str, Any] = {"sizes": SIZES}
    for name, shape in SHAPES.items():
        found = {size: _measured(shape, size) for size in SIZES}
        out[name] = {
            "first_ms": {str(s): first for s, (first, _) in found.items()},
            "first_exponent": meshes.exponent([(s, first) for s, (first, _) in found.items()]),
            "change_ms": {str(s): change for s, (_, change) in found.items()},
            "change_exponent": meshes.exponent([(s, change["p50"]) for s, (_, change) in found.items()]),
        }
    return out
