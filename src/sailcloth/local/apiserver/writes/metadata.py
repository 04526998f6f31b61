"""Metadata that the server owns (uid, resourceVersion, generation, timestamps), and which fields a subresource may change."""

from __future__ import annotations

from typing import Any

from ..errors import bad_request, conflict
from ..registry import ApiResource
from ..storage import clone
from ..times import now
from ..unstructured import Unstructured

_SYSTEM_FIELDS = (
    "uid", "creationTimestamp", "generation", "name", "namespace", "deletionTimestamp", "deletionGracePeriodSeconds",
    "selfLink", "generateName",
)  # fmt: skip


def fill_system_fields(resource: ApiResource, obj: Unstructured, uid: str) -> None:
    """Fill in the metadata of a new object, in place, and drop its status where status is a subresource."""
    metadata = obj["metadata"]
    for key in ("resourceVersion", "selfLink", "deletionTimestamp", "deletionGracePeriodSeconds", "generation"):
        metadata.pop(key, None)
    metadata["uid"] = uid
    metadata["creationTimestamp"] = now()
    if resource.has_generation:
        metadata["generation"] = 1
    if resource.custom and resource.has_status_path:
        obj.pop("status", None)
    _drop_empty(metadata)


def check_preconditions(resource: ApiResource, live: Unstructured, new: Any) -> str:
    """The resourceVersion that the request requires, empty if none. Raises StatusError if it is not the stored one, or if uid, name or
    namespace differ."""
    if not isinstance(new, dict) or not isinstance(new.get("metadata"), dict):
        raise bad_request("the patched object is not an object with metadata")
    old, metadata = live["metadata"], new["metadata"]
    name = old["name"]
    given = metadata.get("resourceVersion")
    if given and given != old["resourceVersion"]:
        raise conflict(resource.group_resource, name)
    if metadata.get("uid", old["uid"]) != old["uid"]:
        text = f"Precondition failed: UID in precondition: {metadata['uid']}, UID in object meta: {old['uid']}"
        raise conflict(resource.group_resource, name, text)
    if metadata.get("name", name) != name:
        raise bad_request(f"the name of the object ({metadata['name']}) does not match the name on the URL ({name})")
    if resource.namespaced and metadata.get("namespace", old["namespace"]) != old["namespace"]:
        text = "the namespace of the provided object does not match the namespace sent on the request"
        raise bad_request(text)
    return str(given or "")


def restrict_update(resource: ApiResource, live: Unstructured, new: Unstructured, sub: str) -> Unstructured:
    """The object with only those changes that a request to this path may make."""
    if resource.record is not None and resource.record.restrict is not None:
        new = resource.record.restrict(live, new, sub)
    if sub == "status":
        out = clone(live)
        out.pop("status", None)
        if "status" in new:
            out["status"] = new["status"]
        for key in ("managedFields", "resourceVersion"):
            if key in new["metadata"]:
                out["metadata"][key] = new["metadata"][key]
        if not resource.custom:
            for key in ("labels", "annotations"):
                if key in new["metadata"]:
                    out["metadata"][key] = new["metadata"][key]
        return out
    if not sub and resource.has_status_path:
        if "status" in live:
            new["status"] = clone(live["status"])
        else:
            new.pop("status", None)
    return new


def reset_fields(resource: ApiResource, applied: Unstructured, sub: str) -> None:
    """Drop fields that an apply to this path must not own, in place."""
    if sub == "status":
        for key in list(applied):
            if key not in ("apiVersion", "kind", "metadata", "status"):
                del applied[key]
        for key in ("labels", "annotations", "finalizers", "ownerReferences"):
            applied["metadata"].pop(key, None)
    elif resource.has_status_path:
        applied.pop("status", None)


def preserve_system_fields(resource: ApiResource, live: Unstructured, new: Unstructured) -> None:
    """Restore the metadata that only the server changes, in place."""
    old, metadata = live["metadata"], new["metadata"]
    new["kind"], new["apiVersion"] = resource.kind, resource.group_version
    for key in _SYSTEM_FIELDS:
        if key in old:
            metadata[key] = old[key]
        else:
            metadata.pop(key, None)
    metadata["resourceVersion"] = old["resourceVersion"]
    if "managedFields" in old and "managedFields" not in metadata:
        metadata["managedFields"] = old["managedFields"]
    _drop_empty(metadata)


def _drop_empty(metadata: Unstructured) -> None:
    for key in ("labels", "annotations", "finalizers", "ownerReferences"):
        if key in metadata and not metadata[key]:
            del metadata[key]


def bumps_generation(resource: ApiResource, live: Unstructured, new: Unstructured) -> bool:
    """Whether an update changes the desired state, not only metadata or a status subresource."""
    if not resource.has_generation:
        return False
    aside = {"apiVersion", "kind", "metadata"}
    if not resource.custom or resource.has_status_path:
        aside.add("status")
    return {k: v for k, v in live.items() if k not in aside} != {k: v for k, v in new.items() if k not in aside}


def is_unchanged(live: Unstructured, new: Unstructured) -> bool:
    """Whether an update changes nothing but times and revisions: such an update keeps the resourceVersion."""

    def strip(obj: Unstructured) -> Unstructured:
        aside = ("resourceVersion", "managedFields", "generation")
        return {**obj, "metadata": {k: v for k, v in obj["metadata"].items() if k not in aside}, "apiVersion": ""}

    def owned(obj: Unstructured) -> list[Any]:
        keys = ("manager", "operation", "subresource", "fieldsV1")
        return sorted(([m.get(k) or "" for k in keys] for m in obj["metadata"].get("managedFields") or ()), key=repr)

    return strip(live) == strip(new) and owned(live) == owned(new)
