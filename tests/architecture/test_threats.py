"""Every line of the threat model names tests, and they exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_ROWS = [
    line
    for line in (ROOT / "docs" / "security.md").read_text().partition("\n# Threats\n")[2].splitlines()
    if line.startswith("| ") and not line.startswith("| threat ")
]


def test_there_are_threats() -> None:
    assert len(_ROWS) > 20


@pytest.mark.parametrize("row", _ROWS, ids=lambda row: row.split("|")[1].strip()[:40])
def test_a_threat_has_tests(row: str) -> None:
    named = re.findall(r"`(tests/[^`]+)`", row.split("|")[-2])
    assert named
    for each in named:
        path, _, function = each.partition("::")
        assert re.search(rf"def {function}\(", (ROOT / path).read_text()), each
