"""A trace against others: how long each of its spans took among spans of the same operation, and which traces are like it. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from .schema_details import SimilarTrace, SpanRank, TraceComparison
from .trace_spans import Part, ordered, row

SHARES = (0.5, 0.75, 0.95, 0.99)
_SIMILAR = 8
_LEAST_LIKE = 0.3
_Operation = tuple[str, str, str]


def _operation(part: Part) -> _Operation:
    return part.service, part.operation, part.kind


def compare(identifier: str, parts: Sequence[Part], others: Mapping[str, Sequence[Part]]) -> TraceComparison:
    """others: traces that the user may see, by their identifiers; the compared one among them does not count."""
    durations: dict[_Operation, list[int]] = defaultdict(list)
    rest = {name: spans for name, spans in others.items() if name != identifier}
    for spans in rest.values():
        for part in spans:
            durations[_operation(part)].append(part.duration)
    for values in durations.values():
        values.sort()
    mine = Counter(map(_operation, parts))
    ranked = sorted(((_likeness(mine, spans), name) for name, spans in rest.items()), reverse=True)[:_SIMILAR]
    return TraceComparison(
        looked=len(rest),
        spans=[_rank(part.duration, durations[_operation(part)]) for _, part in ordered(parts)],
        similar=[
            SimilarTrace(trace=row(name, rest[name]), likeness=likeness)
            for likeness, name in ranked
            if likeness >= _LEAST_LIKE
        ],
    )


def _rank(duration: int, values: Sequence[int]) -> SpanRank | None:
    """Where a duration is among others in microseconds, sorted; None without others."""
    if not values:
        return None
    at = [values[min(len(values) - 1, int(len(values) * share))] / 1e3 for share in SHARES]
    return SpanRank(count=len(values), faster=bisect_left(values, duration) / len(values), quantiles=at)


def _likeness(mine: Counter[_Operation], spans: Iterable[Part]) -> float:
    """The share of operations, each as often as it is called, that two traces have in common."""
    other = Counter(map(_operation, spans))
    return (mine & other).total() / (mine | other).total()
