"""Decodes and validates fields by the schema: unknown and duplicate fields (`fieldValidation`), types and limits.

Decoding comes before defaults and admission, validation after them, as in Kubernetes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import orjson

from sailcloth.lib import schemacheck
from sailcloth.lib.nesting import DEEPEST, exceeds_depth
from sailcloth.lib.schemacheck import ABSENT, Problem

from ..errors import StatusError, bad_request, invalid
from ..registry import ApiResource
from ..unstructured import Unstructured

CAUSES = {
    "invalid": "FieldValueInvalid",
    "type": "FieldValueTypeInvalid",
    "required": "FieldValueRequired",
    "unsupported": "FieldValueNotSupported",
    "duplicate": "FieldValueDuplicate",
    "forbidden": "FieldValueForbidden",
    "long": "FieldValueTooLong",
    "many": "FieldValueTooMany",
}
# Lists with keys whose items may come twice all the same, unless they are applied.
_REPEATABLE = re.compile(
    r"^status\b|\b(env|ports|hostAliases|imagePullSecrets|addresses|finalizers|ownerReferences|secrets|podCIDRs)\[\d+\]$"
)
_BLOCKS_RULES = {"type", "required", "unsupported", "long", "many"}
_RULES_SKIPPED = "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation"


def decode_strictly(
    resource: ApiResource,
    obj: Unstructured,
    query: Mapping[str, Any],
    duplicates: tuple[str, ...] = (),
    patch: Any = None,
) -> list[str]:
    """Prune unknown fields, in place, and refuse or report them and doubled ones as the request's `fieldValidation` says.
    Values that cannot be decoded as a built-in kind are always refused. `patch` is the patch that produced the object, if any.
    Returns warnings."""
    if exceeds_depth(obj):
        raise bad_request(f"the object would have more than {DEEPEST} objects and lists within each other")
    if not resource.custom:
        resource.schemas.replace_nulls(resource.node, obj)
    mode = query.get("fieldValidation") or "Warn"
    problems = list(schemacheck.check(resource.schemas, resource.node, obj))
    _check_decodable(
        resource, [p for p in problems if p.kind == "type" and (not resource.custom or p.path.startswith("metadata"))]
    )
    texts = [f'duplicate field "{path}"' for path in duplicates] + [p.text for p in problems if p.kind == "unknown"]
    if texts and mode == "Strict":
        # For custom resources the message suggests the field that is most likely meant.
        meant = {p.text: f' (did you mean "{p.near}"?)' for p in problems if p.near and resource.custom}
        listed = f"strict decoding error: {', '.join(t + meant.get(t, '') for t in texts)}"
        if patch is not None:
            shown = orjson.dumps(orjson.dumps(patch).decode()).decode()
            raise invalid("", "", "", [("patch", "FieldValueInvalid", f"Invalid value: {shown}: {listed}")])
        raise bad_request(f"{_kind_and_version(resource)} cannot be handled as a {resource.kind}: {listed}")
    if any(p.kind == "unknown" for p in problems):
        resource.schemas.prune(resource.node, obj)
    if not resource.custom and "status" in obj:  # nobody asks for its fields, and controllers read them
        resource.schemas.fill_required(resource.schemas.field(resource.node, "status"), obj["status"])
    return texts if mode == "Warn" else []


def check_declared(resource: ApiResource, obj: Unstructured, namespace: str, name: str) -> None:
    """Raises StatusError for fields of an applied object that the schema does not declare, and for items that come twice."""
    problems = list(schemacheck.check(resource.schemas, resource.node, obj))
    texts = [f".{p.path}: field not declared in schema" for p in problems if p.kind == "unknown"]
    texts += [_repeated(p) for p in problems if p.kind == "duplicate"]
    if texts:
        label = f"{namespace}/{name}; {resource.group_version}, Kind={resource.kind}"
        text = "\n".join(texts)
        raise StatusError(500, "", f"failed to create typed patch object ({label}): {text}")


def _repeated(problem: Problem) -> str:
    keys = re.findall(r'"(\w+)":("[^"]*"|[^,}]+)', problem.text)
    shown = "[" + ",".join(f"{key}={value}" for key, value in keys) + "]" if keys else problem.text.partition(": ")[2]
    return f".{problem.path.rpartition('[')[0]}: duplicate entries for key {shown}"


def _kind_and_version(resource: ApiResource) -> str:
    return f'{resource.kind} in version "{resource.version}"'


def _check_decodable(resource: ApiResource, schema_errors: list[Problem]) -> None:
    if not schema_errors:
        return
    first = schema_errors[0]
    actual, _, rest = first.text.removeprefix('Invalid value: "').partition('"')
    wanted = rest.rpartition("must be of type ")[2].partition(":")[0]
    word = {"integer": "number", "boolean": "bool"}.get(actual, actual)
    go = {"integer": "int32", "boolean": "bool", "array": "slice", "object": "map", "number": "float64"}.get(
        wanted, wanted
    )
    path = "".join(part.partition("]")[2] if index else part for index, part in enumerate(first.path.split("[")))
    text = f"json: cannot unmarshal {word} into Go struct field {_go_type(resource, path)}.{path} of type {go}"
    raise bad_request(f"{_kind_and_version(resource)} cannot be handled as a {resource.kind}: {text}")


def _go_type(resource: ApiResource, path: str) -> str:
    """The name of the Go type that has the last field of a path."""
    node, name = resource.node, resource.kind
    for step in path.split(".")[:-1]:
        node = resource.schemas.field(node, step)
        while node is not None and "items" in (resource.schemas.resolve(node) or {}):
            node = resource.schemas.items(node)
        reference = (node or {}).get("$ref") or ((node or {}).get("allOf") or [{}])[0].get("$ref")
        if reference:
            name = str(reference).rsplit(".", 1)[1]
    return name


def schema_errors(resource: ApiResource, obj: Unstructured, old: Unstructured | None) -> list[Problem]:
    """Every violation of the schema and its CEL rules, except in unchanged parts of the stored object (ratcheting)."""
    before: Any = ABSENT if old is None else resource.from_storage(old)
    problems = [
        p
        for p in schemacheck.check(resource.schemas, resource.node, obj, old=before, nulls=not resource.custom)
        if p.kind != "unknown"
    ]
    if not resource.custom:
        # The published schemas ask for fields that clients may leave out: a server fills them in.
        return [
            p
            for p in problems
            if not (p.kind == "required" and p.path.startswith(("status", "metadata")))
            and not (p.kind == "duplicate" and _REPEATABLE.search(p.path))
        ]
    if resource.metadata_schema is not None:
        metadata = {k: v for k, v in obj["metadata"].items() if k in ("name", "generateName")}
        checked = schemacheck.check(resource.schemas, resource.metadata_schema, metadata, "metadata")
        problems += [p for p in checked if p.kind != "unknown"]
    if resource.rules is not None:
        if any(p.kind in _BLOCKS_RULES for p in problems):
            problems.append(Problem("invalid", "", f'Invalid value: "null": {_RULES_SKIPPED}'))
        else:
            problems += resource.rules.check(obj, before)
    return problems
