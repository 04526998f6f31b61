"""PersistentVolumeClaims."""

from __future__ import annotations

from ...unstructured import Unstructured
from ..columns import AGE, text, value_at, wide
from ..defaulting import nested, quantities, set_defaults
from ..record import READ, STATUS, WRITE, Grant, Kind

_ACCESS_MODES = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}


def claim_defaults(obj: Unstructured) -> None:
    set_defaults(obj["spec"], volumeMode="Filesystem")
    requests = (obj["spec"].get("resources") or {}).get("requests")
    if isinstance(requests, dict):
        quantities(requests)
    set_defaults(nested(obj, "status"), phase="Pending")


def _access_modes(obj: Unstructured) -> str:
    return ",".join(_ACCESS_MODES.get(m, m) for m in obj.get("status", {}).get("accessModes") or ())


PERSISTENT_VOLUME_CLAIM = Kind(
    plural="persistentvolumeclaims",
    kind="PersistentVolumeClaim",
    package="api.core",
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
)
