"""Kubernetes quantities (`100m`, `1.5Gi`, `2e3`): exact values and canonical text."""

from __future__ import annotations

import re
from fractions import Fraction

_FORM = re.compile(r"^([+-]?)(\d{1,64}\.?\d{0,64}|\.\d{1,64})([KMGTPE]i|[numkMGTPE]?|[eE][+-]?\d{1,3})$")
_BINARY = {"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40, "Pi": 1 << 50, "Ei": 1 << 60}
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}


def parse(text: str) -> Fraction:
    """The exact value, rounded up to nanos. Raises ValueError."""
    match = _FORM.match(text)
    if match is None:
        raise ValueError("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")
    sign, digits, suffix = match.groups()
    value = Fraction(digits if not digits.endswith(".") else digits + "0")
    if suffix in _BINARY:
        value *= _BINARY[suffix]
    elif suffix in _DECIMAL:
        value *= Fraction(10) ** _DECIMAL[suffix]
    else:
        value *= Fraction(10) ** int(suffix[1:])
    nanos = -(-value * 10**9 // 1)  # rounded away from zero, as the sign comes last
    return Fraction(int(nanos), 10**9) * (-1 if sign == "-" else 1)


def show(value: Fraction, like: str = "") -> str:
    """The canonical form, in the family of suffixes that `like` uses: powers of two, powers of ten, or exponents."""
    if value == 0:
        return "0"
    match = _FORM.match(like)
    suffix = match[3] if match else ""
    if suffix in _BINARY and value.denominator == 1 and abs(value) >= 1024:
        for name, factor in reversed(_BINARY.items()):
            if value % factor == 0:
                return f"{value // factor}{name}"
        return str(value.numerator)
    for name, power in reversed(_DECIMAL.items()):
        scaled = value / Fraction(10) ** power
        if scaled.denominator == 1:
            if suffix[:1] in ("e", "E") and suffix not in _DECIMAL and power:
                return f"{scaled.numerator}e{power}"
            return f"{scaled.numerator}{name}"
    return f"{int(value * 10**9)}n"


def canonical(text: str) -> str:
    """A quantity as the API server writes it. Raises ValueError."""
    return show(parse(text), text)
