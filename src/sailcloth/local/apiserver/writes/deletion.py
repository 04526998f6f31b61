"""How objects go: grace for pods on a node, finalizers, dependents in the background or foreground, namespaces, orphans.

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

Object = dict[str, Any]


class Deletion:
    """`uninstall` is told of every definition of custom resources that goes."""

    def __init__(self, store: Store, registry: Registry, uninstall: Callable[[Object], None]) -> None:
        self.store, self.registry, self._uninstall = store, registry, uninstall
        self._finishing: set[str] = set()

    def mark(self, resource: ApiResource, live: Object, options: Mapping[str, Any]) -> bool:
        """Delete, or mark what a finalizer or a node still holds. Returns whether it is gone."""
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
        self.store.put(resource.gr, new)
        if "foregroundDeletion" in finalizers:
            self._delete_dependents(new)
        if resource.kind == "Namespace":
            self.finish_namespace(metadata["name"])
        return False

    def _remove(self, resource: ApiResource, live: Object, orphan: bool = False) -> None:
        metadata = live["metadata"]
        self.store.delete(resource.gr, metadata.get("namespace", ""), metadata["name"])
        if orphan:
            self._orphan(metadata["uid"])
        else:
            asyncio.get_running_loop().call_soon(self._collect, metadata["uid"])
        if resource.gr == CRDS:
            self._uninstall(live)
        namespace = metadata.get("namespace", "")
        if namespace:
            holder = self.store.get("namespaces", "", namespace)
            if holder is not None and holder["metadata"].get("deletionTimestamp"):
                self._finish_soon(namespace)
        for owner in metadata.get("ownerReferences") or ():
            if owner.get("blockOwnerDeletion"):
                asyncio.get_running_loop().call_soon(self._unblock, owner, namespace)

    def finish(self, resource: ApiResource, obj: Object) -> None:
        """The last finalizer is gone: so is the object, unless a node still stops its processes."""
        if resource.kind == "Namespace":
            self.finish_namespace(obj["metadata"]["name"])
        elif resource.kind != "Pod" or not int(obj["metadata"].get("deletionGracePeriodSeconds") or 0):
            self._remove(resource, obj)

    def _finish_soon(self, namespace: str) -> None:
        if namespace not in self._finishing:  # once for all objects that go in this turn
            self._finishing.add(namespace)
            asyncio.get_running_loop().call_soon(self.finish_namespace, namespace)

    def finish_namespace(self, name: str) -> None:
        """Delete what is in a namespace that goes away, and it itself when it is empty."""
        self._finishing.discard(name)
        holder = self.store.get("namespaces", "", name)
        if holder is None or not holder["metadata"].get("deletionTimestamp"):
            return
        left = False
        for resource in self.registry.distinct():
            if resource.namespaced:
                for obj in self.store.all(resource.gr, name):
                    if not obj["metadata"].get("deletionTimestamp"):
                        self.mark(resource, obj, {})
                left = left or bool(self.store.all(resource.gr, name))
        if not left and not holder["metadata"].get("finalizers"):
            self.store.delete("namespaces", "", name)

    def _dependents(self, owner: Object) -> list[tuple[ApiResource, Object]]:
        """What names an owner; a namespaced owner counts in its own namespace only."""
        namespace = owner["metadata"].get("namespace")
        found = self.store.dependents(owner["metadata"]["uid"])
        if not found:
            return []
        resource = {s.gr: s for s in self.registry.distinct()}
        return [
            (resource[gr], obj)
            for gr, obj in found
            if gr in resource and namespace in (None, obj["metadata"].get("namespace"))
        ]

    def _delete_dependents(self, owner: Object) -> None:
        for resource, obj in self._dependents(owner):
            if not obj["metadata"].get("deletionTimestamp"):
                self.mark(resource, obj, {"propagationPolicy": "Foreground"})

    def _collect(self, uid: str) -> None:
        """Background deletion of what an object owned."""
        for resource, obj in self._dependents({"metadata": {"uid": uid}}):
            others = [r for r in obj["metadata"].get("ownerReferences") or () if r.get("uid") != uid]
            if others:
                self._put_owners(resource, obj, others)
            elif not obj["metadata"].get("deletionTimestamp"):
                self.mark(resource, obj, {})

    def _orphan(self, uid: str) -> None:
        for resource, obj in self._dependents({"metadata": {"uid": uid}}):
            self._put_owners(resource, obj, [r for r in obj["metadata"]["ownerReferences"] if r.get("uid") != uid])

    def _put_owners(self, resource: ApiResource, obj: Object, owners: list[Object]) -> None:
        new = copy.deepcopy(obj)
        if owners:
            new["metadata"]["ownerReferences"] = owners
        else:
            new["metadata"].pop("ownerReferences", None)
        self.store.put(resource.gr, new)

    def _unblock(self, reference: Object, namespace: str) -> None:
        """A dependent is gone: its owner may be too, if it waited for that."""
        for resource in self.registry.distinct():
            if resource.kind == reference.get("kind"):
                obj = self.store.get(resource.gr, namespace if resource.namespaced else "", reference.get("name", ""))
                if obj is None or obj["metadata"]["uid"] != reference.get("uid") or self._dependents(obj):
                    continue
                finalizers = list(obj["metadata"].get("finalizers") or ())
                if finalizers == ["foregroundDeletion"]:
                    self._remove(resource, obj)
                elif "foregroundDeletion" in finalizers:
                    new = copy.deepcopy(obj)
                    new["metadata"]["finalizers"] = [f for f in finalizers if f != "foregroundDeletion"]
                    self.store.put(resource.gr, new)
