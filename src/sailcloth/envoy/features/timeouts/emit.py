"""Timeouts as Envoy protobuf. Pure."""

from __future__ import annotations

from envoy.config.route.v3 import route_components_pb2 as route_pb

from sailcloth.api.meta import duration_ms
from sailcloth.envoy.protobuf import duration
from sailcloth.view.routes import RoutePlan


def route(plan: RoutePlan, out: route_pb.Route) -> None:
    """Sets `route.timeout` and the limit for grpc-timeout."""
    if not out.HasField("route"):
        return
    limit = duration_ms(plan.rule.timeout) if plan.rule is not None else None
    out.route.timeout.CopyFrom(duration(limit or 0))
    # Deprecated, but its successor max_stream_duration disables `timeout` whenever it is present.
    out.route.max_grpc_timeout.CopyFrom(duration(limit or 0))
