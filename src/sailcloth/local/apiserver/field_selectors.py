"""Field selectors of requests. Which fields a kind is selected by is in its record."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .errors import bad_request
from .kinds.record import FieldSelector
from .label_selectors import EQUALITY

Matcher = Callable[[dict[str, Any]], bool]


def parse(text: str | None, selectable: Mapping[str, FieldSelector]) -> Matcher:
    """A field selector over objects: dotted paths with = or !=. Objects are selected by their name and namespace and by what
    is `selectable`. Raises StatusError for a selector that cannot be read, or other fields."""
    known = {"metadata.name": FieldSelector(), "metadata.namespace": FieldSelector(), **selectable}
    terms: list[tuple[tuple[str, ...], str, bool, str]] = []
    for raw in text.split(",") if text else []:
        parsed = EQUALITY.match(raw.strip())
        if parsed is None:
            raise bad_request(f"invalid field selector: {raw!r}")
        if parsed[1] not in known:
            raise bad_request(f"field label not supported: {parsed[1]}")
        path = tuple((known[parsed[1]].path or parsed[1]).split("."))
        terms.append((path, parsed[3], parsed[2] != "!=", known[parsed[1]].absent))

    def match(obj: dict[str, Any]) -> bool:
        for path, wanted, equal, absent in terms:
            value: Any = obj
            for step in path:
                value = value.get(step) if isinstance(value, dict) else None
            text = absent if value is None else str(value).lower() if isinstance(value, bool) else str(value)
            if (text == wanted) != equal:
                return False
        return True

    return match


def selected_name(text: str | None) -> str:
    """The one name that a field selector leaves, as the request's authorization takes it; empty for any other selector."""
    terms = [EQUALITY.match(raw.strip()) for raw in (text or "").split(",")]
    names = {term[3] for term in terms if term is not None and term[1] == "metadata.name" and term[2] != "!="}
    return names.pop() if len(names) == 1 else ""
