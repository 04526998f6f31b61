"""The page of compatibility says what the code does."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from sailcloth.api.kinds import LATER_KINDS, MESH_KINDS
from sailcloth.api.support import DIFFERENT, NO_EFFECT
from tools import compatibility

ROOT = Path(__file__).parents[2]
ISTIO = ROOT.parent / "shared" / "cases" / "tables" / "istio_crd_fields.json"
KINDS = (*MESH_KINDS, *LATER_KINDS)
READERS = ("mesh", "view", "envoy", "controlplane", "injector", "ca")


def test_the_pages_are_up_to_date() -> None:
    assert compatibility.TARGET.read_text() == compatibility.render(), "run python tools/compatibility.py"
    assert compatibility.EVERY_FIELD.read_text() == compatibility.render_fields(), "run python tools/compatibility.py"


def test_what_is_told_of_exists() -> None:
    known = {path for kind in MESH_KINDS for path, _, _ in compatibility.fields(kind)}
    assert set(NO_EFFECT) | set(DIFFERENT) <= known


def test_a_field_that_nobody_reads_is_told_of() -> None:
    source = "\n".join(p.read_text() for d in READERS for p in (ROOT / "src" / "sailcloth" / d).rglob("*.py"))
    read = set(re.findall(r"\.([a-z_0-9]+)\b", source)) | set(re.findall(r'"([a-z_0-9]+)"', source))
    silent = [
        path
        for kind in MESH_KINDS
        for path, name, _ in compatibility.fields(kind)
        if name not in read and compatibility.judged(path)[0] != "no effect"
    ]
    assert silent == []


def test_every_field_of_istio_is_known() -> None:
    """Names of all fields in the CRDs of Istio's development version, so that a new version shows what is missing."""
    if not ISTIO.exists():
        pytest.skip(f"{ISTIO} is not at hand")
    own = {kind.name: {path.partition(".")[2] for path, _, _ in compatibility.fields(kind)} for kind in KINDS}
    table: dict[str, list[str]] = json.loads(ISTIO.read_text())["fields"]
    fields = {(kind, field.replace("[]", "").replace("{}", "")) for kind, names in table.items() for field in names}
    assert {(kind, field) for kind, field in fields if field not in own.get(kind, ())} == set()
