"""Validates objects: type and namespace, name, metadata, fields by schema, and the rules of their kind across fields."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from sailcloth.lib.schemacheck import go

from .. import field_errors
from ..errors import bad_request, invalid
from ..field_errors import FieldError, immutable
from ..kinds.record import SUBDOMAIN
from ..registry import ApiResource
from ..schemas import field_validation
from ..storage import clone
from ..unstructured import Unstructured

_NAME = re.compile(r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
_QUALIFIED = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")


def check_type_meta(resource: ApiResource, obj: Unstructured, namespace: str) -> None:
    """Set kind, version and namespace from the request's path. Raises StatusError if the object has others."""
    if obj.get("metadata") is None:
        obj["metadata"] = {}
    for key, expected in (("metadata", dict), ("kind", str), ("apiVersion", str)):
        _check_type(resource, obj, key, expected, "TypeMeta" if expected is str else resource.kind)
    kind, version = obj.get("kind"), obj.get("apiVersion")
    if kind and kind != resource.kind:
        raise bad_request(f"the kind in the data ({kind}) does not match the expected kind ({resource.kind})")
    if version and version != resource.group_version:
        raise bad_request(
            f"the API version in the data ({version}) does not match the expected API version ({resource.group_version})"
        )
    for key in ("name", "generateName", "namespace"):
        _check_type(resource, obj["metadata"], key, str, "ObjectMeta.metadata")
    obj["kind"], obj["apiVersion"] = resource.kind, resource.group_version
    if resource.namespaced:
        given = obj["metadata"].get("namespace")
        if given and given != namespace:
            raise bad_request(
                f"the namespace of the provided object does not match the namespace sent on the request ({given} != {namespace})"
            )
        obj["metadata"]["namespace"] = namespace
    else:
        obj["metadata"].pop("namespace", None)


def _check_type(resource: ApiResource, holder: Unstructured, key: str, expected: type, struct: str) -> None:
    """Raises StatusError for a value of another type."""
    value = holder.get(key)
    if value is None or isinstance(value, expected):
        return
    names = {list: "array", dict: "object", bool: "bool", str: "string"}
    wanted = "string" if expected is str else "v1.ObjectMeta"
    text = f"json: cannot unmarshal {names.get(type(value), 'number')} into Go struct field {struct}.{key} of type {wanted}"
    raise bad_request(
        f"{resource.kind} in version {go(resource.version)} cannot be handled as a {resource.kind}: {text}"
    )


def _name(resource: ApiResource, name: str) -> Iterator[FieldError]:
    rule = resource.record.name_rule if resource.record is not None else SUBDOMAIN
    if rule.pattern and (not re.fullmatch(rule.pattern, name) or len(name) > rule.longest):
        yield "metadata.name", "FieldValueInvalid", f'Invalid value: "{name}": {rule.text}'
    if not rule.pattern:
        if name in (".", ".."):
            yield field_errors.invalid("metadata.name", name, f"may not be '{name}'")
        for character in "/%":
            if character in name:
                yield field_errors.invalid("metadata.name", name, f"may not contain '{character}'")


def _metadata(metadata: Unstructured, path: str = "metadata") -> Iterator[FieldError]:
    """Labels, annotations, finalizers and owners."""
    labels = metadata.get("labels")
    for key, value in (labels if isinstance(labels, dict) else {}).items():
        yield from _qualified_name(key, f"{path}.labels")
        if isinstance(value, str) and (len(value) > 63 or not _VALUE.fullmatch(value)):
            text = f"Invalid value: {go(value)}: a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
            yield f"{path}.labels", "FieldValueInvalid", text
    annotations = metadata.get("annotations")
    annotations = annotations if isinstance(annotations, dict) else {}
    for key in annotations:
        yield from _qualified_name(key.lower(), f"{path}.annotations")
    if sum(len(k) + len(str(v)) for k, v in annotations.items()) > 256 << 10:
        yield f"{path}.annotations", "FieldValueTooLong", "Too long: may not be more than 262144 bytes"
    for name in metadata.get("finalizers") or ():
        if "/" not in name and name not in ("kubernetes", "orphan", "foregroundDeletion"):
            text = f"Invalid value: {go(name)}: name is neither a standard finalizer name nor is it fully qualified"
            yield f"{path}.finalizers", "FieldValueInvalid", text
    for index, owner in enumerate(metadata.get("ownerReferences") or ()):
        for key, word in (("apiVersion", "version"), ("kind", "kind"), ("name", "name"), ("uid", "uid")):
            if not owner.get(key):
                text = f'Invalid value: "": {word} must not be empty'
                yield f"{path}.ownerReferences[{index}].{key}", "FieldValueInvalid", text


def _qualified_name(key: str, path: str) -> Iterator[FieldError]:
    prefix, slash, name = key.rpartition("/")
    if len(name) > 63 or not _QUALIFIED.fullmatch(name):
        text = f"Invalid value: {go(key)}: name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
        yield path, "FieldValueInvalid", text
    elif slash and (len(prefix) > 253 or not _NAME.match(prefix)):
        text = f"Invalid value: {go(key)}: prefix part a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character"
        yield path, "FieldValueInvalid", text


def validate(resource: ApiResource, obj: Unstructured, old: Unstructured | None, subresource: str = "") -> None:
    """Raises StatusError (422) with all errors of an invalid object."""
    name = str(obj["metadata"].get("name", ""))
    errors: list[FieldError] = []
    if old is None:
        errors += _name(resource, name)
    if (
        old is None
        or old["metadata"].get("labels") != obj["metadata"].get("labels")
        or "annotations" in obj["metadata"]
    ):
        errors += _metadata(obj["metadata"])
    errors += [
        (p.path or "<nil>", field_validation.CAUSES[p.kind], p.text)
        for p in field_validation.schema_errors(resource, obj, old)
    ]
    if not any(reason == "FieldValueTypeInvalid" for _, reason, _ in errors):
        seen = {field for field, _, _ in errors}
        errors += [w for w in _validate_fields(resource, obj, old, subresource) if w[0] not in seen]
    if errors:
        raise invalid(resource.kind, resource.group, name, errors)


def apply_defaults(resource: ApiResource, obj: Unstructured) -> None:
    """Fill in defaults, in place."""
    if resource.record is None:
        resource.schemas.default(resource.node, obj)
    else:
        resource.record.apply_defaults(obj)


def _validate_fields(
    resource: ApiResource, obj: Unstructured, old: Unstructured | None, subresource: str
) -> Iterator[FieldError]:
    """Rules across the fields of a built-in kind."""
    kind, path_below = resource.record, resource.subresource(subresource)
    if kind is None or (path_below is not None and not path_below.validates):
        return
    changed = old is None or _desired(old) != _desired(obj)
    if old is not None and changed and (kind.immutable or kind.validate is not None):
        old = clone(old)  # defaults that are newer than the stored object are no change of the client's
        kind.apply_defaults(old)
        changed = _desired(old) != _desired(obj)
    for path in kind.immutable if old is not None else ():
        value = _value_at(obj, path)
        if value != _value_at(old, path):
            yield immutable(path, value)
    if "spec" in obj and not isinstance(obj["spec"], dict):
        return
    if kind.validate_always is not None:
        yield from kind.validate_always(obj, old)
    # Ratcheting: a stored object that newer rules would refuse can still be updated elsewhere.
    if kind.validate is not None and changed:
        yield from kind.validate(obj, old)


def _desired(obj: Unstructured) -> Unstructured:
    return {k: v for k, v in obj.items() if k not in ("apiVersion", "kind", "metadata", "status")}


def _value_at(obj: Unstructured | None, path: str) -> Any:
    value: Any = obj
    for step in path.split("."):
        value = value.get(step) if isinstance(value, dict) else None
    return value
