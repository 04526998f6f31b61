"""Mirrors as Envoy protobuf. Pure."""

from __future__ import annotations

from envoy.config.route.v3 import route_components_pb2 as route_pb
from envoy.type.v3 import percent_pb2

from sailcloth.envoy import names
from sailcloth.view.routes import RoutePlan


def route(plan: RoutePlan, out: route_pb.Route) -> None:
    """Sets `route.request_mirror_policies`."""
    if not out.HasField("route"):
        return
    for cluster, percent in plan.mirrors:
        mirror = out.route.request_mirror_policies.add(
            cluster=names.outbound(cluster), disable_shadow_host_suffix_append=True
        )
        mirror.runtime_fraction.default_value.CopyFrom(
            percent_pb2.FractionalPercent(
                numerator=round(percent * 10_000), denominator=percent_pb2.FractionalPercent.MILLION
            )
        )
        mirror.trace_sampled.value = False
