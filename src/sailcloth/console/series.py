"""Charts of the traffic of one subject: the range queries to Prometheus, and charts from their answers. Pure.

Lines by the other side of requests say nothing of namespaces that the user may not read: those are one line, `inaccessible`, which
Prometheus adds up.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal, get_args

from .answers import BadQuery
from .details import Subject
from .schema_details import Chart, Charts, Line
from .sources import Series, Times

Direction = Literal["inbound", "outbound"]
By = Literal["none", "workload", "version", "code", "flags", "mtls"]
Quantile = Literal["all", "p50", "p95", "p99", "avg"]
_STEPS = (5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 43_200)  # seconds
_POINTS = 120
_LEAST_RATE_S = 30  # what rates look back on: several scrapes
_LINES = 20
_QUANTILES = {"p50": "0.5", "p95": "0.95", "p99": "0.99"}
_FAILED = ('response_code=~"0|5.."', 'response_code!~"0|5..",grpc_response_status=~"[1-9].*"')
_RATES = (
    ("tcpReceived", "istio_tcp_received_bytes_total"),
    ("tcpSent", "istio_tcp_sent_bytes_total"),
)
_MEASURES = (
    ("duration", "istio_request_duration_milliseconds"),
    ("requestSize", "istio_request_bytes"),
    ("responseSize", "istio_response_bytes"),
)
_UNITS: Mapping[str, Any] = {
    "requests": "requests/s",
    "errors": "requests/s",
    "duration": "ms",
    "requestSize": "bytes",
    "responseSize": "bytes",
    "tcpReceived": "bytes/s",
    "tcpSent": "bytes/s",
}


@dataclass(frozen=True)
class View:
    """What charts show: requests to or from the subject, measured by the proxies of one side, in lines."""

    direction: Direction
    reporter: str
    by: By
    quantile: Quantile

    @property
    def far(self) -> str:
        """The labels' prefix of the other side."""
        return "source" if self.direction == "inbound" else "destination"


@dataclass(frozen=True)
class Query:
    """A range query, and the chart that its series belong to. `measure`: such as p95. `hidden`: whether it adds up what the user may
    not see."""

    chart: str
    expression: str
    measure: str = ""
    hidden: bool = False


def view(of: Subject, parameters: Mapping[str, str]) -> View:
    """The view that a request asks for. Raises BadQuery."""
    chosen: dict[str, Any] = {}
    for name, type_ in (("direction", Direction), ("by", By), ("quantile", Quantile)):
        choices = get_args(type_)
        chosen[name] = parameters.get(name, choices[0])
        if chosen[name] not in choices:
            raise BadQuery(f"{name}: use {', '.join(choices[:-1])} or {choices[-1]}")
    own = "destination" if chosen["direction"] == "inbound" else "source"
    reporter = parameters.get("reporter", own)
    if reporter not in ("source", "destination"):
        raise BadQuery("reporter: use source or destination")
    if of.kind == "service" and chosen["direction"] == "outbound":
        raise BadQuery("direction: a service sends no requests; its workloads do")
    return View(reporter=reporter, **chosen)


def times(window_s: int, now: float) -> Times:
    """The times of charts of a window that ends now."""
    step = next((s for s in _STEPS if window_s / s <= _POINTS), _STEPS[-1])
    end = now // step * step
    return Times(end - max(1, window_s // step) * step, end, step)


def queries(of: Subject, chosen: View, step: float, readable: frozenset[str] | None) -> list[Query]:
    """The queries of all charts. readable: namespaces whose names may be shown; None: all."""
    window = f"{max(_LEAST_RATE_S, math.ceil(step))}s"
    own = _selector(of, chosen)
    labels = _labels(chosen)
    if readable is None or chosen.by not in ("workload", "version"):
        return list(_all(own, labels, window, chosen, hidden=False))
    names = "|".join(sorted({*readable, "unknown", ""}))
    near, far = [], []
    where = [f"{chosen.far}_workload_namespace"]
    where += ["destination_service_namespace"] if chosen.far == "destination" else []
    for selector in own:
        near.append(",".join((selector, *(f'{label}=~"{names}"' for label in where))))
        far.append(f'{selector},{where[0]}!~"{names}"')
        far += [f'{selector},{where[0]}=~"{names}",{label}!~"{names}"' for label in where[1:]]
    return [
        *_all(near, labels, window, chosen, hidden=False),
        *_all(far, (), window, chosen, hidden=True),
    ]


def _selector(of: Subject, chosen: View) -> list[str]:
    side = "destination" if chosen.direction == "inbound" else "source"
    name, where = {
        "workload": (f"{side}_workload", f"{side}_workload_namespace"),
        "app": (f"{side}_canonical_service", f"{side}_workload_namespace"),
        "service": ("destination_service_name", "destination_service_namespace"),
    }[of.kind]
    return [f'reporter="{chosen.reporter}",{name}={quoted(of.name)},{where}={quoted(of.namespace)}']


def quoted(text: str) -> str:
    """A string of PromQL."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _labels(chosen: View) -> tuple[str, ...]:
    far = chosen.far
    more = ("destination_service_name",) if far == "destination" else ()
    return {
        "none": (),
        "workload": (f"{far}_workload", f"{far}_workload_namespace", *more),
        "version": (f"{far}_canonical_service", f"{far}_canonical_revision", f"{far}_workload_namespace"),
        "code": ("response_code", "grpc_response_status"),
        "flags": ("response_flags",),
        "mtls": ("connection_security_policy",),
    }[chosen.by]


def _all(selectors: Sequence[str], labels: Sequence[str], window: str, chosen: View, hidden: bool) -> Iterator[Query]:
    by = ",".join(labels)

    def total(metric: str, where: Iterable[str] = selectors, more: str = "") -> str:
        grouped = ",".join(filter(None, (more, by)))
        rates = " or ".join(f"rate({metric}{{{selector}}}[{window}])" for selector in where)
        return f"sum by ({grouped}) ({rates})"

    yield Query("requests", total("istio_requests_total"), hidden=hidden)
    failed = [",".join(pair) for pair in product(selectors, _FAILED)]
    yield Query("errors", total("istio_requests_total", failed), hidden=hidden)
    every = chosen.quantile == "all" and chosen.by == "none"
    measures = ("p50", "p95", "p99", "avg") if every else ("p95",) if chosen.quantile == "all" else (chosen.quantile,)
    for (chart, metric), measure in product(_MEASURES, measures):
        if measure == "avg":
            expression = f"{total(f'{metric}_sum')} / {total(f'{metric}_count')}"
        else:
            expression = f"histogram_quantile({_QUANTILES[measure]}, {total(f'{metric}_bucket', more='le')})"
        yield Query(chart, expression, measure, hidden)
    for chart, metric in _RATES:
        yield Query(chart, total(metric), hidden=hidden)


def charts(chosen: View, at: Times, answers: Iterable[tuple[Query, Sequence[Series]]]) -> Charts:
    """The charts of the answers, without empty ones. Of more than twenty lines of a chart the largest are kept."""
    lines: dict[str, list[Line]] = {}
    for query, series in answers:
        named = (
            (
                " ".join(filter(None, ("inaccessible" if query.hidden else _label(chosen, labels), query.measure))),
                points,
            )
            for labels, points in series
        )
        for line in lines_of(at, named):
            if query.chart == "requests" or any(line.values):
                lines.setdefault(query.chart, []).append(line)
    return Charts(
        times=at.all,
        step=at.step,
        reporter=chosen.reporter,
        charts=[
            Chart(
                name=name,
                unit=unit,
                lines=_largest(lines[name]),
                dropped=max(0, len(lines[name]) - _LINES),
            )
            for name, unit in _UNITS.items()
            if name in lines
        ],
    )


def lines_of(at: Times, series: Iterable[tuple[str, Sequence[tuple[float, float]]]]) -> list[Line]:
    """Lines of series by their labels, without those that have no value."""
    out = []
    for label, points in series:
        values: list[float | None] = [None] * len(at.all)
        for when, value in points:
            index = round((when - at.start) / at.step)
            if 0 <= index < len(values) and math.isfinite(value):
                values[index] = value
        if any(v is not None for v in values):
            out.append(Line(label=label or "all", values=values))
    return out


def _largest(lines: Sequence[Line]) -> list[Line]:
    kept = sorted(lines, key=lambda line: -sum(v or 0.0 for v in line.values))[:_LINES]
    return kept if len(lines) > _LINES else list(lines)


def _label(chosen: View, labels: Mapping[str, str]) -> str:
    """What a line is called."""
    far = chosen.far
    namespace = labels.get(f"{far}_workload_namespace", "")
    inside = f" ({namespace})" if namespace not in ("", "unknown") else ""
    match chosen.by:
        case "workload":
            workload = labels.get(f"{far}_workload", "unknown")
            service = labels.get("destination_service_name", "")
            return service if workload in ("", "unknown") and service else f"{workload or 'unknown'}{inside}"
        case "version":
            name = labels.get(f"{far}_canonical_service") or "unknown"
            return f"{name} {labels.get(f'{far}_canonical_revision', '')}{inside}"
        case "code":
            code, status = labels.get("response_code", ""), labels.get("grpc_response_status", "")
            return f"gRPC {status}" if status else "no response" if code in ("", "0") else code
        case "flags":
            flags = labels.get("response_flags", "-")
            return "no flags" if flags in ("", "-") else flags
        case "mtls":
            policy = labels.get("connection_security_policy", "unknown")
            return {"mutual_tls": "mutual TLS", "none": "plain text"}.get(policy, "unknown")
    return ""
