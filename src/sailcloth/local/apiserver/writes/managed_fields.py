"""Server-side apply and managed fields: ownership of fields, conflicts, removal by omission. Pure.

A field set is kept as paths of elements: `f:name` for fields, `k:{…}` for items of keyed lists, `v:…` for items of sets.
"""

from __future__ import annotations

import copy
from functools import lru_cache
from typing import Any

import orjson

from sailcloth.lib.openapi import Node, Schemas

from ..registry import ApiResource
from ..storage import clone

Path = tuple[str, ...]
# By manager, operation, subresource: fields, entry
Owners = dict[tuple[str, str, str], tuple[set[Path], dict[str, Any]]]
_MISSING: Any = object()
_UNOWNED = {
    ("f:apiVersion",),
    ("f:kind",),
    ("f:metadata",),
    *(
        ("f:metadata", f"f:{name}")
        for name in [
            "name",
            "namespace",
            "uid",
            "creationTimestamp",
            "resourceVersion",
            "generation",
            "managedFields",
            "selfLink",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
        ]
    ),
}


class ApplyConflict(Exception):
    """Fields owned by other managers: [(manager, operation, path)]."""

    def __init__(self, fields: list[tuple[str, str, Path]]) -> None:
        super().__init__("conflict")
        self.fields = fields


def path_text(path: Path) -> str:
    """A path as kubectl shows it: `.spec.replicas`, `[name="x"]`."""
    out = ""
    for element in path:
        if element.startswith("f:"):
            out += "." + element[2:]
        elif element.startswith("k:"):
            keys = orjson.loads(element[2:])
            out += "[" + ",".join(f"{k}={orjson.dumps(v).decode()}" for k, v in keys.items()) + "]"
        else:
            out += "[" + element[2:] + "]"
    return out


class FieldManager:
    """Field sets over one kind's schema."""

    def __init__(self, schemas: Schemas, root: Node) -> None:
        self._schemas, self._root = schemas, root

    # -- field sets -----------------------------------------------------------------------------

    def field_set(self, obj: dict[str, Any]) -> set[Path]:
        """The leaf paths of an object, except those that are never owned."""
        return set(_leaves(self._tree(self._root, obj))) - _UNOWNED

    def _list_type(self, node: Node) -> tuple[str, dict[str, Any]]:
        schema = self._schemas.resolve(node) or {}
        return str(schema.get("x-kubernetes-list-type", "atomic")), schema

    def _element(self, schema: dict[str, Any], kind: str, item: Any, items: Node) -> str:
        if kind != "map":
            return "v:" + orjson.dumps(item).decode()
        keys = {}
        for key in schema["x-kubernetes-list-map-keys"]:
            if isinstance(item, dict) and key in item:
                keys[key] = item[key]
            else:
                default = (self._schemas.resolve(self._schemas.field(items, key)) or {}).get("default")
                if default is not None:
                    keys[key] = default
        return "k:" + orjson.dumps(keys, option=orjson.OPT_SORT_KEYS).decode()

    def _tree(self, node: Node, value: Any) -> dict[str, Any]:
        if isinstance(value, dict):
            schema = self._schemas.resolve(node) or {}
            if schema.get("x-kubernetes-map-type") == "atomic" or not value:
                return {}
            return {"f:" + k: self._tree(self._schemas.field(node, k), v) for k, v in value.items()}
        if isinstance(value, list):
            kind, schema = self._list_type(node)
            items = self._schemas.items(node)
            if kind == "set":
                return {self._element(schema, kind, v, items): {} for v in value}
            if kind == "map":
                return {self._element(schema, kind, v, items): {".": {}, **self._tree(items, v)} for v in value}
        return {}

    def get(self, value: Any, path: Path) -> Any:
        """The value at a path, or a marker for none."""
        node = self._root
        for element in path:
            if element.startswith("f:"):
                if not isinstance(value, dict) or element[2:] not in value:
                    return _MISSING
                node, value = self._schemas.field(node, element[2:]), value[element[2:]]
            else:
                kind, schema = self._list_type(node)
                items = self._schemas.items(node)
                if not isinstance(value, list):
                    return _MISSING
                value = next((v for v in value if self._element(schema, kind, v, items) == element), _MISSING)
                node = items
                if value is _MISSING:
                    return _MISSING
        return value

    def differences(self, old: dict[str, Any], new: dict[str, Any]) -> tuple[set[Path], set[Path]]:
        """(leaf paths of `new` that `old` lacks or has with another value, leaf paths that `old` alone has), of fields that can be
        owned. Parts that are equal are not visited."""
        changed: set[Path] = set()
        gone: set[Path] = set()
        self._compare(self._root, old, new, (), changed, gone)
        return changed - _UNOWNED, gone - _UNOWNED

    def _compare(self, node: Node, old: Any, new: Any, path: Path, changed: set[Path], gone: set[Path]) -> None:
        if old == new:
            return
        if isinstance(old, dict) and isinstance(new, dict) and old and new:
            if (self._schemas.resolve(node) or {}).get("x-kubernetes-map-type") != "atomic":
                for key in old.keys() | new.keys():
                    child, inner = self._schemas.field(node, key), (*path, "f:" + key)
                    if key in old and key in new:
                        self._compare(child, old[key], new[key], inner, changed, gone)
                    elif key in new:
                        changed.update(_leaves(self._tree(child, new[key]), inner))
                    else:
                        gone.update(_leaves(self._tree(child, old[key]), inner))
                return
        elif isinstance(old, list) and isinstance(new, list) and old and new:
            kind, schema = self._list_type(node)
            items = self._schemas.items(node)
            if kind in ("map", "set"):
                before = {self._element(schema, kind, v, items): v for v in old}
                after = {self._element(schema, kind, v, items): v for v in new}
                for element in before.keys() | after.keys():
                    inner = (*path, element)
                    item: dict[str, Any] = {".": {}} if kind == "map" else {}  # an item is owned beside its fields
                    if element not in before:
                        changed.update(_leaves({**item, **self._tree(items, after[element])}, inner))
                    elif element not in after:
                        gone.update(_leaves({**item, **self._tree(items, before[element])}, inner))
                    elif kind == "map":
                        self._compare(items, before[element], after[element], inner, changed, gone)
                        changed.discard(inner)
                        gone.discard(inner)
                return
        had, has = set(_leaves(self._tree(node, old), path)), set(_leaves(self._tree(node, new), path))
        changed |= has
        gone |= had - has

    def _remove(self, node: Node, value: Any, path: Path) -> None:
        element = path[0]
        if element.startswith("f:"):
            key = element[2:]
            if not isinstance(value, dict) or key not in value:
                return
            if len(path) == 1:
                del value[key]
            else:
                self._remove(self._schemas.field(node, key), value[key], path[1:])
            return
        kind, schema = self._list_type(node)
        items = self._schemas.items(node)
        for index, item in enumerate(value if isinstance(value, list) else ()):
            if self._element(schema, kind, item, items) == element:
                if len(path) == 1:
                    del value[index]
                else:
                    self._remove(items, item, path[1:])
                return

    def _remove_emptied(self, value: Any, path: Path, kept: set[Path]) -> None:
        """Remove maps that a removal has left empty, unless a manager owns them: a manager that no longer applies
        `conversion.strategy` does not want `conversion: {}`."""
        for length in range(len(path) - 1, 1, -1):
            parent = path[:length]
            if self.get(value, parent) != {} or parent in kept:
                return
            self._remove(self._root, value, parent)

    def _merge(self, node: Node, live: Any, applied: Any) -> Any:
        if isinstance(applied, dict) and isinstance(live, dict):
            if (self._schemas.resolve(node) or {}).get("x-kubernetes-map-type") == "atomic":
                return copy.deepcopy(applied)
            out = dict(live)
            for key, value in applied.items():
                child = self._schemas.field(node, key)
                out[key] = self._merge(child, live[key], value) if key in live else copy.deepcopy(value)
            return out
        if isinstance(applied, list) and isinstance(live, list):
            kind, schema = self._list_type(node)
            items = self._schemas.items(node)
            if kind in ("map", "set"):
                have = {self._element(schema, kind, v, items): v for v in live}
                new = {self._element(schema, kind, v, items): v for v in applied}
                merged = {
                    k: self._merge(items, have[k], v) if k in have and kind == "map" else copy.deepcopy(v)
                    for k, v in new.items()
                }
                kept = [merged.pop(k) if k in merged else v for k, v in have.items()]
                return kept + list(merged.values())
        return copy.deepcopy(applied)

    # -- managers -------------------------------------------------------------------------------

    def apply(
        self, live: dict[str, Any] | None, applied: dict[str, Any], manager: str, force: bool, now: str, sub: str = ""
    ) -> dict[str, Any]:
        """The object after a server-side apply. Raises ApplyConflict if other managers own changed fields and `force` is off."""
        applied = clone(applied)
        (applied.get("metadata") or {}).pop("managedFields", None)
        base = clone(live) if live else {}
        owners = _from_managed_fields(base) or {}
        if live and not owners:  # written without field managers: owned by a manager of its own
            entry = {"apiVersion": base.get("apiVersion"), "time": now, "fieldsType": "FieldsV1"}
            owners["before-first-apply", "Update", ""] = (self.field_set(base), entry)
        wanted = self.field_set(applied)
        merged: dict[str, Any] = self._merge(self._root, base, applied)
        me = (manager, "Apply", sub)
        changed = wanted & self.differences(base, merged)[0]
        taken = [
            (who, p)
            for who, (paths, _) in owners.items()
            if who != me
            for p in sorted(paths & changed)
            if self.get(base, p) is not _MISSING
        ]
        if taken and not force:
            raise ApplyConflict([(who[0], who[1], p) for who, p in taken])
        for who, path in taken:
            owners[who][0].discard(path)
        before = owners[me][0] if me in owners else set()
        others = set().union(*(paths for who, (paths, _) in owners.items() if who != me))
        for path in sorted(before - wanted, key=len):
            if path not in others and not any(q[: len(path)] == path for q in others | wanted):
                self._remove(self._root, merged, path)
                self._remove_emptied(merged, path, others | wanted)
        if me not in owners or owners[me][0] != wanted or changed:
            entry = {
                "manager": manager,
                "operation": "Apply",
                "apiVersion": applied.get("apiVersion"),
                "time": now,
                "fieldsType": "FieldsV1",
            }
            owners[me] = (wanted, entry)
        merged.setdefault("metadata", {})["managedFields"] = _to_managed_fields(owners)
        return merged

    def update(
        self, live: dict[str, Any] | None, new: dict[str, Any], manager: str, now: str, sub: str = ""
    ) -> dict[str, Any]:
        """Record a write that is not an apply: the writer owns the fields that it changed, removed fields lose their owners. Managed
        fields in the request replace the stored ones: so clients move fields from one manager to another. As in Kubernetes,
        `[{}]` empties them, and those that cannot be read count as absent."""
        given = (new.get("metadata") or {}).get("managedFields")
        changed, gone = self.differences(live, new) if live else (self.field_set(new), set())
        stored = ((live or {}).get("metadata") or {}).get("managedFields") or []
        if not changed and not gone and given in (None, [], stored) and all(e.get("fieldsV1") for e in stored):
            new.setdefault("metadata", {})["managedFields"] = stored
            return new
        owners = {} if given == [{}] else _from_managed_fields(new) or _from_managed_fields(live or {}) or {}
        me = (manager, "Update", sub)
        for who, (paths, _) in owners.items():
            paths.difference_update(gone | (changed if who != me else set()))
        if changed:
            entry = {"apiVersion": new.get("apiVersion"), "fieldsType": "FieldsV1"}
            paths, known = owners.setdefault(me, (set(), entry))
            paths.update(changed)
            known |= {"time": now, "apiVersion": new.get("apiVersion")}
        new.setdefault("metadata", {})["managedFields"] = _to_managed_fields(owners)
        return new


def _leaves(tree: dict[str, Any], prefix: Path = ()) -> list[Path]:
    if not tree:
        return [prefix]
    out: list[Path] = []
    for key, value in tree.items():
        out += [prefix] if key == "." else _leaves(value, (*prefix, key))
    return out


def _from_managed_fields(obj: dict[str, Any]) -> Owners | None:
    """The owners of an object's fields; None if its managed fields cannot be read."""
    out: Owners = {}
    for entry in (obj.get("metadata") or {}).get("managedFields") or ():
        fields = entry.get("fieldsV1") or {}
        known = entry.get("operation") in ("Apply", "Update") and entry.get("fieldsType", "FieldsV1") == "FieldsV1"
        if not known or not _is_field_set(fields):
            return None
        who = (entry.get("manager", ""), entry["operation"], entry.get("subresource", ""))
        out[who] = (set(_leaves(fields)) - {()}, dict(entry))
    return out


def _is_field_set(tree: Any) -> bool:
    """Whether a value is in the form of FieldsV1."""
    return isinstance(tree, dict) and all(_is_element(k) and _is_field_set(v) for k, v in tree.items())


def _is_element(key: str) -> bool:
    if key == "." or key.startswith("f:"):
        return True
    try:
        value = orjson.loads(key[2:]) if key.startswith(("k:", "v:", "i:")) else None
    except ValueError:
        return False
    return key.startswith("v:") or isinstance(value, dict if key.startswith("k:") else int)


def _to_managed_fields(owners: Owners) -> list[dict[str, Any]]:
    out = []
    for (manager, operation, sub), (paths, entry) in owners.items():
        if paths:
            managed = {**entry, "manager": manager, "operation": operation, "fieldsV1": _nest(paths)}
            if sub:
                managed["subresource"] = sub
            out.append(managed)
    return sorted(out, key=lambda m: (m["operation"] != "Apply", m.get("time") or "", m["manager"]))


def _nest(paths: set[Path]) -> dict[str, Any]:
    root: dict[str, Any] = {}
    for path in sorted(paths):
        at = root
        for element in path:
            at = at.setdefault(element, {})
    for path in paths:
        at = root
        for element in path:
            at = at[element]
        if at:
            at["."] = {}
    return root


@lru_cache(maxsize=1024)
def of(resource: ApiResource) -> FieldManager:
    """The field manager of a resource."""
    return FieldManager(resource.schemas, resource.node)
