"""OpenTelemetry's protocol (OTLP): spans in, as protobuf or JSON, and traces out as JSON.
https://opentelemetry.io/docs/specs/otlp/"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import orjson
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from .model import KINDS, MAX_NAME, MAX_SPANS, BadSpans, Span, identifier, is_error, tags_of, whole

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
_ERROR = 2  # of STATUS_CODE
_SERVER_KIND = 2  # SPAN_KIND_SERVER; internal is 1, unspecified 0


def read(body: bytes) -> list[Span]:
    """The spans of a protobuf message. Raises BadSpans."""
    try:
        request = ExportTraceServiceRequest.FromString(body)
    except DecodeError:
        raise BadSpans("no ExportTraceServiceRequest") from None
    out: list[Span] = []
    for of in request.resource_spans:
        resource = {a.key: _plain(a.value) for a in of.resource.attributes}
        for group in of.instrumentation_library_spans:  # field 2, `scope_spans` today
            for span in group.spans:
                events = tuple((e.time_unix_nano // 1000, e.name[:MAX_NAME]) for e in span.events[:32])
                attributes = {a.key: _plain(a.value) for a in span.attributes}
                out.append(
                    _span(
                        resource,
                        attributes,
                        span.trace_id.hex(),
                        span.span_id.hex(),
                        span.parent_span_id.hex(),
                        span.name,
                        span.kind,
                        span.start_time_unix_nano,
                        span.end_time_unix_nano,
                        span.status.code == _ERROR,
                        events,
                    )
                )
                _bounded(out)
    return out


def read_json(body: bytes) -> list[Span]:
    """The spans of a JSON message, whose ids are hexadecimal. Raises BadSpans."""
    try:
        request = orjson.loads(body)
        out: list[Span] = []
        for of in request.get("resourceSpans") or ():
            resource = _attributes((of.get("resource") or {}).get("attributes"))
            for group in of.get("scopeSpans") or of.get("instrumentationLibrarySpans") or ():
                for span in group.get("spans") or ():
                    out.append(_of_json(resource, span))
                    _bounded(out)
    except orjson.JSONDecodeError as error:
        raise BadSpans(f"no JSON: {error}") from None
    except (AttributeError, TypeError, KeyError):
        raise BadSpans("the message is no ExportTraceServiceRequest in JSON") from None
    return out


def _of_json(resource: Mapping[str, Any], span: Mapping[str, Any]) -> Span:
    kind = span.get("kind") or 0
    names = {"SPAN_KIND_SERVER": 2, "SPAN_KIND_CLIENT": 3, "SPAN_KIND_PRODUCER": 4, "SPAN_KIND_CONSUMER": 5}
    status = (span.get("status") or {}).get("code")
    return _span(
        resource,
        _attributes(span.get("attributes")),
        str(span.get("traceId") or ""),
        str(span.get("spanId") or ""),
        str(span.get("parentSpanId") or ""),
        str(span.get("name") or ""),
        names.get(kind, 1) if isinstance(kind, str) else int(kind),
        whole(span.get("startTimeUnixNano"), "startTimeUnixNano"),
        whole(span.get("endTimeUnixNano"), "endTimeUnixNano"),
        status in (_ERROR, "STATUS_CODE_ERROR"),
        tuple(
            (whole(e.get("timeUnixNano"), "events") // 1000, str(e.get("name") or "")[:MAX_NAME])
            for e in (span.get("events") or ())[:32]
        ),
    )


def _span(
    resource: Mapping[str, Any],
    attributes: Mapping[str, Any],
    trace: str,
    span: str,
    parent: str,
    name: str,
    kind: int,
    start_ns: int,
    end_ns: int,
    failed: bool,
    events: tuple[tuple[int, str], ...],
) -> Span:
    service = str(resource.get("service.name") or "unknown")[:MAX_NAME]
    tags = tags_of({**{k: v for k, v in resource.items() if k != "service.name"}, **attributes})
    return Span(
        trace=identifier(trace, 32, "traceId"),
        id=identifier(span, 16, "spanId"),
        parent=identifier(parent, 16, "parentSpanId") if parent.strip("0") else "",
        service=service,
        name=(name or "unknown")[:MAX_NAME],
        kind=KINDS[kind - 1] if 1 <= kind <= len(KINDS) else "internal",
        start_us=whole(start_ns // 1000, "startTimeUnixNano"),
        duration_us=max(0, end_ns - start_ns) // 1000,
        error=failed or is_error(tags),
        tags=tags,
        events=events,
    )


def _bounded(spans: list[Span]) -> None:
    if len(spans) > MAX_SPANS:
        raise BadSpans(f"more than {MAX_SPANS} spans in one message")


def _plain(value: Any) -> Any:
    """What an AnyValue holds."""
    kind = value.WhichOneof("value")
    if kind is None:
        return ""
    held = getattr(value, kind)
    if kind == "bytes_value":
        return base64.b64encode(held).decode()
    if kind == "array_value":
        return [_plain(v) for v in held.values]
    return {v.key: _plain(v.value) for v in held.values} if kind == "kvlist_value" else held


def _attributes(listed: Any) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for item in listed or ():
        value = item.get("value") or {}
        ((kind, held),) = value.items() if len(value) == 1 else (("", ""),)
        out[str(item["key"])] = str(held) if kind in ("arrayValue", "kvlistValue") else held
    return out


def message(spans: Iterable[Span]) -> dict[str, Any]:
    """Spans as a message of OTLP in JSON, whose ids are hexadecimal."""
    return {"resourceSpans": write(spans, str)["batches"]}


def write(spans: Iterable[Span], ids: Callable[[str], str] | None = None) -> dict[str, Any]:
    """Spans as OTLP in JSON, in the field names of Tempo's answers (`batches`), with ids in base64 as protobuf's JSON has them."""
    ids = ids or _base64
    by_service: dict[str, list[Span]] = {}
    for span in spans:
        by_service.setdefault(span.service, []).append(span)
    batches = []
    for service, of in by_service.items():
        attribute = {"key": "service.name", "value": {"stringValue": service}}
        batches.append(
            {"resource": {"attributes": [attribute]}, "scopeSpans": [{"spans": [_json(s, ids) for s in of]}]}
        )
    return {"batches": batches}


def _json(span: Span, ids: Callable[[str], str]) -> dict[str, Any]:
    kind = ("SPAN_KIND_" + span.kind).upper()
    out: dict[str, Any] = {
        "traceId": ids(span.trace),
        "spanId": ids(span.id),
        "name": span.name,
        "kind": kind,
        "startTimeUnixNano": str(span.start_us * 1000),
        "endTimeUnixNano": str(span.end_us * 1000),
        "attributes": [{"key": k, "value": {"stringValue": v}} for k, v in span.tags.items()],
        "status": {"code": "STATUS_CODE_ERROR"} if span.error else {},
    }
    if span.parent:
        out["parentSpanId"] = ids(span.parent)
    if span.events:
        out["events"] = [{"timeUnixNano": str(at * 1000), "name": name} for at, name in span.events]
    return out


def _base64(identifier: str) -> str:
    try:
        return base64.b64encode(bytes.fromhex(identifier)).decode()
    except (ValueError, binascii.Error):
        return ""
