"""Published verdicts on Istio's kinds, from the API server alone: our own definitions, and nobody to ask besides them.

The cases are others' and lie beside the repository. Every one must get its verdict, and the words that users know.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from sailcloth.api import crd
from sailcloth.api.kinds import LATER_KINDS, MESH_KINDS
from sailcloth.kube import resources
from sailcloth.kube.client import ApiError, Client
from sailcloth.kube.resources import Resource

KINDS = {k.name: k for k in (*MESH_KINDS, *LATER_KINDS)}
_ROOT = Path(os.environ.get("SAILCLOTH_CASES") or Path(__file__).parents[3] / "shared" / "cases")
_FILE = _ROOT / "crd_validation.json"
CASES: list[dict[str, Any]] = json.loads(_FILE.read_text())["cases"] if _FILE.exists() else []


def _as_written(value: Any) -> Any:
    """The address `001:db8::` without quotes, which a YAML reader on the way took for a mapping, is a text again."""
    if isinstance(value, dict):
        if len(value) == 1 and next(iter(value)).endswith(":") and next(iter(value.values())) is None:
            return f"{next(iter(value))}:"
        return {k: _as_written(v) for k, v in value.items()}
    return [_as_written(v) for v in value] if isinstance(value, list) else value


@pytest.fixture
async def definitions(client: Client) -> AsyncIterator[None]:
    for kind in KINDS.values():
        await client.create(resources.CRDS, crd.crd(kind))
    yield
    for kind in KINDS.values():
        await client.delete(resources.CRDS, f"{kind.plural}.{kind.group}")


@pytest.mark.skipif(not CASES, reason=f"the published cases are not in {_ROOT}")
async def test_published_cases_get_their_verdicts(client: Client, namespace: str, definitions: None) -> None:
    wrong = []
    for case in CASES:
        manifest = case["manifest"]
        group, _, version = manifest["apiVersion"].rpartition("/")
        kind = KINDS[manifest["kind"]]
        obj = _as_written({**manifest, "metadata": {**manifest["metadata"], "namespace": namespace}})
        try:
            path = Resource(group, version, kind.plural, kind.name).path(namespace)
            await client.call("POST", path, obj, fieldValidation="Strict", dryRun="All")
            said = None
        except ApiError as error:
            said = error.message
        agrees = said is None if case["valid"] else said is not None and case["errorContains"] in said
        if not agrees:
            wrong.append(
                f"{manifest['kind']} {manifest['metadata']['name']}: wanted {case['errorContains']!r}, got {said!r}"
            )
    assert not wrong, f"{len(wrong)} of {len(CASES)}:\n" + "\n".join(wrong)


_ISTIO_CRDS, _SAMPLES = _ROOT / "istio_crds.yaml.gz", _ROOT / "samples"


@pytest.mark.skipif(not _ISTIO_CRDS.exists(), reason=f"Istio's definitions are not in {_ROOT}")
@pytest.mark.timeout(240)
async def test_published_samples_are_accepted_under_istios_own_definitions(client: Client, namespace: str) -> None:
    documents = yaml.load_all(gzip.decompress(_ISTIO_CRDS.read_bytes()), Loader=yaml.CSafeLoader)
    definitions = [d for d in documents if d]
    kinds = {
        (d["spec"]["group"], version["name"], d["spec"]["names"]["kind"]): d
        for d in definitions
        for version in d["spec"]["versions"]
    }
    refused, seen = [], 0
    try:
        for definition in definitions:
            await client.create(resources.CRDS, definition)
        for file in sorted(_SAMPLES.rglob("*.yaml")):
            for obj in yaml.load_all(file.read_text(), Loader=yaml.CSafeLoader):
                group, _, version = str((obj or {}).get("apiVersion", "")).rpartition("/")
                found = kinds.get((group, version, (obj or {}).get("kind", "")))
                if found is None:
                    continue
                seen += 1
                obj["metadata"]["namespace"] = namespace
                path = Resource(group, version, found["spec"]["names"]["plural"], obj["kind"]).path(namespace)
                try:
                    await client.call("POST", path, obj, fieldValidation="Strict", dryRun="All")
                except ApiError as error:
                    refused.append(f"{file.name} {obj['kind']} {obj['metadata']['name']}: {error.message}")
    finally:
        for definition in definitions:
            with contextlib.suppress(ApiError):
                await client.delete(resources.CRDS, definition["metadata"]["name"])
    assert seen > 20
    assert not refused, "\n".join(refused)
