"""Validates weights and percentages."""

from __future__ import annotations

from collections.abc import Sequence

from sailcloth.api.virtual_service import Percent

from . import codes
from .report import Report


def check_weights(report: Report, path: str, weights: Sequence[int]) -> None:
    """Weights of destinations: not negative, and at least one of several is positive. They are relative to each other."""
    for index, weight in enumerate(weights):
        if weight < 0:
            report.error(codes.WEIGHT, f"{path}[{index}].weight", f"weight {weight} is negative", "Give 0 or more.")
    if len(weights) > 1 and sum(weights) == 0:
        report.error(codes.WEIGHT, path, "all weights are 0, so no traffic is routed", "Give one of them a weight.")
    if sum(weights) > 0xFFFFFFFF:
        report.error(codes.WEIGHT, path, "the sum of the weights exceeds 4294967295", "Give smaller weights.")


def check_percent(report: Report, path: str, percent: Percent | None) -> None:
    """A percentage from 0 to 100; Envoy's resolution is 0.0001."""
    if percent is None:
        return
    if not 0 <= percent.value <= 100:
        text = f"percentage {percent.value} is not in the range 0-100"
        report.error(codes.RANGE, f"{path}.value", text, "Give 0.0 to 100.0.")
    elif 0 < percent.value < 0.0001:
        text = f"percentage {percent.value} is less than 0.0001"
        report.error(codes.RANGE, f"{path}.value", text, "Give at least 0.0001, or 0.")
