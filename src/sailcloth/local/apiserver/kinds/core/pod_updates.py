"""Which fields of a pod may change after its creation, as Kubernetes says it."""

from __future__ import annotations

import copy
from collections.abc import Iterator

from sailcloth.lib.schemacheck import go

from ...field_errors import FieldError, forbidden, invalid, required
from ...unstructured import Unstructured

_MAY_CHANGE = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


def validate(spec: Unstructured, old: Unstructured) -> Iterator[FieldError]:
    """Errors for fields that an update must not change. Ephemeral containers are validated separately."""
    spec, old = ({k: v for k, v in s.items() if k != "ephemeralContainers"} for s in (spec, old))
    for group in ("containers", "initContainers"):
        if len(spec.get(group) or ()) != len(old.get(group) or ()):
            yield forbidden(f"spec.{group}", "pod updates may not add or remove containers")
            return
    yield from _images(spec)
    yield from _deadline(spec.get("activeDeadlineSeconds"), old.get("activeDeadlineSeconds"))
    yield from _tolerations(spec, old)
    yield from _scheduling_gates(spec, old)
    allowed = _with_allowed_changes(spec, old)
    changed = sorted(k for k in {*spec, *allowed} if spec.get(k) != allowed.get(k))
    if changed:
        lines = [f"- {key}: {go(allowed.get(key))}\n+ {key}: {go(spec.get(key))}" for key in changed]
        yield forbidden("spec", "\n".join([_MAY_CHANGE, *lines]))


def _with_allowed_changes(spec: Unstructured, old: Unstructured) -> Unstructured:
    """The old spec with those changes of the new one that are allowed."""
    out = copy.deepcopy(old)
    for group in ("containers", "initContainers"):
        for container, new in zip(out.get(group) or (), spec.get(group) or (), strict=True):
            if new.get("image"):
                container["image"] = new["image"]
    keys = ["activeDeadlineSeconds", "tolerations", "schedulingGates"]
    if spec.get("terminationGracePeriodSeconds") == 1 and (old.get("terminationGracePeriodSeconds") or 0) < 0:
        keys.append("terminationGracePeriodSeconds")
    if old.get("schedulingGates"):
        # While a pod is gated, where it may run can be narrowed.
        if (old.get("nodeSelector") or {}).items() <= (spec.get("nodeSelector") or {}).items():
            keys.append("nodeSelector")
        if not old.get("affinity"):
            keys.append("affinity")
    for key in keys:
        if key in spec:
            out[key] = spec[key]
        else:
            out.pop(key, None)
    return out


def _images(spec: Unstructured) -> Iterator[FieldError]:
    for group in ("containers", "initContainers"):
        for index, container in enumerate(spec.get(group) or ()):
            if not container.get("image"):
                yield required(f"spec.{group}[{index}].image")


def _deadline(new: int | None, old: int | None) -> Iterator[FieldError]:
    field = "spec.activeDeadlineSeconds"
    if old is None:
        return
    if new is None:
        yield invalid(field, None, "must not update from a positive integer to nil value")
    elif new > old:
        yield invalid(field, new, "must be less than or equal to previous value")


def _tolerations(spec: Unstructured, old: Unstructured) -> Iterator[FieldError]:
    def key(toleration: Unstructured) -> list[tuple[str, str]]:
        return sorted((k, str(v)) for k, v in toleration.items() if k != "tolerationSeconds")

    new = [key(t) for t in spec.get("tolerations") or ()]
    if any(key(t) not in new for t in old.get("tolerations") or ()):
        yield forbidden("spec.tolerations", "existing toleration can not be modified except its tolerationSeconds")


def _scheduling_gates(spec: Unstructured, old: Unstructured) -> Iterator[FieldError]:
    known = {g.get("name") for g in old.get("schedulingGates") or ()}
    for gate in spec.get("schedulingGates") or ():
        if gate.get("name") not in known:
            text = f"only deletion is allowed, but found new scheduling gate '{gate.get('name')}'"
            yield forbidden("spec.schedulingGates", text)
