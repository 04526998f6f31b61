"""Parameters of the HTTP API, parsed as Prometheus parses them. Pure."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .metrics.labels import Matcher
from .promql import parsing
from .promql.errors import BadQuery, QueryError
from .promql.evaluate import Steps

MAX_POINTS = 11_000
_FARTHEST_S = 1e11


class Parameters:
    """The query string and form of a request; both count, the form first."""

    def __init__(self, items: Mapping[str, Sequence[str]]) -> None:
        self._items = items

    def text(self, name: str, default: str = "") -> str:
        """The first value of a parameter."""
        return (self._items.get(name) or [default])[0]

    def all(self, name: str) -> Sequence[str]:
        """All values of a parameter."""
        return self._items.get(name, ())

    def expression(self) -> Any:
        """The tree of `query`. Raises BadQuery."""
        return self._named("query", lambda: parsing.parse(self.text("query")))

    def time_ms(self, name: str, default: int | None = None) -> int:
        """A time in ms, given as seconds or as RFC 3339. Raises BadQuery."""
        text = self.text(name)
        if not text and default is not None:
            return default
        return int(self._named(name, lambda: parse_time(text)))

    def steps(self) -> Steps:
        """The times of a range query, in ms. Raises BadQuery."""
        start, end = self.time_ms("start"), self.time_ms("end")
        if end < start:
            raise BadQuery('invalid parameter "end": end timestamp must not be before start time')
        step = int(self._named("step", lambda: parsing.parse_duration(self.text("step")) * 1000))
        if step <= 0:
            raise BadQuery(
                'invalid parameter "step": zero or negative query resolution step widths are not accepted. Try a positive integer'
            )
        if (end - start) // step > MAX_POINTS:
            raise BadQuery(
                "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)"
            )
        return np.arange(start, end + 1, step, dtype=np.int64)

    def timeout_s(self, longest: float) -> float:
        """`timeout`, of at most `longest` seconds. Raises BadQuery."""
        text = self.text("timeout")
        if not text:
            return longest
        return float(min(longest, self._named("timeout", lambda: parsing.parse_duration(text))))

    def limit(self) -> int | None:
        """`limit`; None for none. Raises BadQuery."""
        text = self.text("limit")
        if not text:
            return None
        if not text.isdecimal():
            raise BadQuery("limit must be non-negative" if text.startswith("-") else "limit must be a number")
        return int(text) or None

    def selectors(self, required: bool) -> list[list[Matcher]]:
        """The conditions of each `match[]`. Raises BadQuery."""
        texts = self.all("match[]")
        if required and not texts:
            raise BadQuery("no match[] parameter provided")
        return [self._named("match[]", lambda text=text: parsing.parse_selector(text)) for text in texts]

    def _named(self, name: str, work: Any) -> Any:
        try:
            return work()
        except QueryError as error:
            raise BadQuery(f'invalid parameter "{name}": {error}') from None


def parse_time(text: str) -> int:
    """A time in ms. Raises BadQuery."""
    try:
        seconds = float(text)
    except ValueError:
        try:
            at = dt.datetime.fromisoformat(text)
        except ValueError:
            at = dt.datetime.min
        if at.tzinfo is None or "T" not in text:
            raise BadQuery(f'cannot parse "{text}" to a valid timestamp') from None
        seconds = at.timestamp()
    if not math.isfinite(seconds) or abs(seconds) > _FARTHEST_S:
        raise BadQuery(f'cannot parse "{text}" to a valid timestamp')
    return round(seconds * 1000)
