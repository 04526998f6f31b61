"""Traces: whose they are, who may see them, and the order of their spans."""

from __future__ import annotations

from typing import Any

import pytest

from sailcloth.console import schema_details, trace_comparison, trace_spans, traces
from sailcloth.console.details import Subject

from .cluster import TRACES, inventory_of, jaeger_span
from .test_server import Lab, Web, bearer, get, lab, web

__all__ = ["lab", "web"]  # fixtures

SHOP, BOTH = (trace["traceID"] for trace in TRACES)


def ids(kind: schema_details.Kind, name: str, readable: frozenset[str] | None = None, **options: Any) -> list[str]:
    options = {"limit": 10, "errors": False, **options}
    of = Subject(kind, "shop", name)
    return [t.id for t in traces.rows(inventory_of(), of, TRACES, readable, **options).traces]


def test_whose_traces_there_are() -> None:
    assert ids("workload", "cart-v1") == [BOTH, SHOP]  # the latest first
    assert ids("app", "cart") == [BOTH, SHOP]
    assert ids("service", "cart") == [BOTH, SHOP]
    assert ids("workload", "cart") == []
    assert ids("app", "cart", limit=1) == [BOTH]
    assert ids("app", "cart", errors=True) == [SHOP]


def test_a_row() -> None:
    row = traces.rows(inventory_of(), Subject("app", "shop", "cart"), TRACES[:1], None, 10, False).traces[0]
    assert (row.start, row.duration, row.spans, row.errors) == (1000.0, 12.0, 3, 1)
    assert (row.operation, row.services) == ("web.shop.svc.cluster.local:80/*", ["web.shop", "cart.shop"])


def test_traces_through_other_namespaces_are_hidden() -> None:
    found = traces.rows(inventory_of(), Subject("app", "shop", "cart"), TRACES, frozenset({"shop"}), 10, False)
    assert ([t.id for t in found.traces], found.hidden) == ([SHOP], 1)
    nameless = {**TRACES[0], "processes": {"p1": {"serviceName": "mine"}, "p2": {"serviceName": "cart.shop"}}}
    assert not trace_spans.is_readable(trace_spans.spans(nameless), frozenset({"shop", "bank"}))


async def test_over_the_api(web: Web, lab: Lab) -> None:
    query = "kind=app&namespace=shop&name=cart"
    shown = await get(web, f"/api/traces?{query}&window=5m", "shop-token")
    assert ([t["id"] for t in shown["traces"]], shown["hidden"]) == ([SHOP], 1)
    assert "ledger" not in str(shown)
    assert lab.tracing.asked[0][0] == "cart.shop"
    assert len((await get(web, f"/api/traces?{query}"))["traces"]) == 2
    assert len((await get(web, f"/api/traces/spans?id={SHOP}", "shop-token"))["spans"]) == 3
    assert len((await get(web, f"/api/traces/spans?id={BOTH}"))["spans"]) == 2
    for identifier, status in ((BOTH, 404), ("abc", 404), ("../x", 400), ("", 400)):
        async with web.get(f"/api/traces/spans?id={identifier}", headers=bearer("shop-token")) as answer:
            assert answer.status == status
            assert "ledger" not in await answer.text()


def tree(*spans: dict[str, Any]) -> list[tuple[str, str, int]]:
    parts = trace_spans.spans({"traceID": "1", "spans": list(spans), "processes": {"p1": {"serviceName": "a.shop"}}})
    return [(s.id, s.kind, s.depth) for s in trace_spans.tree("1", parts).spans]


@pytest.mark.parametrize(
    ("spans", "expected"),
    [
        (
            [("c", "b", 3, "server"), ("b", "a", 2, "client"), ("d", "a", 1, "client"), ("a", "", 0, "server")],
            [("a", "server", 0), ("d", "client", 1), ("b", "client", 1), ("c", "server", 2)],
        ),
        # A client and a server that share an id, as in Zipkin's B3.
        (
            [("b", "a", 2, "client"), ("b", "a", 3, "server"), ("c", "b", 4, "client"), ("a", "", 0, "server")],
            [("a", "server", 0), ("b", "client", 1), ("b", "server", 2), ("c", "client", 3)],
        ),
        ([("b", "gone", 2, "server"), ("a", "", 0, "server")], [("a", "server", 0), ("b", "server", 0)]),
        ([("a", "b", 0, "client"), ("b", "a", 1, "client")], [("a", "client", 0), ("b", "client", 0)]),
    ],
)
def test_the_tree_of_spans(spans: list[tuple[str, str, int, str]], expected: list[tuple[str, str, int]]) -> None:
    assert tree(*(jaeger_span("1", i, p, "p1", at, kind=kind) for i, p, at, kind in spans)) == expected


async def test_a_trace_is_compared_with_those_that_a_user_may_see(web: Web) -> None:
    for token, looked in (("admin-token", 1), ("shop-token", 0)):
        shown = await get(web, f"/api/traces/comparison?id={SHOP}&window=5m", token)
        assert (shown["looked"], len(shown["spans"])) == (looked, 3)
        assert "ledger" not in str(shown) or token == "admin-token"


def test_spans_are_ranked_among_those_of_their_operation() -> None:
    def parts(trace: str, *durations: int) -> list[trace_spans.Part]:
        spans = [
            jaeger_span(trace, str(n), "", "p1", n, duration, operation=f"o{n}") for n, duration in enumerate(durations)
        ]
        return trace_spans.spans({"traceID": trace, "spans": spans, "processes": {"p1": {"serviceName": "a.shop"}}})

    others = {str(n): parts(str(n), n * 1000, 50) for n in range(1, 101)} | {"far": parts("far")}
    others["1"] = parts("1", 1000)
    mine = parts("100", 80_000, 50, 7)
    shown = trace_comparison.compare("100", mine, {n: o for n, o in others.items() if o})
    first, second, third = shown.spans
    assert first is not None
    assert (first.count, round(first.faster, 2), first.quantiles) == (99, 0.8, [50.0, 75.0, 95.0, 99.0])
    assert second is not None
    assert (second.count, second.faster) == (98, 0.0)
    assert third is None
    assert {round(one.likeness, 2) for one in shown.similar} == {0.67}
    assert "100" not in {one.trace.id for one in shown.similar}


def test_a_row_has_the_subjects_own_spans() -> None:
    row = traces.rows(inventory_of(), Subject("app", "shop", "web"), TRACES[:1], None, 10, False).traces[0]
    assert row.own == {"inbound": 12.0, "outbound": 10.0}
