"""Validates labels and workload selectors."""

from __future__ import annotations

import re
from collections.abc import Mapping

from . import codes, hosts
from .report import Report

_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?\Z")
_LONGEST = 63


def check(report: Report, path: str, labels: Mapping[str, str]) -> None:
    """Label keys and values in Kubernetes' format."""
    for key, value in labels.items():
        prefix, slash, name = key.rpartition("/")
        if not _NAME.match(name) or len(name) > _LONGEST or (slash and hosts.name_problem(prefix, wildcard=False)):
            text = f"label key {key!r} is not valid" if key else "a label has an empty key"
            report.error(codes.LABEL, path, text, "Write name or prefix/name, with letters, digits, -, _ and dots.")
        if value and (not _NAME.match(value) or len(value) > _LONGEST):
            text = f"value {value!r} of label {key!r} is not valid"
            report.error(codes.LABEL, f"{path}.{key}", text, "Use letters, digits, -, _ and dots, at most 63.")


def check_selector(report: Report, path: str, labels: Mapping[str, str] | None) -> None:
    """The labels of a selector; None without a selector. An empty selector selects all workloads, which is seldom intended."""
    if labels is None:
        return
    if not labels:
        text = "the selector has no labels , so it selects all workloads"
        report.warning(codes.RISKY, path, text, "Give labels, or leave the selector out.")
    for key, value in labels.items():
        if not key:
            report.error(codes.LABEL, path, "a label of the selector has an empty key", "Give the key of the label.")
        if "*" in key or "*" in value:
            text = f"wildcard in {key}={value}: a selector compares labels exactly"
            report.error(codes.LABEL, f"{path}.{key}", text, "Write the whole label.")
