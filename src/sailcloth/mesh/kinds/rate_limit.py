"""RateLimit: limits of requests and connections of a workload or gateway."""

from __future__ import annotations

from sailcloth.api.rate_limit import RateLimit

from .record import MeshKind


def _selector(limit: RateLimit) -> dict[str, str]:
    return limit.spec.workload_selector.labels if limit.spec.workload_selector is not None else {}


KIND = MeshKind(RateLimit, selector=_selector, traffic=frozenset({"inbound", "gateway"}))
