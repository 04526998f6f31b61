"""What an agent that answers DNS is told: for each service that its proxy sees, the names and addresses.

One resource a service, so that a change costs what it affects; Istio sends one table of all. The message is Istio's.
Source: istio.md 2.14.
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
    """The names of one service; None if it has no address to tell: its name is then what the pod's resolver says it is."""
    svc = scope.service(graph, view, host)
    if svc is None:
        return None
    if svc.headless:
        found = _of_endpoints(graph, view, svc)
    else:
        found = {host: _told(scope.addresses(svc, view), view)}
    found = {name: ips for name, ips in found.items() if ips}
    if not found:
        return None
    kind = name_table.KUBERNETES if svc.kubernetes else name_table.EXTERNAL
    body = name_table.encode(found, kind, svc.name if svc.kubernetes else "", svc.namespace)
    return resource(host, body, sources=(svc.source,) if not svc.kubernetes else ())


def _of_endpoints(graph: Graph, view: View, svc: Service) -> dict[str, tuple[str, ...]]:
    """A headless service has its ready endpoints' addresses, and a name for each that has a host name."""
    every: set[str] = set()
    single: dict[str, set[str]] = {}
    for port in svc.ports:
        for endpoint in clusters.of_cluster(graph, view, ClusterId(svc.host, port.number)):
            if endpoint.healthy:
                every.add(endpoint.address)
                if endpoint.hostname:
                    single.setdefault(f"{endpoint.hostname}.{svc.host}", set()).add(endpoint.address)
    return {name: _told(ips, view) for name, ips in {svc.host: every, **single}.items()}


def _told(addresses: Iterable[str], view: View) -> tuple[str, ...]:
    """Single addresses of the versions that the proxy has itself, sorted; ranges are nobody's address."""
    out = set()
    for text in addresses:
        try:
            ip = ipaddress.ip_address(text)
        except ValueError:
            continue
        if ip.version in view.dns and not ip.is_unspecified:
            out.add(ip)
    return tuple(str(ip) for ip in sorted(out, key=lambda ip: (ip.version, int(ip))))
