"""Counting for all replicas together: windows on a hand-set clock, and answers to Envoy's questions."""

from __future__ import annotations

from envoy.service.ratelimit.v3 import rls_pb2

from sailcloth.analysis import manifests, offline
from sailcloth.controlplane.rate_counts import MemoryStore, RateLimitCount
from sailcloth.controlplane.rate_limits import RateLimitService

MANIFEST = """
apiVersion: sailcloth.io/v1alpha1
kind: RateLimit
metadata: {name: shared, namespace: default}
spec: {http: [{limit: {requests: 2, per: 1m}, by: [{header: x-user}], scope: GLOBAL}]}
"""


async def test_a_window_begins_with_its_first_request_and_ends_after_its_period() -> None:
    now = [100.0]
    windows = MemoryStore(clock=lambda: now[0])

    async def take(key: str) -> RateLimitCount:
        found = await windows.take((key,), 2, 10.0)
        assert found is not None
        return found

    assert [(await take("a")).allowed for _ in range(3)] == [True, True, False]
    assert await take("b") == RateLimitCount(True, 1, 10.0)
    now[0] += 9.9
    assert not (await take("a")).allowed
    now[0] += 0.2
    assert await take("a") == RateLimitCount(True, 1, 10.0)


async def test_many_keys_do_not_grow_without_bound() -> None:
    windows = MemoryStore(clock=lambda: 0.0, max_windows=10)
    for number in range(100):
        await windows.take((str(number),), 1, 1.0)
    assert len(windows._windows) == 10


async def _ask(service: RateLimitService, *pairs: tuple[str, str]) -> int:
    request = rls_pb2.RateLimitRequest(domain="sailcloth")
    descriptor = request.descriptors.add()
    for key, value in pairs:
        descriptor.entries.add(key=key, value=value)
    return (await service.answer(request)).overall_code


async def test_a_rule_counts_each_value_of_its_key_apart() -> None:
    async def nobody(_: dict[str, str]) -> None:
        return None

    service = RateLimitService(offline.mesh_of(manifests.load([MANIFEST])[0]).graph, nobody)
    codes = rls_pb2.RateLimitResponse
    for user in ("ann", "bob"):
        asked = [await _ask(service, ("rule", "default/shared/0"), ("header-x-user", user)) for _ in range(3)]
        assert asked == [codes.OK, codes.OK, codes.OVER_LIMIT]
    assert await _ask(service, ("rule", "default/gone/0")) == codes.OK
    assert await _ask(service, ("something", "else")) == codes.OK
    assert await _ask(service) == codes.OK
