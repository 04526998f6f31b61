"""Traces: which requests, what their spans say, and where they go."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from envoy.config.core.v3 import http_service_pb2
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.config.trace.v3 import datadog_pb2, opentelemetry_pb2, skywalking_pb2, zipkin_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb
from envoy.extensions.tracers.opentelemetry.resource_detectors.v3 import (
    dynatrace_resource_detector_pb2,
    environment_resource_detector_pb2,
)
from envoy.extensions.tracers.opentelemetry.samplers.v3 import dynatrace_sampler_pb2
from google.protobuf.message import Message

from sailcloth.api.extension_provider import (
    DynatraceApi,
    DynatraceSampler,
    OpenTelemetry,
    OtlpHttp,
    SkyWalking,
    Traces,
    Zipkin,
)
from sailcloth.api.meta import duration_ms
from sailcloth.api.telemetry import CustomTag
from sailcloth.api.validation import formats
from sailcloth.envoy import names
from sailcloth.envoy.inputs import FilterInputs
from sailcloth.envoy.protobuf import duration, pack, typed
from sailcloth.mesh.kinds import Traffic
from sailcloth.view.routes import ClusterId

from . import emit
from .policy import TracePlan, WorkloadTelemetry

ISTIO_TAGS = {
    "istio.canonical_service": "SAILCLOTH_CANONICAL_SERVICE",
    "istio.canonical_revision": "SAILCLOTH_CANONICAL_REVISION",
    "istio.cluster_id": "SAILCLOTH_CLUSTER_ID",
    "istio.mesh_id": "SAILCLOTH_MESH_ID",
    "istio.namespace": "SAILCLOTH_NAMESPACE",
}
"""Istio's own tags, and the variables of a proxy's environment with their values: the configuration is shared by workloads."""
_TIMEOUT_MS = 5000.0
_MAX_TAG = 256
_NO_CONTEXT_PROPAGATION = b"\x68\x01"  # the field of that name, 13: true; xds-protos does not have it yet


@dataclass(frozen=True)
class Settings:
    """The tracing of a connection manager; None without a provider. `by_request_id`: a request's id decides if it is traced."""

    tracing: hcm_pb.HttpConnectionManager.Tracing | None = None
    by_request_id: bool = True


def settings(inputs: FilterInputs) -> Settings:
    """The tracing of a chain."""
    plan = inputs.policies.of(WorkloadTelemetry).of(inputs.traffic).trace
    return Settings(_tracing(plan, inputs.traffic), plan.by_request_id)


def _tracing(plan: TracePlan, traffic: Traffic) -> hcm_pb.HttpConnectionManager.Tracing | None:
    settings = plan.provider.traces if plan.provider is not None else None
    if settings is None or not plan.reported:
        return None
    made = hcm_pb.HttpConnectionManager.Tracing()
    made.client_sampling.value = made.overall_sampling.value = 100.0
    made.random_sampling.value = plan.sampling
    made.max_path_tag_length.value = settings.max_tag_length or _MAX_TAG
    name, message = _provider(settings)
    made.provider.name = name
    made.provider.typed_config.CopyFrom(pack(message))
    made.spawn_upstream_span.value = traffic == "gateway"
    if not plan.propagated:
        made.MergeFromString(_NO_CONTEXT_PROPAGATION)
    for tag, variable in ISTIO_TAGS.items() if plan.istio_tags else ():
        made.custom_tags.add(tag=tag).environment.name = variable
    for tag, value in plan.tags:
        _tag(made, tag, value)
    return made


def _tag(made: hcm_pb.HttpConnectionManager.Tracing, name: str, value: CustomTag) -> None:
    if value.formatter is not None and formats.problem(value.formatter.value):
        return  # validation has said so
    tag = made.custom_tags.add(tag=name)
    if value.literal is not None:
        tag.literal.value = value.literal.value
    elif value.environment is not None:
        tag.environment.name = value.environment.name
        tag.environment.default_value = value.environment.default_value or ""
    elif value.header is not None:
        tag.request_header.name = value.header.name
        tag.request_header.default_value = value.header.default_value or ""
    elif value.formatter is not None:
        tag.value = value.formatter.value


def _provider(settings: Traces) -> tuple[str, Message]:
    """(name, configuration) of Envoy's tracer."""
    host = settings.service.rpartition("/")[2]
    cluster = names.outbound(ClusterId(host, settings.port))
    if isinstance(settings, Zipkin):
        zipkin = zipkin_pb2.ZipkinConfig(
            collector_cluster=cluster,
            collector_endpoint=settings.path or "/api/v2/spans",
            collector_endpoint_version=zipkin_pb2.ZipkinConfig.HTTP_JSON,
            collector_hostname=host,
            trace_id_128bit=not settings.enable_64bit_trace_id,
        )
        zipkin.shared_span_context.value = False
        if settings.trace_context_option == "USE_B3_WITH_W3C_PROPAGATION":
            zipkin.trace_context_option = zipkin_pb2.ZipkinConfig.USE_B3_WITH_W3C_PROPAGATION
        return "envoy.tracers.zipkin", zipkin
    if isinstance(settings, OpenTelemetry):
        return "envoy.tracers.opentelemetry", _opentelemetry(settings, host, cluster)
    if isinstance(settings, SkyWalking):
        skywalking = skywalking_pb2.SkyWalkingConfig(grpc_service=emit.collector(settings))
        if settings.access_token:
            skywalking.client_config.backend_token = settings.access_token
        return "envoy.tracers.skywalking", skywalking
    return "envoy.tracers.datadog", datadog_pb2.DatadogConfig(
        collector_cluster=cluster, collector_hostname=host, service_name="envoy"
    )


def _opentelemetry(settings: OpenTelemetry, host: str, cluster: str) -> opentelemetry_pb2.OpenTelemetryConfig:
    made = opentelemetry_pb2.OpenTelemetryConfig()
    if settings.http is not None:
        made.http_service.CopyFrom(_http(settings.http, host, settings.port, cluster, "v1/traces"))
    else:
        made.grpc_service.CopyFrom(emit.collector(settings))
        if settings.grpc is not None and settings.grpc.timeout:
            made.grpc_service.timeout.CopyFrom(duration(duration_ms(settings.grpc.timeout) or _TIMEOUT_MS))
    made.resource_detectors.add(**_environment())
    if settings.resource_detectors is not None and settings.resource_detectors.dynatrace is not None:
        detector = dynatrace_resource_detector_pb2.DynatraceResourceDetectorConfig()
        made.resource_detectors.add(**typed("envoy.tracers.opentelemetry.resource_detectors.dynatrace", detector))
    if settings.dynatrace_sampler is not None:
        sampler = _dynatrace(settings, settings.dynatrace_sampler)
        made.sampler.MergeFrom(TypedExtensionConfig(**typed("envoy.tracers.opentelemetry.samplers.dynatrace", sampler)))
    return made


def _dynatrace(settings: OpenTelemetry, sampler: DynatraceSampler) -> dynatrace_sampler_pb2.DynatraceSamplerConfig:
    """The sampler asks Dynatrace's API, at the provider's own service if it names no other."""
    made = dynatrace_sampler_pb2.DynatraceSamplerConfig(
        tenant=sampler.tenant, cluster_id=sampler.cluster_id, root_spans_per_minute=sampler.root_spans_per_minute
    )
    api = sampler.http_service or DynatraceApi(service=settings.service, port=settings.port)
    host = api.service.rpartition("/")[2]
    cluster = names.outbound(ClusterId(host, api.port))
    made.http_service.CopyFrom(_http(api.http, host, api.port, cluster, "api/v2/samplingConfiguration"))
    return made


def _http(given: OtlpHttp, host: str, port: int, cluster: str, path: str) -> http_service_pb2.HttpService:
    """A service over HTTP; path: where the settings name none."""
    made = http_service_pb2.HttpService()
    made.http_uri.cluster = cluster
    made.http_uri.uri = f"http://{host}:{port}/{given.path.lstrip('/') or path}"
    timeout = duration_ms(given.timeout) if given.timeout else None
    made.http_uri.timeout.CopyFrom(duration(timeout or _TIMEOUT_MS))
    for header in given.headers:
        made.request_headers_to_add.add().header.key = str(header.get("name", ""))
        made.request_headers_to_add[-1].header.value = str(header.get("value") or "")
    return made


@cache
def _environment() -> dict[str, object]:
    """Reads OTEL_RESOURCE_ATTRIBUTES, in which the agent names the service."""
    detector = environment_resource_detector_pb2.EnvironmentResourceDetectorConfig()
    return typed("envoy.tracers.opentelemetry.resource_detectors.environment", detector)
