"""The TLS and TCP rules of a VirtualService as TLSRoutes and TCPRoutes. Must not know HTTP.

A TCPRoute has no matches: of each port, the first rule that holds for it becomes a route.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from sailcloth.api import virtual_service as vs
from sailcloth.api.gateway_api import GROUP
from sailcloth.api.meta import Key

from . import gateway_parents
from .documents import Losses, made
from .gateway_backends import Backends, Place
from .gateway_parents import Parents


def tls_routes(
    spec: vs.VirtualServiceSpec,
    key: Key,
    name: str,
    parents: Parents,
    top: tuple[str, ...],
    backends: Backends,
    losses: Losses,
) -> list[dict[str, Any]]:
    """The TLSRoutes for some parents, one for each rule."""
    out = []
    for index, rule in enumerate(spec.tls):
        path = f"spec.tls[{index}]"
        names: dict[str, None] = {}
        for number, match in enumerate(rule.match):
            if _holds(match, f"{path}.match[{number}]", key, parents, top, losses):
                names |= dict.fromkeys(match.sni_hosts)
        if not names:
            continue
        place = Place("TLSRoute", parents.namespace, key.namespace, parents.port)
        references = _references(rule.route, place, f"{path}.route", backends, losses)
        if references:
            route = {
                "parentRefs": list(parents.references),
                "hostnames": list(names),
                "rules": [{"backendRefs": references}],
            }
            metadata = {"name": name if index == 0 else f"{name}-{index + 1}", "namespace": parents.namespace}
            out.append(made(f"{GROUP}/v1", "TLSRoute", metadata, route))
    return out


def tcp_route(
    spec: vs.VirtualServiceSpec,
    key: Key,
    name: str,
    parents: Parents,
    top: tuple[str, ...],
    backends: Backends,
    losses: Losses,
) -> list[dict[str, Any]]:
    """The TCPRoute for some parents."""
    place = Place("TCPRoute", parents.namespace, key.namespace, parents.port)
    for index, rule in enumerate(spec.tcp):
        path = f"spec.tcp[{index}]"
        held = not rule.match and parents.gateway in top
        for number, match in enumerate(rule.match):
            held = held or _holds(match, f"{path}.match[{number}]", key, parents, top, losses)
        if held:
            references = _references(rule.route, place, f"{path}.route", backends, losses)
            route = {"parentRefs": list(parents.references), "rules": [{"backendRefs": references}]}
            metadata = {"name": name, "namespace": parents.namespace}
            return [made(f"{GROUP}/v1", "TCPRoute", metadata, route)] if references else []
    return []


def _holds(
    match: vs.TLSMatchAttributes | vs.L4MatchAttributes,
    path: str,
    key: Key,
    parents: Parents,
    top: tuple[str, ...],
    losses: Losses,
) -> bool:
    """Whether a match is about some parents; one that a route cannot say is left out."""
    if parents.gateway not in (gateway_parents.names(match.gateways, key.namespace) or top):
        return False
    written = msgspec.to_builtins(match)
    for name in ("destinationSubnets", "sourceLabels", "sourceNamespace", "sourceSubnet"):
        if written.get(name):
            losses.add(
                f"{path}.{name}", "the match is left out: a route has no such condition", "Use a port of its own."
            )
            return False
    if match.port and parents.port is None:
        text = "the match is left out: the ports of the parent are not known"
        losses.add(f"{path}.port", text, "Add the Service or the Gateway to the input.")
        return False
    return not match.port or match.port == parents.port


def _references(
    destinations: Sequence[vs.RouteDestination], place: Place, path: str, backends: Backends, losses: Losses
) -> list[dict[str, Any]]:
    out = []
    for index, one in enumerate(destinations):
        reference = backends.reference(one.destination, place, f"{path}[{index}].destination", losses)
        if reference is not None:
            out.append({**reference, **({"weight": one.weight} if len(destinations) > 1 else {})})
    return out
