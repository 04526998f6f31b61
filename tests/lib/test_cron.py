"""Schedules in the crontab's five fields."""

from __future__ import annotations

import datetime as dt

import pytest

from sailcloth.lib import cron

NOON = dt.datetime(2026, 11, 24, 12, 0)  # a Tuesday


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("* * * * *", "2026-11-24 12:01"),
        ("*/15 * * * *", "2026-11-24 12:15"),
        ("5-10/5 * * * *", "2026-11-24 12:05"),
        ("0 0 * * *", "2026-11-25 00:00"),
        ("30 9 * * mon-fri", "2026-11-25 09:30"),
        ("0 12 * * tue", "2026-12-01 12:00"),
        ("0 0 1,15 * *", "2026-12-01 00:00"),
        ("0 0 13 * fri", "2026-11-27 00:00"),  # either day field
        ("0 0 */2 * wed", "2026-11-25 00:00"),  # a step of a star does not limit: both fields
        ("0 0 29 feb *", "2028-02-29 00:00"),
        ("0 0 * * 7", "2026-11-29 00:00"),
        ("@hourly", "2026-11-24 13:00"),
        ("@yearly", "2027-01-01 00:00"),
    ],
)
def test_next(text: str, expected: str) -> None:
    assert cron.parse(text).next(NOON) == dt.datetime.fromisoformat(expected)


def test_last_is_within_its_limits() -> None:
    schedule = cron.parse("0 6 * * *")
    today = dt.datetime(2026, 11, 24, 6, 0)
    assert schedule.last(NOON, NOON - dt.timedelta(days=3)) == today
    assert schedule.last(today, NOON - dt.timedelta(days=3)) == today
    assert schedule.last(NOON, today) is None
    assert schedule.last(NOON, NOON) is None


def test_a_day_that_never_comes() -> None:
    assert cron.parse("0 0 30 2 *").next(NOON) is None


@pytest.mark.parametrize(
    "text",
    ["", "* * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "5-1 * * * *", "*/0 * * * *", "x * * * *", "* * * * fry"],
)
def test_what_is_wrong_is_told(text: str) -> None:
    with pytest.raises(ValueError, match=r"schedule|outside|step|number"):
        cron.parse(text)
