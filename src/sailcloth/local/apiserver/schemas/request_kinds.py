"""The kinds that requests and webhooks' answers carry and no store keeps: reviews, TokenRequest, Binding, Eviction, Scale, DeleteOptions.

They are decoded by their types as objects are, so that what serves them may rely on these.
"""

from __future__ import annotations

from typing import Any

from sailcloth.lib import schemacheck
from sailcloth.lib.openapi import KEEP, Node

from ..errors import bad_request
from ..registry import builtin_schemas
from ..unstructured import Unstructured

_TEXT: Node = {"type": "string"}
_TEXTS: Node = {"type": "array", "items": _TEXT}


def _object(**fields: Node) -> dict[str, Any]:
    return {"type": "object", "properties": fields, KEEP: True}


def _published(name: str) -> Node:
    return {"$ref": f"#/$defs/io.k8s.{name}"}


def _review(**spec: Node) -> Node:
    return _object(spec=_object(**spec), metadata=_object(namespace=_TEXT))


_RESOURCE = dict.fromkeys(("group", "name", "namespace", "resource", "subresource", "verb", "version"), _TEXT)
_ACCESS = {
    "resourceAttributes": _object(**_RESOURCE, fieldSelector=_object(), labelSelector=_object()),
    "nonResourceAttributes": _object(path=_TEXT, verb=_TEXT),
}
_SUBJECT = {"user": _TEXT, "uid": _TEXT, "groups": _TEXTS, "extra": {"type": "object", "additionalProperties": _TEXTS}}
_METADATA = _published("apimachinery.pkg.apis.meta.v1.ObjectMeta")
_DELETE_OPTIONS = _published("apimachinery.pkg.apis.meta.v1.DeleteOptions")
_STATUS = _object(message=_TEXT, reason=_TEXT, code={"type": "integer"}, details=_object())
_NODES: dict[str, Node] = {
    "AdmissionReview": _object(
        response=_object(
            uid=_TEXT, allowed={"type": "boolean"}, patch=_TEXT, patchType=_TEXT, warnings=_TEXTS, status=_STATUS
        )
    ),
    "Binding": _object(metadata=_METADATA, target=_published("api.core.v1.ObjectReference")),
    "DeleteOptions": _DELETE_OPTIONS,
    "Eviction": _object(metadata=_METADATA, deleteOptions=_DELETE_OPTIONS),
    "LocalSubjectAccessReview": _review(**_SUBJECT, **_ACCESS),
    "Scale": _published("api.autoscaling.v1.Scale"),
    "SelfSubjectAccessReview": _review(**_ACCESS),
    "SelfSubjectReview": _review(),
    "SelfSubjectRulesReview": _review(namespace=_TEXT),
    "SubjectAccessReview": _review(**_SUBJECT, **_ACCESS),
    "TokenRequest": _published("api.authentication.v1.TokenRequest"),
    "TokenReview": _review(token=_TEXT, audiences=_TEXTS),
}


def decode(kind: str, value: Any) -> Unstructured:
    """The value as an object of the kind: fields that are null are left out, items that are null have their type's zero. Raises
    StatusError for values of other types."""
    if not isinstance(value, dict):
        raise bad_request(f"the body is not a {kind} object")
    schemas, node = builtin_schemas(), _NODES[kind]
    schemas.replace_nulls(node, value)
    for problem in schemacheck.check(schemas, node, value):
        if problem.kind == "type":
            raise bad_request(f"{kind} cannot be decoded: {problem.path}: {problem.text}")
    return value
