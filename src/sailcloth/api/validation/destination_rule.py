"""Validates DestinationRule. `traffic_policy` validates its policies."""

from __future__ import annotations

from sailcloth.api.destination_rule import DestinationRule

from . import codes, hosts, labels, traffic_policy, visibility
from .report import Report


def validate(report: Report, obj: DestinationRule) -> None:
    """Report all findings."""
    spec = obj.spec
    hosts.check(report, "spec.host", spec.host)
    traffic_policy.check(report, "spec.trafficPolicy", spec.traffic_policy)
    seen: set[str] = set()
    for index, subset in enumerate(spec.subsets):
        path = f"spec.subsets[{index}]"
        if not subset.name:
            report.error(codes.REQUIRED, f"{path}.name", "the subset has no name", "Give it one, such as v1.")
        elif not hosts.is_label(subset.name):
            text = f"subset name {subset.name!r} is not a DNS label"
            report.error(codes.NAME, f"{path}.name", text, "Use letters, digits and dashes.")
        elif subset.name in seen:
            text = f"there are two subsets {subset.name!r}"
            report.error(codes.DUPLICATE, f"{path}.name", text, "Give every subset its own name.")
        seen.add(subset.name)
        labels.check(report, f"{path}.labels", subset.labels)
        traffic_policy.check(report, f"{path}.trafficPolicy", subset.traffic_policy)
    selector = spec.workload_selector
    labels.check_selector(report, "spec.workloadSelector", selector.match_labels if selector is not None else None)
    visibility.check_export(report, "spec.exportTo", spec.export_to, private=selector is not None)
