"""Builds a proxy's resources in the incremental graph: for each type, the ids that a proxy has, and the bytes of each.

A `ResourceSet` is the unit that xDS delivers: a list of ids (one derived value) and the resource of each id (one derived value
each). Proxies with equal sets share them.
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
from sailcloth.view import layout, on_demand, routes, scope, udp
from sailcloth.view import proxy as proxies
from sailcloth.view.inbound import InboundPlan
from sailcloth.view.policies import Policies
from sailcloth.view.proxy import Proxy, View
from sailcloth.view.routes import ClusterId
from sailcloth.view.udp import DatagramsId
from sailcloth.xds.types import CLUSTER, ENDPOINTS, EXTENSION, LISTENER, NAMES, ROUTES

from . import clusters as cluster_messages
from . import dns_names, gateway, inbound, names, outbound, pipeline
from . import routes as route_messages
from .inputs import ResourceInputs
from .resource import EnvoyResource
from .resources import endpoint as endpoint_messages


@dataclass(frozen=True, slots=True)
class ResourceSet:
    """A set of resources: `ids(graph, *args)` returns the ids, `resource(graph, *args, id)` an id's resource or None. Hashable."""

    ids: Callable[..., tuple[Any, ...]]
    resource: Callable[..., EnvoyResource | None]
    args: tuple[Any, ...]
    on_demand: bool = False  # whether proxies get only resources that they subscribe to by name


def collections(graph: Graph, proxy: Proxy) -> dict[str, tuple[ResourceSet, ...]]:
    """The resource sets of a proxy by type URL, without secrets. Call again when the proxy's `key` changes."""
    view, plan = graph.get(key, proxy)
    outbound_args = (view,)
    if proxy.kind == "router":
        sets: dict[str, tuple[ResourceSet, ...]] = {
            CLUSTER: (
                ResourceSet(cluster_ids, cluster, outbound_args),
                ResourceSet(gateway.passthrough_clusters, _passthrough_cluster, (proxy, view)),
                ResourceSet(udp.ids, _datagrams_cluster, (proxy, view)),
            ),
            ENDPOINTS: (
                ResourceSet(endpoint_ids, endpoints, outbound_args),
                ResourceSet(gateway.passthrough_clusters, _passthrough_endpoints, (proxy, view)),
                ResourceSet(udp.ids, _datagrams_endpoints, (proxy, view)),
            ),
            LISTENER: (ResourceSet(_gateway_listener_ids, _gateway_listener, (proxy, view)),),
            ROUTES: (ResourceSet(gateway.route_names, _gateway_routes, (proxy, view)),),
        }
        return _with_added(sets, (("gateway", view.policies),))
    inbound_args = (plan,)
    outbound_clusters: tuple[ResourceSet, ...] = (ResourceSet(cluster_ids, cluster, outbound_args),)
    if view.on_demand:
        on_demand = ResourceSet(on_demand_ids, cluster_on_demand, outbound_args, on_demand=True)
        outbound_clusters = (ResourceSet(preloaded_ids, cluster, outbound_args), on_demand)
    called_args = (view, plan.policies)
    called = bool(graph.get(pipeline.resolve, plan.policies).clusters)
    sets = {
        CLUSTER: (
            *outbound_clusters,
            ResourceSet(_inbound_ids, _inbound_cluster, inbound_args),
            *((ResourceSet(_called_ids, _called_cluster, called_args),) if called else ()),
        ),
        ENDPOINTS: (
            ResourceSet(endpoint_ids, endpoints, outbound_args),
            *((ResourceSet(_called_ids, _called_endpoints, called_args),) if called else ()),
        ),
        LISTENER: (
            ResourceSet(_listener_ids, _listener, outbound_args),
            ResourceSet(_inbound_listener_ids, _inbound_listener, inbound_args),
        ),
        ROUTES: (ResourceSet(route_ids, route_configuration, outbound_args),),
    }
    if view.dns:
        sets[NAMES] = (ResourceSet(scope.visible, dns_names.names, outbound_args),)
    return _with_added(sets, (("outbound", view.policies), ("inbound", plan.policies)))


_PoliciesByTraffic = tuple[tuple[Traffic, Policies], ...]  # the policies of each kind of traffic of a proxy


def _with_added(
    sets: dict[str, tuple[ResourceSet, ...]], policies_by_traffic: _PoliciesByTraffic
) -> dict[str, tuple[ResourceSet, ...]]:
    """The sets, and sets of the resources that policies add."""
    policies_by_traffic = tuple((traffic, policies) for traffic, policies in policies_by_traffic if policies.keys)
    if policies_by_traffic:
        for url in (CLUSTER, LISTENER, EXTENSION):
            sets[url] = (*sets.get(url, ()), ResourceSet(_added_names, _added, (url, policies_by_traffic)))
    return sets


@derived
def _added_names(graph: Graph, url: str, policies_by_traffic: _PoliciesByTraffic) -> tuple[str, ...]:
    return tuple(_added_resources(graph, url, policies_by_traffic))


@derived
def _added(graph: Graph, url: str, policies_by_traffic: _PoliciesByTraffic, name: str) -> EnvoyResource | None:
    return _added_resources(graph, url, policies_by_traffic).get(name)


def _added_resources(graph: Graph, url: str, policies_by_traffic: _PoliciesByTraffic) -> dict[str, EnvoyResource]:
    """Resources that policies add, by name; of equal names the first wins."""
    resources: dict[str, EnvoyResource] = {}
    for traffic, policies in policies_by_traffic:
        inputs = ResourceInputs(traffic, graph.get(pipeline.resolve, policies))
        for hook in pipeline.ADDED:
            resources = {**hook(url, inputs), **resources}
    return resources


def _finish(
    graph: Graph,
    hooks: Iterable[Callable[[EnvoyResource, ResourceInputs], EnvoyResource | None]],
    resource: EnvoyResource | None,
    traffic: Traffic,
    policies: Policies,
    ports: frozenset[int] = frozenset(),
    hosts: tuple[str, ...] = (),
) -> EnvoyResource | None:
    """Applies the pipeline's hooks for finished resources. Costs nothing for a workload without policies."""
    if resource is None or not policies.keys:
        return resource
    inputs = ResourceInputs(traffic, graph.get(pipeline.resolve, policies), ports, hosts)
    for hook in hooks:
        if resource is not None:
            resource = hook(resource, inputs)
    return resource


@derived
def key(graph: Graph, proxy: Proxy) -> tuple[View, InboundPlan]:
    """The inputs of a proxy's collections; proxies with equal keys have equal configurations."""
    view = graph.get(proxies.view, proxy)
    return view, graph.get(inbound_plans.plan, proxy)


# -- clusters -----------------------------------------------------------------------------------


@derived
def cluster_ids(graph: Graph, view: View) -> tuple[ClusterId | str, ...]:
    return (*graph.get(_special_ids, view), *graph.get(cluster_plans.ids, view))


@derived
def preloaded_ids(graph: Graph, view: View) -> tuple[ClusterId | str, ...]:
    """Clusters that a proxy with on-demand clusters gets without subscribing."""
    return (*graph.get(_special_ids, view), *sorted(graph.get(on_demand.preloaded, view)))


@derived
def on_demand_ids(graph: Graph, view: View) -> tuple[ClusterId, ...]:
    """Clusters that a proxy gets when it subscribes to them."""
    advance = graph.get(on_demand.preloaded, view)
    return tuple(c for c in graph.get(cluster_plans.ids, view) if c not in advance)


@derived
def cluster_on_demand(graph: Graph, view: View, ident: ClusterId) -> EnvoyResource | None:
    """One outbound cluster of the on-demand collection."""
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
    unpatched = cluster_messages.outbound(plan) if plan is not None else None
    return _finish(graph, pipeline.CLUSTER_RESOURCE, unpatched, view.traffic, view.policies)


@derived
def _passthrough_cluster(graph: Graph, proxy: Proxy, view: View, ident: ClusterId) -> EnvoyResource | None:
    return graph.get(cluster, view, ident)


@derived
def _passthrough_endpoints(graph: Graph, proxy: Proxy, view: View, ident: ClusterId) -> EnvoyResource | None:
    return graph.get(endpoints, view, ident)


@derived
def _datagrams_cluster(graph: Graph, proxy: Proxy, view: View, ident: DatagramsId) -> EnvoyResource | None:
    unpatched = cluster_messages.datagrams(graph.get(udp.plan, view, ident))
    return _finish(graph, pipeline.CLUSTER_RESOURCE, unpatched, view.traffic, view.policies)


@derived
def _datagrams_endpoints(graph: Graph, proxy: Proxy, view: View, ident: DatagramsId) -> EnvoyResource | None:
    return endpoint_messages.datagrams(graph.get(udp.plan, view, ident))


@derived
def _inbound_ids(graph: Graph, plan: InboundPlan) -> tuple[int, ...]:
    return tuple(range(len(plan.ports) + 1))


@derived
def _inbound_cluster(graph: Graph, plan: InboundPlan, index: int) -> EnvoyResource | None:
    hosts = (plan.ports[index - 1].host,) if index else ()
    unpatched = graph.get(inbound.clusters, plan)[index]
    return _finish(graph, pipeline.CLUSTER_RESOURCE, unpatched, "inbound", plan.policies, hosts=hosts)


@derived
def _called_ids(graph: Graph, view: View, policies: Policies) -> tuple[ClusterId, ...]:
    """Clusters that filters of inbound policies call, and that the view lacks: by its Sidecar, or until it subscribes to them."""
    called = graph.get(pipeline.resolve, policies).clusters
    if not called:
        return ()
    present = graph.get(on_demand.preloaded, view) if view.on_demand else graph.get(cluster_plans.ids, view)
    return tuple(c for c in called if c not in present)


@derived
def _called_cluster(graph: Graph, view: View, policies: Policies, ident: ClusterId) -> EnvoyResource | None:
    return graph.get(cluster, _unlimited(graph, view, ident), ident)


@derived
def _called_endpoints(graph: Graph, view: View, policies: Policies, ident: ClusterId) -> EnvoyResource | None:
    return graph.get(endpoints, _unlimited(graph, view, ident), ident)


def _unlimited(graph: Graph, view: View, ident: ClusterId) -> View:
    """A view that has a cluster: without the Sidecar that limits it, if it has one."""
    return view if ident in graph.get(cluster_plans.ids, view) else replace(view, sidecar=None)


# -- endpoints ----------------------------------------------------------------------------------


@derived
def endpoint_ids(graph: Graph, view: View) -> tuple[ClusterId, ...]:
    """Clusters with endpoints in EDS. May include other clusters, which proxies do not subscribe to."""
    return graph.get(cluster_plans.ids, view)


@derived
def endpoints(graph: Graph, view: View, ident: ClusterId) -> EnvoyResource | None:
    """The endpoints of one cluster; views with the same plan share the bytes."""
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
def _listener(graph: Graph, view: View, address: outbound.ListenerAddress) -> EnvoyResource | None:
    unpatched = (
        graph.get(outbound.listener, view, address) if address[0] else graph.get(outbound.virtual_outbound, view)
    )
    return _finish(graph, pipeline.LISTENER, unpatched, "outbound", view.policies, frozenset({address[1]}))


@derived
def _inbound_listener_ids(graph: Graph, plan: InboundPlan) -> tuple[int, ...]:
    """0 for virtualInbound, and the ports of a Sidecar's ingress listeners that bind by themselves."""
    return (0, *(a.port for a in plan.ports if a.direct))


@derived
def _inbound_listener(graph: Graph, plan: InboundPlan, port: int) -> EnvoyResource | None:
    unpatched = graph.get(inbound.direct, plan, port) if port else graph.get(inbound.listener, plan)
    ports = frozenset({port} if port else {names.INBOUND_PORT, *(a.port for a in plan.ports)})
    return _finish(graph, pipeline.LISTENER, unpatched, "inbound", plan.policies, ports)


@derived
def _gateway_listener_ids(graph: Graph, proxy: Proxy, view: View) -> tuple[str, ...]:
    return tuple(r.name for r in graph.get(gateway.listeners, proxy, view))


@derived
def _gateway_listener(graph: Graph, proxy: Proxy, view: View, name: str) -> EnvoyResource | None:
    unpatched = next((r for r in graph.get(gateway.listeners, proxy, view) if r.name == name), None)
    return _finish(graph, pipeline.LISTENER, unpatched, "gateway", view.policies, gateway.ports(graph, proxy, name))


@derived
def _gateway_routes(graph: Graph, proxy: Proxy, view: View, name: str) -> EnvoyResource | None:
    unpatched = graph.get(gateway.routes, proxy, view, name)
    ports = gateway.ports(graph, proxy, name)
    return _finish(graph, pipeline.ROUTE_CONFIGURATION, unpatched, "gateway", view.policies, ports)


# -- routes -------------------------------------------------------------------------------------


@derived
def route_ids(graph: Graph, view: View) -> tuple[str, ...]:
    """Names of a sidecar's route configurations: one per HTTP port, and one per service port with protocol detection."""
    services = graph.get(layout.layout, view)
    ids = [str(port) for port, _ in services.http]
    ids += [f"{s.host}:{s.port.number}" for _, s in services.bound if s.port.protocol == "AUTO"]
    ids += [f"{s.host}:{s.port.number}" for s in services.headless if s.port.protocol == "AUTO"]
    ids += [o.routes for o in services.egress if o.http]
    return tuple(dict.fromkeys(ids))


@derived
def route_configuration(graph: Graph, view: View, name: str) -> EnvoyResource | None:
    """One route configuration of a sidecar."""
    number = name.rpartition(":")[2]
    ports = frozenset({int(number)} if number.isdigit() else ())
    unpatched = graph.get(_route_configuration, view, name)
    return _finish(graph, pipeline.ROUTE_CONFIGURATION, unpatched, "outbound", view.policies, ports)


@derived
def _route_configuration(graph: Graph, view: View, name: str) -> EnvoyResource | None:
    egress = next(
        (o for o in graph.get(layout.egress_services, view) if o.listener.every_port and o.routes == name), None
    )
    if egress is not None:
        return _routes_by_port(graph, view, egress)
    if name.startswith("unix://"):
        return None
    host, _, number = name.rpartition(":")
    port = int(number)
    if host:
        plan = graph.get(routes.virtual_host, view, host, port)
        if plan is None:
            return None
        any_domain = routes.VirtualHostPlan(plan.name, ("*",), plan.routes, plan.require_tls, plan.sources)
        return route_messages.configuration(name, [route_messages.group([route_messages.virtual_host(any_domain)])])
    groups = [graph.get(_group, view, port, g) for g in graph.get(_groups, view, port)]
    groups.append(
        route_messages.group(
            [route_messages.catch_all(outbound.mode(graph, view), outbound.passthrough_cluster(graph, view))]
        )
    )
    return route_messages.configuration(name, groups)


def _routes_by_port(graph: Graph, view: View, egress: layout.EgressServices) -> EnvoyResource:
    """Routes of a UNIX socket or an HTTP proxy. There is no destination port, so the request's host must include it, unless it is
    80. Source: istio.md 2.2."""
    virtual_hosts, used_domains = [], set[str]()
    for host, port in egress.http:
        plan = graph.get(routes.virtual_host, view, host, port)
        if plan is None:
            continue
        domains = [f"{d}:{port}" for d in plan.domains]
        domains += plan.domains if port == 80 else ()
        domains = [d for d in domains if d not in used_domains]
        used_domains.update(domains)
        if domains:
            virtual_hosts.append(route_messages.virtual_host(replace(plan, domains=tuple(domains))))
    virtual_hosts.append(
        route_messages.catch_all(outbound.mode(graph, view), outbound.passthrough_cluster(graph, view))
    )
    return route_messages.configuration(egress.routes, [route_messages.group(virtual_hosts)], ports_count=True)


@derived
def _members(graph: Graph, view: View, port: int) -> dict[int, tuple[str, ...]]:
    """Hosts of a port by group number. A host's group does not depend on other hosts."""
    groups: dict[int, list[str]] = {}
    for host in graph.get(routes.virtual_hosts, view, port):
        groups.setdefault(bucket(host), []).append(host)
    return {number: tuple(hosts) for number, hosts in sorted(groups.items())}


@derived
def _groups(graph: Graph, view: View, port: int) -> tuple[int, ...]:
    return tuple(graph.get(_members, view, port))


@derived
def _hosts_of(graph: Graph, view: View, port: int, number: int) -> tuple[str, ...]:
    return graph.get(_members, view, port).get(number, ())


@derived
def _group(graph: Graph, view: View, port: int, number: int) -> route_messages.Group:
    hosts = graph.get(_hosts_of, view, port, number)
    return route_messages.group(host for h in hosts if (host := graph.get(virtual_host, view, h, port)) is not None)


@derived
def virtual_host(graph: Graph, view: View, host: str, port: int) -> route_messages.VirtualHost | None:
    """The bytes of one virtual host, which a change of a VirtualService recomputes."""
    plan = graph.get(routes.virtual_host, view, host, port)
    return route_messages.virtual_host(plan) if plan is not None else None
