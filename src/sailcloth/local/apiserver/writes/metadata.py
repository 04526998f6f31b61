"""What only the server says of an object: identity, revision, generation, and what a request to a subresource may change."""

from __future__ import annotations

import copy
from typing import Any

from ..errors import bad_request, conflict
from ..registry import ApiResource
from ..times import now

Object = dict[str, Any]
_SERVERS_OWN = (
    "uid", "creationTimestamp", "generation", "name", "namespace", "deletionTimestamp", "deletionGracePeriodSeconds",
    "selfLink", "generateName",
)  # fmt: skip


def begin(resource: ApiResource, obj: Object, uid: str) -> None:
    """The metadata of a new object, in place. Its status is nobody's to give, where status has a path of its own."""
    metadata = obj["metadata"]
    for key in ("resourceVersion", "selfLink", "deletionTimestamp", "deletionGracePeriodSeconds", "generation"):
        metadata.pop(key, None)
    metadata["uid"] = uid
    metadata["creationTimestamp"] = now()
    if resource.counts_generations:
        metadata["generation"] = 1
    if resource.custom and resource.has_status_path:
        obj.pop("status", None)
    _tidy(metadata)


def precondition(resource: ApiResource, live: Object, new: Any) -> str:
    """The revision that a change insists on, empty if on none. Raises StatusError if it is not the object's, or the change would
    make it another object."""
    if not isinstance(new, dict) or not isinstance(new.get("metadata"), dict):
        raise bad_request("the patched object is not an object with metadata")
    old, metadata = live["metadata"], new["metadata"]
    name = old["name"]
    given = metadata.get("resourceVersion")
    if given and given != old["resourceVersion"]:
        raise conflict(resource.gr, name)
    if metadata.get("uid", old["uid"]) != old["uid"]:
        text = f"Precondition failed: UID in precondition: {metadata['uid']}, UID in object meta: {old['uid']}"
        raise conflict(resource.gr, name, text)
    if metadata.get("name", name) != name:
        raise bad_request(f"the name of the object ({metadata['name']}) does not match the name on the URL ({name})")
    if resource.namespaced and metadata.get("namespace", old["namespace"]) != old["namespace"]:
        text = "the namespace of the provided object does not match the namespace sent on the request"
        raise bad_request(text)
    return str(given or "")


def scoped(resource: ApiResource, live: Object, new: Object, sub: str) -> Object:
    """What a request to this path may change."""
    if resource.record is not None and resource.record.restrict is not None:
        new = resource.record.restrict(live, new, sub)
    if sub == "status":
        out = copy.deepcopy(live)
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
            new["status"] = copy.deepcopy(live["status"])
        else:
            new.pop("status", None)
    return new


def reset(resource: ApiResource, applied: Object, sub: str) -> None:
    """Drop what an apply to this path cannot own, in place."""
    if sub == "status":
        for key in list(applied):
            if key not in ("apiVersion", "kind", "metadata", "status"):
                del applied[key]
        for key in ("labels", "annotations", "finalizers", "ownerReferences"):
            applied["metadata"].pop(key, None)
    elif resource.has_status_path:
        applied.pop("status", None)


def keep(resource: ApiResource, live: Object, new: Object) -> None:
    """Put back the metadata that only the server changes, in place."""
    old, metadata = live["metadata"], new["metadata"]
    new["kind"], new["apiVersion"] = resource.kind, resource.gv
    for key in _SERVERS_OWN:
        if key in old:
            metadata[key] = old[key]
        else:
            metadata.pop(key, None)
    metadata["resourceVersion"] = old["resourceVersion"]
    if "managedFields" in old and "managedFields" not in metadata:
        metadata["managedFields"] = old["managedFields"]
    _tidy(metadata)


def _tidy(metadata: Object) -> None:
    for key in ("labels", "annotations", "finalizers", "ownerReferences"):
        if key in metadata and not metadata[key]:
            del metadata[key]


def moves_generation(resource: ApiResource, live: Object, new: Object) -> bool:
    """Whether a change is one of what is wanted, not only of metadata or of a status that has its own path."""
    if not resource.counts_generations:
        return False
    aside = {"apiVersion", "kind", "metadata"}
    if not resource.custom or resource.has_status_path:
        aside.add("status")
    return {k: v for k, v in live.items() if k not in aside} != {k: v for k, v in new.items() if k not in aside}


def same(live: Object, new: Object) -> bool:
    """Whether a write changes nothing, times and revisions aside: such a write keeps the resourceVersion."""

    def strip(obj: Object) -> Object:
        aside = ("resourceVersion", "managedFields", "generation")
        return {**obj, "metadata": {k: v for k, v in obj["metadata"].items() if k not in aside}, "apiVersion": ""}

    def owned(obj: Object) -> list[Any]:
        keys = ("manager", "operation", "subresource", "fieldsV1")
        return sorted(([m.get(k) or "" for k in keys] for m in obj["metadata"].get("managedFields") or ()), key=repr)

    return strip(live) == strip(new) and owned(live) == owned(new)
