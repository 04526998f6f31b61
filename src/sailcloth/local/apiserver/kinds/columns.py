"""Cells of `kubectl get` that several kinds show, and constructors of columns."""

from __future__ import annotations

import datetime as dt
from typing import Any

from ..unstructured import Unstructured
from .record import Cell, Column


def age(stamp: str | None) -> str:
    """Time since, as kubectl shortens it."""
    if not stamp:
        return "<unknown>"
    try:
        then = dt.datetime.fromisoformat(stamp.replace("Z", "+00:00"))
    except ValueError:
        return "<invalid>"
    return span(max(0, int((dt.datetime.now(dt.UTC) - then).total_seconds())))


def span(s: int) -> str:
    """Seconds, as kubectl shortens them."""
    if s < 120:
        return f"{s}s"
    if s < 600:
        return f"{s // 60}m{s % 60}s" if s % 60 else f"{s // 60}m"
    if s < 10_800:
        return f"{s // 60}m"
    if s < 28_800:
        return f"{s // 3600}h{s % 3600 // 60}m" if s % 3600 // 60 else f"{s // 3600}h"
    if s < 172_800:
        return f"{s // 3600}h"
    if s < 691_200:
        return f"{s // 86_400}d{s % 86_400 // 3600}h" if s % 86_400 // 3600 else f"{s // 86_400}d"
    return f"{s // 86_400}d"


def value_at(path: str, default: Any = "<none>") -> Cell:
    """The value at a dotted path."""
    steps = path.split(".")

    def cell(obj: Unstructured) -> Any:
        value: Any = obj
        for step in steps:
            value = value.get(step) if isinstance(value, dict) else None
        return default if value in (None, "", [], {}) else value

    return cell


def selector_text(selector: dict[str, Any] | None) -> str:
    """A selector, or plain labels, as one word."""
    pairs = (selector or {}).get("matchLabels", selector) or {}
    return ",".join(f"{k}={v}" for k, v in sorted(pairs.items()) if isinstance(v, str)) or "<none>"


def containers(field: str) -> Cell:
    """A field of the containers of an object's template."""

    def cell(obj: Unstructured) -> str:
        spec = obj["spec"].get("template", {}).get("spec", {})
        return ",".join(str(c.get(field, "")) for c in spec.get("containers", ())) or "<none>"

    return cell


def text(name: str, cell: Cell | str, priority: int = 0) -> Column:
    """A column of words; `cell` may be a dotted path."""
    return Column(name, "string", priority, value_at(cell) if isinstance(cell, str) else cell)


def wide(name: str, cell: Cell | str) -> Column:
    """A column of words that `-o wide` adds."""
    return text(name, cell, 1)


def integer(name: str, cell: Cell | str, priority: int = 0) -> Column:
    """A column of numbers; a `cell` that is a dotted path counts as 0 where it is absent."""
    return Column(name, "integer", priority, value_at(cell, 0) if isinstance(cell, str) else cell)


def boolean(name: str, cell: Cell) -> Column:
    return Column(name, "boolean", 0, cell)


def created(obj: Unstructured) -> str:
    return age(obj["metadata"].get("creationTimestamp"))


def load_balancer_addresses(obj: Unstructured) -> str:
    ingress = (obj.get("status", {}).get("loadBalancer") or {}).get("ingress") or ()
    return ",".join(i.get("ip") or i.get("hostname", "") for i in ingress)


def first_three(values: list[str]) -> str:
    return ",".join(values[:3]) + (f" + {len(values) - 3} more..." if len(values) > 3 else "")


AGE = text("Age", created)
NAME = text("Name", lambda o: o["metadata"]["name"])
CREATED_AT = text("Created At", "metadata.creationTimestamp")
CONTAINERS, IMAGES = wide("Containers", containers("name")), wide("Images", containers("image"))
SELECTOR = wide("Selector", lambda o: selector_text(o["spec"].get("selector")))
