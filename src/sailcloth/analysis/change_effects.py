"""What a change of objects changes for proxies, in the words of users: the resources that each proxy gets before and after are compared.

The resources are those that the control plane sends (`offline`). Must not apply anything, or decide what objects mean.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sailcloth.envoy.resource import EnvoyResource
from sailcloth.view.proxy import Proxy
from sailcloth.xds.types import CLUSTER, ENDPOINTS, LISTENER, ROUTES

from . import offline, route_facts
from .describe import MeshSnapshot

Object = Mapping[str, Any]
Named = dict[tuple[str, str], EnvoyResource]  # by type URL and name

_ALL = "/*"
_MOST = 3  # names in one text
_LISTENER = "listener "
_CLUSTER_FIELDS = {
    "circuit_breakers": "limits of connections",
    "connect_timeout": "connect timeout",
    "lb_policy": "load balancing",
    "load_balancing_policy": "load balancing",
    "load_assignment": "endpoints",
    "outlier_detection": "outlier detection",
    "transport_socket": "TLS",
    "transport_socket_matches": "TLS",
    "type": "discovery of endpoints",
    "typed_extension_protocol_options": "HTTP options",
    "common_lb_config": "load balancing",
}
_FILTERS = {
    "rbac": "authorization",
    "jwt_authn": "request authentication",
    "local_ratelimit": "rate limits",
    "ratelimit": "rate limits",
    "ext_authz": "external authorization",
    "fault": "faults",
    "lua": "Lua filters",
    "wasm": "WebAssembly filters",
    "cors": "CORS",
}
_PLURALS = frozenset(
    (
        *(w for w in (*_CLUSTER_FIELDS.values(), *_FILTERS.values()) if w.endswith("s") and " of " not in w),
        *("access logs", "filter chains", "limits of connections", "options", "routes"),
    )
)


@dataclass(frozen=True, slots=True)
class Effect:
    """One change, and the proxies that get it, sorted."""

    text: str
    proxies: tuple[str, ...]


def effects(before: MeshSnapshot, after: MeshSnapshot) -> list[Effect]:
    """The changes, those of most proxies first. A pod that only one of both has is left out: it starts or ends with its configuration."""
    found: dict[str, set[str]] = {}
    compared: dict[tuple[tuple[str, str], str, str], tuple[str, ...]] = {}
    for key in sorted(before.proxies.keys() & after.proxies.keys()):
        old, new = _resources(before, before.proxies[key]), _resources(after, after.proxies[key])
        for ident in sorted(old.keys() | new.keys()):
            pair = old.get(ident), new.get(ident)
            versions = pair[0].version if pair[0] else "", pair[1].version if pair[1] else ""
            if versions[0] == versions[1]:
                continue
            if (ident, *versions) not in compared:
                compared[ident, *versions] = tuple(_words(*ident, *pair, before.mesh.config.domain))
            for text in compared[ident, *versions]:
                found.setdefault(text, set()).add(after.proxies[key].id)
    ordered = sorted(found.items(), key=lambda item: -len(item[1]))
    return _grouped([Effect(text, tuple(sorted(proxies))) for text, proxies in ordered])


def _grouped(listed: list[Effect]) -> list[Effect]:
    """The same change of more than a few listeners, clusters or hosts is one effect, in place of the first of them."""
    groups: dict[tuple[str, tuple[str, ...], bool], list[Effect]] = {}
    for effect in listed:
        _, colon, words = effect.text.partition(": ")
        group = words if colon else effect.text, effect.proxies, effect.text.startswith(_LISTENER)
        groups.setdefault(group, []).append(effect)
    return [effect for (words, *_), same in groups.items() for effect in _joined(words, same)]


def _joined(words: str, same: list[Effect]) -> list[Effect]:
    if len(same) <= _MOST:
        return same
    names = [e.text.partition(": ")[0].removeprefix(_LISTENER) for e in same[:_MOST]]
    many = "listeners " if same[0].text.startswith(_LISTENER) else ""
    return [Effect(f"{many}{', '.join(names)} and {len(same) - _MOST} more: {words}", same[0].proxies)]


def _resources(snapshot: MeshSnapshot, proxy: Proxy) -> Named:
    by_type = offline.resources(snapshot.mesh, proxy)
    return {(url, r.name): r for url in (CLUSTER, ROUTES, LISTENER, ENDPOINTS) for r in by_type.get(url, ())}


def _words(url: str, name: str, old: EnvoyResource | None, new: EnvoyResource | None, domain: str) -> Iterator[str]:
    """The difference of one resource; it exists in one of both at least."""
    decoded = [_decoded(url, r) if r is not None else {} for r in (old, new)]
    if url == ROUTES:
        return _routes(decoded[0], decoded[1], domain)
    return iter(_DIFFERENCES[url](name, decoded[0], decoded[1], domain))


def _decoded(url: str, resource: EnvoyResource) -> Object:
    dump: dict[str, Any] = offline.config_dump({url: [resource]} if url != ENDPOINTS else {})
    if url == ENDPOINTS:
        from envoy.config.endpoint.v3 import endpoint_pb2
        from google.protobuf import json_format

        message = endpoint_pb2.ClusterLoadAssignment.FromString(resource.body)
        return dict(json_format.MessageToDict(message, preserving_proto_field_name=True))
    entry = next(
        e for part in dump["configs"] for entries in part.values() if isinstance(entries, list) for e in entries
    )
    body: Object = (
        entry["active_state"]["listener"]
        if url == LISTENER
        else entry[{ROUTES: "route_config", CLUSTER: "cluster"}[url]]
    )
    return body


# -- names --------------------------------------------------------------------------------------


def _short(host: str, domain: str) -> str:
    """A host without the domain of the cluster's services."""
    name, colon, port = host.partition(":")
    return name.removesuffix(f".svc.{domain}") + colon + port


def _of_cluster(name: str, domain: str) -> str:
    """A cluster as users name it: `reviews.default:9080 subset v1`."""
    parts = name.split("|")
    if len(parts) != 4:
        return name
    subset = f" subset {parts[2]}" if parts[2] else ""
    return (
        f"{_short(parts[3], domain)}:{parts[1]}{subset}"
        if parts[0] == "outbound"
        else f"port {parts[1]} of the workload"
    )


# -- routes -------------------------------------------------------------------------------------


def _routes(old: Object, new: Object, domain: str) -> Iterator[str]:
    hosts = [{h["name"]: h.get("routes", []) for h in config.get("virtual_hosts", ())} for config in (old, new)]
    for name in dict.fromkeys((*hosts[0], *hosts[1])):
        short = _short(name, domain)
        if name not in hosts[1]:
            yield f"{short}: its routes disappear"
        elif name not in hosts[0]:
            yield f"{short}: routes appear"
        elif hosts[0][name] != hosts[1][name]:
            yield from _virtual_host(short, hosts[0][name], hosts[1][name], domain)


def _virtual_host(name: str, old: list[Object], new: list[Object], domain: str) -> Iterator[str]:
    """Routes of the same match are compared; the first of several with one match counts, as it does for requests."""
    routes = [{route_facts.match(r): r for r in reversed(side)} for side in (old, new)]
    count = 0
    for match in dict.fromkeys(map(route_facts.match, (*old, *new))):
        where = name if match == _ALL else f"{name}{match}" if match.startswith("/") else f"{name} {match}"
        before, after = routes[0].get(match), routes[1].get(match)
        if after is None:
            texts = ["this route disappears"]
        elif before is None:
            texts = [f"a route appears, to {_all_of(after, name, domain)}"]
        else:
            texts = list(_route(before, after, name, domain))
        count += len(texts)
        yield from (f"{where}: {text}" for text in texts)
    if not count:
        yield f"{name}: the order of its routes, or options of them, change"


def _route(old: Object, new: Object, host: str, domain: str) -> Iterator[str]:
    shares = [_named_shares(side, host, domain) for side in (old, new)]
    yield from _moves(*shares)
    settings = [route_facts.settings(side) for side in (old, new)]
    for name in dict.fromkeys((*settings[0], *settings[1])):
        before, after = (s.get(name, "") for s in settings)
        if before != after and name.startswith("filter "):
            yield f"{name} changes"
        elif before != after:
            yield f"{name} {after or 'none'} (before: {before or 'none'})"


def _named_shares(entry: Object, host: str, domain: str) -> dict[str, float]:
    """Percent of the requests by destination; one of the virtual host's own service by its subset."""
    found: dict[str, float] = {}
    for cluster, share in route_facts.shares(entry).items():
        name = _of_cluster(cluster, domain)
        service, _, subset = name.partition(" subset ")
        label = (subset or "all its versions") if service == host else name
        found[label] = found.get(label, 0.0) + share
    return found


def _moves(old: dict[str, float], new: dict[str, float]) -> Iterator[str]:
    differences = {name: new.get(name, 0.0) - old.get(name, 0.0) for name in dict.fromkeys((*old, *new))}
    losing = {n: -d for n, d in differences.items() if d < -1e-6}
    gaining = {n: d for n, d in differences.items() if d > 1e-6}
    if len(losing) == len(gaining) == 1:
        ((loser, share),), (gainer,) = losing.items(), gaining
        amount = "all requests" if share > 99.999 else f"{share:.3g} % of the requests"
        yield f"{amount} move from {loser} to {gainer}"
    elif losing or gaining:
        yield f"requests go to {_text(new)} (before: {_text(old)})"


def _all_of(entry: Object, host: str, domain: str) -> str:
    return _text(_named_shares(entry, host, domain))


def _text(shares: Mapping[str, float]) -> str:
    return ", ".join(n if s > 99.999 else f"{n} {s:.3g} %" for n, s in shares.items()) or "no destination"


# -- the others ---------------------------------------------------------------------------------


def _cluster(name: str, old: Object, new: Object, domain: str) -> Iterator[str]:
    named = _of_cluster(name, domain)
    if not new or not old:
        yield f"{named} {'appears' if new else 'disappears'}"
        return
    fields = [f for f in dict.fromkeys((*old, *new)) if old.get(f) != new.get(f) and f != "metadata"]
    words = dict.fromkeys(_CLUSTER_FIELDS.get(f, f) for f in fields)
    if words:
        yield f"{named}: {_change(words)}"


def _change(words: Collection[str]) -> str:
    """The words with their verb."""
    plural = len(words) > 1 or next(iter(words)) in _PLURALS
    return f"{', '.join(words)} {'change' if plural else 'changes'}"


def _listener(name: str, old: Object, new: Object, _: str) -> Iterator[str]:
    named = {"virtualInbound": "inbound requests", "virtualOutbound": "outbound connections"}.get(
        name, _LISTENER + name
    )
    if not new or not old:
        yield f"{named} {'appears' if new else 'disappears'}"
        return
    parts = [dict(_parts(side)) for side in (old, new)]
    words = [p for p in dict.fromkeys((*parts[0], *parts[1])) if parts[0].get(p) != parts[1].get(p)]
    yield f"{named}: {_change(words or ('options',))}"


def _parts(listener: Object) -> Iterator[tuple[str, str]]:
    """(what users call it, its configurations) of a listener's filters and filter chains, all chains together; equal ones count once, so
    that a chain more changes only what it has differently."""
    found: dict[str, list[Any]] = {}
    for chain in (*listener.get("filter_chains", ()), listener.get("default_filter_chain", {})):
        found.setdefault("filter chains", []).append(chain.get("filter_chain_match"))
        found.setdefault("TLS", []).append(chain.get("transport_socket"))
        for each in chain.get("filters", ()):
            config = each.get("typed_config", {})
            for inner in config.get("http_filters", ()):
                found.setdefault(_filter(inner["name"]), []).append(inner)
            found.setdefault("access logs", []).append(config.get("access_log"))
            rest = {k: v for k, v in config.items() if k not in ("http_filters", "access_log")}
            label = "routes" if "http_filters" in config else _filter(each["name"])
            found.setdefault(label, []).append(rest)
    return ((name, str(list(dict.fromkeys(map(str, values))))) for name, values in found.items())


def _filter(name: str) -> str:
    short = name.removeprefix("envoy.filters.http.").removeprefix("envoy.filters.network.")
    return _FILTERS.get(short, f"filter {short}")


def _endpoints(name: str, old: Object, new: Object, domain: str) -> Iterator[str]:
    counts = [sum(len(g.get("lb_endpoints", ())) for g in side.get("endpoints", ())) for side in (old, new)]
    if old and new and counts[0] != counts[1]:
        yield f"{_of_cluster(name, domain)}: {counts[0]} endpoints become {counts[1]}"
    elif old and new:
        yield f"{_of_cluster(name, domain)}: its endpoints change"


_DIFFERENCES: Mapping[str, Callable[[str, Object, Object, str], Iterator[str]]] = {
    CLUSTER: _cluster,
    LISTENER: _listener,
    ENDPOINTS: _endpoints,
}
