"""The evaluator beside a real Prometheus: the same samples, the same expressions, equal results."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from sailcloth.telemetry.metrics.store import Store
from sailcloth.telemetry.promql import evaluate, parsing, results
from sailcloth.telemetry.promql.errors import QueryError

from . import prometheus, queries
from .dataset import MINUTES, START, load, mesh

pytestmark = pytest.mark.skipif(
    prometheus.PROGRAM is None, reason="no prometheus on PATH (Debian: apt install prometheus)"
)

SEED = int(os.environ.get("SAILCLOTH_PROMQL_SEED", "1"))
COUNT = int(os.environ.get("SAILCLOTH_PROMQL_QUERIES", "300"))
_INSTANTS = [START + 300_000, START + 471_001, START + 840_000, START + MINUTES * 60_000 + 60_000]
_RANGE = (START + 60_000, START + MINUTES * 60_000 + 360_000, 45_000)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[prometheus.Prometheus, Store]]:
    targets, store = mesh(), Store()
    load(targets, store)
    with prometheus.running(tmp_path_factory.mktemp("prometheus")) as real:
        real.write(targets)
        yield real, store


def _ours(store: Store, query: str, at: int | None) -> Any:
    """The data of the answer; None for an error."""
    try:
        tree = parsing.parse(query)
        if at is None:
            steps = np.arange(_RANGE[0], _RANGE[1] + 1, _RANGE[2], dtype=np.int64)
            value = evaluate.evaluate(store, tree, steps)
            if isinstance(value, str):
                return None
            return results.over_range(value, steps)
        if type(tree).__name__ in ("MatrixSelector", "SubqueryExpr"):
            return results.instant(evaluate.raw_samples(store, tree, at), at)
        return results.instant(evaluate.evaluate(store, tree, np.array([at], np.int64)), at)
    except QueryError:
        return None


def _theirs(real: prometheus.Prometheus, query: str, at: int | None) -> Any:
    if at is None:
        start, end, step = (x / 1000 for x in _RANGE)
        status, body = real.get("/api/v1/query_range", query=query, start=start, end=end, step=step)
    else:
        status, body = real.get("/api/v1/query", query=query, time=at / 1000)
    return body["data"] if status == 200 else None


def _points(data: Any) -> dict[str, dict[float, float]]:
    if data["resultType"] in ("scalar", "string"):
        at, value = data["result"]
        return {data["resultType"]: {at: float(value) if data["resultType"] == "scalar" else hash(value)}}
    rows = data["result"]
    return {
        str(sorted(row["metric"].items())): {t: float(v) for t, v in row.get("values", [row.get("value")])}
        for row in rows
    }


def _close(a: float, b: float) -> bool:
    return (a != a and b != b) or a == b or math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12)


def difference(ours: Any, theirs: Any, ties: bool) -> str:
    """What is not equal; empty if nothing. ties: which of equal series is chosen is open (`topk`)."""
    if ours is None or theirs is None:
        return "" if ours is theirs else f"ours {str(ours)[:300]}, theirs {str(theirs)[:300]}"
    if ours["resultType"] != theirs["resultType"]:
        return f"types {ours['resultType']} and {theirs['resultType']}"
    mine, other = _points(ours), _points(theirs)
    if ties:
        mine, other = ({"": dict(enumerate(sorted(v for r in m.values() for v in r.values())))} for m in (mine, other))
    if mine.keys() != other.keys():
        return (
            f"only ours {sorted(mine.keys() - other.keys())[:3]}, only theirs {sorted(other.keys() - mine.keys())[:3]}"
        )
    for key, points in mine.items():
        if points.keys() != other[key].keys():
            return f"{key}: times {sorted(points.keys() ^ other[key].keys())[:5]}; {len(points)} and {len(other[key])}"
        for t, value in points.items():
            if not _close(value, other[key][t]):
                return f"{key} at {t}: {value!r} and {other[key][t]!r}"
    return ""


def _compare(servers: tuple[prometheus.Prometheus, Store], expressions: list[str]) -> list[str]:
    real, store = servers
    out = []
    for query in expressions:
        ties = "topk" in query or "bottomk" in query
        for at in [None, *_INSTANTS]:
            text = difference(_ours(store, query, at), _theirs(real, query, at), ties)
            if text:
                out.append(f"{query}  [{'range' if at is None else at}]: {text}")
                break
    return out


def test_dashboards_and_functions(servers: tuple[prometheus.Prometheus, Store]) -> None:
    assert _compare(servers, queries.written()) == []


def test_random_expressions(servers: tuple[prometheus.Prometheus, Store]) -> None:
    assert _compare(servers, queries.generated(COUNT, SEED)) == []
