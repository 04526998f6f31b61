"""Validates WorkloadGroup and ProxyConfig."""

from __future__ import annotations

import msgspec

from sailcloth.api.service_entry import WorkloadEntrySpec
from sailcloth.api.workload_group import ProxyConfig, ReadinessProbe, WorkloadGroup

from . import codes, http, labels, ports, workload_entry
from .report import Report


def validate(report: Report, obj: WorkloadGroup) -> None:
    """Report all findings."""
    spec = obj.spec
    if spec.metadata is not None:
        labels.check(report, "spec.metadata.labels", spec.metadata.labels)
    _template(report, spec.template)
    if spec.probe is not None:
        _probe(report, "spec.probe", spec.probe)


def validate_proxy_config(report: Report, obj: ProxyConfig) -> None:
    """Report all findings."""
    spec = obj.spec
    labels.check_selector(report, "spec.selector", spec.selector.match_labels if spec.selector is not None else None)
    if spec.concurrency is not None and spec.concurrency < 0:
        text = f"concurrency {spec.concurrency} is negative"
        report.error(codes.RANGE, "spec.concurrency", text, "Give 0 (one thread per core) or more.")
    for name in spec.environment_variables:
        if not name:
            report.error(codes.REQUIRED, "spec.environmentVariables", "a variable has no name", "Name it.")


def _template(report: Report, template: WorkloadEntrySpec) -> None:
    """A WorkloadEntry without an address, which the registering workload supplies."""
    filled = template if template.address else msgspec.structs.replace(template, address="192.0.2.1")
    workload_entry.check(report, "spec.template", filled)


def _probe(report: Report, path: str, probe: ReadinessProbe) -> None:
    methods = [f for f in ("http_get", "tcp_socket", "exec", "grpc") if getattr(probe, f) is not None]
    if not methods:
        text = "the probe has no method"
        report.error(codes.REQUIRED, path, text, "Give httpGet, tcpSocket, exec or grpc.")
    if len(methods) > 1:
        report.error(codes.CONFLICT, path, "a probe must have exactly one method", "Keep one of them.")
    if probe.http_get is not None:
        ports.check_number(report, f"{path}.httpGet.port", probe.http_get.port)
        for index, header in enumerate(probe.http_get.http_headers):
            http.check_header(report, f"{path}.httpGet.httpHeaders[{index}].name", header.name)
            if "*" in header.name:
                text = f"{header.name!r} is not a header name"
                report.error(codes.NAME, f"{path}.httpGet.httpHeaders[{index}].name", text, "Use letters and dashes.")
        if probe.http_get.scheme not in (None, "", "HTTP", "HTTPS"):
            text = f"scheme {probe.http_get.scheme!r} is not supported"
            report.error(codes.CHOICE, f"{path}.httpGet.scheme", text, "Use HTTP or HTTPS.")
    if probe.tcp_socket is not None:
        ports.check_number(report, f"{path}.tcpSocket.port", probe.tcp_socket.port)
    if probe.exec is not None and not probe.exec.command:
        report.error(codes.REQUIRED, f"{path}.exec.command", "there is no command", "Give the command.")
    if probe.grpc is not None and probe.grpc.port is not None:
        ports.check_number(report, f"{path}.grpc.port", probe.grpc.port)
    for name, value in (
        ("initialDelaySeconds", probe.initial_delay_seconds),
        ("timeoutSeconds", probe.timeout_seconds),
        ("periodSeconds", probe.period_seconds),
        ("successThreshold", probe.success_threshold),
        ("failureThreshold", probe.failure_threshold),
    ):
        if value is not None and value < 0:
            report.error(codes.RANGE, f"{path}.{name}", f"{value} is negative", "Give 0 or more.")
