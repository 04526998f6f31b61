"""Dashboards of runtimes: which are shown, and that the dialect of PromQL here has their queries."""

from __future__ import annotations

import re

from sailcloth.console import runtimes
from sailcloth.console.sources import Times
from sailcloth.telemetry.promql import parsing

from .test_server import Lab, Web, get, lab, web

__all__ = ["lab", "web"]  # fixtures
PODS = ["web-v1-abc-1", "web-v1-abc-2"]


def test_dashboards_are_found_by_their_metrics() -> None:
    found = [({"__name__": "go_goroutines"}, 2.0), ({"__name__": "process_cpu_seconds_total"}, 1.0)]
    goroutines, cpu = runtimes.panels(found, "shop", PODS, 60)
    assert goroutines[-1] == 'sum by (pod) (go_goroutines{namespace="shop",pod=~"web-v1-abc-1|web-v1-abc-2"})'
    assert (cpu[1], "[60s]" in cpu[-1]) == ("processCpu", True)
    assert runtimes.panels([], "shop", PODS, 60) == []


def test_queries_are_valid() -> None:
    parsing.parse(runtimes.discovery("shop", PODS))
    names = {name for panel in runtimes.PANELS for name in re.findall(r"(\w+){S}", panel[-1])}
    every = runtimes.panels([({"__name__": name}, 1.0) for name in names], "shop", PODS, 5)
    assert len(every) == len(runtimes.PANELS)
    for *_, query in every:
        parsing.parse(query)


def test_a_chart_without_lines_is_left_out() -> None:
    panel: runtimes.Panel = ("Go", "goroutines", "count", "")
    at = Times(100.0, 110.0, 10.0)
    shown = runtimes.answer(at, [(panel, [({"pod": "a"}, [(110.0, 3.0)])]), (panel, [({"pod": "b"}, [])])])
    assert [(r.name, [c.lines[0].label for c in r.charts]) for r in shown.runtimes] == [("Go", ["a"])]


async def test_over_the_api(web: Web, lab: Lab) -> None:
    shown = await get(web, "/api/runtimes?kind=workload&namespace=shop&name=web-v1&window=5m", "shop-token")
    assert [r["name"] for r in shown["runtimes"]] == ["Python"]
    assert 'namespace="shop",pod=~"web-v1-abc-1"' in lab.metrics.queries[0]
