"""Dashboards of what a workload runs in, each found by the presence of its metrics: a table of PromQL, and charts from the answers. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Literal

from .schema_details import Chart, Runtime, Runtimes
from .series import lines_of, quoted
from .sources import Sample, Series, Times

Panel = tuple[str, str, Literal["count", "bytes", "cores"], str]
"""Dashboard, chart, unit, and PromQL in which {S} stands for the pods and [W] for the time that rates look back on."""
PANELS: tuple[Panel, ...] = (
    ("Envoy", "envoyMemory", "bytes", "sum by (pod) (envoy_server_memory_allocated{S})"),
    ("Envoy", "envoyConnections", "count", "sum by (pod) (envoy_server_total_connections{S})"),
    ("Envoy", "envoyUpstream", "count", "sum by (pod) (envoy_cluster_upstream_cx_active{S})"),
    ("Go", "goroutines", "count", "sum by (pod) (go_goroutines{S})"),
    ("Go", "goHeap", "bytes", "sum by (pod) (go_memstats_heap_alloc_bytes{S})"),
    ("Go", "goPauses", "cores", "sum by (pod) (rate(go_gc_duration_seconds_sum{S}[W]))"),
    ("JVM", "jvmMemory", "bytes", "sum by (pod, area) (jvm_memory_used_bytes{S})"),
    ("JVM", "jvmThreads", "count", "sum by (pod) (jvm_threads_live_threads{S} or jvm_threads_current{S})"),
    ("JVM", "jvmPauses", "cores", "sum by (pod) (rate(jvm_gc_pause_seconds_sum{S}[W]))"),
    ("Python", "pythonCollections", "count", "sum by (pod, generation) (rate(python_gc_collections_total{S}[W]))"),
    ("Process", "processMemory", "bytes", "sum by (pod) (process_resident_memory_bytes{S})"),
    ("Process", "processCpu", "cores", "sum by (pod) (rate(process_cpu_seconds_total{S}[W]))"),
    ("Process", "openFiles", "count", "sum by (pod) (process_open_fds{S})"),
)
_METRIC = re.compile(r"(\w+)\{S\}")
_LEAST_RATE_S = 30


def _pods(namespace: str, pods: Sequence[str]) -> str:
    return f"namespace={quoted(namespace)},pod=~{quoted('|'.join(pods))}"


def discovery(namespace: str, pods: Sequence[str]) -> str:
    """The query whose samples say which of the panels' metrics some pods have."""
    names = "|".join(name for panel in PANELS for name in _METRIC.findall(panel[-1]))
    return f'count by (__name__) ({{__name__=~"{names}",{_pods(namespace, pods)}}})'


def panels(found: Iterable[Sample], namespace: str, pods: Sequence[str], step: float) -> list[Panel]:
    """The panels of metrics that the discovery has found, with whole queries."""
    metrics, selector = {labels.get("__name__") for labels, _ in found}, f"{{{_pods(namespace, pods)}}}"
    window = f"[{max(_LEAST_RATE_S, round(step))}s]"
    return [
        (runtime, chart, unit, query.replace("{S}", selector).replace("[W]", window))
        for runtime, chart, unit, query in PANELS
        if metrics.intersection(_METRIC.findall(query))
    ]


def answer(at: Times, answers: Iterable[tuple[Panel, Sequence[Series]]]) -> Runtimes:
    """The dashboards, without charts that have no lines."""
    charts: dict[str, list[Chart]] = {}
    for (runtime, name, unit, _), series in answers:
        lines = lines_of(at, ((" ".join(filter(None, labels.values())), points) for labels, points in series))
        if lines:
            charts.setdefault(runtime, []).append(Chart(name=name, unit=unit, lines=lines))
    return Runtimes(times=at.all, runtimes=[Runtime(name=name, charts=shown) for name, shown in charts.items()])
