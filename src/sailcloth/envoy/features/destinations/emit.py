"""Clusters of a route action, and the router filter, as Envoy protobuf. Pure."""

from __future__ import annotations

from envoy.config.route.v3 import route_components_pb2 as route_pb
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb

from sailcloth.envoy import names
from sailcloth.envoy.inputs import FilterInputs
from sailcloth.envoy.protobuf import typed
from sailcloth.view.routes import RoutePlan

_ROUTER = hcm_pb.HttpFilter(**typed("envoy.filters.http.router", router_pb2.Router()))


def http_filters(inputs: FilterInputs) -> list[hcm_pb.HttpFilter]:
    """The router."""
    return [_ROUTER]


def route(plan: RoutePlan, out: route_pb.Route) -> None:
    """Sets `route.cluster` or `route.weighted_clusters` (names and weights)."""
    if not plan.targets or (plan.rule is not None and (plan.rule.redirect or plan.rule.direct_response)):
        return
    if len(plan.targets) == 1:
        out.route.cluster = names.outbound(plan.targets[0].cluster)
        return
    for target in plan.targets:
        weighted = out.route.weighted_clusters.clusters.add(name=names.outbound(target.cluster))
        weighted.weight.value = target.weight
