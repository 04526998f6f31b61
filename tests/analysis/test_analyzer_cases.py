"""Istio's published cases of analysis, replayed when they are at hand: one analyzer over the files of a case gives the same codes
for the same objects."""

from __future__ import annotations

import datetime as dt
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from sailcloth.analysis import manifests
from sailcloth.analysis.analyzers import ObjectSet, defaults, document, run

CASES = Path(os.environ.get("SAILCLOTH_CASES", Path(__file__).parents[3] / "shared" / "cases"))
NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)

# Files that cases name and do not have; what they say follows from their names and the outcomes.
MESH_CONFIGS = {
    "meshconfig.yaml": "defaultConfig: {image: {imageType: distroless}}",
    "serviceentry-missing-addresses-protocol-mesh-cfg.yaml": (
        'defaultConfig: {proxyMetadata: {ISTIO_META_DNS_CAPTURE: "true", ISTIO_META_DNS_AUTO_ALLOCATE: "true"}}'
    ),
}
MESH_NETWORKS = {
    "meshnetworks.yaml": "networks: {one: {endpoints: [{fromRegistry: bogus}]}, two: {endpoints: [{fromRegistry: istio-remote}, {fromRegistry: bogus}]}}"
}

# Cases in which we differ, by name, and why.
DIFFERENT: dict[str, str] = {}


def _load() -> list[dict[str, Any]]:
    path = CASES / "analyze.json"
    if not path.exists():
        pytest.skip("analyze.json is not at hand")
    cases: list[dict[str, Any]] = json.loads(path.read_text())["cases"]
    return cases


def _findings(case: dict[str, Any]) -> Counter[tuple[str, str]]:
    documents = [document(body, "") for part in case["inputs"] for body in manifests.documents(part["text"])]
    objects = ObjectSet(
        [*defaults.documents(), *documents],
        mesh_config=MESH_CONFIGS.get(Path(case.get("meshConfigFile", "")).name, ""),
        mesh_networks=MESH_NETWORKS.get(Path(case.get("meshNetworksFile", "")).name, ""),
        now=NOW,
    )
    return Counter((f.code, str(f.resource)) for f in run(objects, [case["analyzer"]]))


def _difference(case: dict[str, Any]) -> str:
    expected = Counter((e["code"], e["resource"]) for e in case["expected"])
    found = _findings(case)
    return "" if found == expected else f"missing {dict(expected - found)}, unexpected {dict(found - expected)}"


def test_published_cases() -> None:
    """At least 95 % agree; those that differ have a reason in `DIFFERENT`, and what has none is printed."""
    cases = _load()
    differing = {c["name"]: text for c in cases if (text := _difference(c))}
    print({name: text for name, text in differing.items() if name not in DIFFERENT})
    assert len(differing) <= 0.05 * len(cases), differing


def test_every_difference_is_one() -> None:
    assert set(DIFFERENT) <= {c["name"] for c in _load() if _difference(c)}
