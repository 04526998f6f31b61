"""Limits the depth of JSON values. Servers reject deeper ones on arrival, so that later code may recurse over them."""

from __future__ import annotations

from typing import Any

DEEPEST = 128
_CONTAINERS = (dict, list)


def exceeds_depth(value: Any, most: int = DEEPEST) -> bool:
    """Whether there are more than `most` objects and lists nested in each other. Does not recurse."""
    layer = [value] if isinstance(value, _CONTAINERS) else []
    for _ in range(most):
        if not layer:
            return False
        layer = [
            v
            for container in layer
            for v in (container.values() if isinstance(container, dict) else container)
            if isinstance(v, _CONTAINERS)
        ]
    return bool(layer)
