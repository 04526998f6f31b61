"""Whatever a test starts here ends with it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from .programs import Program, Start, begin


@pytest.fixture
def start() -> Iterator[Start]:
    """start("bookinfo_ratings.py", SERVICE_VERSION="v2") gives a program that listens."""
    with contextlib.ExitStack() as stack:

        def one(name: str, *more: str, **env: str) -> Program:
            program = begin(name, *more, **env)
            stack.enter_context(program.process)
            stack.callback(program.process.kill)
            return program

        yield one
