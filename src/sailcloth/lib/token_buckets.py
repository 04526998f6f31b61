"""Token buckets by key: how often each may do something. Must not know what for."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable


class TokenBuckets:
    """Each key may `take` `burst` times at once, and then `per_second` times a second. Of more than `most` keys
    the one that was used the longest ago is forgotten."""

    def __init__(
        self, per_second: float, burst: int, most: int = 10_000, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate, self._burst, self._most, self._clock = per_second, burst, most, clock
        self._buckets: dict[Hashable, tuple[float, float]] = {}  # tokens left, and when

    def take(self, key: Hashable) -> bool:
        """Whether the key may now."""
        now = self._clock()
        left, since = self._buckets.pop(key, (float(self._burst), now))
        left = min(float(self._burst), left + (now - since) * self._rate)
        self._buckets[key] = (left - 1 if left >= 1 else left, now)
        while len(self._buckets) > self._most:
            del self._buckets[next(iter(self._buckets))]
        return left >= 1
