"""Header operations as Envoy protobuf. Pure."""

from __future__ import annotations

from envoy.config.core.v3 import base_pb2
from envoy.config.route.v3 import route_components_pb2 as route_pb

from sailcloth.api.virtual_service import HeaderOperations, Headers
from sailcloth.view.routes import RoutePlan

_AUTHORITY = ("host", ":authority")


def route(plan: RoutePlan, out: route_pb.Route) -> None:
    """Sets header fields of the route and of its weighted clusters, and a rewrite of the authority by headers."""
    if plan.rule is None:
        return
    _apply(plan.rule.headers, out)
    single = plan.targets[0].headers if len(plan.targets) == 1 else None
    _apply(single, out)
    if out.HasField("route"):
        for headers in (plan.rule.headers, single):
            authority = _authority(headers)
            if authority and not out.route.host_rewrite_literal:
                out.route.host_rewrite_literal = authority
        for target, weighted in zip(plan.targets, out.route.weighted_clusters.clusters, strict=False):
            _apply(target.headers, weighted)
            authority = _authority(target.headers)
            if authority:
                weighted.host_rewrite_literal = authority


def _apply(headers: Headers | None, out: route_pb.Route | route_pb.WeightedCluster.ClusterWeight) -> None:
    if headers is None:
        return
    if headers.request is not None:
        out.request_headers_to_add.extend(options(headers.request))
        out.request_headers_to_remove.extend(sorted(h for h in headers.request.remove if _usable(h)))
    if headers.response is not None:
        out.response_headers_to_add.extend(options(headers.response))
        out.response_headers_to_remove.extend(sorted(h for h in headers.response.remove if _usable(h)))


def _usable(name: str) -> bool:
    return not name.startswith(":") and name.lower() not in _AUTHORITY


def options(operations: HeaderOperations) -> list[base_pb2.HeaderValueOption]:
    """Envoy's header options for set and add."""
    out = []
    for values, action in (
        (operations.set, base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD),
        (operations.add, base_pb2.HeaderValueOption.APPEND_IF_EXISTS_OR_ADD),
    ):
        out += [
            base_pb2.HeaderValueOption(header=base_pb2.HeaderValue(key=k, value=v), append_action=action)
            for k, v in sorted(values.items())
            if _usable(k)
        ]
    return out


def _authority(headers: Headers | None) -> str:
    if headers is None or headers.request is None:
        return ""
    for values in (headers.request.set, headers.request.add):
        for name, value in values.items():
            if name.lower() in _AUTHORITY:
                return value
    return ""
