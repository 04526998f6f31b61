"""`sailctl graph`, `sailctl top` and `sailctl x metrics`: the traffic graph, and rates, errors and latencies of workloads."""

from __future__ import annotations

import json
import re
import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from . import dumps, output
from .cluster_options import Kubeconfig, namespace_option

if TYPE_CHECKING:
    from sailcloth.analysis.traffic_graph import Graph

_COLUMNS = ("SOURCE", "DESTINATION", "SERVICE", "PROTOCOL", "RATE", "ERRORS", "P50", "P95", "P99", "MTLS")
_WORKLOAD_COLUMNS = ("WORKLOAD", "NAMESPACE", "RATE", "ERRORS", "P50", "P90", "P99")
WINDOW = re.compile(r"\d+[smh]")
Window = Annotated[str, typer.Option("-d", "--duration", help="Period to look back, such as 30s or 5m.")]
Url = Annotated[str, typer.Option("--prometheus", help="URL of another Prometheus.")]
Namespace = Annotated[str, namespace_option("Only traffic from or to this namespace.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("graph", rich_help_panel="Traffic")(graph)
    app.command("top", rich_help_panel="Traffic")(top)


def graph(
    namespace: Namespace = "",
    window: Window = "1m",
    out: Annotated[str, typer.Option("-o", "--output", help="text, json, yaml, dot, mermaid or svg")] = "text",
    prometheus: Url = "",
    kubeconfig: Kubeconfig = "",
) -> None:
    """Show the traffic graph: callers and destinations, with rates, errors and latencies."""
    from sailcloth.analysis import traffic_graph

    output.check_choice("output", out, "text", "json", "yaml", "dot", "mermaid", "svg")
    traffic = _graph(namespace, window, prometheus, kubeconfig)
    if out in ("json", "yaml"):
        output.structured(traffic_graph.plain(traffic), out)
    elif out == "text":
        _table(traffic, window)
    else:
        print(
            {"dot": traffic_graph.dot, "mermaid": traffic_graph.mermaid, "svg": traffic_graph.svg}[out](traffic), end=""
        )


def top(
    namespace: Namespace = "",
    window: Window = "30s",
    edges: Annotated[bool, typer.Option("--edges", help="A row for each edge, not for each workload.")] = False,
    interval: Annotated[float, typer.Option("--interval", min=0.5, help="Seconds between updates.")] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Print once and end, as without a terminal.")] = False,
    prometheus: Url = "",
    kubeconfig: Kubeconfig = "",
) -> None:
    """Show rates, errors and latencies of all workloads, live."""
    live = sys.stdout.isatty() and not once
    try:
        while True:
            if edges:
                traffic = _graph(namespace, window, prometheus, kubeconfig)
                if live:
                    _clear(f"edges of the last {window}")
                _table(traffic, window)
            else:
                rows = _workloads(namespace, window, prometheus, kubeconfig)
                if live:
                    _clear(f"requests of the last {window}")
                if rows or live:
                    output.table(_WORKLOAD_COLUMNS, rows)
                else:
                    _empty(window)
            if not live:
                return
            time.sleep(interval)
    except KeyboardInterrupt:
        return


def metrics(
    workloads: Annotated[list[str], typer.Argument(metavar="WORKLOAD[.NAMESPACE]...", help="Names of workloads.")],
    window: Window = "1m",
    prometheus: Url = "",
    kubeconfig: Kubeconfig = "",
) -> None:
    """Show rates, errors and latencies of workloads, as istioctl does."""
    columns = ("WORKLOAD", "TOTAL RPS", "ERROR RPS", "P50 LATENCY", "P90 LATENCY", "P99 LATENCY")
    rows = []
    for workload in workloads:
        name, _, namespace = workload.partition(".")
        measured = [r for r in _measured(namespace, window, prometheus, kubeconfig, name) if r[0] == name]
        total, errors = sum(r[2] for r in measured), sum(r[3] for r in measured)
        times = measured[0][4] if measured else {}
        shown = (f"{times[q]:.0f}ms" if q in times else "-" for q in ("p50", "p90", "p99"))
        rows.append((workload, f"{total:.3f}", f"{errors:.3f}", *shown))
    output.table(columns, rows)


# -- data ---------------------------------------------------------------------------------------

Measured = tuple[str, str, float, float, dict[str, float]]
"""Workload, namespace, requests and errors per second, and latencies in milliseconds by quantile."""


def _graph(namespace: str, window: str, url: str, kubeconfig: str) -> Graph:
    from sailcloth.analysis import traffic_graph

    from . import prometheus

    check_window(window)
    answers = dumps.run(prometheus.query(traffic_graph.queries(window, namespace), url, kubeconfig))
    return traffic_graph.graph(**answers)


def _workloads(namespace: str, window: str, url: str, kubeconfig: str) -> list[tuple[str, ...]]:
    measured = sorted(_measured(namespace, window, url, kubeconfig), key=lambda r: (-r[2], r[1], r[0]))
    return [
        (
            name,
            where,
            f"{rate:.2f}/s",
            f"{errors / rate:.1%}" if rate else "-",
            *(f"{times[q]:.1f}ms" if q in times else "-" for q in ("p50", "p90", "p99")),
        )
        for name, where, rate, errors, times in measured
    ]


def _measured(namespace: str, window: str, url: str, kubeconfig: str, workload: str = "") -> list[Measured]:
    """Requests that workloads receive, as their own proxies report them."""
    from sailcloth.analysis.traffic_graph import failed

    from . import prometheus

    check_window(window)
    labels = ['reporter="destination"']
    labels += [f"destination_workload_namespace={json.dumps(namespace)}"] if namespace else []
    labels += [f"destination_workload={json.dumps(workload)}"] if workload else []
    by, selector = "destination_workload,destination_workload_namespace", ",".join(labels)
    expressions = {
        "requests": f"sum by ({by},response_code,grpc_response_status) (rate(istio_requests_total{{{selector}}}[{window}])) > 0"
    }
    for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99)):
        rates = f"rate(istio_request_duration_milliseconds_bucket{{{selector}}}[{window}])"
        expressions[name] = f"histogram_quantile({share}, sum by (le,{by}) ({rates}))"
    answers = dumps.run(prometheus.query(expressions, url, kubeconfig))
    totals: dict[tuple[str, str], list[float]] = {}
    for sample, value in answers.pop("requests"):
        key = sample.get("destination_workload", ""), sample.get("destination_workload_namespace", "")
        counts = totals.setdefault(key, [0.0, 0.0])
        counts[0] += value
        counts[1] += value if failed(sample) else 0.0
    times: dict[tuple[str, str], dict[str, float]] = {key: {} for key in totals}
    for name, samples in answers.items():
        for sample, value in samples:
            key = sample.get("destination_workload", ""), sample.get("destination_workload_namespace", "")
            if key in times and value == value:
                times[key][name] = value
    return [(name, where, rate, errors, times[name, where]) for (name, where), (rate, errors) in totals.items()]


# -- printing -----------------------------------------------------------------------------------


def _table(traffic: Graph, window: str) -> None:
    from sailcloth.analysis import traffic_graph

    if traffic.edges:
        output.table(_COLUMNS, traffic_graph.rows(traffic))
    else:
        _empty(window)


def _empty(window: str) -> None:
    print(
        f"No requests in the last {window}. Metrics are scraped every five seconds; two scrapes are needed.",
        file=sys.stderr,
    )


def _clear(title: str) -> None:
    print(f"\x1b[2J\x1b[H{title}, {time.strftime('%H:%M:%S')}; Ctrl-C ends\n")


def check_window(window: str) -> None:
    if not WINDOW.fullmatch(window):
        output.fail(f"--duration {window!r}: write 30s, 5m or 1h", output.USAGE)
