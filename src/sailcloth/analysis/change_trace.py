"""One configuration change as a trace: the write, the control plane's work, and each proxy until its last ACK.

Built from rows of the page `/debug/changez`, for `sailctl x trace-change` and the console. Must not fetch anything.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

Row = dict[str, Any]
_BAR = 40  # characters of the longest bar
_INTERNAL, _CLIENT = 1, 3  # SpanKind
_ERROR = 2  # StatusCode


@dataclass(frozen=True)
class Write:
    """A request to the API server. Times are seconds since the epoch."""

    name: str
    start: float
    end: float


@dataclass(frozen=True)
class Span:
    """`start` and `end`: seconds since the epoch. `events`: (time, text). `error` is empty on success."""

    service: str
    name: str
    start: float
    end: float
    parent: int | None = None  # index of the parent span
    error: str = ""
    events: tuple[tuple[float, str], ...] = ()
    kind: int = _INTERNAL
    attributes: dict[str, str] = field(default_factory=dict)


def spans(row: Row, writes: Sequence[Write] = ()) -> list[Span]:
    """The trace of a change that these writes caused. The first span is the root. Proxies are ordered by their last response; those
    without a response have no span."""
    received, answers = float(row["received"]), row["answers"]
    computed = received + row["computedMs"] / 1e3
    trace_end = max((received + a["ms"] / 1e3 for a in answers), default=computed)
    objects = ", ".join(_name(o) for o in row["objects"])
    start = min(received, *(write.start for write in writes)) if writes else received
    error = next((a["error"] for a in answers if a["error"]), "")
    trace = [Span("sailctl" if writes else "istiod", f"change {objects}", start, trace_end, error=error)]
    trace += [Span("sailctl", write.name, write.start, write.end, 0, kind=_CLIENT) for write in writes]
    trace.append(Span("istiod", "validate and compute", received, computed, 0))
    if not answers:
        return trace
    deliver = len(trace)
    trace.append(Span("istiod", "deliver", computed, trace_end, 0, error))
    of_proxy: dict[str, list[Row]] = {}
    for answer in answers:
        of_proxy.setdefault(answer["proxy"], []).append(answer)
    for proxy, responses in sorted(of_proxy.items(), key=lambda item: item[1][-1]["ms"]):
        end = received + responses[-1]["ms"] / 1e3
        events = tuple(
            (received + a["ms"] / 1e3, f"{a['type']} {'refused' if a['error'] else 'acknowledged'}") for a in responses
        )
        refused = next((a["error"] for a in responses if a["error"]), "")
        types = Counter(a["type"] for a in responses)
        attributes = {
            "proxy": proxy,
            "types": " ".join(f"{n}×{count}" if count > 1 else n for n, count in types.items()),
        }
        trace.append(Span("istiod", proxy, computed, end, deliver, refused, events, attributes=attributes))
    return trace


def otlp(trace: Sequence[Span], trace_id: str) -> dict[str, Any]:
    """An ExportTraceServiceRequest in JSON. https://opentelemetry.io/docs/specs/otlp/"""
    ids = [secrets.token_hex(8) for _ in trace]
    by_service: dict[str, list[dict[str, Any]]] = {}
    for index, span in enumerate(trace):
        status = {"status": {"code": _ERROR, "message": span.error}} if span.error else {}
        by_service.setdefault(span.service, []).append(
            {
                "traceId": trace_id,
                "spanId": ids[index],
                "parentSpanId": "" if span.parent is None else ids[span.parent],
                "name": span.name,
                "kind": span.kind,
                "startTimeUnixNano": str(round(span.start * 1e9)),
                "endTimeUnixNano": str(round(span.end * 1e9)),
                "attributes": _attributes(span.attributes),
                "events": [{"timeUnixNano": str(round(at * 1e9)), "name": text} for at, text in span.events],
                **status,
            }
        )
    return {
        "resourceSpans": [
            {
                "resource": {"attributes": _attributes({"service.name": service})},
                "scopeSpans": [{"scope": {"name": "sailcloth"}, "spans": spans_of_service}],
            }
            for service, spans_of_service in by_service.items()
        ]
    }


def waterfall(trace: Sequence[Span]) -> list[tuple[str, str, str, str]]:
    """Rows of a table: name, start, duration, and a bar on the root span's time axis."""
    root, rows = trace[0], []
    scale = _BAR / max(1e-6, root.end - root.start)
    for span in trace:
        depth = 0
        at = span
        while at.parent is not None:
            at, depth = trace[at.parent], depth + 1
        before = round((span.start - root.start) * scale)
        bar = " " * before + "━" * max(1, min(_BAR - before, round((span.end - span.start) * scale)))
        what = " ".join(t for t in (span.name, span.attributes.get("types", "")) if t)
        if span.error and span.attributes:
            what += f": {span.error}"
        rows.append(("  " * depth + what, _ms(span.start - root.start), _ms(span.end - span.start), bar))
    return rows


def summary(row: Row) -> tuple[str, str, str, str, str]:
    """Columns of a list: objects, compute time, proxies, last response, and the error, a waiting proxy or the slowest one."""
    answers = row["answers"]
    done = {a["proxy"] for a in answers if a["complete"]}
    proxies = {a["proxy"] for a in answers} | set(row["waiting"])
    slowest = max(answers, key=lambda a: float(a["ms"]), default=None)
    error = next((f"{a['proxy']}: {a['error']}" for a in answers if a["error"]), "")
    waiting = f"waiting for {row['waiting'][0]}" if row["waiting"] else ""
    names = [_name(o) for o in row["objects"]]
    return (
        ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else ""),
        f"{row['computedMs']:.1f}ms",
        f"{len(done)}/{len(proxies)}",
        f"{slowest['ms']:.1f}ms" if slowest else "-",
        error or waiting or (slowest["proxy"] if slowest else "-"),
    )


def _name(obj: Row) -> str:
    where = f"{obj['namespace']}/" if obj["namespace"] else ""
    return f"{obj['kind']} {where}{obj['name']}"


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.1f}ms"


def _attributes(values: dict[str, str]) -> list[dict[str, Any]]:
    return [{"key": key, "value": {"stringValue": value}} for key, value in values.items()]
