"""Faults as Envoy protobuf. Pure."""

from __future__ import annotations

from envoy.config.route.v3 import route_components_pb2 as route_pb
from envoy.extensions.filters.common.fault.v3 import fault_pb2 as common_pb
from envoy.extensions.filters.http.fault.v3 import fault_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb
from envoy.type.v3 import percent_pb2

from sailcloth.api.meta import duration_ms
from sailcloth.api.virtual_service import Percent
from sailcloth.envoy.inputs import FilterInputs
from sailcloth.envoy.protobuf import duration, pack
from sailcloth.view.routes import RoutePlan

FILTER = "envoy.filters.http.fault"
_GRPC_STATUS = {
    name: number
    for number, name in enumerate(
        [
            "OK",
            "CANCELLED",
            "UNKNOWN",
            "INVALID_ARGUMENT",
            "DEADLINE_EXCEEDED",
            "NOT_FOUND",
            "ALREADY_EXISTS",
            "PERMISSION_DENIED",
            "RESOURCE_EXHAUSTED",
            "FAILED_PRECONDITION",
            "ABORTED",
            "OUT_OF_RANGE",
            "UNIMPLEMENTED",
            "INTERNAL",
            "UNAVAILABLE",
            "DATA_LOSS",
            "UNAUTHENTICATED",
        ]
    )
}


_DISABLED = hcm_pb.HttpFilter(name=FILTER, typed_config=pack(fault_pb2.HTTPFault()), disabled=True)


def http_filters(inputs: FilterInputs) -> list[hcm_pb.HttpFilter]:
    """The fault filter: in every HTTP filter chain, disabled unless a route enables it, so that a new fault changes no listener."""
    return [_DISABLED]


def route(plan: RoutePlan, out: route_pb.Route) -> None:
    """Sets the route's own configuration of the fault filter."""
    fault = plan.rule.fault if plan.rule is not None else None
    if fault is None:
        return
    config = fault_pb2.HTTPFault()
    delay = fault.delay
    if delay is not None and delay.fixed_delay:
        percent = delay.percentage or (Percent(value=float(delay.percent)) if delay.percent is not None else None)
        config.delay.CopyFrom(
            common_pb.FaultDelay(
                fixed_delay=duration(duration_ms(delay.fixed_delay) or 0), percentage=per_million(percent)
            )
        )
    abort = fault.abort
    if abort is not None and (abort.http_status or abort.grpc_status):
        config.abort.percentage.CopyFrom(per_million(abort.percentage))
        if abort.http_status:
            config.abort.http_status = abort.http_status
        else:
            config.abort.grpc_status = _GRPC_STATUS.get((abort.grpc_status or "").upper(), 2)
    out.typed_per_filter_config[FILTER].CopyFrom(pack(config))


def per_million(percent: Percent | None) -> percent_pb2.FractionalPercent:
    """A percentage in parts per million; None is 0."""
    return percent_pb2.FractionalPercent(
        numerator=round((percent.value if percent else 0.0) * 10_000), denominator=percent_pb2.FractionalPercent.MILLION
    )
