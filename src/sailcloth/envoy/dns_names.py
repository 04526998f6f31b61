"""Name tables for the DNS proxy of agents: names and addresses of each service that is visible to the proxy.

One resource per service, so that a change affects only that service; Istio sends one table of all. The message is Istio's
NameTable. Source: istio.md 2.14.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from sailcloth.lib.incremental import Graph, derived
from sailcloth.mesh.model import Service
from sailcloth.view import clusters, scope
from sailcloth.view.proxy import View
from sailcloth.view.routes import ClusterId

from .resource import EnvoyResource, resource
from .resources import name_table


@derived
def names(graph: Graph, view: View, host: str) -> EnvoyResource | None:
    """The name table of one service; None if it has no address, so that the pod's resolver resolves its name."""
    svc = scope.service(graph, view, host)
    if svc is None:
        return None
    if svc.headless:
        addresses = _of_endpoints(graph, view, svc)
    else:
        addresses = {host: _reachable(scope.addresses(svc, view), view)}
    addresses = {name: ips for name, ips in addresses.items() if ips}
    if not addresses:
        return None
    kind = name_table.KUBERNETES if svc.kubernetes else name_table.EXTERNAL
    body = name_table.encode(addresses, kind, svc.name if svc.kubernetes else "", svc.namespace)
    return resource(host, body, sources=(svc.source,) if not svc.kubernetes else ())


def _of_endpoints(graph: Graph, view: View, svc: Service) -> dict[str, tuple[str, ...]]:
    """Addresses by name of a headless service: those of its ready endpoints, and a name for each endpoint with a hostname."""
    all_addresses: set[str] = set()
    by_hostname: dict[str, set[str]] = {}
    for port in svc.ports:
        for endpoint in clusters.of_cluster(graph, view, ClusterId(svc.host, port.number)):
            if endpoint.healthy:
                all_addresses.add(endpoint.address)
                if endpoint.hostname:
                    by_hostname.setdefault(f"{endpoint.hostname}.{svc.host}", set()).add(endpoint.address)
    return {name: _reachable(ips, view) for name, ips in {svc.host: all_addresses, **by_hostname}.items()}


def _reachable(addresses: Iterable[str], view: View) -> tuple[str, ...]:
    """The addresses in an IP version that the proxy itself has, sorted, without CIDR ranges."""
    ips = set()
    for text in addresses:
        try:
            ip = ipaddress.ip_address(text)
        except ValueError:
            continue
        if ip.version in view.dns and not ip.is_unspecified:
            ips.add(ip)
    return tuple(str(ip) for ip in sorted(ips, key=lambda ip: (ip.version, int(ip))))
