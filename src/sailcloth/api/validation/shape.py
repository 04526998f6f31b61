"""Validates an object against its kind's schema: reports all unknown fields and values of wrong types, not only the first."""

from __future__ import annotations

from typing import Any

from sailcloth.api import crd
from sailcloth.api.kinds import Kind
from sailcloth.lib import schemacheck
from sailcloth.lib.openapi import Schemas
from sailcloth.lib.schemacheck import Problem

from . import codes
from .report import Report

_SCHEMAS = Schemas({})

# Removed fields of early Istio versions, which old manifests still have.
_REMOVED = {
    "websocketUpgrade": "WebSockets work without it",
    "appendHeaders": "use headers.request.add",
    "appendRequestHeaders": "use headers.request.add",
    "removeRequestHeaders": "use headers.request.remove",
    "appendResponseHeaders": "use headers.response.add",
    "removeResponseHeaders": "use headers.response.remove",
}


def check(report: Report, kind: Kind, obj: dict[str, Any]) -> bool:
    """Check against the kind's schema. Returns whether all known fields are valid, so that the object can be decoded."""
    node = crd.schema(kind)
    fits = True
    fields = {k: v for k, v in obj.items() if k not in ("apiVersion", "kind", "metadata", "status")}
    for problem in schemacheck.check(_SCHEMAS, node, fields):
        if problem.kind == "unknown":
            _unknown(report, problem)
            continue
        fits = False
        code = codes.REQUIRED if problem.kind == "required" else codes.TYPE
        report.error(code, problem.path, problem.text, "See kubectl explain.")
    return fits


def _unknown(report: Report, problem: Problem) -> None:
    name = problem.path.rpartition(".")[2]
    if name in _REMOVED:
        text = f"field {name!r} no longer exists and is ignored"
        report.warning(codes.DEPRECATED, problem.path, text, f"Remove it: {_REMOVED[name]}.")
        return
    fix = f"Did you mean {problem.near!r}?" if problem.near else "Remove it; kubectl explain shows the fields."
    report.error(codes.UNKNOWN_FIELD, problem.path, f"unknown field {name!r}", fix)
