"""What each kind becomes: a folder per case with `input.yaml` and `expected.yaml`, the printed text with what is lost.

`pytest tests/convert --rewrite-conversions` writes the expected texts; read the difference before you commit it.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from sailcloth.cli.convert import manifest_texts

from . import bodies, converted, lost

CASES = sorted((Path(__file__).parent / "cases").glob("*/*/input.yaml"))


def name(path: Path) -> str:
    return "/".join(path.parts[-3:-1])


@pytest.mark.parametrize("path", CASES, ids=name)
def test_case(path: Path, request: pytest.FixtureRequest) -> None:
    text = manifest_texts.printed(converted(path.read_text(), path.parts[-3]))
    expected = path.with_name("expected.yaml")
    if request.config.getoption("--rewrite-conversions", default=False):
        expected.write_text(text)
    assert text == expected.read_text()


@pytest.mark.parametrize("path", CASES, ids=name)
def test_what_is_converted_is_not_converted_again(path: Path) -> None:
    out = converted(path.read_text(), path.parts[-3])
    again = converted(manifest_texts.printed(out), "istio")
    assert bodies(again) == bodies(out)
    assert lost(again) == []
