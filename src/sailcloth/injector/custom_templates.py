"""Injection templates of users' own: YAML that is merged into the pod, as a strategic merge patch is.

Istio's templates are programs in Go's template language. Of it, paths (`{{ .ObjectMeta.Name }}`) and `index` are evaluated; a template
with more is refused by name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

from sailcloth.lib import bounded_yaml, strategic_merge

from .template import PROXY

Object = dict[str, Any]
_EXPRESSION = re.compile(r"\{\{-?\s*(.*?)\s*-?\}\}", re.S)
_PATH = re.compile(r"\.[\w.]+")
_INDEX = re.compile(r"index\s+(\.[\w.]+)\s+[\"`]([^\"`]+)[\"`]")


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
        return strategic_merge.merge(pod, patch)
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
