"""PersistentVolumeClaims."""

from __future__ import annotations

import copy
from collections.abc import Iterator

from sailcloth.lib import quantity

from ...field_errors import FieldError, forbidden
from ...unstructured import Unstructured
from ..columns import AGE, text, value_at, wide
from ..defaulting import nested, quantities, set_defaults
from ..record import READ, STATUS, WRITE, Grant, Kind

_ACCESS_MODES = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}


def claim_defaults(obj: Unstructured) -> None:
    set_defaults(nested(obj, "spec"), volumeMode="Filesystem")
    requests = (obj["spec"].get("resources") or {}).get("requests")
    if isinstance(requests, dict):
        quantities(requests)
    set_defaults(nested(obj, "status"), phase="Pending")


def _access_modes(obj: Unstructured) -> str:
    return ",".join(_ACCESS_MODES.get(m, m) for m in obj.get("status", {}).get("accessModes") or ())


def _validate(obj: Unstructured, old: Unstructured | None) -> Iterator[FieldError]:
    if old is None:
        return
    spec, before, status = copy.deepcopy(obj["spec"]), copy.deepcopy(old["spec"]), old.get("status") or {}
    field = "spec.resources.requests.storage"
    new, size = (((s.get("resources") or {}).get("requests") or {}).get("storage") for s in (spec, before))
    capacity = (status.get("capacity") or {}).get("storage")
    if (
        new is not None
        and capacity is not None
        and quantity.parse(str(new)) < quantity.parse(str(capacity))
        and new != size
    ):
        yield forbidden(field, "field can not be less than status.capacity")
    if status.get("phase") == "Bound":
        for one in (spec, before):
            (one.get("resources") or {}).pop("requests", None)
            one.pop("volumeAttributesClassName", None)
    if not before.get("volumeName"):
        spec.pop("volumeName", None)
    if spec != before:
        text = (
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
        )
        yield forbidden("spec", text)


PERSISTENT_VOLUME_CLAIM = Kind(
    plural="persistentvolumeclaims",
    kind="PersistentVolumeClaim",
    short_names=("pvc",),
    subresources=(STATUS,),
    columns=(
        text("Status", value_at("status.phase", "")),
        text("Volume", value_at("spec.volumeName", "")),
        text("Capacity", value_at("status.capacity.storage", "")),
        text("Access Modes", _access_modes),
        text("StorageClass", value_at("spec.storageClassName", "")),
        text("VolumeAttributesClass", value_at("spec.volumeAttributesClassName", "<unset>")),
        AGE,
        wide("VolumeMode", value_at("spec.volumeMode", "<unset>")),
    ),
    grants=(Grant("view", READ, ("", "status")), Grant("edit", WRITE)),
    has_spec=True,
    defaults=claim_defaults,
    validate=_validate,
)
