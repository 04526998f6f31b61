"""Numbers as Prometheus prints them."""

from __future__ import annotations

import math

import numpy as np


def plain(value: float) -> str:
    """A float without an exponent, in as few digits as tell it from its neighbours (Go's 'f', -1)."""
    if value != value:
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    text = repr(value)
    if "e" in text:
        return str(np.format_float_positional(value, trim="-"))
    return text.removesuffix(".0")


def sample(value: float) -> str:
    """A sample value of the HTTP API: with an exponent if it is very small or very large."""
    size = abs(value)
    if size != 0 and (size < 1e-6 or size >= 1e21) and math.isfinite(value):
        return repr(value).replace(".0e", "e")
    return plain(value)
