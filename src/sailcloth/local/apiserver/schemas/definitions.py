"""The controller of CustomResourceDefinitions: validates them, serves their resources once their names are accepted, and writes
their status.
"""

from __future__ import annotations

from typing import Any

from ..errors import invalid
from ..registry import CRDS, ApiResource, Registry, custom_resources
from ..storage import Store, clone
from ..times import now
from ..unstructured import Unstructured
from . import structural


class DefinitionController:
    """Keeps the registry in step with the definitions in the store."""

    def __init__(self, store: Store, registry: Registry) -> None:
        self.store, self.registry = store, registry
        for crd in store.all(CRDS):
            if self._is_established(crd):
                self._serve_definition(crd)

    def validate(self, resource: ApiResource, obj: Unstructured, old: Unstructured | None) -> None:
        """Raises StatusError for an invalid definition."""
        if resource.group_resource == CRDS:
            errors = structural.definition_errors(obj, old)
            if errors:
                raise invalid(resource.kind, resource.group, obj["metadata"].get("name", ""), errors)

    def on_write(self, resource: ApiResource, obj: Unstructured, known_valid: bool = False) -> None:
        """An object was written: a definition takes effect at once. `known_valid`: its schemas have just passed `validate`, none of
        them because it was stored like that before."""
        if resource.group_resource == CRDS and not obj["metadata"].get("deletionTimestamp"):
            self._update_status(obj, known_valid)

    def install(self, crd: Unstructured) -> None:
        """Store and serve a valid definition that is new."""
        self._update_status({**crd, "status": {}}, known_valid=True)

    @staticmethod
    def _is_established(crd: Unstructured) -> bool:
        conditions = (crd.get("status") or {}).get("conditions") or ()
        return any(c.get("type") == "Established" and c.get("status") == "True" for c in conditions)

    def _serve_definition(self, crd: Unstructured) -> None:
        """Serve the resources of a definition."""
        spec = crd["spec"]
        self.registry.remove(spec["group"], spec["names"]["plural"])
        for resource in custom_resources(crd):
            self.registry.add(resource)

    def _update_status(self, crd: Unstructured, known_valid: bool = False) -> None:
        """Write the definition's status, and serve it once it is established."""
        status = clone(crd.get("status") or {})
        spec, names = crd["spec"], crd["spec"]["names"]
        conflicts = self._conflicts(crd)
        known = {c["type"]: c for c in status.get("conditions") or ()}

        def set_condition(kind: str, yes: bool, reason: str, text: str) -> None:
            before = known.get(kind) or {}
            value = "True" if yes else "False"
            stamp = before.get("lastTransitionTime") if before.get("status") == value else now()
            known[kind] = {
                "lastTransitionTime": stamp, "message": text, "reason": reason, "status": value, "type": kind,
            }  # fmt: skip

        if conflicts:
            set_condition("NamesAccepted", False, *conflicts[0])
            if known.get("Established", {}).get("status") != "True":
                set_condition("Established", False, "NotAccepted", "not all names are accepted")
        else:
            set_condition("NamesAccepted", True, "NoConflicts", "no conflicts found")
            set_condition("Established", True, "InitialNamesAccepted", "the initial names have been accepted")
            status["acceptedNames"] = names
        status.setdefault("acceptedNames", {"plural": "", "kind": ""})
        if not known_valid:
            self._set_structural_condition(spec, known, set_condition)
        status["conditions"] = list(known.values())
        stored = next(v["name"] for v in spec["versions"] if v.get("storage"))
        versions = status.get("storedVersions") or []
        status["storedVersions"] = versions if stored in versions else [*versions, stored]
        if status != crd.get("status"):
            crd = {**crd, "metadata": dict(crd["metadata"]), "status": status}
            self.store.put(CRDS, crd)
        if self._is_established(crd):
            self._serve_definition(crd)

    @staticmethod
    def _set_structural_condition(spec: Unstructured, known: dict[str, Unstructured], set_condition: Any) -> None:
        """Set when a definition stored by an older version of the program is not structural."""
        for index, version in enumerate(spec["versions"]):
            schema = (version.get("schema") or {}).get("openAPIV3Schema")
            errors = (
                list(structural.schema_errors(schema, f"spec.versions[{index}].schema.openAPIV3Schema"))
                if schema
                else []
            )
            if errors:
                field, _, text = errors[0]
                set_condition("NonStructuralSchema", True, "Violations", f"{field}: {text}")
                return
        known.pop("NonStructuralSchema", None)

    def _conflicts(self, crd: Unstructured) -> list[tuple[str, str]]:
        """(reason, message) for each name that another resource of the group has already."""
        spec, names = crd["spec"], crd["spec"]["names"]
        taken: dict[str, set[str]] = {"words": set(), "kinds": set()}
        for resource in self.registry.group_resources():
            if resource.group == spec["group"] and resource.plural != names["plural"]:
                taken["words"] |= {resource.plural, resource.singular, *resource.short}
                taken["kinds"] |= {resource.kind, f"{resource.kind}List"}
        wanted = [("Plural", names["plural"], "words"), ("Singular", names.get("singular"), "words")]
        wanted += [("ShortNames", name, "words") for name in names.get("shortNames") or ()]
        wanted += [("Kind", names["kind"], "kinds"), ("ListKind", names.get("listKind"), "kinds")]
        return [(f"{key}Conflict", f'"{name}" is already in use') for key, name, pool in wanted if name in taken[pool]]

    def on_delete(self, crd: Unstructured) -> None:
        """Stop serving a deleted definition, delete its objects, and let other definitions take its names."""
        spec = crd["spec"]
        plural, group = spec["names"]["plural"], spec["group"]
        for resource in [
            s for s in self.registry.group_resources() if s.group == group and s.plural == plural and s.custom
        ]:
            for obj in self.store.all(resource.group_resource):
                metadata = obj["metadata"]
                self.store.delete(resource.group_resource, metadata.get("namespace", ""), metadata["name"])
        if self._is_established(crd):
            self.registry.remove(group, plural)
        for other in self.store.all(CRDS):
            if other["spec"]["group"] == group and not self._is_established(other):
                self._update_status(other)
