"""Schedules in the five fields of crontab(5): minute, hour, day of month, month, day of week.

A field is `*`, a number, a range `a-b`, a step `*/n` or `a-b/n`, or a list of these with commas; months and weekdays also have
their three-letter English names, Sunday is 0 or 7. If both day fields are restricted, either may match. Also supports `@hourly`,
`@daily`, `@midnight`, `@weekly`, `@monthly`, `@yearly` and `@annually`.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

_NICKNAMES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_MONTHS = {
    n: i for i, n in enumerate(["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"], 1)
}
_DAYS = {n: i for i, n in enumerate(["sun", "mon", "tue", "wed", "thu", "fri", "sat"])}
_HORIZON_DAYS = 366 * 8  # two leap days are at most eight years apart


def _field(text: str, low: int, high: int, names: dict[str, int]) -> frozenset[int]:
    values: set[int] = set()
    for part in text.lower().split(","):
        span, slash, step = part.partition("/")
        if slash and (not step.isdigit() or int(step) < 1):
            raise ValueError(f"bad step in {part!r}")
        if span in ("*", "?"):
            first, last = low, high
        else:
            begin, dash, end = span.partition("-")
            try:
                first = names.get(begin, -1) if begin in names else int(begin)
                last = (names[end] if end in names else int(end)) if dash else (high if slash else first)
            except ValueError:
                raise ValueError(f"not a number or name: {part!r}") from None
        if not low <= first <= last <= high:
            raise ValueError(f"{part!r} is outside {low}-{high}")
        values.update(range(first, last + 1, int(step) if slash else 1))
    return frozenset(values)


@dataclass(frozen=True)
class Schedule:
    """The minutes that match. Times are naive, in the time zone of the caller's choice."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]  # Sunday is 0
    any_day: bool  # whether one of the two day fields is unrestricted; then both must match

    def on(self, day: dt.date) -> bool:
        if day.month not in self.months:
            return False
        monthly, weekly = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return (monthly and weekly) if self.any_day else (monthly or weekly)

    def next(self, after: dt.datetime) -> dt.datetime | None:
        """The first matching minute later than `after`; None if there is none in years."""
        for offset in range(_HORIZON_DAYS):
            day = after.date() + dt.timedelta(days=offset)
            if not self.on(day):
                continue
            for hour in self.hours:
                for minute in self.minutes:
                    moment = dt.datetime.combine(day, dt.time(hour, minute))
                    if moment > after:
                        return moment
        return None

    def last(self, until: dt.datetime, since: dt.datetime) -> dt.datetime | None:
        """The last matching minute that is not later than `until`, and later than `since`."""
        for offset in range((until.date() - since.date()).days + 1):
            day = until.date() - dt.timedelta(days=offset)
            if not self.on(day):
                continue
            for hour in reversed(self.hours):
                for minute in reversed(self.minutes):
                    moment = dt.datetime.combine(day, dt.time(hour, minute))
                    if moment <= until:
                        return moment if moment > since else None
        return None


def parse(text: str) -> Schedule:
    """Parse a schedule. Raises ValueError that names the wrong part."""
    fields = _NICKNAMES.get(text.strip().lower(), text).split()
    if len(fields) != 5:
        raise ValueError(f"a schedule has five fields, {text!r} has {len(fields)}")
    minutes, hours = _field(fields[0], 0, 59, {}), _field(fields[1], 0, 23, {})
    days, months = _field(fields[2], 1, 31, {}), _field(fields[3], 1, 12, _MONTHS)
    weekdays = frozenset(d % 7 for d in _field(fields[4], 0, 7, _DAYS))
    open_day = any(f.startswith(("*", "?")) for f in (fields[2], fields[4]))
    return Schedule(tuple(sorted(minutes)), tuple(sorted(hours)), days, months, weekdays, open_day)
