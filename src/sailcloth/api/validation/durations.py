"""Durations, as Envoy can keep them: whole milliseconds."""

from __future__ import annotations

from sailcloth.api.meta import duration_ms

from . import codes
from .report import Report


def milliseconds(text: str | None) -> float | None:
    """The duration, None if there is none or it is not one."""
    try:
        return duration_ms(text)
    except ValueError:
        return None


def check(report: Report, path: str, text: str | None, zero: bool = False) -> bool:
    """At least a millisecond, and whole milliseconds; `zero`: 0s has a meaning of its own. Returns whether it is fine."""
    if text is None:
        return True
    try:
        found = duration_ms(text)
    except ValueError as error:
        report.error(codes.DURATION, path, str(error), "Write a number with a unit, such as 5s, 250ms or 1m30s.")
        return False
    if found is None or (found == 0 and zero):
        return True
    if found < 1:
        report.error(codes.DURATION, path, f"duration {text!r} is shorter than 1ms", "Give at least 1ms.")
        return False
    nanoseconds = round(found * 1_000_000)
    if nanoseconds % 1_000_000:
        text = f"duration {text!r} is not a whole number of milliseconds"
        report.error(codes.DURATION, path, text, "Round it to milliseconds.")
        return False
    return True


def check_sign(report: Report, path: str, text: str | None) -> None:
    """Not negative."""
    value = milliseconds(text)
    if value is not None and value < 0:
        report.error(codes.DURATION, path, f"duration {text!r} is negative", "Give a positive duration.")
