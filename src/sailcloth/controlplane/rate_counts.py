"""Where the requests of GLOBAL limits are counted: in memory, or in a Redis that outlives this process and that all replicas
of the control plane share.

One window a rule and a combination of key values, begun by its first request. Must not know rules or Envoy.
"""

from __future__ import annotations

import asyncio
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
_CONNECTIONS = 32
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


class Redis:
    """Counters in a Redis, whose keys end with their windows. A request is one transaction, so that a counter without an end
    cannot come to be; what is refused counts too, which changes nothing before the window ends.

    Fails open: while Redis does not answer, requests pass, `failures` counts them, and the log tells of it once.
    """

    def __init__(self, url: str, username: str = "", password: str = "") -> None:
        import redis.asyncio as redis

        self._errors: tuple[type[Exception], ...] = (redis.RedisError, OSError, TimeoutError)
        self._url = url
        self._pool = redis.BlockingConnectionPool.from_url(
            url,
            username=username or None,
            password=password or None,
            protocol=2,
            max_connections=_CONNECTIONS,
            timeout=_PATIENCE_S,
            socket_timeout=_PATIENCE_S,
            socket_connect_timeout=_PATIENCE_S,
        )
        self._client: Any = redis.Redis(connection_pool=self._pool)
        self._down_until = 0.0
        self._down = False
        self.failures = 0

    async def take(self, key: tuple[str, ...], allowed: int, period_s: float, hits: int = 1) -> Count | None:
        if self._down and time.monotonic() < self._down_until:
            self.failures += 1
            return None
        name = _PREFIX + blake2b("\0".join(key).encode(), digest_size=16).hexdigest()  # values may be long, or secret
        period = max(1, round(period_s * 1000))
        try:
            async with asyncio.timeout(_PATIENCE_S):
                async with self._client.pipeline(transaction=True) as together:
                    together.set(name, 0, px=period, nx=True)
                    together.incrby(name, hits)
                    together.pttl(name)
                    _, count, left = await together.execute()
        except self._errors as error:
            self._fail(error)
            return None
        if self._down:
            self._down = False
            log.info("%s answers again; GLOBAL limits hold", self._url)
        return Count(count <= allowed, max(0, allowed - count), max(0, left) / 1000)

    def _fail(self, error: Exception) -> None:
        self.failures += 1
        self._down_until = time.monotonic() + _PAUSE_S
        if not self._down:
            log.warning(
                "%s does not answer (%s): GLOBAL limits refuse nobody until it does", self._url, error or "too slow"
            )
        self._down = True

    async def close(self) -> None:
        await self._client.aclose()
        await self._pool.aclose()
