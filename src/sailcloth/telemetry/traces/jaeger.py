"""Jaeger's query API as Kiali, Grafana and Jaeger's own page ask it. https://www.jaegertracing.io/docs/apis/"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from .model import Span
from .store import Query

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")
_UNITS = {"ns": 1e-3, "us": 1.0, "µs": 1.0, "ms": 1e3, "s": 1e6, "m": 6e7, "h": 3.6e9}
MAX_LIMIT = 1500


class BadQuery(ValueError):
    """A parameter is not what the API takes. The text names it."""


def query(parameters: Mapping[str, str], tags: Sequence[str]) -> Query:
    """The traces that the parameters of /api/traces ask for; `tags` are the values of the parameter `tag` (KEY:VALUE). Raises
    BadQuery."""
    service = parameters.get("service", "")
    if not service:
        raise BadQuery("parameter 'service' is required")
    wanted = dict(tag.split(":", 1) for tag in tags if ":" in tag)
    if parameters.get("tags"):
        try:
            listed = orjson.loads(parameters["tags"])
        except orjson.JSONDecodeError:
            listed = None
        if not isinstance(listed, dict):
            raise BadQuery("parameter 'tags' is a JSON object")
        wanted |= {str(k): str(v) for k, v in listed.items()}
    error = wanted.pop("error", None)
    return Query(
        service,
        parameters.get("operation", ""),
        number(parameters, "start"),
        number(parameters, "end"),
        microseconds(parameters, "minDuration"),
        microseconds(parameters, "maxDuration"),
        None if error is None else error == "true",
        wanted,
        limit=min(number(parameters, "limit") or 20, MAX_LIMIT),
    )


def number(parameters: Mapping[str, str], name: str) -> int:
    """A parameter that is a whole number; 0 if it is absent. Raises BadQuery."""
    text = parameters.get(name, "")
    if text and not re.fullmatch(r"\d{1,18}", text):
        raise BadQuery(f"parameter {name!r} is a whole number, not {text[:40]!r}")
    return int(text or 0)


def microseconds(parameters: Mapping[str, str], name: str) -> int:
    """A parameter that is a duration such as 1.2s. Raises BadQuery."""
    text = parameters.get(name, "")
    parts = _DURATION.findall(text)
    if text and "".join(a + u for a, u in parts) != text:
        raise BadQuery(f"parameter {name!r} is a duration such as 100ms, not {text[:40]!r}")
    return int(sum(float(amount) * _UNITS[unit] for amount, unit in parts))


def answer(data: Any, total: int = 0) -> dict[str, Any]:
    """The envelope of all answers."""
    return {"data": data, "total": total, "limit": 0, "offset": 0, "errors": None}


def failure(status: int, text: str) -> dict[str, Any]:
    """The envelope of an error."""
    return {"data": None, "total": 0, "limit": 0, "offset": 0, "errors": [{"code": status, "msg": text}]}


def trace(spans: Sequence[Span]) -> dict[str, Any]:
    """One trace."""
    processes = {service: f"p{i}" for i, service in enumerate(dict.fromkeys(s.service for s in spans), 1)}
    return {
        "traceID": spans[0].trace,
        "spans": [_span(span, processes[span.service]) for span in spans],
        "processes": {key: {"serviceName": service, "tags": []} for service, key in processes.items()},
        "warnings": None,
    }


def _span(span: Span, process: str) -> dict[str, Any]:
    reference = {"refType": "CHILD_OF", "traceID": span.trace, "spanID": span.parent}
    tags: list[dict[str, Any]] = [
        {"key": k, "type": "string", "value": v} for k, v in span.tags.items() if k not in ("error", "span.kind")
    ]
    tags.append({"key": "span.kind", "type": "string", "value": span.kind})
    if span.error:
        tags.append({"key": "error", "type": "bool", "value": True})
    return {
        "traceID": span.trace,
        "spanID": span.id,
        "flags": 1,
        "operationName": span.name,
        "references": [reference] if span.parent else [],
        "startTime": span.start_us,
        "duration": span.duration_us,
        "tags": tags,
        "logs": [
            {"timestamp": at, "fields": [{"key": "event", "type": "string", "value": text}]} for at, text in span.events
        ],
        "processID": process,
        "warnings": None,
    }


def dependencies(counts: Mapping[tuple[str, str], int]) -> Iterable[dict[str, Any]]:
    """Which service calls which, and how often."""
    return [{"parent": a, "child": b, "callCount": n} for (a, b), n in sorted(counts.items())]
