"""Injection templates of users' own: YAML that is merged into the pod, as a strategic merge patch is.

Istio's templates are programs in Go's template language. Of it, paths (`{{ .ObjectMeta.Name }}`) and `index` are evaluated; a template
with more is refused by name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

from sailcloth.lib import bounded_yaml

from .template import PROXY

Object = dict[str, Any]
_EXPRESSION = re.compile(r"\{\{-?\s*(.*?)\s*-?\}\}", re.S)
_PATH = re.compile(r"\.[\w.]+")
_INDEX = re.compile(r"index\s+(\.[\w.]+)\s+[\"`]([^\"`]+)[\"`]")
_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "volumes": "name",
    "imagePullSecrets": "name",
    "env": "name",
    "volumeMounts": "mountPath",
    "ports": "containerPort",
}
"""The lists that are merged, and the field that names their items."""


def merged(pod: Object, name: str, text: str, known: Mapping[str, Any]) -> Object:
    """The pod with a template merged into it. known: what paths are resolved in. Raises ValueError."""
    try:
        patch = bounded_yaml.load(_rendered(name, text, known))
    except yaml.YAMLError as error:
        raise ValueError(f"template {name}: {' '.join(str(error).split())}") from None
    if not isinstance(patch, dict):
        raise ValueError(f"template {name}: must be an object with metadata or spec")
    if problem := _problem(patch):
        raise ValueError(f"template {name}: {problem}")
    if any(c.get("name") == PROXY for c in pod.get("spec", {}).get("initContainers") or ()):
        patch = _for_native(patch)
    try:
        return merge(pod, patch)
    except ValueError as error:
        raise ValueError(f"template {name}: {error}") from None


def _problem(patch: Object) -> str:
    """What keeps a patch from being one of a pod; empty for nothing."""
    for field in ("metadata", "spec"):
        if not isinstance(patch.get(field) or {}, dict):
            return f"{field} must be an object"
    spec = patch.get("spec") or {}
    for field in ("containers", "initContainers"):
        items = spec.get(field) or []
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            return f"spec.{field} must be a list of objects"
    return ""


def _for_native(patch: Object) -> Object:
    """The patch for a pod whose proxy is an init container: what it says of the proxy among the containers moves there."""
    spec = patch.get("spec") or {}
    proxies = [c for c in spec.get("containers") or () if c.get("name") == PROXY]
    if not proxies:
        return patch
    others = [c for c in spec["containers"] if c not in proxies]
    return {
        **patch,
        "spec": {**spec, "containers": others, "initContainers": [*(spec.get("initContainers") or ()), *proxies]},
    }


def _rendered(name: str, text: str, known: Mapping[str, Any]) -> str:
    def value(found: re.Match[str]) -> str:
        expression = found[1]
        if expression.startswith("/*"):
            return ""
        if index := _INDEX.fullmatch(expression):
            return _text(_at(known, [*index[1].split(".")[1:], index[2]]))
        if _PATH.fullmatch(expression):
            return _text(_at(known, expression.split(".")[1:]))
        raise ValueError(
            f"template {name}: {{{{ {expression} }}}}: only paths such as .ObjectMeta.Name, and index, are evaluated"
        )

    return _EXPRESSION.sub(value, text)


def _at(value: Any, path: list[str]) -> Any:
    for part in path:
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _text(value: Any) -> str:
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def merge(old: Object, new: Object) -> Object:
    """A strategic merge: objects by field, lists of `_KEYS` by the name of their items (new ones last), others are replaced. A null removes.
    Raises ValueError for an item without its name."""
    out = dict(old)
    for key, value in new.items():
        have = out.get(key)
        if value is None:
            out.pop(key, None)
        elif isinstance(value, dict) and isinstance(have, dict):
            out[key] = merge(have, value)
        elif key in _KEYS and isinstance(value, list) and isinstance(have, list):
            items = {_ident(key, item): item for item in have}
            for item in value:
                own = items.get(_ident(key, item))
                items[_ident(key, item)] = merge(own, item) if own is not None else item
            out[key] = list(items.values())
        else:
            out[key] = value
    return out


def _ident(key: str, item: Any) -> str | int:
    """What names an item of a list. Raises ValueError if nothing does."""
    ident = item.get(_KEYS[key]) if isinstance(item, dict) else None
    if not isinstance(ident, (str, int)):
        raise ValueError(f"{key}: each item must be an object with {_KEYS[key]}")
    return ident
