"""JSON patch (RFC 6902), JSON merge patch (RFC 7396) and strategic merge patch. The schema says how lists
merge."""

from __future__ import annotations

from typing import Any

import jsonpatch
import orjson

from sailcloth.lib.openapi import Node, Schemas

from ..errors import StatusError, bad_request
from ..registry import ApiResource
from ..storage import clone

_MOST_OPERATIONS = 10_000
_MOST_COPIED = 3 << 20  # bytes: as much as a body may have


def merge_patch(target: Any, patch: Any) -> Any:
    """A JSON merge patch: null removes, objects merge, everything else replaces."""
    if not isinstance(patch, dict):
        return patch
    out = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            out.pop(key, None)
        else:
            out[key] = merge_patch(out.get(key), value)
    return out


def json_patch(target: Any, patch: Any) -> Any:
    """A JSON patch. Raises ValueError for one that cannot be read or does not fit. As in Kubernetes, a member that is absent
    passes a test for null."""
    if not isinstance(patch, list) or not all(isinstance(one, dict) for one in patch):
        raise ValueError("a JSON patch must be a list of operations")
    if len(patch) > _MOST_OPERATIONS:
        raise ValueError(f"The allowed maximum operations in a JSON patch is {_MOST_OPERATIONS}, got {len(patch)}")
    out, copied = clone(target), 0
    for operation in patch:
        path = operation.get("path")
        if operation.get("op") == "copy":
            copied += _size_at(out, operation.get("from"))
            if copied > _MOST_COPIED:
                raise ValueError(
                    f"the accumulated size increase of copy is {copied}, exceeding the limit {_MOST_COPIED}"
                )
        if operation.get("op") == "test" and operation.get("value", ...) is None and _is_absent(out, path):
            continue
        try:
            out = jsonpatch.apply_patch(out, [operation], in_place=True)
        except jsonpatch.JsonPatchTestFailed:
            raise ValueError(f"testing value {path} failed") from None
        except jsonpatch.JsonPointerException:  # its message has the whole object
            raise ValueError(f'{operation.get("op")} operation does not apply: doc is missing path: "{path}"') from None
        except jsonpatch.JsonPatchException as error:
            raise ValueError(f"{operation.get('op')} of {path}: {str(error)[:200]}") from None
        except (TypeError, AttributeError, KeyError, ValueError, IndexError):
            raise ValueError(f"{operation.get('op')} of {path} does not apply") from None
    return out


def _size_at(target: Any, path: Any) -> int:
    """The size of a member in bytes of JSON; 0 if it cannot be found."""
    try:
        return len(orjson.dumps(jsonpatch.JsonPointer(path).resolve(target, None)))
    except (jsonpatch.JsonPointerException, TypeError, AttributeError):
        return 0


def _is_absent(target: Any, path: Any) -> bool:
    if not isinstance(path, str):
        return False
    try:
        return jsonpatch.JsonPointer(path).resolve(target, None) is None
    except (jsonpatch.JsonPointerException, TypeError):
        return True


def apply_patch(resource: ApiResource, live: Any, body: Any, kind: str) -> Any:
    """An object after a patch of a content type. Raises StatusError."""
    try:
        if kind == "application/merge-patch+json":
            if not isinstance(body, dict):
                raise bad_request("a merge patch must be an object")
            return merge_patch(live, body)
        if kind == "application/json-patch+json":
            return json_patch(live, body)
        if kind == "application/strategic-merge-patch+json" and not resource.custom:
            return strategic_merge_patch(resource.schemas, resource.node, live, body)
    except ValueError as error:
        text = f"the server rejected our request due to an error in our request: {error}"
        raise StatusError(422, "Invalid", text) from None
    known = ["application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml"]
    if not resource.custom:
        known.insert(2, "application/strategic-merge-patch+json")
    text = "the body of the request was in an unknown format - accepted media types include: " + ", ".join(known)
    raise StatusError(415, "UnsupportedMediaType", text)


_SET_ORDER, _DELETE_FROM_LIST = "$setElementOrder/", "$deleteFromPrimitiveList/"


def strategic_merge_patch(schemas: Schemas, node: Node, target: Any, patch: Any) -> Any:
    """A strategic merge patch with its directives `$patch` (replace, delete, merge), `$retainKeys`, `$setElementOrder` and
    `$deleteFromPrimitiveList`. Raises ValueError for an item without the key that its list is merged by."""
    if not isinstance(patch, dict):
        return patch
    directive = patch.get("$patch")
    if directive == "replace":
        return {k: v for k, v in patch.items() if k != "$patch"}
    if directive == "delete":
        return {}
    if directive not in (None, "merge"):
        raise ValueError(f"Unknown patch type found: {directive}")
    out = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if key.startswith(("$retainKeys", _SET_ORDER, _DELETE_FROM_LIST)) and not isinstance(value, list):
            raise ValueError(f"{key} must be a list")
    if "$retainKeys" in patch:
        out = {k: v for k, v in out.items() if k in patch["$retainKeys"]}
    for key, value in patch.items():
        if key.startswith(_DELETE_FROM_LIST):
            name = key.removeprefix(_DELETE_FROM_LIST)
            out[name] = [x for x in _as_list(out.get(name)) if x not in value]
    for key, value in patch.items():
        if key in ("$retainKeys", "$patch") or key.startswith((_SET_ORDER, _DELETE_FROM_LIST)):
            continue
        if value is None:
            out.pop(key, None)
            continue
        child = schemas.field(node, key)
        if isinstance(value, list):
            merged, by = _list_strategy(schemas, child)
            live = _as_list(out.get(key))
            out[key] = _merge_list(schemas, child, by, live, value, patch.get(_SET_ORDER + key)) if merged else value
        elif isinstance(value, dict):
            out[key] = strategic_merge_patch(schemas, child, out.get(key), value)
        else:
            out[key] = value
    for key, order in patch.items():
        name = key.removeprefix(_SET_ORDER)
        if key.startswith(_SET_ORDER) and name not in patch and out.get(name):
            by = _list_strategy(schemas, schemas.field(node, name))[1]
            out[name] = _in_order(_as_list(out[name]), order, by, _as_list((target or {}).get(name)))
    return out


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _list_strategy(schemas: Schemas, node: Node) -> tuple[bool, str | None]:
    """(whether a list is merged, the key that its items are merged by)."""
    schema = schemas.resolve(node) or {}
    merged = "merge" in str(schema.get("x-kubernetes-patch-strategy", "")).split(",")
    return merged, schema.get("x-kubernetes-patch-merge-key")


def _merge_key_value(item: Any, by: str | None) -> Any:
    return item.get(by) if by and isinstance(item, dict) else item


def _in_order(items: list[Any], order: list[Any] | None, by: str | None, live: list[Any]) -> list[Any]:
    """The given order for the items that it names. Others, which only the server has, stay before the first named one that
    they stood before."""
    if order is None:
        return items
    wanted = [_merge_key_value(o, by) for o in order]
    before = [_merge_key_value(o, by) for o in live]
    named = sorted(
        (i for i in items if _merge_key_value(i, by) in wanted), key=lambda i: wanted.index(_merge_key_value(i, by))
    )
    others = [i for i in items if _merge_key_value(i, by) not in wanted]
    out = []
    while others and named:
        a, b = _merge_key_value(others[0], by), _merge_key_value(named[0], by)
        first = a in before and b in before and before.index(a) < before.index(b)
        out.append((others if first else named).pop(0))
    return out + others + named


def _merge_list(
    schemas: Schemas, node: Node, by: str | None, target: list[Any], patch: list[Any], order: list[Any] | None
) -> list[Any]:
    if any(isinstance(x, dict) and x.get("$patch") == "replace" for x in patch):
        return [x for x in patch if not (isinstance(x, dict) and "$patch" in x)]
    out = list(target)
    for item in patch:
        if not isinstance(item, dict) or by is None:
            if item not in out:
                out.append(item)
            continue
        if item.get(by) is None:
            raise ValueError(f"map: {item} does not contain declared merge key: {by}")
        indexes = [n for n, o in enumerate(out) if _merge_key_value(o, by) == item[by]]
        if item.get("$patch") == "delete":
            out = [o for n, o in enumerate(out) if n not in indexes]
        elif not indexes:
            out.append(strategic_merge_patch(schemas, schemas.items(node), {}, item))
        else:
            out[indexes[0]] = strategic_merge_patch(schemas, schemas.items(node), out[indexes[0]], item)
    return _in_order(out, order, by, target)
