"""Fields that hold a number or text: ports by number or name, amounts by number or percentage."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from ..field_errors import FieldError, invalid

_PERCENT = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')"
_DIGITS = 9  # of a percentage that is more than enough


def validate_port(field: str, value: Any) -> Iterator[FieldError]:
    """For a port's number, or its name as IANA has them."""
    if isinstance(value, str):
        if not 0 < len(value) <= 15:
            yield invalid(field, value, "must be no more than 15 characters")
        if not re.fullmatch(r"[-a-z0-9]+", value):
            yield invalid(field, value, "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
        elif not re.search(r"[a-z]", value):
            yield invalid(field, value, "must contain at least one letter (a-z)")
        elif "--" in value or value.startswith("-") or value.endswith("-"):
            yield invalid(field, value, "must not begin or end with a hyphen, nor contain two of them in a row")
    elif isinstance(value, int) and not 0 < value < 65536:
        yield invalid(field, value, "must be between 1 and 65535, inclusive")


def validate_amount(field: str, value: Any, *, most_percent: int | None = None) -> Iterator[FieldError]:
    """For a number that is not negative, or a percentage."""
    if isinstance(value, str):
        if not re.fullmatch(r"[0-9]+%", value):
            yield invalid(field, value, _PERCENT)
        elif len(value) > _DIGITS or int(value[:-1]) > (most_percent or 10**_DIGITS):
            yield invalid(field, value, f"must not be greater than {most_percent or 10**_DIGITS}%")
    elif isinstance(value, int):
        if value < 0:
            yield invalid(field, value, "must be greater than or equal to 0")
        elif value >= 1 << 31:
            yield invalid(field, value, f"must be less than {1 << 31}")


def is_nothing(value: Any) -> bool:
    """Whether an amount is zero, as number or percentage."""
    return value == 0 or (isinstance(value, str) and not value.rstrip("%").strip("0"))
