"""Where the requests of GLOBAL limits are counted: in memory, or in a Redis that outlives this process and that all replicas
of the control plane share.

One window a rule and a combination of key values, begun by its first request. Must not know rules or Envoy.
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

_MOST = 100_000  # windows kept in memory; the ones not asked for longest are forgotten
_PATIENCE_S = 0.08  # Envoy waits a tenth of a second for the whole answer
_PAUSE_S = 1.0  # how long a store that failed is not asked again
_BATCH = 256  # questions in one transaction
_PREFIX = "sailcloth:ratelimit:"


@dataclass(frozen=True, slots=True)
class Count:
    """What a store says of one request."""

    fits: bool
    left: int
    seconds: float  # until the window ends


class Store(Protocol):
    """Counts hits by key."""

    async def take(self, key: tuple[str, ...], allowed: int, period_s: float, hits: int = 1) -> Count | None:
        """Count hits in the key's window; None if the store cannot say, and nobody is to be refused for that."""

    async def close(self) -> None:
        """Let go of connections."""


class Memory:
    """Counters of this process. `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, most: int = _MOST) -> None:
        self._clock, self._most = clock, most
        self._held: OrderedDict[tuple[str, ...], tuple[float, int]] = OrderedDict()

    async def take(self, key: tuple[str, ...], allowed: int, period_s: float, hits: int = 1) -> Count | None:
        now = self._clock()
        begin, count = self._held.pop(key, (now, 0))
        if now >= begin + period_s:
            begin, count = now, 0
        fits = count + hits <= allowed
        self._held[key] = (begin, count + hits if fits else count)
        if len(self._held) > self._most:
            self._held.popitem(last=False)
        return Count(fits, max(0, allowed - self._held[key][1]), begin + period_s - now)

    async def close(self) -> None:
        """Nothing is open."""


@dataclass(slots=True)
class _Asked:
    """A question that waits for its answer, (count, milliseconds left); None if there will be none."""

    name: str
    period_ms: int
    hits: int
    answer: asyncio.Future[tuple[int, int] | None]


class Redis:
    """Counters in a Redis, whose keys end with their windows.

    What is asked while a question is under way goes together in the next one, a transaction, so that a burst costs few round
    trips, and a counter without an end cannot come to be. What is refused counts too, which changes nothing before the window ends.

    Fails open: while Redis does not answer, requests pass, `failures` counts them, and the log tells of it once.
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
            socket_timeout=_PATIENCE_S,
            socket_connect_timeout=_PATIENCE_S,
        )
        self._waiting: list[_Asked] = []
        self._task: asyncio.Task[None] | None = None
        self._down_until = 0.0
        self._down = False
        self.failures = 0

    async def take(self, key: tuple[str, ...], allowed: int, period_s: float, hits: int = 1) -> Count | None:
        if self._down and time.monotonic() < self._down_until:
            self.failures += 1
            return None
        name = _PREFIX + blake2b("\0".join(key).encode(), digest_size=16).hexdigest()  # values may be long, or secret
        asked = _Asked(name, max(1, round(period_s * 1000)), hits, asyncio.get_running_loop().create_future())
        self._waiting.append(asked)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._ask())
        found: tuple[int, int] | None = None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE_S):
                found = await asked.answer
        if found is None:
            self.failures += 1
            return None
        count, left_ms = found
        return Count(count <= allowed, max(0, allowed - count), max(0, left_ms) / 1000)

    async def _ask(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:_BATCH], self._waiting[_BATCH:]
            batch = [a for a in batch if not a.answer.done()]
            try:
                async with asyncio.timeout(_PATIENCE_S):
                    answers = await self._together(batch) if batch else []
            except self._errors as error:
                self._fail(error)
                await self._hang_up()
                for asked in [*batch, *self._waiting]:
                    _answer(asked, None)
                self._waiting = []
                return
            if self._down:
                self._down = False
                log.info("%s answers again; GLOBAL limits hold", self._url)
            for asked, answer in zip(batch, answers, strict=True):
                _answer(asked, answer)

    async def _together(self, batch: list[_Asked]) -> list[tuple[int, int]]:
        async with self._client.pipeline(transaction=True) as together:
            for asked in batch:
                together.set(asked.name, 0, px=asked.period_ms, nx=True)
                together.incrby(asked.name, asked.hits)
                together.pttl(asked.name)
            found = await together.execute()
        return [(int(found[i]), int(found[i + 1])) for i in range(1, len(found), 3)]

    async def _hang_up(self) -> None:
        """An answer that comes late must not be taken for that to the next question."""
        connection = self._client.connection
        if connection is not None:
            with contextlib.suppress(*self._errors):
                await connection.disconnect(nowait=True)

    def _fail(self, error: Exception) -> None:
        self._down_until = time.monotonic() + _PAUSE_S
        if not self._down:
            why = error if str(error) else "too slow"
            log.warning("%s does not answer (%s): GLOBAL limits refuse nobody until it does", self._url, why)
        self._down = True

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        for asked in self._waiting:
            _answer(asked, None)
        await self._client.aclose()


def _answer(asked: _Asked, found: tuple[int, int] | None) -> None:
    if not asked.answer.done():  # who asked may have given up
        asked.answer.set_result(found)
