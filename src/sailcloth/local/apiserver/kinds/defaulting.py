"""How kinds fill in defaults. Absent and null are the same, as in Go."""

from __future__ import annotations

from typing import Any

from sailcloth.lib import quantity

from ..unstructured import Unstructured


def set_defaults(holder: Unstructured, **defaults: Any) -> None:
    """Defaults of fields that are absent or null."""
    for key, value in defaults.items():
        if holder.get(key) is None:
            holder[key] = value


def nested(holder: Unstructured, key: str) -> Unstructured:
    inner = holder.get(key)
    if not isinstance(inner, dict):
        inner = holder[key] = {}
    return inner


def quantities(amounts: Unstructured) -> None:
    """Quantities in their canonical form, in place; what is none stays for the checks."""
    for name, amount in amounts.items():
        amounts[name] = canonical(amount)


def canonical(amount: Any) -> Any:
    try:
        return quantity.canonical(str(amount))
    except ValueError:
        return amount
