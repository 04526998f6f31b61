"""The MeshConfig's `extensionProviders`: services that policies name, such as external authorizers and trace collectors.

Rejects values for which Envoy would reject a listener. Must not know what a provider is used for.
"""

from __future__ import annotations

from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import msgspec

from sailcloth.api.extension_provider import (
    ExtAuthzGrpc,
    ExtAuthzHttp,
    ExtensionProvider,
    FileAccessLog,
    LogFormat,
    OpenTelemetry,
    OtelAccessLog,
    OtlpMetrics,
    Service,
)
from sailcloth.api.validation import formats
from sailcloth.lib.incremental import Graph

from . import registry, services

_KINDS = {
    "envoyExtAuthzHttp": "envoy_ext_authz_http",
    "envoyExtAuthzGrpc": "envoy_ext_authz_grpc",
    "prometheus": "prometheus",
    "envoyFileAccessLog": "envoy_file_access_log",
    "envoyOtelAls": "envoy_otel_als",
    "envoyHttpAls": "envoy_http_als",
    "envoyTcpAls": "envoy_tcp_als",
    "zipkin": "zipkin",
    "opentelemetry": "opentelemetry",
    "datadog": "datadog",
    "skywalking": "skywalking",
    "opentelemetryMetrics": "opentelemetry_metrics",
}
READ = frozenset(("name", *_KINDS))
"""The fields of a provider that have an effect."""


def parse(given: Any, old: tuple[ExtensionProvider, ...]) -> tuple[ExtensionProvider, ...]:
    """Providers of the supported kinds. Raises ValueError that names the provider and its field."""
    if given is None:
        return old
    try:
        providers = msgspec.convert(given, tuple[ExtensionProvider, ...])
    except msgspec.ValidationError as error:
        raise ValueError(f"MeshConfig extensionProviders: {error}") from None
    for index, provider in enumerate(providers):
        if not provider.name or any(provider.name == other.name for other in providers[:index]):
            raise ValueError(f"MeshConfig extensionProviders[{index}]: each needs a unique name")
        for kind, settings in _set(provider):
            if problem := _problem(settings):
                raise ValueError(f"MeshConfig extensionProviders[{provider.name}].{kind}.{problem}")
    return tuple(p for p in providers if any(_set(p)))


def _set(provider: ExtensionProvider) -> Iterator[tuple[str, Any]]:
    """(kind, settings) that a provider sets."""
    return ((kind, s) for kind, field in _KINDS.items() if (s := getattr(provider, field)) is not None)


def find(graph: Graph, name: str) -> ExtensionProvider | None:
    """The provider with a name."""
    return next((p for p in registry.config(graph).extension_providers if p.name == name), None)


def host(graph: Graph, name: str, service: str, port: int) -> tuple[str, str]:
    """(host of a provider's service, problem); one of them is empty."""
    namespace, _, hostname = service.rpartition("/")
    defined = [graph.get(services.service, s) for s in registry.services_of_host(graph, hostname)]
    candidates = [s for s in defined if s is not None and namespace in ("", s.namespace)]
    if not candidates:
        return "", f"the service {service!r} of the provider {name!r} does not exist"
    if all(svc.port(port) is None for svc in candidates):
        return "", f"the service {service!r} of the provider {name!r} has no port {port}"
    return hostname, ""


def _problem(settings: Any) -> str:
    """What is wrong with a provider's settings; empty if nothing is."""
    if isinstance(settings, FileAccessLog):
        return _format_problem(settings.log_format)
    if isinstance(settings, (ExtAuthzGrpc, Service)):
        if not settings.service.rpartition("/")[2]:
            return "service: missing; write [NAMESPACE/]HOST"
        if not 0 < settings.port < 65536:
            return f"port: {settings.port} is not between 1 and 65535"
    if isinstance(settings, OpenTelemetry) and settings.dynatrace_sampler is not None:
        api = settings.dynatrace_sampler.http_service
        if api is not None and (problem := _problem(api)):
            return f"dynatraceSampler.httpService.{problem}"
    if isinstance(settings, OtlpMetrics) and not settings.path.startswith("/"):
        return f"path: {settings.path!r} does not start with /"
    if isinstance(settings, OtelAccessLog):
        return _format_problem(settings.log_format)
    return _authorizer_problem(settings) if isinstance(settings, ExtAuthzGrpc) else ""


def _authorizer_problem(settings: ExtAuthzGrpc) -> str:
    status, body = settings.status_on_error, settings.include_request_body_in_check
    if status and status not in {str(int(code)) for code in HTTPStatus if code >= 200}:
        return f"statusOnError: {status!r} is not an HTTP status"
    if body is not None and not 0 < body.max_request_bytes < 1 << 32:
        return "includeRequestBodyInCheck.maxRequestBytes: must be positive"
    if isinstance(settings, ExtAuthzHttp) and settings.path_prefix and not settings.path_prefix.startswith("/"):
        return f"pathPrefix: {settings.path_prefix!r} does not start with /"
    return ""


def _format_problem(log_format: LogFormat | None) -> str:
    if log_format is None:
        return ""
    if log_format.text and (problem := formats.problem(log_format.text)):
        return f"logFormat.text: {problem}"
    for name, value in log_format.labels.items():
        if not isinstance(value, str):
            return f"logFormat.labels.{name}: must be a string"
        if problem := formats.problem(value):
            return f"logFormat.labels.{name}: {problem}"
    return ""
