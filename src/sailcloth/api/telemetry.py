"""Telemetry (telemetry.istio.io): metrics, traces and access logs of workloads."""

from __future__ import annotations

from typing import Annotated, Literal

from .attachment import Attached, ConstraintOneAttachment
from .meta import Constraint, ConstraintDuration, D, Duration, Object, Struct

Mode = Literal["CLIENT_AND_SERVER", "CLIENT", "SERVER"]
Metric = Literal[
    "ALL_METRICS",
    "REQUEST_COUNT",
    "REQUEST_DURATION",
    "REQUEST_SIZE",
    "RESPONSE_SIZE",
    "TCP_OPENED_CONNECTIONS",
    "TCP_CLOSED_CONNECTIONS",
    "TCP_SENT_BYTES",
    "TCP_RECEIVED_BYTES",
    "GRPC_REQUEST_MESSAGES",
    "GRPC_RESPONSE_MESSAGES",
]


class ProviderRef(Struct):
    """A provider from the mesh options."""

    name: Annotated[str, D("Its name."), Constraint(required=True, minLength=1)] = ""


class ModeMatch(Struct):
    """A direction of traffic."""

    mode: Annotated[Mode | None, D("CLIENT, SERVER or both.")] = None


class LiteralTag(Struct):
    """A fixed value."""

    value: Annotated[str, D("The value."), Constraint(required=True, minLength=1)] = ""


class EnvironmentTag(Struct):
    """A value from the proxy's environment."""

    name: Annotated[str, D("Name of the variable."), Constraint(required=True, minLength=1)] = ""
    default_value: Annotated[str | None, D("Value if the variable is not set.")] = None


class HeaderTag(Struct):
    """A value from the request."""

    name: Annotated[str, D("Name of the header."), Constraint(required=True, minLength=1)] = ""
    default_value: Annotated[str | None, D("Value if the header is absent.")] = None


class FormatterTag(Struct):
    """A value in Envoy's access log format."""

    value: Annotated[str, D("The format.")] = ""


class CustomTag(Struct):
    """The value of a tag, from exactly one source."""

    literal: Annotated[LiteralTag | None, D("A fixed value.")] = None
    environment: Annotated[EnvironmentTag | None, D("From the proxy's environment.")] = None
    header: Annotated[HeaderTag | None, D("From the request.")] = None
    formatter: Annotated[FormatterTag | None, D("In Envoy's access log format.")] = None


class Tracing(Struct):
    """Settings of tracing."""

    match: Annotated[ModeMatch | None, D("Direction.")] = None
    providers: Annotated[tuple[ProviderRef, ...], D("Providers that receive spans; only the first is used.")] = ()
    random_sampling_percentage: Annotated[
        float | None, D("Share of requests, 0.0 to 100.0."), Constraint(minimum=0, maximum=100)
    ] = None
    disable_span_reporting: Annotated[bool | None, D("Report no spans.")] = None
    custom_tags: Annotated[dict[str, CustomTag], D("Further tags of spans.")] = {}
    use_request_id_for_trace_sampling: Annotated[bool | None, D("Sample by x-request-id.")] = None
    enable_istio_tags: Annotated[bool | None, D("Add Istio's own tags.")] = None
    disable_context_propagation: Annotated[bool | None, D("Do not add trace headers.")] = None


class MetricSelector(Struct):
    """Metrics by name and direction."""

    metric: Annotated[Metric | None, D("One of Istio's metrics, such as REQUEST_COUNT.")] = None
    custom_metric: Annotated[str | None, D("Another metric by name."), Constraint(minLength=1)] = None
    mode: Annotated[Mode | None, D("CLIENT, SERVER or both.")] = None


class TagOverride(Struct):
    """A change to a tag."""

    operation: Annotated[Literal["UPSERT", "REMOVE"] | None, D("UPSERT (default) or REMOVE.")] = None
    value: Annotated[str | None, D("CEL expression of the value (UPSERT only).")] = None


class MetricsOverride(Struct):
    """A change to metrics."""

    match: Annotated[
        MetricSelector | None,
        D("Which metrics; default all."),
        Constraint(
            ("!(has(self.metric) && has(self.customMetric))", "at most one of metric or customMetric can be set")
        ),
    ] = None
    disabled: Annotated[bool | None, D("Disable the metrics.")] = None
    tag_overrides: Annotated[
        dict[
            str,
            Annotated[
                TagOverride,
                Constraint(
                    (
                        "(has(self.operation) ? self.operation : 'UPSERT') == 'UPSERT' ? (has(self.value) && self.value != '') : true",
                        "value must be set when operation is UPSERT",
                    ),
                    (
                        "(has(self.operation) && self.operation == 'REMOVE') ? !has(self.value) : true",
                        "value must not be set when operation is REMOVE",
                    ),
                ),
            ],
        ],
        D("Changes to tags, by name."),
    ] = {}


class Metrics(Struct):
    """Settings of metrics."""

    providers: Annotated[tuple[ProviderRef, ...], D("Providers that receive metrics.")] = ()
    overrides: Annotated[tuple[MetricsOverride, ...], D("Changes to metrics.")] = ()
    reporting_interval: Annotated[
        Duration | None, D("Time between reports of TCP connections."), ConstraintDuration
    ] = None


class Filter(Struct):
    """Which requests are logged."""

    expression: Annotated[str | None, D("CEL expression.")] = None


class AccessLogging(Struct):
    """Settings of access logs."""

    match: Annotated[ModeMatch | None, D("Direction.")] = None
    providers: Annotated[tuple[ProviderRef, ...], D("Providers that receive logs.")] = ()
    disabled: Annotated[bool | None, D("Disable access logs.")] = None
    filter: Annotated[Filter | None, D("Which requests.")] = None


class TelemetrySpec(Attached):
    """Telemetry of workloads."""

    tracing: Annotated[tuple[Tracing, ...], D("Traces.")] = ()
    metrics: Annotated[tuple[Metrics, ...], D("Metrics.")] = ()
    access_logging: Annotated[tuple[AccessLogging, ...], D("Access logs.")] = ()


class Telemetry(Object):
    """Defines the telemetry of workloads."""

    spec: Annotated[TelemetrySpec, ConstraintOneAttachment] = TelemetrySpec()
