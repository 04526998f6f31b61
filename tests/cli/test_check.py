"""How `sailctl check` runs its sections."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from sailcloth.cli import check
from sailcloth.kube import ApiError

TARGET: Any = None


@pytest.mark.parametrize("seconds", [0.0, 5.0])
async def test_a_section_has_ended_when_its_reader_has(seconds: float) -> None:
    """Such as by a closed pipe: the probe has to delete its namespace while the client is open."""
    ended = []

    async def section(_: Any) -> AsyncGenerator[check.Result, None]:
        try:
            yield check.Result("one")
            yield check.Result("two")
        finally:
            ended.append(True)

    async with contextlib.aclosing(check._patiently(section, TARGET, seconds)) as results:
        async for _ in results:
            break
    assert ended == [True]


def test_missing_rights_are_no_cluster_that_does_not_answer() -> None:
    forbidden = check._unanswered(ApiError(403, "Forbidden", "pods is forbidden"))
    assert (forbidden.check, forbidden.detail) == ("you may ask for it", "pods is forbidden")
    assert check._unanswered(ConnectionRefusedError("refused")).check == "the cluster answers"
