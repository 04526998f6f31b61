"""The OpenAPI document of the console's API, made from its types."""

from __future__ import annotations

from typing import Any

import msgspec

from . import explained, links, schema, schema_details, schema_edit, schema_mesh

PATHS = (*schema.PATHS, *schema_edit.PATHS, *schema_mesh.PATHS, *schema_details.PATHS)
POSTS = (*schema_edit.POSTS, *schema_details.POSTS, *explained.POSTS, *links.POSTS)
STREAMS = (
    (
        "/api/graph/events",
        "The traffic graph and its changes every five seconds, as server-sent events.",
        schema.GRAPH,
        "Event `graph` with a Graph first, then events `delta` with a GraphDelta each.",
    ),
    *schema_details.STREAMS,
)
"""(path, what it answers, parameters, its events) of requests that answer with server-sent events."""


def openapi() -> dict[str, Any]:
    """The OpenAPI document."""
    types = [t for *_, t in PATHS] + [t for _, _, *pair in POSTS for t in pair] + [schema.GraphDelta, schema.Problem]
    distinct = list({str(t): t for t in types}.values())
    schemas, components = msgspec.json.schema_components(distinct, ref_template="#/components/schemas/{name}")
    schema_of = dict(zip(map(str, distinct), schemas, strict=True))

    def json_of(type_: Any) -> dict[str, Any]:
        return {"content": {"application/json": {"schema": schema_of[str(type_)]}}}

    problem = {"description": "What is wrong, and what to do.", **json_of(schema.Problem)}

    def responses(text: str, type_: Any) -> dict[str, Any]:
        return {"200": {"description": text, **json_of(type_)}, "default": problem}

    paths: dict[str, Any] = {
        path: {"get": {"summary": text, "parameters": list(parameters), "responses": responses(text, type_)}}
        for path, text, parameters, type_ in PATHS
    }
    for path, text, body, type_ in POSTS:
        operation = {"summary": text, "requestBody": json_of(body), "responses": responses(text, type_)}
        paths.setdefault(path, {})["post"] = operation
    for path, text, parameters, events in STREAMS:
        stream = {"description": events, "content": {"text/event-stream": {"schema": {"type": "string"}}}}
        answers = {"200": stream, "default": problem}
        paths[path] = {"get": {"summary": text, "parameters": list(parameters), "responses": answers}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Sailcloth console", "version": "1"},
        "paths": paths,
        "components": {"schemas": components},
    }
