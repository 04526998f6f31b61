"""Metrics of a small mesh: counters that reset, gaps, series that end and return; with a fixed seed."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from sailcloth.telemetry.metrics.chunks import STALE
from sailcloth.telemetry.metrics.store import NewRow, Store

START = 1_700_000_000_000
MINUTES = 25
_SERVICES = ["productpage", "reviews", "ratings", "details"]
_BUCKETS = ["0.5", "1", "5", "10", "25", "50", "100", "250", "500", "1000", "+Inf"]

Labels = dict[str, str]
Column = dict[int, float]  # value by number of series


@dataclass
class Scraped:
    """One target: its series, and columns of (ms, values)."""

    name: str
    series: list[Labels] = field(default_factory=list)
    columns: list[tuple[int, Column]] = field(default_factory=list)


def _requests(reporter: str, source: str, destination: str, code: str, version: str) -> Labels:
    return {
        "reporter": reporter,
        "source_workload": f"{source}-v1",
        "source_workload_namespace": "default",
        "source_canonical_service": source,
        "source_canonical_revision": "v1",
        "source_app": source,
        "source_cluster": "Kubernetes",
        "source_principal": f"spiffe://cluster.local/ns/default/sa/bookinfo-{source}",
        "destination_workload": f"{destination}-{version}",
        "destination_workload_namespace": "default",
        "destination_service": f"{destination}.default.svc.cluster.local",
        "destination_service_name": destination,
        "destination_service_namespace": "default",
        "destination_canonical_service": destination,
        "destination_canonical_revision": version,
        "destination_app": destination,
        "destination_version": version,
        "destination_cluster": "Kubernetes",
        "request_protocol": "http" if destination != "ratings" else "grpc",
        "response_code": code,
        "grpc_response_status": "" if destination != "ratings" else ("0" if code == "200" else "14"),
        "response_flags": "-" if code != "503" else "UF",
        "connection_security_policy": "mutual_tls" if reporter == "destination" else "unknown",
    }


def _sidecar(target: Scraped, service: str, version: str) -> None:
    at = {
        "job": "kubernetes-pods",
        "instance": f"10.0.0.{len(target.name)}:15020",
        "namespace": "default",
        "pod": target.name,
        "app": service,
        "version": version,
    }

    def add(name: str, labels: Labels) -> None:
        target.series.append({k: v for k, v in {"__name__": name, **at, **labels}.items() if v})

    for name in ("up", "scrape_duration_seconds", "process_resident_memory_bytes"):
        add(name, {})
    for other in _SERVICES:
        if other == service:
            continue
        for reporter, source, destination in (("source", service, other), ("destination", other, service)):
            v = version if destination == service else "v1"
            for code in ("200", "503"):
                add("istio_requests_total", _requests(reporter, source, destination, code, v))
            if other in ("reviews", "productpage"):
                labels = _requests(reporter, source, destination, "200", v)
                for name in ("istio_request_duration_milliseconds", "istio_response_bytes"):
                    for bound in _BUCKETS:
                        add(f"{name}_bucket", {**labels, "le": bound})
                    add(f"{name}_sum", labels)
                    add(f"{name}_count", labels)
    tcp = {**_requests("source", service, "mongodb", "", "v1"), "request_protocol": "tcp"}
    for name in ("sent_bytes", "received_bytes", "connections_opened", "connections_closed"):
        add(f"istio_tcp_{name}_total", tcp)
    add("envoy_cluster_upstream_cx_active", {"cluster_name": "xds-grpc"})


def _istiod(target: Scraped) -> None:
    at = {
        "job": "istiod",
        "instance": "10.0.0.2:15014",
        "namespace": "istio-system",
        "app": "istiod",
        "pod": "istiod-1",
    }

    def add(name: str, labels: Labels | None = None) -> None:
        target.series.append({"__name__": name, **at, **(labels or {})})

    add("up")
    for kind in ("cds", "eds", "lds", "rds"):
        add("pilot_xds_pushes", {"type": kind})
        add("pilot_total_xds_rejects", {"type": kind})
    add("pilot_xds", {"version": "1.27.0"})
    add("istio_build", {"component": "pilot", "tag": "1.27.0"})
    for bound in ("0.1", "0.5", "1", "3", "5", "10", "20", "30", "+Inf"):
        add("pilot_proxy_convergence_time_bucket", {"le": bound})
    add("pilot_proxy_convergence_time_sum")
    add("pilot_proxy_convergence_time_count")
    for name in ("process_cpu_seconds_total", "process_resident_memory_bytes", "process_virtual_memory_bytes"):
        add(name)
    add("go_goroutines")
    add("pilot_services")
    add("galley_validation_passed")
    add("sidecar_injection_success_total")
    for pod in ("reviews-v1-x", "details-v1-xxxx"):  # one series after the other
        for phase in ("old", "new"):
            add("workload_info", {"about": pod, "phase": phase})


def _values(target: Scraped, seed: int) -> None:
    """Counters that grow at rates of their own, histograms that stay cumulative, gauges that wander."""
    rnd = random.Random(seed)
    rates = [rnd.choice([0.0, 0.0, 0.3, 2.0, 40.0]) for _ in target.series]
    state = [0.0 for _ in target.series]
    offset = rnd.randrange(5000)
    down = range(150, 165) if seed % 3 == 1 else range(0)
    silent = range(90, 160) if seed % 4 == 2 else range(0)  # longer than the lookback: no scrapes at all
    for number in range(MINUTES * 12):
        if number in silent:
            continue
        if rnd.random() < 0.004:
            state = [0.0 for _ in state]
        column: Column = {}
        for i, labels in enumerate(target.series):
            name = labels["__name__"]
            if name == "workload_info":
                state[i] = 1.0
            elif name == "up":
                state[i] = 0.0 if number in down else 1.0
            elif name.endswith("_bucket"):
                previous = state[i - 1] if labels["le"] not in ("0.5", "0.1") else 0.0
                state[i] = max(state[i] + rnd.randrange(3), previous)
            elif name.endswith(("_total", "_count", "_pushes", "_passed", "_rejects")):
                state[i] += int(rates[i] * rnd.uniform(2, 8))
            elif name.endswith("_sum"):
                state[i] += round(rates[i] * rnd.uniform(1, 90), 3)
            else:
                state[i] = round(1000 * math.sin(number / 40 + i) + rnd.uniform(0, 20) + 2000, 4)
            absent = number in down and name != "up"
            later = name == "workload_info" and (labels["phase"] == "new") != (number >= 150)
            young = i % 17 == 5 and not 60 <= number % 130 < 120  # comes and goes
            if not absent and not young and not later:
                column[i] = state[i]
        target.columns.append((START + number * 5000 + offset + rnd.randrange(200), column))


def mesh() -> list[Scraped]:
    """All targets."""
    targets = []
    for number, (service, version) in enumerate(
        [("productpage", "v1"), ("reviews", "v1"), ("reviews", "v2"), ("ratings", "v1"), ("details", "v1")]
    ):
        target = Scraped(f"{service}-{version}-{'x' * number}")
        _sidecar(target, service, version)
        _values(target, number)
        targets.append(target)
    control = Scraped("istiod-1")
    _istiod(control)
    _values(control, 9)
    return [*targets, control]


def load(targets: list[Scraped], store: Store) -> None:
    """Append everything to a store."""
    for scraped in targets:
        target = store.target(scraped.name)
        for time_ms, column in scraped.columns:
            old = {k: v for k, v in column.items() if k in target.rows}
            new = [NewRow(k, scraped.series[k], v) for k, v in column.items() if k not in target.rows]
            store.append(target, time_ms, [target.rows[k] for k in old], list(old.values()), new)


def samples(targets: list[Scraped]) -> Iterator[tuple[int, Labels, float]]:
    """(ms, labels, value) in order of time, with a stale marker where a series ends."""
    out = []
    for scraped in targets:
        before: Column = {}
        for time_ms, column in scraped.columns:
            out += [(time_ms, scraped.series[k], v) for k, v in column.items()]
            out += [(time_ms, scraped.series[k], float(STALE)) for k in before if k not in column]
            before = column
    return iter(sorted(out, key=lambda s: s[0]))
