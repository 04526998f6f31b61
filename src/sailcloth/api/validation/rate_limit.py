"""Validates RateLimit."""

from __future__ import annotations

from sailcloth.api.rate_limit import Rate, RateLimit

from . import codes, durations, http, labels
from .report import Report


def validate(report: Report, obj: RateLimit) -> None:
    """Report all findings."""
    spec = obj.spec
    labels.check_selector(
        report, "spec.workloadSelector", spec.workload_selector.labels if spec.workload_selector is not None else None
    )
    if not spec.http and spec.connections is None:
        report.error(codes.REQUIRED, "spec", "neither http nor connections is set", "Give at least one limit.")
    for index, rule in enumerate(spec.http):
        path = f"spec.http[{index}]"
        _rate(report, f"{path}.limit", rule.limit)
        if rule.match is not None:
            http.check_match(report, f"{path}.match.path", rule.match.path)
            http.check_match(report, f"{path}.match.method", rule.match.method)
            http.check_matches(report, f"{path}.match.headers", rule.match.headers)
        for number, key in enumerate(rule.by):
            where = f"{path}.by[{number}]"
            if bool(key.header) == key.source_address:
                report.error(codes.CONFLICT, where, "give either header or sourceAddress", "Keep one of them.")
            elif key.header:
                http.check_header(report, f"{where}.header", key.header)
    if spec.connections is not None:
        _rate(report, "spec.connections", spec.connections)


def _rate(report: Report, path: str, rate: Rate) -> None:
    durations.check(report, f"{path}.per", rate.per)
    if 0 < rate.burst < rate.requests:
        text = f"burst {rate.burst} is less than the {rate.requests} requests of one period, so that limit is never reached"
        report.warning(codes.RISKY, f"{path}.burst", text, "Leave it out, or give at least as many.")
