"""The service behind GLOBAL limits: requests of all replicas together, counted where the mesh's option `globalRateLimitStore` says.

Counts in memory do not survive this process: after a restart a period may let twice as much pass, which is the price of holding
nothing on disk for every request. Those in Redis do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from envoy.service.ratelimit.v3 import rls_pb2

from sailcloth.api.meta import duration_ms
from sailcloth.envoy.features.rate_limits import policy
from sailcloth.lib.incremental import Graph
from sailcloth.mesh import registry

from .rate_counts import Memory, Redis, Store

SERVICE = "envoy.service.ratelimit.v3.RateLimitService"
_Code = rls_pb2.RateLimitResponse

Credentials = Callable[[], tuple[str, str]]
"""User name and password of the store, as they are now; empty where it needs none."""


class RateLimitService:
    """Answers Envoys. `authenticate` verifies a call by its metadata; raises PermissionError."""

    def __init__(
        self,
        graph: Graph,
        authenticate: Callable[[dict[str, str]], Awaitable[Any]],
        credentials: Credentials = lambda: ("", ""),
    ) -> None:
        self._graph, self._authenticate, self._credentials = graph, authenticate, credentials
        self._store: Store = Memory()
        self._of: tuple[str, str, str] = ("", "", "")  # what the store was made of
        self._closing: set[asyncio.Task[None]] = set()
        self._failures = 0  # of stores before

    @property
    def failures(self) -> int:
        """How many requests passed uncounted, because the store did not answer."""
        return self._failures + (self._store.failures if isinstance(self._store, Redis) else 0)

    def _current(self) -> Store:
        """The store by the mesh's options as they are now."""
        url = registry.config(self._graph).rate_limit_store
        wanted = (url, *(self._credentials() if url else ("", "")))
        if wanted != self._of:
            self._failures = self.failures
            task = asyncio.get_running_loop().create_task(self._store.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
            self._store, self._of = Redis(*wanted) if url else Memory(), wanted
        return self._store

    async def close(self) -> None:
        """Let go of the store's connections."""
        await self._store.close()

    def handler(self) -> grpc.GenericRpcHandler:
        """To add to a server; messages pass as bytes."""
        method = grpc.unary_unary_rpc_method_handler(self._should)
        return grpc.method_handlers_generic_handler(SERVICE, {"ShouldRateLimit": method})

    async def _should(self, body: bytes, context: Any) -> bytes:
        metadata = {k: v for k, v in context.invocation_metadata() or () if isinstance(v, str)}
        try:
            await self._authenticate(metadata)
        except PermissionError as error:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, str(error))
        return bytes((await self.answer(rls_pb2.RateLimitRequest.FromString(body))).SerializeToString())

    async def answer(self, request: rls_pb2.RateLimitRequest) -> rls_pb2.RateLimitResponse:
        """Over the limit if one of the descriptors is; a rule that is gone limits nothing."""
        store, hits = self._current(), request.hits_addend or 1
        out = rls_pb2.RateLimitResponse(overall_code=_Code.OK)
        asked = []
        for descriptor in request.descriptors:
            status = out.statuses.add(code=_Code.OK)
            pairs = [(e.key, e.value) for e in descriptor.entries]
            rule = policy.rule_of(self._graph, pairs[0][1]) if pairs and pairs[0][0] == "rule" else None
            if rule is not None:
                rate, key = rule.limit, tuple(value for _, value in pairs)
                period_s = (duration_ms(rate.per) or 1000.0) / 1000
                asked.append((status, store.take(key, rate.burst or rate.requests, period_s, hits)))
        for (status, _), count in zip(asked, await asyncio.gather(*(a for _, a in asked)), strict=True):
            if count is None:
                continue
            status.limit_remaining = count.left
            status.duration_until_reset.FromMilliseconds(max(0, round(count.seconds * 1000)))
            if not count.fits:
                status.code = out.overall_code = _Code.OVER_LIMIT
        return out
