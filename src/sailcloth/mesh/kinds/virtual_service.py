"""VirtualService: indexed by hosts and by the gateways that it is bound to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sailcloth.api.meta import Key
from sailcloth.api.virtual_service import Destination, HTTPRoute, VirtualService
from sailcloth.mesh import hosts
from sailcloth.mesh.model import MeshConfig
from sailcloth.mesh.visibility import exported_to

from .record import MeshKind, Slice

FROM_HTTP_ROUTES = "internal.istio.io/parents"  # annotation of a VirtualService that is converted from HTTPRoutes


@dataclass(frozen=True, slots=True)
class RuleHead:
    """The part of a VirtualService that decides where it applies, without its routes, so that a change of routes invalidates only
    values that depend on the routes."""

    hosts: tuple[str, ...]  # full names
    exported_to: tuple[str, ...]  # namespaces, or `*`
    created: str = ""
    http: bool = False
    attached: bool = False  # converted from HTTPRoutes that are attached to the service


def by_host(host: str) -> Slice[VirtualService]:
    """VirtualServices for the mesh with exactly this host (a full name or a wildcard)."""
    return Slice(("VirtualService", "host", host))


def in_mesh() -> Slice[VirtualService]:
    """VirtualServices for the mesh (clients with a sidecar)."""
    return Slice(("VirtualService", "mesh"))


def by_gateway(gateway: str) -> Slice[VirtualService]:
    """VirtualServices bound to a gateway, `namespace/name`."""
    return Slice(("VirtualService", "gateway", gateway))


def _slices(key: Key, rule: VirtualService, config: MeshConfig) -> Iterator[Slice[VirtualService]]:
    for gateway in rule.spec.gateways or ["mesh"]:
        if gateway != "mesh":
            yield by_gateway(gateway if "/" in gateway else f"{key.namespace}/{gateway}")
            continue
        for host in rule.spec.hosts:
            yield by_host(hosts.resolve(host, key.namespace, config.domain))
            yield in_mesh()


def _caller_labels(rule: VirtualService) -> set[str]:
    http = (m.source_labels for r in rule.spec.http for m in r.match)
    tls = (m.source_labels for r in rule.spec.tls for m in r.match)
    tcp = (m.source_labels for r in rule.spec.tcp for m in r.match)
    return {k for group in (http, tls, tcp) for labels in group for k in labels}


def _head(key: Key, rule: VirtualService, config: MeshConfig) -> RuleHead:
    return RuleHead(
        hosts=tuple(hosts.resolve(h, key.namespace, config.domain) for h in rule.spec.hosts),
        exported_to=exported_to(rule.spec.export_to, key.namespace, config.rule_export),
        created=rule.metadata.creation_timestamp or "",
        http=bool(rule.spec.http),
        attached=FROM_HTTP_ROUTES in rule.metadata.annotations,
    )


def destinations(rule: VirtualService) -> list[Destination]:
    """All destinations of a VirtualService, including mirrors."""
    out = [r.destination for h in rule.spec.http for r in h.route]
    out += [m for h in rule.spec.http for m in mirrors(h)]
    out += [r.destination for t in rule.spec.tls for r in t.route]
    out += [r.destination for t in rule.spec.tcp for r in t.route]
    return out


def mirrors(route: HTTPRoute) -> list[Destination]:
    """The mirror destinations of one route."""
    return ([route.mirror] if route.mirror else []) + [m.destination for m in route.mirrors]


KIND = MeshKind(VirtualService, slices=_slices, caller_labels=_caller_labels, head=_head)
