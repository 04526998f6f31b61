"""The columns that a CustomResourceDefinition asks for (`additionalPrinterColumns`), by JSON path."""

from __future__ import annotations

import re
from typing import Any

import orjson

from ..unstructured import Unstructured
from .columns import AGE, age
from .record import Cell, Column

_STEP = re.compile(r'\.?([A-Za-z0-9_-]+)|\[\?\(@\.(\w+)==["\']([^"\']+)["\']\)\]|\[(\d+|\*)\]|\[\'([^\']+)\'\]')


def json_path(path: str) -> Cell:
    """The subset of JSON paths that printer columns use."""
    steps = list(_STEP.finditer(path))

    def cell(obj: Unstructured) -> Any:
        value: Any = obj
        for step in steps:
            name = step[1] or step[5]
            if name:
                value = value.get(name) if isinstance(value, dict) else None
            elif step[2]:
                matches = [x for x in value or () if isinstance(x, dict) and str(x.get(step[2])) == step[3]]
                value = matches[0] if matches else None
            else:  # of all items, Kubernetes prints the first
                index = 0 if step[4] == "*" else int(step[4])
                value = value[index] if isinstance(value, list) and len(value) > index else None
            if value is None:
                return None
        return value

    return cell


def custom_columns(given: list[dict[str, Any]] | None) -> tuple[Column, ...]:
    """Columns of a CustomResourceDefinition; without any, the age."""
    out: list[Column] = []
    for column in given or ():
        get = json_path(column["jsonPath"])
        date = column["type"] == "date"
        kind = "string" if date else column["type"]
        cell = _age_of(get) if date else _plain(get)
        out.append(Column(column["name"], kind, column.get("priority", 0), cell))
    return tuple(out) or (AGE,)


def _age_of(get: Cell) -> Cell:
    def cell(obj: Unstructured) -> str:
        return age(get(obj))

    return cell


def _plain(get: Cell) -> Cell:
    def cell(obj: Unstructured) -> Any:
        value = get(obj)
        return orjson.dumps(value).decode() if isinstance(value, list) else value

    return cell
