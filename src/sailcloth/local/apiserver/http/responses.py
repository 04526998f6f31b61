"""Responses: bodies in the negotiated media type, warnings as headers, objects as tables or metadata where requested."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import orjson
import yaml
from aiohttp import web

from ..registry import ApiResource
from ..unstructured import Unstructured
from . import protobuf, tables
from .negotiation import JSON, PROTOBUF, YAML, Media, negotiate

SUCCESS: Unstructured = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
_BATCH = {JSON: 100, PROTOBUF: 20}  # objects encoded in one turn of the loop
_DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def negotiated_media(request: web.Request) -> Media:
    """The media type negotiated for this request; JSON before negotiation."""
    return request.get("media") or Media()


def respond(
    request: web.Request, obj: Unstructured, status: int = 200, warnings: Iterable[str] = (), kind: str = ""
) -> web.Response:
    """A response with one object. `kind` replaces the Content-Type of JSON."""
    wanted = negotiated_media(request).type
    if wanted == PROTOBUF:
        try:
            return _response(protobuf.encode(obj), wanted, status, warnings)
        except ValueError:
            negotiate(request.headers.get("Accept", ""), (JSON,))
    elif wanted == YAML:
        return _response(yaml.dump(obj, Dumper=_DUMPER, sort_keys=False).encode(), wanted, status, warnings)
    return _response(orjson.dumps(obj), kind or JSON, status, warnings)


def _response(body: bytes, kind: str, status: int, warnings: Iterable[str]) -> web.Response:
    response = web.Response(body=body, status=status)
    response.headers["Content-Type"] = kind
    for warning in dict.fromkeys(warnings):
        text = " ".join(warning.split()).replace("\\", "\\\\").replace('"', '\\"')
        response.headers.add("Warning", f'299 - "{text}"')
    return response


async def respond_list(
    request: web.Request, resource: ApiResource, metadata: Unstructured, objects: list[Unstructured]
) -> web.Response:
    """A response with a list. It is encoded in batches, so that other requests are served in between."""
    wanted = negotiated_media(request)
    head: Unstructured = {"kind": f"{resource.kind}List", "apiVersion": resource.group_version, "metadata": metadata}
    if wanted.shape == "Table" or wanted.type == YAML:
        items = [resource.from_storage(o) for o in objects]
        if wanted.type == YAML:
            return respond(request, {**head, "items": items}, warnings=resource.warnings)
        include = request.query.get("includeObject", "Metadata")
        table = tables.table(resource.columns, items, metadata["resourceVersion"], include=include)
        return respond(request, {**table, "metadata": metadata}, warnings=resource.warnings)
    if wanted.shape:
        head |= {"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1"}
    encode = protobuf.encode_item if wanted.type == PROTOBUF else orjson.dumps
    pieces: list[bytes] = []
    for at, obj in enumerate(objects):
        if at and at % _BATCH[wanted.type] == 0:
            await asyncio.sleep(0)
        obj = resource.from_storage(obj)
        pieces.append(encode(partial_metadata(obj) if wanted.shape else obj))
    if wanted.type == PROTOBUF:
        return _response(protobuf.encode_list(head, pieces), PROTOBUF, 200, resource.warnings)
    pieces = pieces or [b""]
    pieces[0] = orjson.dumps(head)[:-1] + b',"items":[' + pieces[0]
    pieces[-1] += b"]}"
    return _response(b",".join(pieces), JSON, 200, resource.warnings)


def partial_metadata(obj: Unstructured) -> Unstructured:
    """The object as PartialObjectMetadata."""
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": obj["metadata"]}


def respond_object(
    request: web.Request, resource: ApiResource, obj: Unstructured, status: int = 200, warnings: Iterable[str] = ()
) -> web.Response:
    """A response with one object in the requested version, with that version's deprecation warning."""
    obj, shape = resource.from_storage(obj), negotiated_media(request).shape
    if shape == "Table":
        include = request.query.get("includeObject", "Metadata")
        revision = obj["metadata"].get("resourceVersion", "")
        obj = tables.table(resource.columns, [obj], revision, include=include)
    elif shape:
        obj = partial_metadata(obj)
    return respond(request, obj, status, [*resource.warnings, *warnings])
