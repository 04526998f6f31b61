"""Published cases of validation, replayed when they are at hand, and configuration of real projects, which must be accepted."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from sailcloth.api import validation

CASES = Path(os.environ.get("SAILCLOTH_CASES", Path(__file__).parents[3] / "shared" / "cases"))

# Cases in which we differ, by name, and why.
DIFFERENT = {
    "TestValidateK8sGateway/happy_k8s_gateway-api_server_with_no_attached_routes": (
        "annotations internal.istio.io/* are the control plane's own, and admission refuses them from users"
    ),
    "TestValidateAuthorizationPolicy#29": (
        "as a manifest it reads `rules: [{}]`, which is the documented way to write a rule that matches everything"
    ),
    "TestValidateTrafficExtension/invalid_match_-_nil_traffic_selector": (
        "as a manifest it reads `match: [{}]`, a selector without conditions; a missing one cannot be written"
    ),
}

# Documents of real projects that are no configuration yet, by a part of their text, and why.
UNFINISHED = {
    "PLACEHOLDER": "names are filled in by a tool",
    "DEX_SERVICE": "names are filled in by a tool",
    "$(": "names are filled in by a tool",
    "{{": "names are filled in by a tool",
    "$patch": "a patch of kustomize",
    "invalid-empty-rollout-vsvc": "broken on purpose: a test file of a linter",
}


def _load(name: str) -> list[dict[str, Any]]:
    path = CASES / name
    if not path.exists():
        pytest.skip(f"{name} is not at hand")
    found: list[dict[str, Any]] = json.loads(path.read_text())["cases"]
    return found


def _disagreement(case: dict[str, Any]) -> str:
    """How the verdict differs from the expected one, empty if it does not."""
    found, expected = validation.check(case["manifest"]), case["expect"]
    errors = [str(f) for f in found if f.severity == "Error"]
    if bool(errors) == expected["valid"]:
        return f"refused: {errors}" if errors else "accepted"
    if expected.get("warning") and not any(f.severity == "Warning" for f in found):
        return "no warning"
    return ""


def test_published_cases() -> None:
    cases = [c for c in _load("validation_manifests.json") if c["manifest"]["kind"] in validation.KINDS]
    differing = {c["test"]: text for c in cases if (text := _disagreement(c))}
    assert set(differing) <= set(DIFFERENT), {k: v for k, v in differing.items() if k not in DIFFERENT}
    assert len(differing) <= 0.05 * len(cases)


def test_every_difference_is_one() -> None:
    names = {c["test"] for c in _load("validation_manifests.json") if _disagreement(c)}
    assert set(DIFFERENT) <= names


def test_accepted_cases_draw_no_warning_that_is_not_expected() -> None:
    for case in _load("validation_manifests.json"):
        expected = case["expect"]
        if expected["valid"] and expected.get("warning") is False and case["test"] not in DIFFERENT:
            assert not validation.check(case["manifest"]), case["test"]


def test_configuration_of_real_projects_is_accepted() -> None:
    for case in _load("user_config.json"):
        text = case["path"] + json.dumps(case["doc"])
        if any(part in text for part in UNFINISHED):
            continue
        errors = [str(f) for f in validation.check(case["doc"]) if f.severity == "Error"]
        assert not errors, (case["repo"], case["path"], errors)
