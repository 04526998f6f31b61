"""Kubernetes quantities: values and canonical forms."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sailcloth.lib import quantity


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("100m", "100m"), ("0.1", "100m"), ("1000m", "1"), ("1.5", "1500m"), ("1024Mi", "1Gi"), ("1.5Gi", "1536Mi"),
        ("1000Ki", "1000Ki"), ("2e3", "2e3"), ("1000000", "1M"), ("0", "0"), ("-5k", "-5k"), ("1500m", "1500m"),
    ],
)  # fmt: skip
def test_canonical_forms(text: str, shown: str) -> None:
    assert quantity.canonical(text) == shown
    assert quantity.parse(shown) == quantity.parse(text)


@pytest.mark.parametrize("text", ["", "x", "1Zi", "1.2.3", "1 Gi", "0x5", "1mm", "--1"])
def test_texts_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="quantities must match"):
        quantity.parse(text)


@given(st.integers(-(10**12), 10**12), st.sampled_from(["", "m", "k", "Mi", "e2"]))
def test_showing_keeps_the_value(number: int, suffix: str) -> None:
    text = f"{number}{suffix}"
    value = quantity.parse(text)
    assert quantity.parse(quantity.show(value, text)) == value
    assert isinstance(value, Fraction)
