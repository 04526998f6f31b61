"""Tempo's API as Grafana and Kiali ask it: search by TraceQL or tags, traces by id. https://grafana.com/docs/tempo/latest/api_docs/"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from . import traceql
from .jaeger import BadQuery, microseconds, number
from .model import Span
from .store import Query
from .traceql import Condition, TraceCondition

_PAIR = re.compile(r'([\w.\-/]+)=(?:"((?:[^"\\]|\\.)*)"|(\S*))')
_KIND = {"internal": 1, "server": 2, "client": 3, "producer": 4, "consumer": 5}
MAX_LIMIT = 500


def query(parameters: Mapping[str, str]) -> tuple[Query, Condition, TraceCondition, int]:
    """(the traces to look for, what a span of them has, what the whole trace has, how many spans to show). Raises BadQuery."""
    some, whole = _conditions(parameters)
    found = Query(
        start_us=number(parameters, "start") * 1_000_000,
        end_us=number(parameters, "end") * 1_000_000,
        min_us=microseconds(parameters, "minDuration"),
        max_us=microseconds(parameters, "maxDuration"),
        matches=some,
        limit=min(number(parameters, "limit") or 20, MAX_LIMIT),
    )
    return found, some, whole, number(parameters, "spss") or 3


def _conditions(parameters: Mapping[str, str]) -> tuple[Condition, TraceCondition]:
    if parameters.get("q"):
        try:
            return traceql.parse(parameters["q"])
        except traceql.Unsupported as error:
            raise BadQuery(f"q: {error}") from None
    wanted = {m[1]: m[2] if m[2] is not None else m[3] for m in _PAIR.finditer(parameters.get("tags", ""))}

    def some(span: Span) -> bool:
        own = {"service.name": span.service, "name": span.name, "status": "error" if span.error else "ok"}
        return all({**span.tags, **own}.get(key) == value for key, value in wanted.items())

    return some, lambda spans: any(some(span) for span in spans)


def search_result(spans: Sequence[Span], some: Condition, shown: int) -> dict[str, Any]:
    """One trace of a search's answer."""
    root = next((s for s in spans if not s.parent), spans[0])
    matched = [span for span in spans if some(span)]
    end = max(span.end_us for span in spans)
    start = min(span.start_us for span in spans)
    return {
        "traceID": root.trace,
        "rootServiceName": root.service,
        "rootTraceName": root.name,
        "startTimeUnixNano": str(start * 1000),
        "durationMs": (end - start) // 1000,
        "spanSets": [{"spans": [_short(span) for span in matched[:shown]], "matched": len(matched)}],
    }


def _short(span: Span) -> dict[str, Any]:
    tags = {"service.name": span.service, "status": "error" if span.error else "ok", **span.tags}
    return {
        "spanID": span.id,
        "name": span.name,
        "startTimeUnixNano": str(span.start_us * 1000),
        "durationNanos": str(span.duration_us * 1000),
        "attributes": [{"key": k, "value": {"stringValue": v}} for k, v in tags.items()],
    }


def protobuf(spans: Sequence[Span]) -> bytes:
    """A trace as Tempo's protobuf, which is that of OTLP's request."""
    message = ExportTraceServiceRequest()
    by_service: dict[str, Any] = {}
    for span in spans:
        group = by_service.get(span.service)
        if group is None:
            of = message.resource_spans.add()
            of.resource.attributes.add(key="service.name").value.string_value = span.service
            group = by_service[span.service] = of.instrumentation_library_spans.add()
        one = group.spans.add(
            trace_id=bytes.fromhex(span.trace),
            span_id=bytes.fromhex(span.id),
            parent_span_id=bytes.fromhex(span.parent),
            name=span.name,
            kind=_KIND[span.kind],
            start_time_unix_nano=span.start_us * 1000,
            end_time_unix_nano=span.end_us * 1000,
        )
        one.status.code = 2 if span.error else 0
        for key, value in span.tags.items():
            one.attributes.add(key=key).value.string_value = value
        for at, text in span.events:
            one.events.add(time_unix_nano=at * 1000, name=text)
    return bytes(message.SerializeToString())
