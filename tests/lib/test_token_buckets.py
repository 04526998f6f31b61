"""Each key has a bucket of its own, refilled with time."""

from __future__ import annotations

from sailcloth.lib.token_buckets import TokenBuckets


def test_a_burst_then_a_rate_for_each_key() -> None:
    now = [0.0]
    buckets = TokenBuckets(2.0, 3, clock=lambda: now[0])
    assert [buckets.take("a") for _ in range(5)] == [True, True, True, False, False]
    assert buckets.take("b"), "another key has tokens"
    now[0] = 0.5
    assert [buckets.take("a") for _ in range(2)] == [True, False]
    now[0] = 60
    assert [buckets.take("a") for _ in range(4)] == [True, True, True, False], "no more than the burst is saved"


def test_the_least_recently_used_key_is_forgotten() -> None:
    buckets = TokenBuckets(1.0, 1, most=2, clock=lambda: 0.0)
    assert [buckets.take(k) for k in "abac"] == [True, True, False, True]
    assert buckets.take("b"), "forgotten, so it starts anew"
