"""Reads fields of objects in JSON form that may have any shape: what has the wrong type counts as absent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Object = dict[str, Any]


def mapping(value: Any, *names: str) -> Object:
    """The object at a path of field names; empty if there is none."""
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def items(value: Any, *names: str) -> list[Any]:
    """The list at a path of field names; empty if there is none."""
    found = mapping(value, *names[:-1]).get(names[-1]) if names else value
    return found if isinstance(found, list) else []


def objects(value: Any, *names: str) -> Iterator[tuple[int, Object]]:
    """(index, object) for the items of a list that are objects."""
    return ((i, item) for i, item in enumerate(items(value, *names)) if isinstance(item, dict))


def texts(value: Any, *names: str) -> list[str]:
    """The items of a list that are texts."""
    return [item for item in items(value, *names) if isinstance(item, str)]


def text(value: Any, *names: str) -> str:
    """The text or number at a path of field names; empty if there is none."""
    found = mapping(value, *names[:-1]).get(names[-1]) if names else value
    return str(found) if isinstance(found, (str, int, float)) and not isinstance(found, bool) else ""


def number(value: Any, *names: str) -> int:
    """The integer at a path of field names; 0 if there is none."""
    found = mapping(value, *names[:-1]).get(names[-1]) if names else value
    return found if isinstance(found, int) and not isinstance(found, bool) else 0


def labels(value: Any, *names: str) -> dict[str, str]:
    """The map of texts at a path of field names; values of other types as text."""
    return {str(k): "" if v is None else str(v) for k, v in mapping(value, *names).items()}


def selector(value: Any, *names: str) -> Object:
    """The LabelSelector at a path of field names, without malformed parts."""
    found = mapping(value, *names)
    expressions = [{**e, "values": texts(e, "values")} for _, e in objects(found, "matchExpressions")]
    return {"matchLabels": labels(found, "matchLabels"), "matchExpressions": expressions}
