"""Charts: what is asked of Prometheus, that its dialect here has it, and what becomes of the answers."""

from __future__ import annotations

import math
from typing import Any

import pytest

from sailcloth.console import series
from sailcloth.console.details import Subject
from sailcloth.console.series import View
from sailcloth.console.sources import Times

CART = Subject("workload", "shop", "cart-v1")
INBOUND = View("inbound", "destination", "none", "all")
AT = Times(100.0, 120.0, 10.0)


def shown(chosen: View, *answers: tuple[series.Query, list[Any]]) -> dict[str, dict[str, list[float | None]]]:
    charts = series.charts(chosen, AT, answers)
    assert charts.times == [100.0, 110.0, 120.0]
    return {c.name: {line.label: line.values for line in c.lines} for c in charts.charts}


@pytest.mark.parametrize(
    ("window", "step", "points"), [(60, 5, 13), (300, 5, 61), (600, 5, 121), (3600, 30, 121), (86_400, 900, 97)]
)
def test_charts_have_at_most_120_steps(window: int, step: int, points: int) -> None:
    at = series.times(window, 1_000_003.0)
    assert (at.step, len(at.all), at.end % step) == (step, points, 0)
    assert 0 <= 1_000_003 - at.end < step


def test_what_is_asked() -> None:
    asked = {(q.chart, q.measure): q.expression for q in series.queries(CART, INBOUND, 5, None)}
    own = 'reporter="destination",destination_workload="cart-v1",destination_workload_namespace="shop"'
    assert asked["requests", ""] == f"sum by () (rate(istio_requests_total{{{own}}}[30s]))"
    assert {m for c, m in asked if c == "duration"} == {"p50", "p95", "p99", "avg"}
    assert asked["duration", "p95"].startswith("histogram_quantile(0.95, sum by (le) (rate(")
    grouped = series.queries(CART, View("outbound", "source", "version", "all"), 60, None)
    assert {q.measure for q in grouped if q.chart == "duration"} == {"p95"}
    assert "sum by (destination_canonical_service,destination_canonical_revision" in grouped[0].expression
    assert "[60s]" in grouped[0].expression


def test_names_are_quoted() -> None:
    evil = Subject("service", "shop", 'x"} or vector(1) or a{b="')
    assert (
        'destination_service_name="x\\"} or vector(1) or a{b=\\""'
        in series.queries(evil, INBOUND, 5, None)[0].expression
    )


@pytest.mark.parametrize("direction", ["inbound", "outbound"])
@pytest.mark.parametrize("by", ["none", "workload", "version", "code", "flags", "mtls"])
@pytest.mark.parametrize("readable", [None, frozenset({"shop"})])
def test_every_query_is_one_that_the_embedded_prometheus_has(direction: Any, by: Any, readable: Any) -> None:
    from sailcloth.telemetry.promql import parsing

    for kind in ("workload", "app", "service"):
        of = Subject(kind, "shop", "cart")  # type: ignore[arg-type]
        for query in series.queries(of, View(direction, "source", by, "avg"), 5, readable):
            parsing.parse(query.expression)


def test_lines() -> None:
    by = View("outbound", "source", "workload", "all")
    labels = {"destination_workload": "ledger-v1", "destination_workload_namespace": "bank"}
    outside = {"destination_workload": "unknown", "destination_service_name": "api.example.com"}
    query, hidden = series.Query("requests", ""), series.Query("requests", "", hidden=True)
    points = [(100.0, 1.0), (120.0, 3.0)]
    assert shown(by, (query, [(labels, points), (outside, points)]), (hidden, [({}, points)])) == {
        "requests": {
            "ledger-v1 (bank)": [1.0, None, 3.0],
            "api.example.com": [1.0, None, 3.0],
            "inaccessible": [1.0, None, 3.0],
        }
    }
    p95 = series.Query("duration", "", "p95")
    assert shown(INBOUND, (p95, [({}, [(100.0, math.nan), (110.0, 7.0)])])) == {"duration": {"p95": [None, 7.0, None]}}
    assert shown(INBOUND, (series.Query("errors", ""), [({}, [(100.0, 0.0)])])) == {}


@pytest.mark.parametrize(
    ("by", "labels", "words"),
    [
        ("code", {"response_code": "503"}, "503"),
        ("code", {"response_code": "200", "grpc_response_status": "14"}, "gRPC 14"),
        ("code", {"response_code": "0"}, "no response"),
        ("flags", {"response_flags": "-"}, "no flags"),
        ("flags", {"response_flags": "UF"}, "UF"),
        ("mtls", {"connection_security_policy": "mutual_tls"}, "mutual TLS"),
        ("mtls", {"connection_security_policy": "none"}, "plain text"),
        ("version", {"source_canonical_service": "web", "source_canonical_revision": "v1"}, "web v1"),
        ("workload", {"source_workload": "unknown", "source_workload_namespace": "unknown"}, "unknown"),
    ],
)
def test_what_lines_are_called(by: Any, labels: dict[str, str], words: str) -> None:
    assert series._label(View("inbound", "destination", by, "all"), labels) == words


def test_of_many_lines_the_largest_are_kept() -> None:
    many = [({"response_code": str(n)}, [(100.0, float(n))]) for n in range(1, 31)]
    charts = series.charts(View("inbound", "destination", "code", "all"), AT, [(series.Query("requests", ""), many)])
    (chart,) = charts.charts
    assert (len(chart.lines), chart.lines[0].label, chart.dropped) == (20, "30", 10)
