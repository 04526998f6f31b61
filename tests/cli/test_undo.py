"""What `x undo` writes back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sailcloth.cli import undo
from sailcloth.cli.cluster import LAST_APPLIED

SPEC = {"hosts": ["a"], "http": [{"retries": {"attempts": 0}, "route": [{"destination": {"host": "a"}, "weight": 0}]}]}
REMEMBERED = {"hosts": ["a"], "http": [{"retries": {}, "route": [{"destination": {"host": "a"}}]}]}
STEP = undo.Step(("VirtualService", "default", "a"), None, 1)


def version(applied: Any) -> dict[str, Any]:
    notes = {LAST_APPLIED: applied if isinstance(applied, str) else json.dumps(applied)}
    return {"metadata": {"name": "a", "namespace": "default", "annotations": notes}, "spec": REMEMBERED}


def test_the_version_that_was_applied_is_written_back_as_it_was() -> None:
    assert undo._as_written(version({"spec": SPEC}), undo._resource(STEP))["spec"] == SPEC


@pytest.mark.parametrize("applied", [{"spec": {"hosts": ["b"]}}, "null", "[]", "no JSON", {"spec": 3}])
def test_what_has_changed_since_it_was_applied_is_written_back_as_remembered(applied: Any) -> None:
    assert undo._as_written(version(applied), undo._resource(STEP))["spec"] == REMEMBERED
