"""The page of codes says what the catalogue has, and all of Kiali's codes have an answer."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from sailcloth.analysis.analyzers import MESSAGES
from sailcloth.analysis.analyzers.catalogue import NOT_TAKEN
from tools import analysis_codes

CASES = Path(os.environ.get("SAILCLOTH_CASES", Path(__file__).parents[3] / "shared" / "cases"))


def test_the_page_is_up_to_date() -> None:
    page = analysis_codes.TARGET.read_text()
    assert page == analysis_codes.render(page), "run python tools/analysis_codes.py"


def test_codes_of_istio_are_complete() -> None:
    path = CASES / "analyze.json"
    if not path.exists():
        pytest.skip("analyze.json is not at hand")
    for message in json.loads(path.read_text())["messages"]:
        own = MESSAGES[message["code"]]
        assert (own.name, own.severity, own.template) == (message["name"], message["level"], message["template"])


def test_codes_of_kiali_are_complete() -> None:
    path = CASES / "tables" / "kiali_codes.json"
    if not path.exists():
        pytest.skip("kiali_codes.json is not at hand")
    theirs = {c["code"] for c in json.loads(path.read_text())["codes"]}
    assert theirs == {code for m in MESSAGES.values() for code in m.kiali} | set(NOT_TAKEN)
