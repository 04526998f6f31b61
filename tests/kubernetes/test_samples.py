"""The sample manifests pass a real API server: its strict decoding, its validation, and the schemas of our CRDs."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from .cluster import ControlPlane

SAMPLES = Path(__file__).parents[2] / "samples"
FILES = sorted(str(file.relative_to(SAMPLES)) for file in SAMPLES.rglob("*.yaml"))


def _namespaces(file: Path) -> set[str]:
    objects = [each for each in yaml.safe_load_all(file.read_text()) if each]
    return {each["metadata"].get("namespace", "default") for each in objects}


@pytest.fixture(scope="module")
def namespaces(served: ControlPlane) -> ControlPlane:
    """The control plane, with the namespaces that manifests name."""
    known = {each["metadata"]["name"] for each in served.get("namespaces")["items"]}
    for name in set().union(*(_namespaces(SAMPLES / file) for file in FILES)) - known:
        served.kubectl("create", "--save-config", "namespace", name)
    return served


@pytest.mark.parametrize("file", FILES)
def test_would_be_applied(namespaces: ControlPlane, file: str) -> None:
    said = namespaces.kubectl("apply", "--dry-run=server", "-f", SAMPLES / file).splitlines()
    assert said
    assert [line for line in said if not line.endswith(" (server dry run)")] == []
