"""Providers outside the mesh that policies name: `extensionProviders` of the MeshConfig, as far as they are read."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, field

from .meta import Duration, Struct

Number = Annotated[int, Meta(ge=0, lt=1 << 32)]


class RequestBody(Struct):
    """How much of a request's body an authorizer gets."""

    max_request_bytes: int = 0
    allow_partial_message: bool = False
    pack_as_bytes: bool = False


class ExtAuthzGrpc(Struct):
    """An authorizer with Envoy's gRPC API."""

    service: str = ""  # [namespace/]host
    port: int = 0
    timeout: Duration | None = None
    fail_open: bool = False
    clear_route_cache: bool = False
    status_on_error: str = ""
    include_request_body_in_check: RequestBody | None = None


class ExtAuthzHttp(ExtAuthzGrpc):
    """An authorizer with plain HTTP: 200 allows. Names of headers may have a wildcard at one end."""

    path_prefix: str = ""
    include_request_headers_in_check: tuple[str, ...] = ()
    include_headers_in_check: tuple[str, ...] = ()  # deprecated name of the same
    include_additional_headers_in_check: dict[str, str] = {}
    headers_to_upstream_on_allow: tuple[str, ...] = ()
    headers_to_downstream_on_deny: tuple[str, ...] = ()
    headers_to_downstream_on_allow: tuple[str, ...] = ()


class Service(Struct):
    """A provider that is a service: [namespace/]host and port."""

    service: str = ""
    port: int = 0


class LogFormat(Struct):
    """The format of a log: a text, or labels, from names to formats (nested in Envoy, flat here)."""

    text: str = ""
    labels: dict[str, Any] = {}


class FileAccessLog(Struct):
    """Access logs to a file; /dev/stdout if none is named."""

    path: str = ""
    log_format: LogFormat | None = None
    omit_empty_values: bool = False


class OtelAccessLog(Service):
    """Access logs to an OpenTelemetry collector."""

    log_name: str = ""
    log_format: LogFormat | None = None


class AccessLogService(Service):
    """Access logs to Envoy's gRPC access log service."""

    log_name: str = ""
    filter_state_objects_to_log: tuple[str, ...] = ()
    additional_request_headers_to_log: tuple[str, ...] = ()
    additional_response_headers_to_log: tuple[str, ...] = ()
    additional_response_trailers_to_log: tuple[str, ...] = ()


class Traces(Service):
    """A tracing system, as far as all have it in common."""

    max_tag_length: Number = 0


class Zipkin(Traces):
    """Zipkin, or what takes its spans: Jaeger, Tempo."""

    enable_64bit_trace_id: bool = field(default=False, name="enable64bitTraceId")
    path: str = ""
    trace_context_option: str = ""


class OtlpHttp(Struct):
    """OTLP over HTTP."""

    path: str = ""
    timeout: Duration | None = None
    headers: tuple[dict[str, Any], ...] = ()


class OtlpGrpc(Struct):
    """OTLP over gRPC, the default."""

    timeout: Duration | None = None
    initial_metadata: tuple[dict[str, Any], ...] = ()


class ResourceDetectors(Struct):
    """Where attributes of the proxy come from. Its environment (OTEL_RESOURCE_ATTRIBUTES) is always read."""

    environment: dict[str, Any] | None = None
    dynatrace: dict[str, Any] | None = None


class DynatraceApi(Service):
    """Dynatrace's API of sampling."""

    http: OtlpHttp = OtlpHttp()


class DynatraceSampler(Struct):
    """Dynatrace's adaptive sampling, in place of a share of requests."""

    tenant: str = ""
    cluster_id: Annotated[int, Meta(ge=-(1 << 31), lt=1 << 31)] = 0
    root_spans_per_minute: Number = 0
    http_service: DynatraceApi | None = None


class OpenTelemetry(Traces):
    """An OpenTelemetry collector."""

    http: OtlpHttp | None = None
    grpc: OtlpGrpc | None = None
    resource_detectors: ResourceDetectors | None = None
    dynatrace_sampler: DynatraceSampler | None = None
    service_attribute_enrichment: str = ""  # OTEL_SEMANTIC_CONVENTIONS; others: the name of Istio's canonical service


class OtlpMetrics(Service):
    """An OpenTelemetry collector that proxies push their metrics to, by OTLP over HTTP. Not in Istio."""

    path: str = "/v1/metrics"
    interval: Duration | None = None


class SkyWalking(Traces):
    """SkyWalking."""

    access_token: str = ""


class ExtensionProvider(Struct):
    """One provider. Exactly one kind is set."""

    name: str = ""
    envoy_ext_authz_http: ExtAuthzHttp | None = None
    envoy_ext_authz_grpc: ExtAuthzGrpc | None = None
    prometheus: dict[str, Any] | None = None
    envoy_file_access_log: FileAccessLog | None = None
    envoy_otel_als: OtelAccessLog | None = None
    envoy_http_als: AccessLogService | None = None
    envoy_tcp_als: AccessLogService | None = None
    zipkin: Zipkin | None = None
    opentelemetry: OpenTelemetry | None = None
    datadog: Traces | None = None
    skywalking: SkyWalking | None = None
    opentelemetry_metrics: OtlpMetrics | None = None

    @property
    def authorizer(self) -> ExtAuthzGrpc | None:
        return self.envoy_ext_authz_http or self.envoy_ext_authz_grpc

    @property
    def logs(self) -> FileAccessLog | OtelAccessLog | AccessLogService | None:
        return self.envoy_file_access_log or self.envoy_otel_als or self.envoy_http_als or self.envoy_tcp_als

    @property
    def metrics(self) -> OtlpMetrics | dict[str, Any] | None:
        return self.prometheus if self.prometheus is not None else self.opentelemetry_metrics

    @property
    def traces(self) -> Traces | None:
        return self.zipkin or self.opentelemetry or self.datadog or self.skywalking

    @property
    def services(self) -> tuple[Service, ...]:
        """The services that proxies ask for logs and traces."""
        used = self.logs or self.traces
        sampler = used.dynatrace_sampler if isinstance(used, OpenTelemetry) else None
        api = sampler.http_service if sampler is not None else None
        return tuple(service for service in (used, api) if isinstance(service, Service))


class DefaultProviders(Struct):
    """The providers that hold where no Telemetry names one."""

    metrics: tuple[str, ...] = ()
    tracing: tuple[str, ...] = ()
    access_logging: tuple[str, ...] = ()
