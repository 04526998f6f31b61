"""Sessions as Envoy protobuf. Pure."""

from __future__ import annotations

from envoy.config.route.v3 import route_components_pb2 as route_pb
from envoy.extensions.filters.http.stateful_session.v3 import stateful_session_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb
from envoy.extensions.http.stateful_session.cookie.v3 import cookie_pb2 as cookie_session_pb2
from envoy.extensions.http.stateful_session.header.v3 import header_pb2

from sailcloth.envoy.inputs import FilterInputs
from sailcloth.envoy.protobuf import duration, pack
from sailcloth.mesh import extended_routes
from sailcloth.view.routes import RoutePlan

FILTER = "envoy.filters.http.stateful_session"
_DISABLED = hcm_pb.HttpFilter(name=FILTER, typed_config=pack(stateful_session_pb2.StatefulSession()), disabled=True)


def http_filters(inputs: FilterInputs) -> list[hcm_pb.HttpFilter]:
    """The filter, in gateways, disabled unless a route enables it."""
    return [_DISABLED] if inputs.traffic == "gateway" else []


def route(plan: RoutePlan, out: route_pb.Route) -> None:
    """Sets the route's own configuration of the filter."""
    session = extended_routes.session_of(plan.rule)
    if session is None or not plan.gateway or not out.HasField("route"):
        return
    per_route = stateful_session_pb2.StatefulSessionPerRoute()
    state = per_route.stateful_session.session_state
    if session.header:
        state.name = "envoy.http.stateful_session.header"
        state.typed_config.CopyFrom(pack(header_pb2.HeaderBasedSessionState(name=session.name)))
    else:
        kept = cookie_session_pb2.CookieBasedSessionState()
        kept.cookie.name, kept.cookie.path = session.name, "/"
        if session.lifetime_ms:
            kept.cookie.ttl.CopyFrom(duration(session.lifetime_ms))
        state.name = "envoy.http.stateful_session.cookie"
        state.typed_config.CopyFrom(pack(kept))
    out.typed_per_filter_config[FILTER].CopyFrom(pack(per_route))
