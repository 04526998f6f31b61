"""Validates durations: whole milliseconds, as Envoy needs them."""

from __future__ import annotations

from sailcloth.api.meta import duration_ms

from . import codes
from .report import Report


def milliseconds(text: str | None) -> float | None:
    """The duration in milliseconds; None if it is missing or invalid."""
    try:
        return duration_ms(text)
    except ValueError:
        return None


def check(report: Report, path: str, text: str | None, zero: bool = False) -> bool:
    """At least 1 ms, in whole milliseconds; `zero`: 0s is allowed, too. Returns whether it is valid."""
    if text is None:
        return True
    try:
        value = duration_ms(text)
    except ValueError as error:
        report.error(codes.DURATION, path, str(error), "Write a number with a unit, such as 5s, 250ms or 1m30s.")
        return False
    if value is None or (value == 0 and zero):
        return True
    if value < 1:
        report.error(codes.DURATION, path, f"duration {text!r} is shorter than 1ms", "Give at least 1ms.")
        return False
    nanoseconds = round(value * 1_000_000)
    if nanoseconds % 1_000_000:
        text = f"duration {text!r} is not a whole number of milliseconds"
        report.error(codes.DURATION, path, text, "Round it to milliseconds.")
        return False
    return True


def check_sign(report: Report, path: str, text: str | None) -> None:
    """A duration that is not negative."""
    value = milliseconds(text)
    if value is not None and value < 0:
        report.error(codes.DURATION, path, f"duration {text!r} is negative", "Give a positive duration.")
