"""Access logs, metrics and tracing of a filter chain."""

from __future__ import annotations

from envoy.config.accesslog.v3 import accesslog_pb2
from envoy.config.core.v3 import config_source_pb2, grpc_service_pb2
from envoy.data.accesslog.v3 import accesslog_pb2 as log_types
from envoy.extensions.access_loggers.filters.cel.v3 import cel_pb2
from envoy.extensions.access_loggers.grpc.v3 import als_pb2
from envoy.extensions.access_loggers.open_telemetry.v3 import logs_service_pb2
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import HttpFilter

from sailcloth.api.extension_provider import AccessLogService, FileAccessLog, LogFormat, OtelAccessLog, Service
from sailcloth.api.validation import envoy_cel
from sailcloth.envoy import names
from sailcloth.envoy.inputs import FilterInputs
from sailcloth.envoy.protobuf import pack, typed
from sailcloth.envoy.resources import access_log
from sailcloth.view.routes import ClusterId

from . import metrics
from .policy import LogPlan, WorkloadTelemetry

AccessLogs = tuple[accesslog_pb2.AccessLog, ...]
_HTTP_LOG, _TCP_LOG = "http_envoy_accesslog", "tcp_envoy_accesslog"  # Istio's default names of the streams
_OTEL_LOG = "otel_envoy_accesslog"


def http_filters(inputs: FilterInputs) -> list[HttpFilter]:
    """The filter that counts messages of gRPC calls."""
    return [metrics.message_counts()] if inputs.policies.of(WorkloadTelemetry).of(inputs.traffic).metrics else []


def access_logs(inputs: FilterInputs) -> AccessLogs:
    """The loggers of a chain's connection manager or TCP proxy; statistics last."""
    direction = inputs.policies.of(WorkloadTelemetry).of(inputs.traffic)
    logs = [made for plan in direction.logs if (made := _log(plan, inputs.tcp)) is not None]
    if direction.metrics:
        logs += (
            metrics.tcp(inputs.traffic, direction.changed)
            if inputs.tcp
            else metrics.http(inputs.traffic, direction.changed)
        )
    return tuple(logs)


def _log(plan: LogPlan, tcp: bool) -> accesslog_pb2.AccessLog | None:
    """One access log; None if its provider does not log this kind of traffic."""
    settings = plan.provider.logs
    if isinstance(settings, FileAccessLog):
        made = _file(settings, plan.json)
    elif isinstance(settings, OtelAccessLog):
        made = _otel(settings)
    elif isinstance(settings, AccessLogService) and (settings is plan.provider.envoy_tcp_als) == tcp:
        made = _service(settings, tcp)
    else:
        return None
    filters = []
    if tcp:  # TCP proxies log when they are connected, too, for the statistics
        filters.append(accesslog_pb2.AccessLogFilter())
        filters[-1].log_type_filter.types.append(log_types.TcpConnectionEnd)
    if plan.filter and not envoy_cel.problem(plan.filter):
        expression = cel_pb2.ExpressionFilter(expression=plan.filter)
        extension = accesslog_pb2.ExtensionFilter(**typed("envoy.access_loggers.extension_filters.cel", expression))
        filters.append(accesslog_pb2.AccessLogFilter(extension_filter=extension))
    if len(filters) == 1:
        made.filter.CopyFrom(filters[0])
    elif filters:
        made.filter.and_filter.filters.extend(filters)
    return made


def _file(settings: FileAccessLog, as_json: bool) -> accesslog_pb2.AccessLog:
    wanted = settings.log_format or LogFormat()
    path = settings.path or "/dev/stdout"
    if as_json:
        return access_log.to_file(path, "", access_log.json_fields(wanted.text))
    if wanted.labels:
        return access_log.to_file(path, "", wanted.labels)
    text = wanted.text if not wanted.text or wanted.text.endswith("\n") else wanted.text + "\n"
    return access_log.to_file(path, text)


def _otel(settings: OtelAccessLog) -> accesslog_pb2.AccessLog:
    log = logs_service_pb2.OpenTelemetryAccessLogConfig(disable_builtin_labels=False)
    log.common_config.log_name = settings.log_name or _OTEL_LOG
    log.common_config.transport_api_version = config_source_pb2.V3
    log.common_config.grpc_service.CopyFrom(collector(settings))
    wanted = settings.log_format or LogFormat()
    log.body.string_value = (wanted.text or access_log.ACCESS_LOG_FORMAT).rstrip("\n")
    for name, value in wanted.labels.items():
        log.attributes.values.add(key=name).value.string_value = str(value)
    return accesslog_pb2.AccessLog(**typed("envoy.access_loggers.open_telemetry", log))


def _service(settings: AccessLogService, tcp: bool) -> accesslog_pb2.AccessLog:
    common = als_pb2.CommonGrpcAccessLogConfig(
        log_name=settings.log_name or (_TCP_LOG if tcp else _HTTP_LOG),
        grpc_service=collector(settings),
        transport_api_version=config_source_pb2.V3,
        filter_state_objects_to_log=settings.filter_state_objects_to_log,
    )
    if tcp:
        return accesslog_pb2.AccessLog(
            name="envoy.access_loggers.tcp_grpc",
            typed_config=pack(als_pb2.TcpGrpcAccessLogConfig(common_config=common)),
        )
    http = als_pb2.HttpGrpcAccessLogConfig(
        common_config=common,
        additional_request_headers_to_log=settings.additional_request_headers_to_log,
        additional_response_headers_to_log=settings.additional_response_headers_to_log,
        additional_response_trailers_to_log=settings.additional_response_trailers_to_log,
    )
    return accesslog_pb2.AccessLog(name="envoy.access_loggers.http_grpc", typed_config=pack(http))


def collector(settings: Service) -> grpc_service_pb2.GrpcService:
    """A provider's service as a target of gRPC."""
    host = settings.service.rpartition("/")[2]
    service = grpc_service_pb2.GrpcService()
    service.envoy_grpc.cluster_name = names.outbound(ClusterId(host, settings.port))
    service.envoy_grpc.authority = host
    return service
