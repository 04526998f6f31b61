"""The option that writes the expected texts of the cases anew."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rewrite-conversions", action="store_true", help="write expected.yaml of every case anew")
