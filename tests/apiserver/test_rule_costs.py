"""CustomResourceDefinitions whose CEL rules might cost too much are refused, as by a Kubernetes API server."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from sailcloth.api import crd
from sailcloth.local.apiserver.kinds.apiextensions import CUSTOM_RESOURCE_DEFINITION
from sailcloth.local.apiserver.schemas import structural

from .cluster import Kubectl

Object = dict[str, Any]
_SHARED = Path(__file__).parents[3] / "shared" / "cases"
CASES = Path(os.environ.get("SAILCLOTH_CASES", _SHARED)) / "istio_crds.yaml.gz"


def definition(name: str, schema: Object) -> Object:
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = {"plural": name, "singular": name[:-1], "kind": name.title(), "listKind": f"{name.title()}List"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{name}.cost.example.com"},
        "spec": {"group": "cost.example.com", "scope": "Namespaced", "names": names, "versions": [version]},
    }


def errors(crd: Object) -> list[tuple[str, str, str]]:
    crd = json.loads(json.dumps(crd))
    CUSTOM_RESOURCE_DEFINITION.apply_defaults(crd)
    return structural.definition_errors(crd, None)


def spec(**properties: Object) -> Object:
    return {"type": "object", "properties": {"spec": {"type": "object", "properties": properties}}}


def text(*rules: str, **limits: int) -> Object:
    return {"type": "string", "x-kubernetes-validations": [{"rule": r} for r in rules], **limits}


@pytest.mark.parametrize("definition", crd.crds(), ids=lambda c: c["metadata"]["name"])
def test_our_definitions_are_within_the_budget(definition: Object) -> None:
    assert not errors(definition)


@pytest.mark.skipif(not CASES.exists(), reason="Istio's definitions are not here")
def test_definitions_that_kubernetes_accepts_are_accepted() -> None:
    with gzip.open(CASES) as file:
        found = [d for d in yaml.load_all(file, getattr(yaml, "CSafeLoader", yaml.SafeLoader)) if d]
    assert len(found) > 10
    for one in found:
        assert not errors(one), one["metadata"]["name"]


async def test_one_rule(kubectl: Kubectl) -> None:
    said = await kubectl.refused(
        "create", "-f", "-", input=definition("ones", spec(a={"type": "array", "items": text("self.contains('x')")}))
    )
    where = "spec.validation.openAPIV3Schema.properties[spec].properties[a].items.x-kubernetes-validations[0].rule"
    assert (
        f"{where}: Forbidden: estimated rule cost exceeds budget by factor of more than 100x (try simplifying" in said
    )
    assert "cost total for entire OpenAPIv3 schema exceeds budget" in said
    limited = {"type": "array", "items": text("self.contains('x')", maxLength=100), "maxItems": 100}
    await kubectl("create", "-f", "-", input=definition("ones", spec(a=limited)))
    await kubectl("delete", "crd", "ones.cost.example.com")


def test_all_rules_together() -> None:
    rules = ["self.contains('x')"] * 400
    found = errors(definition("sums", spec(a=text(*rules))))
    assert len(found) == 5
    assert all("contributed to estimated rule & messageExpression cost total" in t for _, _, t in found[:4])
    assert found[4][0] == "spec.validation.openAPIV3Schema"
    assert "exceeds budget by factor of 1.258" in found[4][2]


def test_message_expressions_cost_too() -> None:
    rule = {"rule": "true", "messageExpression": "self.lowerAscii().contains('a') ? self : self.replace('a', 'b')"}
    schema = spec(a={"type": "array", "items": {"type": "string", "x-kubernetes-validations": [rule]}})
    assert [w for w, _, t in errors(definition("words", schema)) if "estimated messageExpression cost exceeds" in t]
