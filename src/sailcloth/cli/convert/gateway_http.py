"""The HTTP rules of a VirtualService, for some parents, as HTTPRoutes or GRPCRoutes. Must not know how parents are found."""

from __future__ import annotations

import itertools
import json
from typing import Any

from sailcloth.api import virtual_service as vs
from sailcloth.api.gateway_api import GROUP, HTTPRouteMatch
from sailcloth.api.meta import Key

from . import gateway_filters, gateway_grpc, gateway_matches, gateway_parents
from .documents import Losses, made, slug
from .gateway_backends import Backends, Place
from .gateway_matches import Match
from .gateway_parents import Parents

_MOST_RULES = 16  # of one HTTPRoute
Rules = list[tuple[str, vs.HTTPRoute]]
"""(path of a rule in the VirtualService, the rule)."""


def needs_ports(rules: Rules, spec: vs.VirtualServiceSpec, key: Key, gateway: str, backends: Backends) -> bool:
    """Whether a route for each port is needed: a match is for one, or a destination means the port of the request."""
    for _, rule in rules:
        if any(match.port for match in rule.match):
            return True
        destinations = [d.destination for d in rule.route] + ([rule.mirror] if rule.mirror is not None else [])
        if gateway == gateway_parents.MESH and any(backends.is_ambiguous(d, key.namespace) for d in destinations):
            return True
    return False


def conflict(one: vs.VirtualServiceSpec, other: vs.VirtualServiceSpec) -> bool:
    """Whether a match of one and a match of the other, both of which are about some requests only, may hold together."""
    found = []
    for spec in (one, other):
        matches = (match for rule in spec.http for match in rule.match)
        found.append([m for match in matches for m in gateway_matches.convert(match, "", Losses(Key("", "", "")))])
    everything = HTTPRouteMatch()
    return any(
        gateway_matches.conjunction(a, b) is not None
        for a, b in itertools.product(*found)
        if a != everything and b != everything
    )


def routes(
    rules: Rules, key: Key, name: str, parents: Parents, top: tuple[str, ...], backends: Backends, losses: Losses
) -> list[dict[str, Any]]:
    """The routes of some parents. `top`: the gateways of the whole VirtualService."""
    place = Place("HTTPRoute", parents.namespace, key.namespace, parents.port)
    before = set(backends.granted)
    kept: list[tuple[str, vs.HTTPRoute, list[HTTPRouteMatch]]] = []
    for path, rule in rules:
        matches: list[HTTPRouteMatch] = []
        held = not rule.match and parents.gateway in top
        for index, match in enumerate(rule.match):
            where = gateway_parents.names(match.gateways, key.namespace) or top
            if parents.gateway in where and _at_port(match, parents, f"{path}.match[{index}].port", losses):
                matches += gateway_matches.convert(match, f"{path}.match[{index}]", losses)
        if held or matches:
            kept.append((path, rule, matches or [HTTPRouteMatch()]))
    written = [
        one
        for (path, rule, _), matches in zip(kept, _ordered(kept, losses), strict=True)
        for one in (_rules(path, rule, matches, place, parents, backends, losses) if matches else ())
    ]
    if len(written) > _MOST_RULES:
        text = f"there are several HTTPRoutes, because one has at most {_MOST_RULES} rules; of equal matches the oldest route's holds"
        losses.add("spec.http", text, "Create the routes in the order of their names.")
    destinations = [d.destination for _, rule, _ in kept for d in rule.route]
    grpc = bool(destinations) and all(backends.is_grpc(d, place) for d in destinations)
    out = []
    for start in range(0, len(written), _MOST_RULES):
        spec: dict[str, Any] = {"parentRefs": list(parents.references)}
        spec |= {"hostnames": list(parents.hostnames)} if parents.hostnames else {}
        spec |= {"rules": written[start : start + _MOST_RULES]}
        of_grpc = gateway_grpc.spec(spec) if grpc else None
        kind = "HTTPRoute" if of_grpc is None else "GRPCRoute"
        part = name if start == 0 else f"{name}-{start // _MOST_RULES + 1}"
        metadata = {"name": part, **backends.scope.named(parents.namespace, True)}
        out.append(made(f"{GROUP}/v1", kind, metadata, of_grpc or spec))
    kinds = {one["kind"] for one in out}
    new = backends.granted - before
    backends.granted = before | {grant._replace(kind=kind) for grant in new for kind in kinds}
    return out


def _ordered(kept: list[tuple[str, vs.HTTPRoute, list[HTTPRouteMatch]]], losses: Losses) -> list[list[Match]]:
    """The matches of each rule. Those of a rule that changes what they match are tried one after the other, as rules are."""
    units: list[tuple[int, list[HTTPRouteMatch]]] = []
    for index, (_, rule, matches) in enumerate(kept):
        moves = (rule.rewrite is not None and rule.rewrite.uri is not None) or rule.redirect is not None
        units += [(index, [match]) for match in matches] if moves else [(index, matches)]
    out: list[dict[HTTPRouteMatch, Match]] = [{} for _ in kept]
    paths = [kept[index][0] for index, _ in units]
    found = gateway_matches.ordered([matches for _, matches in units], paths, losses)
    for (index, _), ordered in zip(units, found, strict=True):
        for match in ordered:
            out[index].setdefault(match.match, match)
    return [list(of_rule.values()) for of_rule in out]


def _at_port(match: vs.HTTPMatchRequest, parents: Parents, path: str, losses: Losses) -> bool:
    if not match.port or match.port == parents.port:
        return True
    if parents.port is None:
        what = "Service" if parents.gateway == gateway_parents.MESH else "Gateway"
        text = f"the match is left out: the ports of the {what} are not known"
        losses.add(path, text, f"Add the {what} to the input.")
    return False


def _rules(
    path: str,
    rule: vs.HTTPRoute,
    matches: list[Match],
    place: Place,
    parents: Parents,
    backends: Backends,
    losses: Losses,
) -> list[dict[str, Any]]:
    """One rule, or several if its matches are rewritten in different ways."""
    gateway_filters.unsaid(rule, path, losses)
    changes, host = gateway_filters.headers(rule.headers, f"{path}.headers", losses)
    common = list(changes)
    body: dict[str, Any] = {}
    if rule.redirect is None:
        common += gateway_filters.mirrors(rule, place, path, backends, losses)
        cors = (
            gateway_filters.cors(rule.cors_policy, f"{path}.corsPolicy", losses)
            if rule.cors_policy is not None
            else None
        )
        common += [cors] if cors is not None else []
        body = gateway_filters.times(rule, path, losses)
        references = _references(path, rule, place, backends, losses)
        if references and not gateway_filters.refuses(rule):
            body["backendRefs"] = references
    by_filter: dict[str, tuple[list[Match], dict[str, Any] | None]] = {}
    for match in matches:
        if rule.redirect is not None:
            mesh = parents.gateway == gateway_parents.MESH
            own = gateway_filters.redirect(rule.redirect, match, mesh, f"{path}.redirect", losses)
        else:
            one_host = host or _only_host(rule)
            own_rewrite = gateway_filters.rewrite(rule, one_host, match, f"{path}.rewrite", losses)
            own = own_rewrite or {}
        by_filter.setdefault(json.dumps(own, sort_keys=True), ([], own or None))[0].append(match)
    out = []
    for index, (group, own_filter) in enumerate(by_filter.values()):
        filters = [*common, *([own_filter] if own_filter is not None else [])]
        label = {} if not rule.name else {"name": slug(rule.name) + (f"-{index + 1}" if index else "")}
        written = {"matches": [gateway_matches.written(m.match) for m in group]}
        out.append({**label, **written, **({"filters": filters} if filters else {}), **body})
    return out


def _only_host(rule: vs.HTTPRoute) -> str | None:
    """The host that a single destination sets by a header."""
    found = [d.headers.request for d in rule.route if d.headers is not None and d.headers.request is not None]
    if len(rule.route) != 1 or not found:
        return None
    named = {k.lower(): v for k, v in {**found[0].add, **found[0].set}.items()}
    return named.get("host") or named.get(":authority")


def _references(
    path: str, rule: vs.HTTPRoute, place: Place, backends: Backends, losses: Losses
) -> list[dict[str, Any]]:
    out = []
    for index, weighted in enumerate(rule.route):
        at = f"{path}.route[{index}]"
        reference = backends.reference(weighted.destination, place, f"{at}.destination", losses)
        if reference is None:
            continue
        if len(rule.route) > 1:
            reference["weight"] = weighted.weight
        changes, host = gateway_filters.headers(weighted.headers, f"{at}.headers", losses)
        if host is not None and len(rule.route) > 1:
            text = "the host of the request is the same for all destinations of a rule"
            losses.add(f"{at}.headers.request", text, "Write rules of their own.")
        out.append({**reference, **({"filters": changes} if changes else {})})
    return out
