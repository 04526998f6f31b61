"""Removes nulls from manifests, where null means absent."""

from __future__ import annotations

from typing import Any


def without_nulls(value: Any) -> Any:
    """A JSON value without nulls, as an API server decodes it."""
    if isinstance(value, dict):
        return {str(k): without_nulls(v) for k, v in value.items() if v is not None}
    return [without_nulls(v) for v in value] if isinstance(value, list) else value
