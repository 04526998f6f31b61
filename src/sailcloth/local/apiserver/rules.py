"""What an object must be to be accepted: identity, name, fields by schema, and the few rules across fields."""

from __future__ import annotations

import re
from typing import Any

import orjson

from . import defaults
from .errors import bad_request, invalid
from .resources import Served
from .selectors import label_selector

Object = dict[str, Any]
_NAME = re.compile(r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
_LOOSE = {"roles", "clusterroles", "rolebindings", "clusterrolebindings"}


def identify(served: Served, obj: Object, namespace: str) -> None:
    """Kind, version and namespace as the request's path has them. Raises Refused if the object says otherwise."""
    if not isinstance(obj.get("metadata"), dict):
        obj["metadata"] = {}
    kind, version = obj.get("kind"), obj.get("apiVersion")
    if kind and kind != served.kind:
        raise bad_request(f"the kind in the data ({kind}) does not match the expected kind ({served.kind})")
    if version and version != served.gv:
        raise bad_request(
            f"the API version in the data ({version}) does not match the expected API version ({served.gv})"
        )
    obj["kind"], obj["apiVersion"] = served.kind, served.gv
    if served.namespaced:
        given = obj["metadata"].get("namespace")
        if given and given != namespace:
            raise bad_request(
                f"the namespace of the provided object does not match the namespace sent on the request ({given} != {namespace})"
            )
        obj["metadata"]["namespace"] = namespace
    else:
        obj["metadata"].pop("namespace", None)


def check_name(served: Served, name: str) -> None:
    """Raises Refused for a name that no object may have."""
    if served.plural in _LOOSE:
        return
    if not _NAME.match(name) or len(name) > 253:
        text = f"Invalid value: \"{name}\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character"
        raise invalid(served.kind, served.group, name, [("metadata.name", "FieldValueInvalid", text)])


def check_fields(served: Served, obj: Object, query: dict[str, str]) -> list[str]:
    """Unknown fields by the request's fieldValidation; wrong values always. Returns warnings."""
    mode = query.get("fieldValidation") or "Warn"
    problems = list(served.schemas.check(served.node, obj))
    unknown = [p.text + (f' (did you mean "{p.near}"?)' if p.near else "") for p in problems if p.kind == "unknown"]
    if unknown and mode == "Strict":
        raise bad_request(
            f'{served.kind} in version "{served.version}" cannot be handled as a {served.kind}: strict decoding error: {", ".join(unknown)}'
        )
    wrong = [p for p in problems if p.kind != "unknown"]
    if wrong and not served.custom:
        soft = [p for p in wrong if p.kind == "required" and p.path.startswith(("status", "metadata"))]
        wrong = [p for p in wrong if p not in soft]
    if wrong:
        reasons = {"invalid": "FieldValueInvalid", "required": "FieldValueRequired"}
        name = str(obj["metadata"].get("name", ""))
        raise invalid(served.kind, served.group, name, [(p.path or "<nil>", reasons[p.kind], p.text) for p in wrong])
    if unknown:
        served.schemas.prune(served.node, obj)
    return unknown if mode == "Warn" else []


def fill_defaults(served: Served, obj: Object) -> None:
    """In place."""
    if served.custom:
        served.schemas.default(served.node, obj)
    else:
        defaults.apply(served.kind, obj)
        if served.kind == "Namespace":
            obj["status"].setdefault("phase", "Active")


def validate(served: Served, obj: Object, old: Object | None) -> None:
    """The few rules across fields that users run into."""
    problems: list[tuple[str, str, str]] = []
    spec = obj.get("spec") or {}
    if served.kind in ("Deployment", "ReplicaSet", "StatefulSet", "DaemonSet"):
        labels = (spec.get("template", {}).get("metadata") or {}).get("labels") or {}
        if not label_selector(spec.get("selector"))(labels):
            problems.append(
                (
                    "spec.template.metadata.labels",
                    "FieldValueInvalid",
                    f"Invalid value: {orjson.dumps(labels).decode()}: `selector` does not match template `labels`",
                )
            )
        if old is not None and old["spec"].get("selector") != spec.get("selector"):
            problems.append(("spec.selector", "FieldValueInvalid", "Invalid value: field is immutable"))
        if not (spec.get("template", {}).get("spec") or {}).get("containers"):
            problems.append(("spec.template.spec.containers", "FieldValueRequired", "Required value"))
        if int(spec.get("replicas") or 0) < 0:
            problems.append(
                (
                    "spec.replicas",
                    "FieldValueInvalid",
                    f"Invalid value: {spec['replicas']}: must be greater than or equal to 0",
                )
            )
    if served.kind == "Pod" and old is None and not spec.get("containers"):
        problems.append(("spec.containers", "FieldValueRequired", "Required value"))
    if served.kind == "Service" and spec.get("type") != "ExternalName":
        if not spec.get("ports") and spec.get("clusterIP") != "None":
            problems.append(("spec.ports", "FieldValueRequired", "Required value"))
        names = [p.get("name", "") for p in spec.get("ports") or ()]
        if len(names) > 1 and "" in names:
            problems.append((f"spec.ports[{names.index('')}].name", "FieldValueRequired", "Required value"))
        doubled = next((n for n in names if n and names.count(n) > 1), None)
        if doubled:
            index = len(names) - 1 - names[::-1].index(doubled)
            problems.append((f"spec.ports[{index}].name", "FieldValueDuplicate", f'Duplicate value: "{doubled}"'))
    if problems:
        raise invalid(served.kind, served.group, obj["metadata"].get("name", ""), problems)
