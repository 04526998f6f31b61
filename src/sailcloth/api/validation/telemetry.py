"""Validates Telemetry."""

from __future__ import annotations

from collections.abc import Sequence

from sailcloth.api.telemetry import AccessLogging, Metrics, ProviderRef, Telemetry, Tracing

from . import attachment, codes, durations
from .report import Report


def validate(report: Report, obj: Telemetry) -> None:
    """Report all findings."""
    spec = obj.spec
    attachment.check(report, spec.selector, spec.target_ref, spec.target_refs)
    if len(spec.tracing) > 1:
        text = "several entries are not supported; only the first is used"
        report.warning(codes.NO_EFFECT, "spec.tracing", text, "Make them one.")
    for index, tracing in enumerate(spec.tracing):
        _tracing(report, f"spec.tracing[{index}]", tracing)
    for index, metrics in enumerate(spec.metrics):
        _metrics(report, f"spec.metrics[{index}]", metrics)
    for index, logging in enumerate(spec.access_logging):
        _logging(report, f"spec.accessLogging[{index}]", logging)


def _providers(report: Report, path: str, providers: Sequence[ProviderRef]) -> None:
    for index, provider in enumerate(providers):
        if not provider.name:
            report.error(codes.REQUIRED, f"{path}.providers[{index}].name", "the name is empty", "Name the provider.")


def _tracing(report: Report, path: str, tracing: Tracing) -> None:
    _providers(report, path, tracing.providers)
    if len(tracing.providers) > 1:
        text = "several providers are not supported; only the first is used"
        report.warning(codes.NO_EFFECT, f"{path}.providers", text, "Keep one of them.")
    percentage = tracing.random_sampling_percentage
    if percentage is not None and not 0 <= percentage <= 100:
        text = f"randomSamplingPercentage {percentage} is not in the range 0-100"
        report.error(codes.RANGE, f"{path}.randomSamplingPercentage", text, "Give 0.0 to 100.0.")
    for name, tag in tracing.custom_tags.items():
        at = f"{path}.customTags.{name}"
        if not name:
            report.error(codes.REQUIRED, at, "a tag has no name", "Name it.")
        sources_set = [f for f in tag.__struct_fields__ if getattr(tag, f) is not None]
        if not sources_set:
            report.error(codes.REQUIRED, at, f"tag {name!r} has no value", "Give literal, environment or header.")
        elif len(sources_set) > 1:
            report.error(codes.CONFLICT, at, f"{' and '.join(sources_set)} are mutually exclusive", "Keep one of them.")
        for field, source in (("environment", tag.environment), ("header", tag.header)):
            if source is not None and not source.name:
                report.error(codes.REQUIRED, f"{at}.{field}.name", f"the {field} has no name", "Name it.")
        for field, fixed in (("literal", tag.literal), ("formatter", tag.formatter)):
            if fixed is not None and not fixed.value:
                report.error(codes.REQUIRED, f"{at}.{field}.value", f"the {field} is empty", "Give its value.")


def _metrics(report: Report, path: str, metrics: Metrics) -> None:
    _providers(report, path, metrics.providers)
    durations.check(report, f"{path}.reportingInterval", metrics.reporting_interval)
    for index, override in enumerate(metrics.overrides):
        at, match = f"{path}.overrides[{index}]", override.match
        if match is not None and match.metric is not None and match.custom_metric is not None:
            text = "metric and customMetric are mutually exclusive"
            report.error(codes.CONFLICT, f"{at}.match", text, "Keep one of them.")
        if match is not None and match.custom_metric == "":
            report.error(codes.REQUIRED, f"{at}.match.customMetric", "the name is empty", "Name the metric.")
        for name, tag in override.tag_overrides.items():
            tag_path = f"{at}.tagOverrides.{name}"
            if not name:
                report.error(codes.REQUIRED, tag_path, "a tag has no name", "Name it.")
            if tag.operation == "REMOVE" and tag.value:
                report.error(codes.CONFLICT, f"{tag_path}.value", "a tag that is removed has no value", "Remove it.")
            elif tag.operation != "REMOVE" and not tag.value:
                report.error(codes.REQUIRED, f"{tag_path}.value", "the tag has no value", "Give a CEL expression.")


def _logging(report: Report, path: str, logging: AccessLogging) -> None:
    _providers(report, path, logging.providers)
    if logging.filter is not None and not logging.filter.expression:
        text = "the filter has no expression"
        report.warning(codes.NO_EFFECT, f"{path}.filter.expression", text, "Give a CEL expression.")
