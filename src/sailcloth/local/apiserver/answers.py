"""Answers: bodies in the form that was negotiated, warnings as headers, single objects as the client wants them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson
import yaml
from aiohttp import web

from . import protobuf, tables
from .media import JSON, PROTOBUF, YAML, Media, negotiate
from .resources import Served

Object = dict[str, Any]
SUCCESS: Object = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
_DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def media(request: web.Request) -> Media:
    """What was negotiated for this request; JSON before that."""
    return request.get("media") or Media()


def answer(
    request: web.Request, obj: Object, status: int = 200, warnings: Iterable[str] = (), kind: str = ""
) -> web.Response:
    """An object as an answer. `kind` is a Content-Type to claim for JSON."""
    wanted, body = media(request).type, None
    if wanted == PROTOBUF:
        try:
            body = protobuf.encode(obj)
        except ValueError:
            negotiate(request.headers.get("Accept", ""), (JSON,))
    elif wanted == YAML:
        body = yaml.dump(obj, Dumper=_DUMPER, sort_keys=False).encode()
    if body is None:
        body, wanted = orjson.dumps(obj), kind or JSON
    response = web.Response(body=body, status=status)
    response.headers["Content-Type"] = wanted
    for warning in dict.fromkeys(warnings):
        text = " ".join(warning.split()).replace("\\", "\\\\").replace('"', '\\"')
        response.headers.add("Warning", f'299 - "{text}"')
    return response


def bare(obj: Object) -> Object:
    """The metadata of an object, which is all that some controllers want."""
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": obj["metadata"]}


def show(
    request: web.Request, served: Served, obj: Object, status: int = 200, warnings: Iterable[str] = ()
) -> web.Response:
    """One object, in the version of the request, with the version's own warning."""
    obj, shape = served.shown(obj), media(request).shape
    if shape == "Table":
        include = request.query.get("includeObject", "Metadata")
        revision = obj["metadata"].get("resourceVersion", "")
        obj = tables.table(served.columns, [obj], revision, include=include)
    elif shape:
        obj = bare(obj)
    return answer(request, obj, status, [*served.warnings, *warnings])
