"""JSON patch (RFC 6902), JSON merge patch (RFC 7396) and strategic merge patch. Pure; the schema says how lists merge."""

from __future__ import annotations

from typing import Any

import jsonpatch

from sailcloth.lib.openapi import Node, Schemas


def merge(target: Any, patch: Any) -> Any:
    """A JSON merge patch: null removes, objects merge, everything else replaces."""
    if not isinstance(patch, dict):
        return patch
    out = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            out.pop(key, None)
        else:
            out[key] = merge(out.get(key), value)
    return out


def operations(target: Any, patch: Any) -> Any:
    """A JSON patch. Raises ValueError for one that cannot be read or does not fit."""
    if not isinstance(patch, list):
        raise ValueError("a JSON patch must be a list of operations")
    try:
        return jsonpatch.apply_patch(target, patch)
    except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException, TypeError, AttributeError, KeyError) as error:
        raise ValueError(str(error)) from None


def strategic(schemas: Schemas, node: Node, target: Any, patch: Any) -> Any:
    """A strategic merge patch with its directives `$patch`, `$retainKeys`, `$setElementOrder`, `$deleteFromPrimitiveList`."""
    if not isinstance(patch, dict):
        return patch
    directive = patch.get("$patch")
    if directive == "replace":
        return {k: v for k, v in patch.items() if k != "$patch"}
    if directive == "delete":
        return {}
    out = dict(target) if isinstance(target, dict) else {}
    if "$retainKeys" in patch:
        out = {k: v for k, v in out.items() if k in patch["$retainKeys"]}
    for key, value in patch.items():
        if key in ("$retainKeys", "$patch") or key.startswith("$setElementOrder/"):
            continue
        if key.startswith("$deleteFromPrimitiveList/"):
            field = key.split("/", 1)[1]
            out[field] = [x for x in out.get(field) or [] if x not in value]
            continue
        if value is None:
            out.pop(key, None)
            continue
        child = schemas.field(node, key)
        if isinstance(value, list):
            found = schemas.resolve(child) or {}
            if "merge" in str(found.get("x-kubernetes-patch-strategy", "")).split(","):
                merge_key = found.get("x-kubernetes-patch-merge-key")
                order = patch.get("$setElementOrder/" + key)
                out[key] = _list(schemas, child, merge_key, out.get(key) or [], value, order)
            else:
                out[key] = value
        elif isinstance(value, dict):
            out[key] = strategic(schemas, child, out.get(key), value)
        else:
            out[key] = value
    for key, order in patch.items():
        if key.startswith("$setElementOrder/"):
            field = key.split("/", 1)[1]
            if field not in patch and out.get(field):
                found = schemas.resolve(schemas.field(node, field)) or {}
                out[field] = _reorder(out[field], order, found.get("x-kubernetes-patch-merge-key"))
    return out


def _ident(item: Any, merge_key: str | None) -> Any:
    return item.get(merge_key) if merge_key and isinstance(item, dict) else item


def _reorder(items: list[Any], order: list[Any] | None, merge_key: str | None) -> list[Any]:
    """The given order for the items it names; others keep their place after the item that they followed."""
    if order is None:
        return items
    wanted = [_ident(o, merge_key) for o in order]
    position = {ident: n for n, ident in enumerate(wanted)}
    named = iter(
        sorted((i for i in items if _ident(i, merge_key) in position), key=lambda i: position[_ident(i, merge_key)])
    )
    return [next(named) if _ident(i, merge_key) in position else i for i in items]


def _list(
    schemas: Schemas, node: Node, merge_key: str | None, target: list[Any], patch: list[Any], order: list[Any] | None
) -> list[Any]:
    if any(isinstance(x, dict) and x.get("$patch") == "replace" for x in patch):
        return [x for x in patch if not (isinstance(x, dict) and "$patch" in x)]
    out = list(target)
    for item in patch:
        if not isinstance(item, dict) or merge_key is None:
            if item not in out:
                out.append(item)
            continue
        at = next((n for n, o in enumerate(out) if _ident(o, merge_key) == item.get(merge_key)), None)
        if item.get("$patch") == "delete":
            if at is not None:
                del out[at]
        elif at is None:
            out.append(strategic(schemas, schemas.items(node), {}, item))
        else:
            out[at] = strategic(schemas, schemas.items(node), out[at], item)
    return _reorder(out, order, merge_key)
