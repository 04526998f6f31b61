"""Which CAs' certificates are warned of."""

from __future__ import annotations

import datetime as dt

import pytest

from sailcloth.ca import expiry

from ..authorities import DAY, Authority

NOW = dt.datetime.now(dt.UTC)


@pytest.mark.parametrize(
    ("left", "words"),
    [
        (31 * DAY, ""),
        (30 * DAY - dt.timedelta(hours=1), "(in 29 days): replace it before"),
        (DAY + dt.timedelta(hours=1), "(in 1 day)"),
        (dt.timedelta(hours=1), "(in 0 days)"),
        (-dt.timedelta(hours=1), "ended at"),
    ],
)
def test_when(left: dt.timedelta, words: str) -> None:
    root = Authority("root", valid=(-40 * DAY, left)).certificate
    texts = expiry.ending([("the root", root)], NOW)
    assert [t.startswith("the root end") for t in texts] == ([True] if words else [])
    assert all(words in t for t in texts)


def test_each_once_and_the_earliest_first() -> None:
    first, second = (Authority("x", valid=(-DAY, left)).certificate for left in (2 * DAY, 5 * DAY))
    texts = expiry.ending([("b", second), ("a", first), ("the same", first)], NOW)
    assert [t[0] for t in texts] == ["a", "b"]
