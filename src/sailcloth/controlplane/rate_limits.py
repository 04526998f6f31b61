"""The rate limit service of GLOBAL limits, which hold over all replicas of a workload. The mesh option `globalRateLimitStore`
chooses the store.

Counts in memory do not survive a restart: one period may then admit twice the limit. Counts in Redis do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from envoy.service.ratelimit.v3 import rls_pb2
from google.protobuf.message import DecodeError

from sailcloth.api.meta import duration_ms
from sailcloth.envoy.features.rate_limits import policy
from sailcloth.lib.grpc_server import Abort, Call, Status, Unary
from sailcloth.lib.incremental import Graph
from sailcloth.mesh import registry

from .rate_counts import MemoryStore, RateLimitStore, RedisStore

SERVICE = "envoy.service.ratelimit.v3.RateLimitService"
_Code = rls_pb2.RateLimitResponse

Credentials = Callable[[], tuple[str, str]]
"""The current user name and password of the store; empty if it needs none."""


class RateLimitService:
    """Implements Envoy's RateLimitService. `authenticate` verifies a call by its metadata; raises PermissionError."""

    def __init__(
        self,
        graph: Graph,
        authenticate: Callable[[dict[str, str]], Awaitable[Any]],
        credentials: Credentials = lambda: ("", ""),
    ) -> None:
        self._graph, self._authenticate, self._credentials = graph, authenticate, credentials
        self._store: RateLimitStore = MemoryStore()
        self._store_settings: tuple[str, str, str] = ("", "", "")  # URL, user name, password
        self._closing: set[asyncio.Task[None]] = set()
        self._failures = 0  # of previous stores

    @property
    def failures(self) -> int:
        """How many requests were admitted without counting, because the store did not answer."""
        return self._failures + (self._store.failures if isinstance(self._store, RedisStore) else 0)

    def _current(self) -> RateLimitStore:
        """The store that the current mesh options name."""
        url = registry.config(self._graph).rate_limit_store
        settings = (url, *(self._credentials() if url else ("", "")))
        if settings != self._store_settings:
            self._failures = self.failures
            task = asyncio.get_running_loop().create_task(self._store.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
            self._store, self._store_settings = RedisStore(*settings) if url else MemoryStore(), settings
        return self._store

    async def close(self) -> None:
        """Close the store's connections."""
        await self._store.close()

    def methods(self) -> dict[str, Unary]:
        """The methods, by path, for a `GrpcServer`."""
        return {f"/{SERVICE}/ShouldRateLimit": self._should_rate_limit}

    async def _should_rate_limit(self, body: bytes, call: Call) -> bytes:
        try:
            await self._authenticate(call.metadata)
            call.authenticated()
            request = rls_pb2.RateLimitRequest.FromString(body)
        except PermissionError as error:
            raise Abort(Status.UNAUTHENTICATED, str(error)) from None
        except DecodeError:
            raise Abort(Status.INVALID_ARGUMENT, "the message is no rate limit request") from None
        return bytes((await self.answer(request)).SerializeToString())

    async def answer(self, request: rls_pb2.RateLimitRequest) -> rls_pb2.RateLimitResponse:
        """OVER_LIMIT if one of the descriptors is. A deleted rule limits nothing."""
        store, hits = self._current(), request.hits_addend or 1
        response = rls_pb2.RateLimitResponse(overall_code=_Code.OK)
        counts = []
        for descriptor in request.descriptors:
            status = response.statuses.add(code=_Code.OK)
            pairs = [(e.key, e.value) for e in descriptor.entries]
            rule = policy.rule_of(self._graph, pairs[0][1]) if pairs and pairs[0][0] == "rule" else None
            if rule is not None:
                rate, key = rule.limit, tuple(value for _, value in pairs)
                period_s = (duration_ms(rate.per) or 1000.0) / 1000
                counts.append((status, store.take(key, rate.burst or rate.requests, period_s, hits)))
        for (status, _), count in zip(counts, await asyncio.gather(*(a for _, a in counts)), strict=True):
            if count is None:
                continue
            status.limit_remaining = count.remaining
            status.duration_until_reset.FromMilliseconds(max(0, round(count.seconds * 1000)))
            if not count.allowed:
                status.code = response.overall_code = _Code.OVER_LIMIT
        return response
