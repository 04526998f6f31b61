"""Deletion: grace periods of pods on a node, finalizers, dependents (background, foreground, orphan), namespaces.

Works on the store in memory; the caller waits for the commit.
"""

from __future__ import annotations

import asyncio
import copy
import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any

from ..registry import CRDS, ApiResource, Registry
from ..storage import Store
from ..unstructured import Unstructured

_OWNERS_S = 1.0  # until the owners of a new object are looked for


class Deletion:
    """Deletes objects. `on_definition_deleted` is called for every deleted CustomResourceDefinition."""

    def __init__(self, store: Store, registry: Registry, on_definition_deleted: Callable[[Unstructured], None]) -> None:
        self.store, self.registry, self._on_definition_deleted = store, registry, on_definition_deleted
        self._finalizing: set[str] = set()

    def delete_or_mark(self, resource: ApiResource, live: Unstructured, options: Mapping[str, Any]) -> bool:
        """Delete the object, or set its deletionTimestamp if a finalizer or a node still holds it. Returns whether it is gone."""
        metadata = live["metadata"]
        policy = options.get("propagationPolicy")
        grace = 0
        if resource.kind == "Pod":
            asked = options.get("gracePeriodSeconds")
            grace = int(live["spec"].get("terminationGracePeriodSeconds", 30)) if asked is None else int(asked)
            if not live["spec"].get("nodeName") or live.get("status", {}).get("phase") in ("Succeeded", "Failed"):
                grace = 0
        finalizers = list(metadata.get("finalizers") or ())
        if resource.kind == "Namespace":
            finalizers.append("kubernetes")
        if policy == "Foreground" and self._dependents(live):
            finalizers.append("foregroundDeletion")
        if not finalizers and not grace:
            self._remove(resource, live, orphan=policy == "Orphan")
            return True
        known = metadata.get("deletionTimestamp")
        if known and not (resource.kind == "Pod" and grace < int(metadata.get("deletionGracePeriodSeconds") or 0)):
            if policy == "Foreground":
                self._delete_dependents(live)
            return False
        new = copy.deepcopy(live)
        stamp = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=grace)
        new["metadata"]["deletionTimestamp"] = stamp.strftime("%Y-%m-%dT%H:%M:%SZ")
        new["metadata"]["deletionGracePeriodSeconds"] = grace
        if "foregroundDeletion" in finalizers:
            new["metadata"]["finalizers"] = [*(metadata.get("finalizers") or ()), "foregroundDeletion"]
        if resource.kind == "Namespace":
            new["status"] = {**(new.get("status") or {}), "phase": "Terminating"}
        elif "generation" in new["metadata"]:
            new["metadata"]["generation"] += 1
        self.store.put(resource.group_resource, new)
        if "foregroundDeletion" in finalizers:
            self._delete_dependents(new)
        if resource.kind == "Namespace":
            self.finalize_namespace(metadata["name"])
        return False

    def _remove(self, resource: ApiResource, live: Unstructured, orphan: bool = False) -> None:
        metadata = live["metadata"]
        self.store.delete(resource.group_resource, metadata.get("namespace", ""), metadata["name"])
        if orphan:
            self._orphan(metadata["uid"])
        else:
            asyncio.get_running_loop().call_soon(self._delete_in_background, metadata["uid"])
        if resource.group_resource == CRDS:
            self._on_definition_deleted(live)
        namespace = metadata.get("namespace", "")
        if namespace:
            holder = self.store.get("namespaces", "", namespace)
            if holder is not None and holder["metadata"].get("deletionTimestamp"):
                self._finalize_soon(namespace)
        for owner in metadata.get("ownerReferences") or ():
            if owner.get("blockOwnerDeletion"):
                asyncio.get_running_loop().call_soon(self._unblock_owner, owner, namespace)

    def finalize(self, resource: ApiResource, obj: Unstructured) -> None:
        """Delete an object whose last finalizer is gone, unless a node still stops its processes."""
        if resource.kind == "Namespace":
            self.finalize_namespace(obj["metadata"]["name"])
        elif resource.kind != "Pod" or not int(obj["metadata"].get("deletionGracePeriodSeconds") or 0):
            self._remove(resource, obj)

    def _finalize_soon(self, namespace: str) -> None:
        if namespace not in self._finalizing:  # once for all objects that go in this turn
            self._finalizing.add(namespace)
            asyncio.get_running_loop().call_soon(self.finalize_namespace, namespace)

    def finalize_namespace(self, name: str) -> None:
        """Delete the objects in a terminating namespace, and the namespace when it is empty."""
        self._finalizing.discard(name)
        holder = self.store.get("namespaces", "", name)
        if holder is None or not holder["metadata"].get("deletionTimestamp"):
            return
        left = False
        for resource in self.registry.group_resources():
            if resource.namespaced:
                for obj in self.store.all(resource.group_resource, name):
                    if not obj["metadata"].get("deletionTimestamp"):
                        self.delete_or_mark(resource, obj, {})
                left = left or bool(self.store.all(resource.group_resource, name))
        if not left and not holder["metadata"].get("finalizers"):
            self.store.delete("namespaces", "", name)

    def follow_owners(self, resource: ApiResource, obj: Unstructured) -> None:
        """Delete a new object, a little later, if none of its owners exists: its writer may not have known that they were deleted."""
        if obj["metadata"].get("ownerReferences"):
            key = resource, obj["metadata"].get("namespace", ""), obj["metadata"]["name"], obj["metadata"]["uid"]
            asyncio.get_running_loop().call_later(_OWNERS_S, self._delete_without_owner, *key)

    def _delete_without_owner(self, resource: ApiResource, namespace: str, name: str, uid: str) -> None:
        obj = self.store.get(resource.group_resource, namespace, name)
        if obj is None or obj["metadata"]["uid"] != uid or obj["metadata"].get("deletionTimestamp"):
            return
        owners = obj["metadata"].get("ownerReferences") or ()
        if owners and not any(self._exists(owner, namespace) for owner in owners):
            self.delete_or_mark(resource, obj, {})

    def _exists(self, reference: Unstructured, namespace: str) -> bool:
        """Whether the object that a reference names exists. One of a kind that is not served may."""
        group = str(reference.get("apiVersion", "")).rpartition("/")[0]
        kinds = [r for r in self.registry.group_resources() if (r.group, r.kind) == (group, reference.get("kind"))]
        found = (
            self.store.get(r.group_resource, namespace if r.namespaced else "", str(reference.get("name", "")))
            for r in kinds
        )
        return not kinds or any(o is not None and o["metadata"]["uid"] == reference.get("uid") for o in found)

    def _dependents(self, owner: Unstructured) -> list[tuple[ApiResource, Unstructured]]:
        """Objects with an owner reference to `owner`; a namespaced owner has dependents in its namespace only."""
        namespace = owner["metadata"].get("namespace")
        dependents = self.store.dependents(owner["metadata"]["uid"])
        if not dependents:
            return []
        resource = {s.group_resource: s for s in self.registry.group_resources()}
        return [
            (resource[group_resource], obj)
            for group_resource, obj in dependents
            if group_resource in resource and namespace in (None, obj["metadata"].get("namespace"))
        ]

    def _delete_dependents(self, owner: Unstructured) -> None:
        for resource, obj in self._dependents(owner):
            if not obj["metadata"].get("deletionTimestamp"):
                self.delete_or_mark(resource, obj, {"propagationPolicy": "Foreground"})

    def _delete_in_background(self, uid: str) -> None:
        """Delete the dependents of a deleted object in the background."""
        for resource, obj in self._dependents({"metadata": {"uid": uid}}):
            others = [r for r in obj["metadata"].get("ownerReferences") or () if r.get("uid") != uid]
            if others:
                self._set_owners(resource, obj, others)
            elif not obj["metadata"].get("deletionTimestamp"):
                self.delete_or_mark(resource, obj, {})

    def _orphan(self, uid: str) -> None:
        for resource, obj in self._dependents({"metadata": {"uid": uid}}):
            self._set_owners(resource, obj, [r for r in obj["metadata"]["ownerReferences"] if r.get("uid") != uid])

    def _set_owners(self, resource: ApiResource, obj: Unstructured, owners: list[Unstructured]) -> None:
        new = copy.deepcopy(obj)
        if owners:
            new["metadata"]["ownerReferences"] = owners
        else:
            new["metadata"].pop("ownerReferences", None)
        self.store.put(resource.group_resource, new)

    def _unblock_owner(self, reference: Unstructured, namespace: str) -> None:
        """Delete an owner that waited (foregroundDeletion) for its last dependent."""
        for resource in self.registry.group_resources():
            if resource.kind == reference.get("kind"):
                obj = self.store.get(
                    resource.group_resource, namespace if resource.namespaced else "", reference.get("name", "")
                )
                if obj is None or obj["metadata"]["uid"] != reference.get("uid") or self._dependents(obj):
                    continue
                finalizers = list(obj["metadata"].get("finalizers") or ())
                if finalizers == ["foregroundDeletion"]:
                    self._remove(resource, obj)
                elif "foregroundDeletion" in finalizers:
                    new = copy.deepcopy(obj)
                    new["metadata"]["finalizers"] = [f for f in finalizers if f != "foregroundDeletion"]
                    self.store.put(resource.group_resource, new)
