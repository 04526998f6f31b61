"""Strategic merge of manifests without their schemas: lists that Kubernetes merges by the name of their items are known by their field's name."""

from __future__ import annotations

from typing import Any

Object = dict[str, Any]
KEYS = {
    "containers": ("name",),
    "initContainers": ("name",),
    "volumes": ("name",),
    "imagePullSecrets": ("name",),
    "env": ("name",),
    "volumeMounts": ("mountPath",),
    "ports": ("containerPort", "port"),
}
"""The lists that are merged, and the fields of which one names their items."""


def merge(old: Object, new: Object) -> Object:
    """Objects are merged by field, lists of `KEYS` by the name of their items (new ones last), others are replaced. A null removes.
    Raises ValueError for an item without its name."""
    out = dict(old)
    for key, value in new.items():
        have = out.get(key)
        if value is None:
            out.pop(key, None)
        elif isinstance(value, dict) and isinstance(have, dict):
            out[key] = merge(have, value)
        elif key in KEYS and isinstance(value, list) and isinstance(have, list):
            items = {_ident(key, item): item for item in have}
            for item in value:
                own = items.get(_ident(key, item))
                items[_ident(key, item)] = merge(own, item) if own is not None else item
            out[key] = list(items.values())
        else:
            out[key] = value
    return out


def check(patch: Object) -> None:
    """Raises ValueError for an item of a list without its name."""
    for key, value in patch.items():
        items = value if isinstance(value, list) else [value]
        for item in items:
            if key in KEYS and isinstance(value, list):
                _ident(key, item)
            if isinstance(item, dict):
                check(item)


def _ident(key: str, item: Any) -> str | int:
    """What names an item of a list. Raises ValueError if nothing does."""
    names = (item.get(field) for field in KEYS[key]) if isinstance(item, dict) else ()
    ident = next((n for n in names if n is not None), None)
    if not isinstance(ident, (str, int)):
        raise ValueError(f"{key}: each item must be an object with {' or '.join(KEYS[key])}")
    return ident
