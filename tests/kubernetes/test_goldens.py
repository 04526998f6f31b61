"""Objects of the golden cases pass a real API server: what we take for valid, it does too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from .cluster import ControlPlane
from .conftest import DEFINITIONS

GOLDEN = Path(__file__).parents[1] / "golden"
KINDS = {definition["spec"]["names"]["kind"] for definition in DEFINITIONS.values()}
EXPERIMENTAL = {"sessions/at_a_gateway"}  # fields of the Gateway API that its standard channel does not have
Object = dict[str, Any]


def objects(case: str) -> list[Object]:
    """The objects of a case that our CRDs define, without times and versions, which nobody may set."""
    loaded = yaml.safe_load_all((GOLDEN / case / "input.yaml").read_text())
    ours = [each for each in loaded if isinstance(each, dict) and each.get("kind") in KINDS]
    kept = ("name", "namespace", "labels", "annotations")
    return [{**each, "metadata": {k: each["metadata"][k] for k in kept if k in each["metadata"]}} for each in ours]


CASES = sorted(str(file.parent.relative_to(GOLDEN)) for file in GOLDEN.rglob("input.yaml"))


@pytest.fixture(scope="module")
def namespaces(served: ControlPlane) -> ControlPlane:
    """The control plane, with the namespaces of all cases."""
    known = {each["metadata"]["name"] for each in served.get("namespaces")["items"]}
    wanted = {each["metadata"].get("namespace", "default") for case in CASES for each in objects(case)}
    heads = [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in sorted(wanted - known)]
    if heads:
        served.kubectl("apply", "-f", "-", input=yaml.safe_dump_all(heads))
    return served


@pytest.mark.parametrize("case", [case for case in CASES if case not in EXPERIMENTAL and objects(case)])
def test_would_be_applied(namespaces: ControlPlane, case: str) -> None:
    command = ("create", "--dry-run=server", "-f", "-")
    said = namespaces.kubectl(*command, input=yaml.safe_dump_all(objects(case)), check=False).splitlines()
    assert [line for line in said if not line.endswith(" created (server dry run)")] == []
