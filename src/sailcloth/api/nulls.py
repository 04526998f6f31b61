"""Null in manifests means the same as absent."""

from __future__ import annotations

from typing import Any


def without_nulls(value: Any) -> Any:
    """A value of JSON without nulls, which mean the same as nothing (as an API server sees to)."""
    if isinstance(value, dict):
        return {str(k): without_nulls(v) for k, v in value.items() if v is not None}
    return [without_nulls(v) for v in value] if isinstance(value, list) else value
