"""Ephemeral containers: added to a running pod through the subresource `ephemeralcontainers`, never changed, never removed."""

from __future__ import annotations

from collections.abc import Iterator

from sailcloth.lib.schemacheck import go

from ...field_errors import FieldError
from ...unstructured import Unstructured
from ..pod_validation import validate_container
from ..volume_validation import label

PATH = "ephemeralcontainers"
_FIELD = "ephemeralContainers"
_UNSUPPORTED = ("ports", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle")


def restrict(live: Unstructured, new: Unstructured, sub: str) -> Unstructured:
    """What a request may change: ephemeral containers at their subresource, everything else at the other paths."""
    theirs, other = (new, live) if sub == PATH else (live, new)
    spec = {k: v for k, v in other["spec"].items() if k != _FIELD}
    if containers := (theirs.get("spec") or {}).get(_FIELD):
        spec[_FIELD] = containers
    if sub != PATH:
        return {**new, "spec": spec}
    own = {k: v for k, v in new["metadata"].items() if k in ("managedFields", "resourceVersion")}
    return {**live, "metadata": {**live["metadata"], **own}, "spec": spec}


def validate(obj: Unstructured, old: Unstructured | None) -> Iterator[FieldError]:
    """What is validate with a pod's ephemeral containers."""
    field, spec = f"spec.{_FIELD}", obj["spec"]
    containers = spec.get(_FIELD) or []
    if old is None:
        if containers:
            text = "Forbidden: cannot be set on create; add them to the running pod, as kubectl debug does"
            yield field, "FieldValueForbidden", text
        return
    before = {c["name"]: c for c in old["spec"].get(_FIELD) or ()}
    names = [c.get("name") for c in containers if isinstance(c, dict)]
    if set(before) - set(names):
        gone = ", ".join(go(n) for n in sorted(set(before) - set(names)))
        yield field, "FieldValueForbidden", f"Forbidden: existing ephemeral containers {gone} may not be removed"
    if len(containers) > len(before) and (obj.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
        text = (
            "Forbidden: the pod has ended, and nothing more runs in it; `kubectl debug --copy-to` starts a copy of it"
        )
        yield field, "FieldValueForbidden", text
    others = {c.get("name") for group in ("containers", "initContainers") for c in spec.get(group) or ()}
    for index, container in enumerate(containers):
        name, where = container.get("name"), f"{field}[{index}]"
        if name in before and before[name] != container:
            text = f"Forbidden: existing ephemeral container {go(name)} may not be changed"
            yield field, "FieldValueForbidden", text
        if name in others or name in names[:index]:
            yield f"{where}.name", "FieldValueDuplicate", f"Duplicate value: {go(name)}"
        yield from label(f"{where}.name", name)
        yield from validate_container(container, where, {v.get("name") for v in spec.get("volumes") or ()})
        if not container.get("image"):
            yield f"{where}.image", "FieldValueRequired", "Required value"
        target = container.get("targetContainerName")
        if target and target not in others:
            yield f"{where}.targetContainerName", "FieldValueNotFound", f"Not found: {go(target)}"
        for key in _UNSUPPORTED:
            if container.get(key):
                text = "Forbidden: cannot be set for an Ephemeral Container"
                yield f"{where}.{key}", "FieldValueForbidden", text
        if any((container.get("resources") or {}).values()):
            text = "Forbidden: cannot be set for an Ephemeral Container"
            yield f"{where}.resources", "FieldValueForbidden", text
