"""Answers: JSON bodies with warnings as headers, single objects as the client wants them, tables included."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson
from aiohttp import web

from . import tables
from .resources import Served

Object = dict[str, Any]
SUCCESS: Object = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}


def answer(
    obj: Any, status: int = 200, kind: str = "application/json", warnings: Iterable[str] | None = None
) -> web.Response:
    response = web.Response(body=orjson.dumps(obj), status=status)
    response.headers["Content-Type"] = kind
    for warning in dict.fromkeys(warnings or ()):
        text = " ".join(warning.split()).replace("\\", "\\\\").replace('"', '\\"')
        response.headers.add("Warning", f'299 - "{text}"')
    return response


def as_table(request: web.Request) -> bool:
    return "as=Table" in request.headers.get("Accept", "")


def show(
    request: web.Request, served: Served, obj: Object, status: int = 200, warnings: Iterable[str] = ()
) -> web.Response:
    """One object, in the version of the request, with the version's own warning."""
    obj = served.shown(obj)
    warnings = [*served.warnings, *warnings]
    if as_table(request):
        include = request.query.get("includeObject", "Metadata")
        revision = obj["metadata"].get("resourceVersion", "")
        obj = tables.table(served.columns, [obj], revision, include=include)
    elif "as=PartialObjectMetadata;" in request.headers.get("Accept", "").replace(" ", "") + ";":
        obj = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": obj["metadata"]}
    return answer(obj, status, warnings=warnings)
