"""The CRDs of an installation on a real API server, which estimates the cost of each rule and judges whether schemas are structural."""

from __future__ import annotations

import pytest

from .cluster import ControlPlane
from .conftest import DEFINITIONS


@pytest.mark.parametrize("name", DEFINITIONS)
def test_is_established_without_a_warning(control_plane: ControlPlane, installed: dict[str, str], name: str) -> None:
    assert installed[name].splitlines() == [f"customresourcedefinition.apiextensions.k8s.io/{name} serverside-applied"]
    control_plane.kubectl("wait", "--for=condition=Established", "--timeout=30s", f"crd/{name}")
    conditions = control_plane.get("crd", name)["status"]["conditions"]
    # The Gateway API's have a third condition, of Kubernetes' approval. NonStructuralSchema would be there only if it were true.
    assert {c["type"]: c["status"] for c in conditions if c["type"] != "KubernetesAPIApprovalPolicyConformant"} == {
        "NamesAccepted": "True",
        "Established": "True",
    }
