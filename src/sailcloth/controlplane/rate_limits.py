"""The service behind GLOBAL limits: counts requests of all replicas together, in memory.

One window a rule and a combination of key values, begun by its first request. Counts do not survive this process: after a restart a
period may let twice as much pass, which is the price of holding nothing on disk for every request.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from envoy.service.ratelimit.v3 import rls_pb2

from sailcloth.api.meta import duration_ms
from sailcloth.api.rate_limit import Rate
from sailcloth.lib.incremental import Graph
from sailcloth.mesh import rate_limits

SERVICE = "envoy.service.ratelimit.v3.RateLimitService"
_MOST = 100_000  # windows kept; the ones not asked for longest are forgotten
_Code = rls_pb2.RateLimitResponse


class Windows:
    """Counters by key. `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, most: int = _MOST) -> None:
        self._clock, self._most = clock, most
        self._held: OrderedDict[tuple[str, ...], tuple[float, int]] = OrderedDict()

    def take(self, key: tuple[str, ...], rate: Rate, hits: int = 1) -> tuple[bool, int, float]:
        """(whether it is within the rate, how many are left, seconds until the window ends)."""
        now, period = self._clock(), (duration_ms(rate.per) or 1000.0) / 1000
        begin, count = self._held.pop(key, (now, 0))
        if now >= begin + period:
            begin, count = now, 0
        allowed = rate.burst or rate.requests
        fits = count + hits <= allowed
        self._held[key] = (begin, count + hits if fits else count)
        if len(self._held) > self._most:
            self._held.popitem(last=False)
        return fits, max(0, allowed - self._held[key][1]), begin + period - now


class RateLimitService:
    """Answers Envoys. `authenticate` verifies a call by its metadata; raises PermissionError."""

    def __init__(self, graph: Graph, authenticate: Callable[[dict[str, str]], Awaitable[Any]]) -> None:
        self._graph, self._authenticate = graph, authenticate
        self._windows = Windows()

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
        return bytes(self.answer(rls_pb2.RateLimitRequest.FromString(body)).SerializeToString())

    def answer(self, request: rls_pb2.RateLimitRequest) -> rls_pb2.RateLimitResponse:
        """Over the limit if one of the descriptors is; a rule that is gone limits nothing."""
        out = rls_pb2.RateLimitResponse(overall_code=_Code.OK)
        for descriptor in request.descriptors:
            status = out.statuses.add(code=_Code.OK)
            pairs = [(e.key, e.value) for e in descriptor.entries]
            rule = rate_limits.rule_of(self._graph, pairs[0][1]) if pairs and pairs[0][0] == "rule" else None
            if rule is None:
                continue
            key = tuple(value for _, value in pairs)
            fits, left, seconds = self._windows.take(key, rule.limit, request.hits_addend or 1)
            status.limit_remaining = left
            status.duration_until_reset.FromMilliseconds(max(0, round(seconds * 1000)))
            if not fits:
                status.code = out.overall_code = _Code.OVER_LIMIT
        return out
