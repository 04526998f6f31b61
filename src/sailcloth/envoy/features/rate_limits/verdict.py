"""The verdict on a RateLimit: notes on periods that Envoy cannot count as written."""

from __future__ import annotations

from collections.abc import Iterator

from sailcloth.api.meta import Key, duration_ms
from sailcloth.api.rate_limit import Rate, RateLimit
from sailcloth.lib.incremental import Graph
from sailcloth.mesh import registry
from sailcloth.mesh.verdict import Verdict

from .emit import LEAST_PERIOD_MS


def verdict(graph: Graph, key: Key) -> Verdict:
    """Always accepted; too short periods are noted."""
    return Verdict(notes=tuple(_notes(registry.read(graph, RateLimit, key))))


def _notes(obj: RateLimit | None) -> Iterator[str]:
    rates: list[tuple[str, Rate]] = []
    if obj is not None:
        rates += [(f"http[{i}].limit", r.limit) for i, r in enumerate(obj.spec.http) if r.scope == "LOCAL"]
        rates += [("connections", obj.spec.connections)] if obj.spec.connections is not None else []
    for path, rate in rates:
        if (duration_ms(rate.per) or 1000.0) < LEAST_PERIOD_MS:
            yield f"{path}.per: {rate.per} is counted as {LEAST_PERIOD_MS:.0f}ms, the shortest period of a LOCAL limit"
