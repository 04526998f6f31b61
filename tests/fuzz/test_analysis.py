"""Objects as users write them, which may have any value anywhere: findings, or the error that the text cannot be read."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st

from sailcloth.analysis import manifests
from sailcloth.analysis.analyzers import ObjectSet, document, run
from sailcloth.lib.yaml_positions import Positions

from . import fuzzed, mutated, replaced

_CASES: list[dict[str, Any]] = yaml.safe_load((Path(__file__).parents[1] / "analysis" / "analyzers.yaml").read_text())
_BODIES = [manifests.documents(case["objects"]) for case in _CASES]


@fuzzed
@given(st.sampled_from(_BODIES).flatmap(replaced))
def test_objects_of_any_shape(bodies: object) -> None:
    # Neither YAML nor JSON has lone surrogates: their parsers refuse them.
    readable = isinstance(bodies, list) and "\\ud800" not in json.dumps(bodies)
    objects = [body for body in bodies if isinstance(body, dict)] if isinstance(bodies, list) and readable else []
    run(ObjectSet(map(document, objects)))


@fuzzed
@given(st.sampled_from([case["objects"] for case in _CASES]).flatmap(lambda text: mutated(text.encode())))
def test_texts(raw: bytes) -> None:
    text = raw.decode("latin-1")
    with contextlib.suppress(ValueError):
        bodies = manifests.located(text)
        found = run(ObjectSet(document(body) for _, _, body in bodies))
        positions = Positions(text)
        for finding in found:
            assert positions.line(bodies[0][0], finding.path) > 0
