"""AuthorizationPolicies as others expect them: the cases of `authz_builder.json`, when they are at hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from envoy.extensions.filters.http.rbac.v3 import rbac_pb2 as http_pb
from envoy.extensions.filters.network.rbac.v3 import rbac_pb2 as network_pb
from google.protobuf import json_format

from sailcloth.analysis import manifests
from sailcloth.envoy import pipeline
from sailcloth.envoy.features.authorization import emit
from sailcloth.envoy.inputs import FilterInputs
from sailcloth.mesh import mesh_config
from sailcloth.mesh.registry import Mesh
from sailcloth.view import policies

Object = dict[str, Any]
CASES = Path(__file__).parents[3] / "shared" / "cases" / "authz_builder.json"
LOADED: Object = json.loads(CASES.read_text()) if CASES.exists() else {"cases": [], "workload": {}}


def filters(case: Object) -> list[Object]:
    """The filters for the workload of the cases, as JSON."""
    mesh = Mesh()
    names = {"trustDomain": case.get("trustDomain"), "trustDomainAliases": case.get("trustDomainAliases")}
    mesh.configure(mesh_config.parse(json.dumps({k: v for k, v in names.items() if v})))
    objects, findings = manifests.load([case["input"]])
    assert not findings
    for key, obj in objects:
        mesh.apply(key, obj)
    workload = LOADED["workload"]
    labels = tuple(sorted(workload["labels"].items()))
    selected = policies.of_proxy(mesh.graph, workload["namespace"], labels, {}, "inbound")
    tcp = case["layer"] == "tcp"
    inputs = FilterInputs("inbound", mesh.graph.get(pipeline.resolve, selected), tcp=tcp)
    made = emit.network_filters(inputs) if tcp else emit.http_filters(inputs)
    kind = network_pb.RBAC if tcp else http_pb.RBAC
    return [
        {"name": f.name, "typedConfig": json_format.MessageToDict(kind.FromString(f.typed_config.value))} for f in made
    ]


@pytest.mark.skipif(not LOADED["cases"], reason=f"{CASES} is not at hand")
@pytest.mark.parametrize("case", LOADED["cases"], ids=lambda c: c["name"])
def test_case(case: Object) -> None:
    if "CUSTOM" in case["input"]:
        pytest.skip("action CUSTOM is not served yet")
    expected = [yaml.safe_load(text) for text in case["golden"]]
    for each in expected:
        del each["typedConfig"]["@type"]
    assert filters(case) == expected
