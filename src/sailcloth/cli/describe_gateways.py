"""`sailctl x describe gateway` and `route`: a Gateway of the Gateway API with its ListenerSets and routes, and why a route is not attached.

What is said is what the objects and their statuses say; the controller decides. Must not evaluate routes itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, Any

import typer

from . import cluster_objects, dumps, output
from .cluster_options import Kubeconfig, TextForm

Object = dict[str, Any]
GROUP = "gateway.networking.k8s.io"
ROUTES = {
    "httproute": "HTTPRoute",
    "grpcroute": "GRPCRoute",
    "tlsroute": "TLSRoute",
    "tcproute": "TCPRoute",
    "udproute": "UDPRoute",
}
_LABEL = "gateway.networking.k8s.io/gateway-name"
Namespace = Annotated[str, typer.Option("-n", "--namespace", help="Namespace of the object.")]


def gateway(
    name: Annotated[str, typer.Argument(help="GATEWAY[.NAMESPACE]")],
    namespace: Namespace = "",
    out: TextForm = "text",
    kubeconfig: Kubeconfig = "",
) -> None:
    """Describe a Gateway of the Gateway API: addresses, its listeners and those of its ListenerSets, the routes attached to each, and why others
    are not."""
    output.check_choice("output", out, "text", "json", "yaml")
    short, _, suffix = name.rpartition("/")[2].partition(".")
    found, sets, routes, pods = dumps.run(_gateway(short, suffix or namespace, kubeconfig))
    if out != "text":
        output.structured({"gateway": found, "listenerSets": sets, "routes": routes, "pods": pods}, out)
        return
    print("\n".join(gateway_text(found, routes, pods, sets)))


def route(
    name: Annotated[str, typer.Argument(help="[KIND/]ROUTE[.NAMESPACE]; KIND is httproute without one")],
    namespace: Namespace = "",
    out: TextForm = "text",
    kubeconfig: Kubeconfig = "",
) -> None:
    """Describe a route of the Gateway API: its rules and backends, and for each parent whether it is attached, and why not."""
    output.check_choice("output", out, "text", "json", "yaml")
    kind, _, rest = name.rpartition("/")
    resource = (kind or "httproute").lower().removesuffix(f".{GROUP}").removesuffix("s")
    if resource not in ROUTES:
        output.fail(f"unknown kind {kind!r}; use {', '.join(ROUTES)}", output.USAGE)
    short, _, suffix = rest.partition(".")
    found, gateways, sets = dumps.run(_route(ROUTES[resource], short, suffix or namespace, kubeconfig))
    if out != "text":
        output.structured({"route": found, "gateways": gateways, "listenerSets": sets}, out)
        return
    print("\n".join(route_text(found, gateways, sets)))


# -- from a cluster -----------------------------------------------------------------------------


async def _gateway(name: str, namespace: str, kubeconfig: str) -> tuple[Object, list[Object], list[Object], list[str]]:
    from sailcloth.kube.resources import PODS

    from .cluster import client

    async with client(kubeconfig) as api:
        namespace = namespace or api.endpoint.namespace
        found = await _get(api, "Gateway", name, namespace)
        sets = [s for s in await _list(api, "ListenerSet") if _names(_parent_of_set(s), s, found)]
        listed = [r for kind in ROUTES.values() for r in await _list(api, kind)]
        routes = [r for r in listed if any(_names(p, r, h) for p in _parents(r) for h in (found, *sets))]
        pods, _ = await api.list(PODS, namespace, f"{_LABEL}={name}")
        return found, sets, routes, sorted(p["metadata"]["name"] for p in pods)


async def _route(kind: str, name: str, namespace: str, kubeconfig: str) -> tuple[Object, list[Object], list[Object]]:
    from .cluster import client

    async with client(kubeconfig) as api:
        namespace = namespace or api.endpoint.namespace
        found = {"kind": kind, **await _get(api, kind, name, namespace)}
        places = dict.fromkeys(_place(p, found) for p in _parents(found) if _has_listeners(p))
        sets = await _existing(api, [p for p in places if p[0] == "ListenerSet"])
        places |= dict.fromkeys(_place(_parent_of_set(s), s) for s in sets)
        return found, await _existing(api, [p for p in places if p[0] == "Gateway"]), sets


async def _existing(api: Any, places: Iterable[tuple[str, str, str]]) -> list[Object]:
    """Those of the objects (kind, namespace, name) that exist."""
    objects = []
    for kind, namespace, name in places:
        try:
            objects.append({"kind": kind, **await _get(api, kind, name, namespace)})
        except ValueError:
            continue  # told as a parent that does not exist
    return objects


async def _list(api: Any, kind: str) -> list[Object]:
    """All objects of a kind of the API; none where the cluster does not serve it."""
    from sailcloth.kube import ApiError
    from sailcloth.kube.resources import Resource

    try:
        listed, _ = await api.list(Resource(GROUP, "v1", f"{kind.lower()}s", kind))
    except ApiError as error:
        if error.status != 404:
            raise
        return []
    return [{"kind": kind, **obj} for obj in listed]


async def _get(api: Any, kind: str, name: str, namespace: str) -> Object:
    from sailcloth.kube.resources import Resource

    found = await cluster_objects.existing(api, Resource(GROUP, "v1", f"{kind.lower()}s", kind), name, namespace)
    if found is None:
        raise ValueError(f"no {kind} {name} in namespace {namespace}")
    return found


# -- facts --------------------------------------------------------------------------------------


def _parents(obj: Object) -> list[Object]:
    return list((obj.get("spec") or {}).get("parentRefs") or ())


def _parent_of_set(obj: Object) -> Object:
    """The reference of a ListenerSet to its Gateway."""
    return dict((obj.get("spec") or {}).get("parentRef") or {})


def _has_listeners(parent: Object) -> bool:
    """Whether a parent is a Gateway or a ListenerSet."""
    return parent.get("group", GROUP) == GROUP and parent.get("kind", "Gateway") in ("Gateway", "ListenerSet")


def _place(parent: Object, obj: Object) -> tuple[str, str, str]:
    """Kind, namespace and name of a parent of an object."""
    at = parent.get("namespace") or obj["metadata"]["namespace"]
    return parent.get("kind", "Gateway"), at, parent.get("name", "")


def _names(parent: Object, obj: Object, found: Object) -> bool:
    """Whether a parent of a route or ListenerSet is this Gateway or ListenerSet."""
    metadata = found["metadata"]
    own = found.get("kind", "Gateway"), metadata["namespace"], metadata["name"]
    return _has_listeners(parent) and _place(parent, obj) == own


def _conditions(obj: Object, parent: Object) -> Object:
    """The conditions of a route for a parent, by type; empty if no controller has said anything."""
    for status in (obj.get("status") or {}).get("parents") or ():
        if _identity(status.get("parentRef") or {}, obj) == _identity(parent, obj):
            return {c["type"]: c for c in status.get("conditions") or ()}
    return {}


def _identity(parent: Object, obj: Object) -> tuple[Any, ...]:
    """A parent reference with its defaults."""
    kind = parent.get("group", GROUP), parent.get("kind", "Gateway")
    at = parent.get("namespace") or obj["metadata"]["namespace"]
    return *kind, at, parent.get("name"), parent.get("sectionName"), parent.get("port")


def _problems(conditions: Object, *types: str) -> Iterator[str]:
    """What keeps conditions from being true, in words."""
    for kind in types:
        found = conditions.get(kind)
        if found is None:
            yield f"not {kind.lower()}: no controller has said so yet"
        elif found.get("status") != "True":
            text = ": ".join(filter(None, (found.get("reason"), found.get("message"))))
            yield f"{_NOT.get(kind, f'not {kind.lower()}')}: {text}"


_NOT = {"ResolvedRefs": "references"}


def _listeners(parent: Object, obj: Object, found: Object) -> list[Object]:
    """The listeners that a route's parent reference means, without those that take no routes of its kind."""
    status = (found.get("status") or {}).get("listeners") or ()
    kinds = {entry.get("name"): [k.get("kind") for k in entry.get("supportedKinds") or ()] for entry in status}
    return [
        listener
        for listener in found["spec"].get("listeners") or ()
        if parent.get("sectionName") in (None, listener["name"])
        and parent.get("port") in (None, listener["port"])
        and obj["kind"] in kinds.get(listener["name"], [obj["kind"]])
    ]


# -- text ---------------------------------------------------------------------------------------


def gateway_text(
    found: Object, routes: Iterable[Object], pods: Iterable[str], sets: Iterable[Object] = ()
) -> Iterator[str]:
    """The lines about a Gateway, and about its ListenerSets in their precedence."""
    metadata, routes = found["metadata"], list(routes)
    yield f"Gateway: {metadata['name']}.{metadata['namespace']} (class {found['spec'].get('gatewayClassName', '')})"
    yield f"   Addresses: {_addresses(found) or 'none'}"
    yield f"   Pods: {', '.join(pods) or 'none of its own'}"
    yield from _listeners_text(found, routes)
    ordered = sorted(sets, key=lambda s: (s["metadata"].get("creationTimestamp", ""), *_name(s)))
    for each in ordered:
        yield f"ListenerSet: {each['metadata']['name']}.{each['metadata']['namespace']}"
        yield from _listeners_text(each, routes)
    pairs = [(r, p) for r in routes for p in _parents(r)]
    for r, p in [(r, p) for r, p in pairs if any(_names(p, r, h) for h in (found, *ordered))]:
        conditions = _conditions(r, p)
        types = ("Accepted",) if any(_problems(conditions, "Accepted")) else ("ResolvedRefs",)
        yield from (f"Warning: {_title(r)} {text}" for text in _problems(conditions, *types))


def _listeners_text(found: Object, routes: Iterable[Object]) -> Iterator[str]:
    """The lines about the conditions and listeners of a Gateway or ListenerSet."""
    status = found.get("status") or {}
    conditions = {c["type"]: c for c in status.get("conditions") or ()}
    yield from (f"   {text}" for text in _problems(conditions, "Accepted", "Programmed"))
    told = {entry.get("name"): entry for entry in status.get("listeners") or ()}
    pairs = [(r, p) for r in routes for p in _parents(r) if _names(p, r, found)]
    accepted = [(r, p) for r, p in pairs if not any(_problems(_conditions(r, p), "Accepted"))]
    for listener in found["spec"].get("listeners") or ():
        own = {c["type"]: c for c in told.get(listener["name"], {}).get("conditions") or ()}
        yield f"Listener {listener['name']}: {_listener(listener)}"
        yield from (f"   {text}" for text in _problems(own, "Accepted", "ResolvedRefs", "Programmed"))
        attached = [r for r, p in accepted if listener in _listeners(p, r, found)]
        yield from (f"   {line}" for line in dict.fromkeys(_title(r) + _hosts(r) for r in attached))
        if not attached:
            yield "   no routes"


def route_text(found: Object, gateways: Iterable[Object], sets: Iterable[Object] = ()) -> Iterator[str]:
    """The lines about a route."""
    spec = found["spec"]
    yield f"{found['kind']}: {found['metadata']['name']}.{found['metadata']['namespace']}"
    if found["kind"] not in ("TCPRoute", "UDPRoute"):
        yield f"   Host names: {', '.join(spec.get('hostnames') or ()) or 'all'}"
    for number, rule in enumerate(spec.get("rules") or (), 1):
        name = f" ({rule['name']})" if rule.get("name") else ""
        matches = " or ".join(_match(m) for m in rule.get("matches") or ()) or "everything"
        yield f"   Rule {number}{name}: {matches} to {_backends(rule, found['metadata']['namespace'])}"
        filters = [f["type"] for f in rule.get("filters") or ()]
        yield from ([f"      Filters: {', '.join(filters)}"] if filters else [])
    known = {("Gateway", *_name(g)): g for g in gateways} | {("ListenerSet", *_name(s)): s for s in sets}
    for parent in _parents(found):
        kind, at, name = _place(parent, found)
        part = "".join(f" {w} {parent[f]}" for f, w in (("sectionName", "listener"), ("port", "port")) if f in parent)
        yield f"Parent: {kind} {name}.{at}{part}"
        own = known.get((kind, at, name)) if _has_listeners(parent) else None
        if own is None and _has_listeners(parent):
            yield f"   there is no such {kind}"
            continue
        problems = list(_problems(_conditions(found, parent), "Accepted", "ResolvedRefs"))
        yield from (f"   {text}" for text in problems)
        if own is not None and not problems:
            holder = own if kind == "Gateway" else known.get(_place(_parent_of_set(own), own), {})
            served = ", ".join(f"{n['name']} ({_listener(n)})" for n in _listeners(parent, found, own))
            yield f"   attached to {served} at {_addresses(holder) or 'no address yet'}"
        elif not problems:
            yield "   attached: it decides for clients in the mesh"


def _name(obj: Object) -> tuple[str, str]:
    return obj["metadata"]["namespace"], obj["metadata"]["name"]


def _title(obj: Object) -> str:
    return f"{obj['kind']} {obj['metadata']['name']}.{obj['metadata']['namespace']}"


def _hosts(obj: Object) -> str:
    names = (obj.get("spec") or {}).get("hostnames") or ()
    return f": {', '.join(names)}" if names else ""


def _addresses(found: Object) -> str:
    return ", ".join(a.get("value", "") for a in (found.get("status") or {}).get("addresses") or ())


def _listener(listener: Object) -> str:
    host = "" if listener["protocol"] in ("TCP", "UDP") else f" {listener.get('hostname') or 'all host names'},"
    allowed = ((listener.get("allowedRoutes") or {}).get("namespaces") or {}).get("from", "Same")
    words = {"Same": "its own namespace", "All": "all namespaces", "Selector": "selected namespaces"}
    return f"{listener['protocol']} port {listener['port']},{host} routes of {words.get(allowed, allowed)}"


def _match(match: Object) -> str:
    """A match of an HTTPRoute or a GRPCRoute."""
    words = []
    path, method = match.get("path"), match.get("method")
    if isinstance(method, dict):
        service, called = method.get("service") or "*", method.get("method") or "*"
        words.append(f"method {service}/{called}")
    elif method:
        words.append(str(method))
    if path:
        value = path.get("value", "/")
        how = path.get("type", "PathPrefix")
        words.append({"Exact": f"path {value}", "RegularExpression": f"path ~{value}"}.get(how, f"paths under {value}"))
    for field, word in (("headers", "header"), ("queryParams", "query")):
        words += [f"{word} {m['name']}={m.get('value', '')}" for m in match.get(field) or ()]
    return " ".join(words) or "everything"


def _backends(rule: Object, namespace: str) -> str:
    refs = rule.get("backendRefs") or ()
    whole = sum(r.get("weight", 1) for r in refs)
    texts = []
    for ref in refs:
        port = f":{ref['port']}" if "port" in ref else ""
        share = f" {100 * ref.get('weight', 1) / whole:.3g} %" if len(refs) > 1 and whole else ""
        texts.append(f"{ref['name']}.{ref.get('namespace') or namespace}{port}{share}")
    return ", ".join(texts) or "no backend"
