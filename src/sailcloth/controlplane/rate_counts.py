"""Stores of counters for GLOBAL rate limits: in memory, or in a Redis that survives this process and that replicas share.

One window per rule and combination of key values; its first request starts it. Must not know rules or Envoy.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Protocol

log = logging.getLogger(__name__)

_MAX_WINDOWS = 100_000  # windows in memory; the least recently used are evicted
_TIMEOUT_S = 0.08  # Envoy waits 0.1 s for the whole response
_RETRY_AFTER_S = 1.0  # pause after a failure of the store
_BATCH = 256  # requests in one transaction
_PREFIX = "sailcloth:ratelimit:"


@dataclass(frozen=True, slots=True)
class RateLimitCount:
    """The result of counting one request."""

    allowed: bool
    remaining: int
    seconds: float  # until the window ends


class RateLimitStore(Protocol):
    """Counts hits by key."""

    async def take(self, key: tuple[str, ...], allowed: int, period_s: float, hits: int = 1) -> RateLimitCount | None:
        """Count hits in the key's window. Returns None if the store does not answer; the request is then admitted."""

    async def close(self) -> None:
        """Close connections."""


class MemoryStore:
    """Counters in this process's memory. `clock` returns seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, max_windows: int = _MAX_WINDOWS) -> None:
        self._clock, self._max_windows = clock, max_windows
        self._windows: OrderedDict[tuple[str, ...], tuple[float, int]] = OrderedDict()

    async def take(self, key: tuple[str, ...], allowed: int, period_s: float, hits: int = 1) -> RateLimitCount | None:
        now = self._clock()
        begin, count = self._windows.pop(key, (now, 0))
        if now >= begin + period_s:
            begin, count = now, 0
        fits = count + hits <= allowed
        self._windows[key] = (begin, count + hits if fits else count)
        if len(self._windows) > self._max_windows:
            self._windows.popitem(last=False)
        return RateLimitCount(fits, max(0, allowed - self._windows[key][1]), begin + period_s - now)

    async def close(self) -> None:
        """Does nothing: there are no connections."""


@dataclass(slots=True)
class _PendingCount:
    """A request that waits for Redis. `answer`: (count, milliseconds left in the window); None on failure."""

    name: str
    period_ms: int
    hits: int
    answer: asyncio.Future[tuple[int, int] | None]


class RedisStore:
    """Counters in a Redis; keys expire with their windows.

    Requests that arrive during a round trip go together in the next transaction, so that a burst costs few round trips. The
    transaction sets the expiry with the counter, so that none can stay without one. Rejected requests count too, which changes
    nothing before the window ends.

    Fails open: while Redis does not answer, requests are admitted, `failures` counts them, and the log says so once.
    """

    def __init__(self, url: str, username: str = "", password: str = "") -> None:
        import redis.asyncio as redis

        self._errors: tuple[type[Exception], ...] = (redis.RedisError, OSError, TimeoutError)
        self._url = url
        self._client: Any = redis.Redis.from_url(
            url,
            username=username or None,
            password=password or None,
            protocol=2,
            single_connection_client=True,
            socket_timeout=_TIMEOUT_S,
            socket_connect_timeout=_TIMEOUT_S,
        )
        self._pending: list[_PendingCount] = []
        self._task: asyncio.Task[None] | None = None
        self._down_until = 0.0
        self._down = False
        self.failures = 0

    async def take(self, key: tuple[str, ...], allowed: int, period_s: float, hits: int = 1) -> RateLimitCount | None:
        if self._down and time.monotonic() < self._down_until:
            self.failures += 1
            return None
        name = _PREFIX + blake2b("\0".join(key).encode(), digest_size=16).hexdigest()  # values may be long, or secret
        pending = _PendingCount(name, max(1, round(period_s * 1000)), hits, asyncio.get_running_loop().create_future())
        self._pending.append(pending)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._send_pending())
        counted: tuple[int, int] | None = None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_TIMEOUT_S):
                counted = await pending.answer
        if counted is None:
            self.failures += 1
            return None
        count, remaining_ms = counted
        return RateLimitCount(count <= allowed, max(0, allowed - count), max(0, remaining_ms) / 1000)

    async def _send_pending(self) -> None:
        while self._pending:
            batch, self._pending = self._pending[:_BATCH], self._pending[_BATCH:]
            batch = [a for a in batch if not a.answer.done()]
            try:
                async with asyncio.timeout(_TIMEOUT_S):
                    answers = await self._count_batch(batch) if batch else []
            except self._errors as error:
                self._fail(error)
                await self._disconnect()
                for pending in [*batch, *self._pending]:
                    _answer(pending, None)
                self._pending = []
                return
            if self._down:
                self._down = False
                log.info("%s answers again; GLOBAL limits hold", self._url)
            for pending, answer in zip(batch, answers, strict=True):
                _answer(pending, answer)

    async def _count_batch(self, batch: list[_PendingCount]) -> list[tuple[int, int]]:
        async with self._client.pipeline(transaction=True) as transaction:
            for pending in batch:
                transaction.set(pending.name, 0, px=pending.period_ms, nx=True)
                transaction.incrby(pending.name, pending.hits)
                transaction.pttl(pending.name)
            replies = await transaction.execute()
        return [(int(replies[i]), int(replies[i + 1])) for i in range(1, len(replies), 3)]

    async def _disconnect(self) -> None:
        """Disconnect, so that a late reply is not read as the reply to the next transaction."""
        connection = self._client.connection
        if connection is not None:
            with contextlib.suppress(*self._errors):
                await connection.disconnect(nowait=True)

    def _fail(self, error: Exception) -> None:
        self._down_until = time.monotonic() + _RETRY_AFTER_S
        if not self._down:
            why = error if str(error) else "too slow"
            log.warning("%s does not answer (%s): GLOBAL limits admit all requests until it does", self._url, why)
        self._down = True

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        for pending in self._pending:
            _answer(pending, None)
        await self._client.aclose()


def _answer(pending: _PendingCount, counted: tuple[int, int] | None) -> None:
    if not pending.answer.done():  # the caller may have timed out
        pending.answer.set_result(counted)
