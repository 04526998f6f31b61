"""A gateway proxy's listeners and route configurations."""

from __future__ import annotations

from sailcloth.lib.incremental import Graph, derived
from sailcloth.mesh import registry
from sailcloth.view import gateways
from sailcloth.view.gateways import ListenerPlan
from sailcloth.view.proxy import Proxy, View

from . import names
from .resource import EnvoyResource
from .resources import listener as lb
from .resources import route


@derived
def listeners(graph: Graph, proxy: Proxy) -> tuple[EnvoyResource, ...]:
    """Listeners of a gateway proxy."""
    config = registry.config(graph)
    logs = () if proxy.lean else lb.access_log(config.access_log_file, config.access_log_format)
    return tuple(_listener(plan, logs) for plan in graph.get(gateways.http, proxy))


def _listener(plan: ListenerPlan, logs: tuple[object, ...]) -> EnvoyResource:
    address = plan.bind or "0.0.0.0"
    name = names.listener(address, plan.port)
    manager = lb.connection_manager(f"outbound_{name}", rds=plan.route_name, direction="gateway", logs=logs)
    sources = tuple(dict.fromkeys(b.gateway for b in plan.servers))
    # One bind for all workers: a published host port hands the proxy a single listening socket.
    return lb.listener(
        name, address, plan.port, [lb.chain("", [manager])], direction="outbound", reuse_port=False, sources=sources
    )


@derived
def route_names(graph: Graph, proxy: Proxy, view: View) -> tuple[str, ...]:
    """Names of a gateway proxy's route configurations."""
    return tuple(p.route_name for p in graph.get(gateways.http, proxy))


@derived
def routes(graph: Graph, proxy: Proxy, view: View, name: str) -> EnvoyResource | None:
    """One route configuration of a gateway proxy; without routes every request gets 404."""
    plan = next((p for p in graph.get(gateways.http, proxy) if p.route_name == name), None)
    if plan is None:
        return None
    hosts = [route.virtual_host(h) for h in graph.get(gateways.virtual_hosts, proxy, view, name)]
    return route.configuration(name, [route.group(hosts or [route.black_hole(plan.port)])])
