"""Joins plans to bytes in the incremental graph: for each type of resource, which names a proxy has, and each one's bytes.

A `ResourceSet` is the unit that delivery works with: the names it holds (one derived value) and the resource of each name
(one derived value each). Collections with equal keys are shared by all proxies that have them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from sailcloth.lib.buckets import bucket
from sailcloth.lib.incremental import Graph, derived
from sailcloth.mesh import registry
from sailcloth.mesh.kinds import Traffic
from sailcloth.view import clusters as cluster_plans
from sailcloth.view import inbound as inbound_plans
from sailcloth.view import layout, on_demand, routes, scope
from sailcloth.view import proxy as proxies
from sailcloth.view.inbound import InboundPlan
from sailcloth.view.policies import Policies
from sailcloth.view.proxy import Proxy, View
from sailcloth.view.routes import ClusterId
from sailcloth.xds.types import CLUSTER, ENDPOINTS, EXTENSION, LISTENER, NAMES, ROUTES

from . import clusters as cluster_messages
from . import dns_names, gateway, inbound, names, outbound, pipeline
from . import routes as route_messages
from .inputs import ResourceInputs
from .resource import EnvoyResource
from .resources import endpoint as endpoint_messages


@dataclass(frozen=True, slots=True)
class ResourceSet:
    """`ids(graph, *args)` gives the ids; `resource(graph, *args, id)` gives an id's resource or None. Hashable, so shareable."""

    ids: Callable[..., tuple[Any, ...]]
    resource: Callable[..., EnvoyResource | None]
    args: tuple[Any, ...]
    on_demand: bool = False  # whether proxies get only what they ask for by name


def collections(graph: Graph, proxy: Proxy) -> dict[str, tuple[ResourceSet, ...]]:
    """The sets of a proxy by type URL, without secrets. Reads the graph: ask again when `key` of the proxy changes."""
    view, plan = graph.get(key, proxy)
    shared = (view,)
    if proxy.kind == "router":
        found: dict[str, tuple[ResourceSet, ...]] = {
            CLUSTER: (
                ResourceSet(cluster_ids, cluster, shared),
                ResourceSet(gateway.passthrough_clusters, _passthrough_cluster, (proxy, view)),
            ),
            ENDPOINTS: (
                ResourceSet(endpoint_ids, endpoints, shared),
                ResourceSet(gateway.passthrough_clusters, _passthrough_endpoints, (proxy, view)),
            ),
            LISTENER: (ResourceSet(_gateway_listener_ids, _gateway_listener, (proxy, view)),),
            ROUTES: (ResourceSet(gateway.route_names, _gateway_routes, (proxy, view)),),
        }
        return _with_added(found, (("gateway", view.policies),))
    own = (plan,)
    outbound_clusters: tuple[ResourceSet, ...] = (ResourceSet(cluster_ids, cluster, shared),)
    if view.on_demand:
        later = ResourceSet(on_demand_ids, cluster_on_demand, shared, on_demand=True)
        outbound_clusters = (ResourceSet(preloaded_ids, cluster, shared), later)
    found = {
        CLUSTER: (*outbound_clusters, ResourceSet(_inbound_ids, _inbound_cluster, own)),
        ENDPOINTS: (ResourceSet(endpoint_ids, endpoints, shared),),
        LISTENER: (
            ResourceSet(_listener_ids, _listener, shared),
            ResourceSet(_inbound_listener_ids, _inbound_listener, own),
        ),
        ROUTES: (ResourceSet(route_ids, route_configuration, shared),),
    }
    if view.dns:
        found[NAMES] = (ResourceSet(scope.visible, dns_names.names, shared),)
    return _with_added(found, (("outbound", view.policies), ("inbound", plan.policies)))


_Held = tuple[tuple[Traffic, Policies], ...]  # the policies of each kind of traffic of a proxy


def _with_added(found: dict[str, tuple[ResourceSet, ...]], held: _Held) -> dict[str, tuple[ResourceSet, ...]]:
    """The sets, and those of what policies add as a whole."""
    held = tuple((traffic, policies) for traffic, policies in held if policies.keys)
    if held:
        for url in (CLUSTER, LISTENER, EXTENSION):
            found[url] = (*found.get(url, ()), ResourceSet(_added_names, _added, (url, held)))
    return found


@derived
def _added_names(graph: Graph, url: str, held: _Held) -> tuple[str, ...]:
    return tuple(_added_resources(graph, url, held))


@derived
def _added(graph: Graph, url: str, held: _Held, name: str) -> EnvoyResource | None:
    return _added_resources(graph, url, held).get(name)


def _added_resources(graph: Graph, url: str, held: _Held) -> dict[str, EnvoyResource]:
    """The first of a name counts."""
    out: dict[str, EnvoyResource] = {}
    for traffic, policies in held:
        inputs = ResourceInputs(traffic, graph.get(pipeline.resolve, policies))
        for hook in pipeline.ADDED:
            out = {**hook(url, inputs), **out}
    return out


def _finish(
    graph: Graph,
    hooks: Iterable[Callable[[EnvoyResource, ResourceInputs], EnvoyResource | None]],
    resource: EnvoyResource | None,
    traffic: Traffic,
    policies: Policies,
    ports: frozenset[int] = frozenset(),
    hosts: tuple[str, ...] = (),
) -> EnvoyResource | None:
    """A resource after what the pipeline does to finished ones; a workload without policies never pays for it."""
    if resource is None or not policies.keys:
        return resource
    inputs = ResourceInputs(traffic, graph.get(pipeline.resolve, policies), ports, hosts)
    for hook in hooks:
        if resource is not None:
            resource = hook(resource, inputs)
    return resource


@derived
def key(graph: Graph, proxy: Proxy) -> tuple[View, InboundPlan]:
    """What decides a proxy's collections: equal keys, equal configuration."""
    view = graph.get(proxies.view, proxy)
    return view, graph.get(inbound_plans.plan, proxy)


# -- clusters -----------------------------------------------------------------------------------


@derived
def cluster_ids(graph: Graph, view: View) -> tuple[ClusterId | str, ...]:
    return (*graph.get(_special_ids, view), *graph.get(cluster_plans.ids, view))


@derived
def preloaded_ids(graph: Graph, view: View) -> tuple[ClusterId | str, ...]:
    """Clusters that a proxy has without asking, although it asks for the others on first use."""
    return (*graph.get(_special_ids, view), *sorted(graph.get(on_demand.preloaded, view)))


@derived
def on_demand_ids(graph: Graph, view: View) -> tuple[ClusterId, ...]:
    """Clusters that a proxy gets when it asks for them."""
    advance = graph.get(on_demand.preloaded, view)
    return tuple(c for c in graph.get(cluster_plans.ids, view) if c not in advance)


@derived
def cluster_on_demand(graph: Graph, view: View, ident: ClusterId) -> EnvoyResource | None:
    """One outbound cluster, for the collection of those that are asked for."""
    return graph.get(cluster, view, ident)


@derived
def _special_ids(graph: Graph, view: View) -> tuple[str, ...]:
    special = [names.BLACK_HOLE] if view.kind == "router" else [names.BLACK_HOLE, names.PASSTHROUGH]
    if view.kind == "sidecar" and outbound.mode(graph, view) == "ALLOW_ANY_DYNAMIC_DNS":
        special.append(names.DYNAMIC_DNS)
    return tuple(special)


@derived
def cluster(graph: Graph, view: View, ident: ClusterId | str) -> EnvoyResource | None:
    """One outbound cluster."""
    if isinstance(ident, str):
        special = cluster_messages.special(ident, registry.config(graph).connect_timeout_ms)
        return _finish(graph, pipeline.CLUSTER_RESOURCE, special, view.traffic, view.policies)
    plan = graph.get(cluster_plans.plan, view, ident)
    made = cluster_messages.outbound(plan) if plan is not None else None
    return _finish(graph, pipeline.CLUSTER_RESOURCE, made, view.traffic, view.policies)


@derived
def _passthrough_cluster(graph: Graph, proxy: Proxy, view: View, ident: ClusterId) -> EnvoyResource | None:
    return graph.get(cluster, view, ident)


@derived
def _passthrough_endpoints(graph: Graph, proxy: Proxy, view: View, ident: ClusterId) -> EnvoyResource | None:
    return graph.get(endpoints, view, ident)


@derived
def _inbound_ids(graph: Graph, plan: InboundPlan) -> tuple[int, ...]:
    return tuple(range(len(plan.ports) + 1))


@derived
def _inbound_cluster(graph: Graph, plan: InboundPlan, index: int) -> EnvoyResource | None:
    hosts = (plan.ports[index - 1].host,) if index else ()
    made = graph.get(inbound.clusters, plan)[index]
    return _finish(graph, pipeline.CLUSTER_RESOURCE, made, "inbound", plan.policies, hosts=hosts)


# -- endpoints ----------------------------------------------------------------------------------


@derived
def endpoint_ids(graph: Graph, view: View) -> tuple[ClusterId, ...]:
    """Clusters whose endpoints are delivered apart. May name more than the EDS clusters; nobody subscribes to the rest."""
    return graph.get(cluster_plans.ids, view)


@derived
def endpoints(graph: Graph, view: View, ident: ClusterId) -> EnvoyResource | None:
    """The endpoints of one cluster: the bytes are shared by every view that means the same."""
    plan = graph.get(cluster_plans.endpoints_plan, view, ident)
    return graph.get(_assignment, plan) if plan is not None else None


@derived
def _assignment(graph: Graph, plan: cluster_plans.EndpointsPlan) -> EnvoyResource:
    return endpoint_messages.assignment(plan)


# -- listeners ----------------------------------------------------------------------------------


@derived
def _listener_ids(graph: Graph, view: View) -> tuple[outbound.ListenerAddress, ...]:
    return (("", names.OUTBOUND_PORT), *graph.get(outbound.listener_addresses, view))


@derived
def _listener(graph: Graph, view: View, place: outbound.ListenerAddress) -> EnvoyResource | None:
    made = graph.get(outbound.listener, view, place) if place[0] else graph.get(outbound.virtual_outbound, view)
    return _finish(graph, pipeline.LISTENER, made, "outbound", view.policies, frozenset({place[1]}))


@derived
def _inbound_listener_ids(graph: Graph, plan: InboundPlan) -> tuple[int, ...]:
    """virtualInbound as 0, and the ports that a Sidecar has the proxy listen on itself."""
    return (0, *(a.port for a in plan.ports if a.direct))


@derived
def _inbound_listener(graph: Graph, plan: InboundPlan, port: int) -> EnvoyResource | None:
    made = graph.get(inbound.direct, plan, port) if port else graph.get(inbound.listener, plan)
    ports = frozenset({port} if port else {names.INBOUND_PORT, *(a.port for a in plan.ports)})
    return _finish(graph, pipeline.LISTENER, made, "inbound", plan.policies, ports)


@derived
def _gateway_listener_ids(graph: Graph, proxy: Proxy, view: View) -> tuple[str, ...]:
    return tuple(r.name for r in graph.get(gateway.listeners, proxy, view))


@derived
def _gateway_listener(graph: Graph, proxy: Proxy, view: View, name: str) -> EnvoyResource | None:
    made = next((r for r in graph.get(gateway.listeners, proxy, view) if r.name == name), None)
    return _finish(graph, pipeline.LISTENER, made, "gateway", view.policies, gateway.ports(graph, proxy, name))


@derived
def _gateway_routes(graph: Graph, proxy: Proxy, view: View, name: str) -> EnvoyResource | None:
    made = graph.get(gateway.routes, proxy, view, name)
    ports = gateway.ports(graph, proxy, name)
    return _finish(graph, pipeline.ROUTE_CONFIGURATION, made, "gateway", view.policies, ports)


# -- routes -------------------------------------------------------------------------------------


@derived
def route_ids(graph: Graph, view: View) -> tuple[str, ...]:
    """Route configurations of a sidecar: one for each HTTP port, and one for each service whose protocol is detected."""
    found = graph.get(layout.layout, view)
    out = [str(port) for port, _ in found.http]
    out += [f"{s.host}:{s.port.number}" for _, s in found.bound if s.port.protocol == "AUTO"]
    out += [f"{s.host}:{s.port.number}" for s in found.headless if s.port.protocol == "AUTO"]
    out += [o.routes for o in found.own if o.http]
    return tuple(dict.fromkeys(out))


@derived
def route_configuration(graph: Graph, view: View, name: str) -> EnvoyResource | None:
    """One route configuration of a sidecar."""
    number = name.rpartition(":")[2]
    ports = frozenset({int(number)} if number.isdigit() else ())
    made = graph.get(_route_configuration, view, name)
    return _finish(graph, pipeline.ROUTE_CONFIGURATION, made, "outbound", view.policies, ports)


@derived
def _route_configuration(graph: Graph, view: View, name: str) -> EnvoyResource | None:
    own = next((o for o in graph.get(layout.egress_services, view) if o.place.every_port and o.routes == name), None)
    if own is not None:
        return _routes_by_port(graph, view, own)
    if name.startswith("unix://"):
        return None
    host, _, number = name.rpartition(":")
    port = int(number)
    if host:
        plan = graph.get(routes.virtual_host, view, host, port)
        if plan is None:
            return None
        only = routes.VirtualHostPlan(plan.name, ("*",), plan.routes, plan.require_tls, plan.sources)
        return route_messages.configuration(name, [route_messages.group([route_messages.virtual_host(only)])])
    groups = [graph.get(_group, view, port, g) for g in graph.get(_groups, view, port)]
    groups.append(
        route_messages.group(
            [route_messages.catch_all(outbound.mode(graph, view), outbound.passthrough_cluster(graph, view))]
        )
    )
    return route_messages.configuration(name, groups)


def _routes_by_port(graph: Graph, view: View, own: layout.EgressServices) -> EnvoyResource:
    """Routes behind a UNIX socket, or of an HTTP proxy. No port is dialled, so the host that a request names has to say it,
    unless it is 80. Source: istio.md 2.2."""
    made, taken = [], set[str]()
    for host, port in own.http:
        plan = graph.get(routes.virtual_host, view, host, port)
        if plan is None:
            continue
        domains = [f"{d}:{port}" for d in plan.domains]
        domains += plan.domains if port == 80 else ()
        domains = [d for d in domains if d not in taken]
        taken.update(domains)
        if domains:
            made.append(route_messages.virtual_host(replace(plan, domains=tuple(domains))))
    made.append(route_messages.catch_all(outbound.mode(graph, view), outbound.passthrough_cluster(graph, view)))
    return route_messages.configuration(own.routes, [route_messages.group(made)], ports_count=True)


@derived
def _members(graph: Graph, view: View, port: int) -> dict[int, tuple[str, ...]]:
    """Hosts of a port by group. A host stays in its group whatever comes and goes beside it."""
    out: dict[int, list[str]] = {}
    for host in graph.get(routes.virtual_hosts, view, port):
        out.setdefault(bucket(host), []).append(host)
    return {number: tuple(hosts) for number, hosts in sorted(out.items())}


@derived
def _groups(graph: Graph, view: View, port: int) -> tuple[int, ...]:
    return tuple(graph.get(_members, view, port))


@derived
def _hosts_of(graph: Graph, view: View, port: int, number: int) -> tuple[str, ...]:
    return graph.get(_members, view, port).get(number, ())


@derived
def _group(graph: Graph, view: View, port: int, number: int) -> route_messages.Group:
    hosts = graph.get(_hosts_of, view, port, number)
    return route_messages.group(made for h in hosts if (made := graph.get(virtual_host, view, h, port)) is not None)


@derived
def virtual_host(graph: Graph, view: View, host: str, port: int) -> route_messages.VirtualHost | None:
    """The bytes of one virtual host: what a VirtualService change recomputes."""
    plan = graph.get(routes.virtual_host, view, host, port)
    return route_messages.virtual_host(plan) if plan is not None else None
