"""CustomResourceDefinitions at work: they are served as soon as they are written, and say that they are established."""

from __future__ import annotations

import copy
from typing import Any

from .resources import CRDS, Registry, Served, custom_resources
from .storage import Store
from .times import now

Object = dict[str, Any]


class Definitions:
    """Keeps the register in step with the definitions in the store."""

    def __init__(self, store: Store, registry: Registry) -> None:
        self.store, self.registry = store, registry
        for crd in store.all(CRDS):
            self.install(crd)

    def written(self, served: Served, obj: Object) -> None:
        """An object was written: a definition takes effect at once."""
        if served.gr == CRDS and not obj["metadata"].get("deletionTimestamp"):
            self.install(obj)
            if not (obj.get("status") or {}).get("conditions"):
                self._establish(obj)

    def install(self, crd: Object) -> None:
        """Serve what a definition defines."""
        spec = crd["spec"]
        self.registry.remove(spec["group"], spec["names"]["plural"])
        for served in custom_resources(crd):
            self.registry.add(served)

    def _establish(self, crd: Object) -> None:
        stamp = now()

        def condition(kind: str, reason: str, text: str) -> Object:
            return {"type": kind, "status": "True", "reason": reason, "message": text, "lastTransitionTime": stamp}

        new = copy.deepcopy(crd)
        new["status"] = {
            "acceptedNames": crd["spec"]["names"],
            "conditions": [
                condition("NamesAccepted", "NoConflicts", "no conflicts found"),
                condition("Established", "InitialNamesAccepted", "the initial names have been accepted"),
            ],
            "storedVersions": [v["name"] for v in crd["spec"]["versions"] if v.get("storage")],
        }
        self.store.put(CRDS, new)

    def uninstall(self, crd: Object) -> None:
        """Stop serving it; its objects go too."""
        spec = crd["spec"]
        plural, group = spec["names"]["plural"], spec["group"]
        for served in [s for s in self.registry.distinct() if s.group == group and s.plural == plural]:
            for obj in self.store.all(served.gr):
                metadata = obj["metadata"]
                self.store.delete(served.gr, metadata.get("namespace", ""), metadata["name"])
        self.registry.remove(group, plural)
