"""What routes of a VirtualService are attached to: Services for sidecars, Gateways for gateways; one port at a time where rules need it.

Must not know rules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sailcloth.api import virtual_service as vs
from sailcloth.api.meta import Key
from sailcloth.mesh import hosts

from .documents import Losses, Scope
from .gateway_backends import Backends
from .gateway_listeners import Listener
from .istio_services import is_http

MESH = "mesh"


@dataclass(frozen=True)
class Parents:
    """Parents with the same rules. `gateway`: `mesh`, or NAMESPACE/NAME; `namespace`: of the route; `port`: None for all."""

    gateway: str
    namespace: str
    references: tuple[dict[str, Any], ...]
    hostnames: tuple[str, ...] = ()
    port: int | None = None


def names(gateways: Sequence[str], namespace: str) -> tuple[str, ...]:
    """Full names of the gateways of a VirtualService or of a match."""
    return tuple(g if g == MESH or "/" in g else f"{namespace}/{g}" for g in gateways)


def meshed(spec: vs.VirtualServiceSpec, key: Key, scope: Scope) -> tuple[list[tuple[str, str]], list[str]]:
    """(the Services among the hosts, the hosts that are no Services), of a VirtualService for sidecars."""
    full = [(host, scope.service_of(scope.resolve(host, key.namespace))) for host in spec.hosts]
    return [where for _, where in full if where is not None], [host for host, where in full if where is None]


def of_mesh(
    spec: vs.VirtualServiceSpec, key: Key, by_port: bool, http: bool, backends: Backends, losses: Losses
) -> list[Parents]:
    """The parents for sidecars, by the namespace of the route, and by port if rules need it."""
    places: dict[tuple[str, int | None], list[dict[str, Any]]] = {}
    for namespace, name in meshed(spec, key, backends.scope)[0]:
        home = _home(spec, key, namespace, losses)
        known = [p.port for p in backends.ports(namespace, name) if is_http(p) == http]
        where = {"namespace": namespace} if namespace != home else {}
        for port in known if by_port and known else [None]:
            one = {"group": "", "kind": "Service", "name": name, **where, **({"port": port} if port else {})}
            places.setdefault((home, port), []).append(one)
    return [Parents(MESH, home, tuple(refs), port=port) for (home, port), refs in places.items()]


def _home(spec: vs.VirtualServiceSpec, key: Key, namespace: str, losses: Losses) -> str:
    """The namespace of the route for a Service of a namespace: there for all callers, elsewhere for those of its own namespace."""
    if spec.export_to in ((), ("*",)):
        return namespace
    own = spec.export_to in ((".",), (key.namespace,))
    if not own or key.namespace == namespace:
        text = "the rules hold for callers of all namespaces"
        losses.add("spec.exportTo", text, "Put a VirtualService for single namespaces into them.")
    return key.namespace if own else namespace


def of_gateways(
    spec: vs.VirtualServiceSpec,
    key: Key,
    by_port: bool,
    protocols: Sequence[str],
    gateways: Mapping[str, Sequence[Listener]],
    wanted: Sequence[str],
    scope: Scope,
    losses: Losses,
) -> list[Parents]:
    """The parents for gateways: listeners of these protocols whose host a route may have."""
    hostnames = [scope.resolve(host, key.namespace) for host in spec.hosts]
    for host in [h for h in hostnames if h.replace(".", "").isdigit() or ":" in h]:
        losses.add("spec.hosts", f"the host {host} is left out: an address is no hostname", "Use a name.")
        hostnames.remove(host)
    out = []
    for gateway in wanted:
        namespace, _, name = gateway.partition("/")
        parent: dict[str, Any] = {"name": name, **({"namespace": namespace} if namespace != key.namespace else {})}
        listeners = gateways.get(gateway)
        if listeners is None:
            text = f"the Gateway {gateway} is not in the input; the route refers to one of the same name"
            losses.add("spec.gateways", text, "Add it to the input.")
            listeners = ()
        fitting = [
            one
            for one in listeners
            if one.protocol in protocols
            and not one.redirects
            and any(not one.hostname or hosts.overlaps(one.hostname, h) for h in hostnames)
        ]
        if listeners and not fitting:
            continue
        named = () if "*" in hostnames or protocols == ("TCP",) else tuple(hostnames)
        if by_port and fitting:
            for port in dict.fromkeys(one.port for one in fitting):
                sections = [{**parent, "sectionName": one.name} for one in fitting if one.port == port]
                out.append(Parents(gateway, key.namespace, tuple(sections), named, port))
        elif len(fitting) != len([one for one in listeners if one.protocol in protocols]):
            sections = [{**parent, "sectionName": one.name} for one in fitting]
            out.append(Parents(gateway, key.namespace, tuple(sections), named))
        else:
            out.append(Parents(gateway, key.namespace, (parent,), named))
    return out
