"""How deep a value of JSON is: what nests too deep is refused where it comes in, so that whatever walks it later may recurse."""

from __future__ import annotations

from typing import Any

DEEPEST = 128


def exceeds_depth(value: Any, most: int = DEEPEST) -> bool:
    """Whether there are more than `most` objects and lists within each other. Does not recurse."""
    layer = [value] if isinstance(value, dict | list) else []
    for _ in range(most):
        if not layer:
            return False
        inner = (v for one in layer for v in (one.values() if isinstance(one, dict) else one))
        layer = [v for v in inner if isinstance(v, dict | list)]
    return bool(layer)
