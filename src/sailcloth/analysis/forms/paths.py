"""Reads and writes values of nested objects by path, and finds what two objects do not share."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

Object = dict[str, Any]
Path = tuple[str | int, ...]  # names of fields, and indexes of lists


class CannotSay(ValueError):
    """A form has no place for something of an object. The text names the field."""


def get(value: Any, path: Path) -> Any:
    """The value at a path; None if there is none."""
    for part in path:
        if isinstance(part, int):
            value = value[part] if isinstance(value, Sequence) and len(value) > part else None
        else:
            value = value.get(part) if isinstance(value, Mapping) else None
        if value is None:
            return None
    return value


def put(into: Object, path: Path, value: Any) -> None:
    """Set the value at a path; objects and lists on the way are made. Lists are filled from their start."""
    holder: Any = into
    for part, following in itertools.pairwise(path):
        empty: Any = [] if isinstance(following, int) else {}
        if isinstance(part, int):
            if len(holder) == part:
                holder.append(empty)
            holder = holder[part]
        else:
            holder = holder.setdefault(part, empty)
    last = path[-1]
    if isinstance(last, int):
        holder.append(value)
    else:
        holder[last] = value


def text(path: Path) -> str:
    """A path as messages show it, such as `http[0].timeout`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")


def difference(one: Any, other: Any, at: Path = ()) -> Path | None:
    """The path of the first value that differs; None for equal values."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for name in (*one, *(n for n in other if n not in one)):
            found = difference(one.get(name), other.get(name), (*at, name))
            if found is not None:
                return found
        return None
    if isinstance(one, list) and isinstance(other, list):
        for index in range(max(len(one), len(other))):
            left, right = (items[index] if index < len(items) else None for items in (one, other))
            found = difference(left, right, (*at, index))
            if found is not None:
                return found
        return None
    return None if one == other and isinstance(one, bool) == isinstance(other, bool) else at


def require_same(said: Any, meant: Any, where: str) -> None:
    """Raises CannotSay if what a form would write is not what stands in the object."""
    path = difference(said, meant)
    if path is not None:
        raise CannotSay(f"{where}: the form cannot say {text(path)}; use the editor")
