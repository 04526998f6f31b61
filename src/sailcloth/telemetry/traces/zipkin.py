"""Zipkin's protocol, version 2 as JSON: spans in, and traces out. https://zipkin.io/zipkin-api/"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from .model import MAX_NAME, MAX_SPANS, BadSpans, Span, identifier, is_error, tags_of, whole

_KINDS = {"CLIENT": "client", "SERVER": "server", "PRODUCER": "producer", "CONSUMER": "consumer"}


def read(body: bytes) -> list[Span]:
    """The spans of a message. Raises BadSpans."""
    try:
        listed = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadSpans(f"no JSON: {error}") from None
    if not isinstance(listed, list):
        raise BadSpans("spans are a JSON list")
    if len(listed) > MAX_SPANS:
        raise BadSpans(f"{len(listed)} spans in one message; at most {MAX_SPANS}")
    return [_span(index, item) for index, item in enumerate(listed)]


def _span(index: int, item: Any) -> Span:
    if not isinstance(item, dict):
        raise BadSpans(f"[{index}]: a span is a JSON object")
    at = f"[{index}]"
    endpoint = item.get("localEndpoint")
    given = item.get("tags")
    tags = tags_of(given) if isinstance(given, dict) else {}
    remote = item.get("remoteEndpoint")
    if isinstance(remote, dict):
        for key, tag in (("ipv4", "peer.ipv4"), ("serviceName", "peer.service")):
            if remote.get(key):
                tags.setdefault(tag, str(remote[key])[:MAX_NAME])
    notes = item.get("annotations")
    events = tuple(
        (whole(n.get("timestamp"), f"{at}.annotations"), str(n.get("value", ""))[:MAX_NAME])
        for n in (notes if isinstance(notes, list) else ())[:32]
        if isinstance(n, dict)
    )
    return Span(
        trace=identifier(item.get("traceId"), 32, f"{at}.traceId"),
        id=identifier(item.get("id"), 16, f"{at}.id"),
        parent=identifier(item["parentId"], 16, f"{at}.parentId") if item.get("parentId") else "",
        service=str((endpoint or {}).get("serviceName") or "unknown")[:MAX_NAME]
        if isinstance(endpoint, dict)
        else "unknown",
        name=str(item.get("name") or "unknown")[:MAX_NAME],
        kind=_KINDS.get(str(item.get("kind") or ""), "internal"),
        start_us=whole(item.get("timestamp"), f"{at}.timestamp"),
        duration_us=whole(item.get("duration"), f"{at}.duration"),
        error="error" in tags or is_error(tags),
        tags=tags,
        events=events,
    )


def write(spans: Iterable[Span]) -> list[dict[str, Any]]:
    """Spans as Zipkin has them."""
    back = {ours: theirs for theirs, ours in _KINDS.items()}
    out = []
    for span in spans:
        one: dict[str, Any] = {
            "traceId": span.trace,
            "id": span.id,
            "name": span.name,
            "timestamp": span.start_us,
            "duration": span.duration_us,
            "localEndpoint": {"serviceName": span.service},
            "tags": dict(span.tags),
        }
        if span.parent:
            one["parentId"] = span.parent
        if span.kind in back:
            one["kind"] = back[span.kind]
        if span.events:
            one["annotations"] = [{"timestamp": at, "value": text} for at, text in span.events]
        out.append(one)
    return out
