"""AuthorizationPolicies as others expect them: the cases of `authz_builder.json`, when they are at hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from envoy.extensions.filters.http.ext_authz.v3 import ext_authz_pb2
from envoy.extensions.filters.http.rbac.v3 import rbac_pb2 as http_pb
from envoy.extensions.filters.network.rbac.v3 import rbac_pb2 as network_pb
from google.protobuf import json_format

from sailcloth.analysis import manifests
from sailcloth.envoy import pipeline
from sailcloth.envoy.features.authorization import emit, external
from sailcloth.envoy.inputs import FilterInputs
from sailcloth.mesh import mesh_config
from sailcloth.mesh.registry import Mesh
from sailcloth.view import policies

Object = dict[str, Any]
CASES = Path(__file__).parents[3] / "shared" / "cases" / "authz_builder.json"
AUTHORIZER = """
apiVersion: v1
kind: Service
metadata: {name: my-custom-ext-authz, namespace: foo}
spec: {ports: [{name: http, port: 9000}]}
"""
HEADERS = ["x-prefix-*", "*-suffix"]
PROVIDERS = [
    {
        "name": "default",
        "envoyExtAuthzHttp": {
            "service": "foo/my-custom-ext-authz.foo.svc.cluster.local",
            "port": 9000,
            "timeout": "10s",
            "failOpen": True,
            "pathPrefix": "/check",
            "includeRequestHeadersInCheck": ["x-custom-id", *HEADERS],
            "includeAdditionalHeadersInCheck": {"x-header-1": "value-1", "x-header-2": "value-2"},
            "includeRequestBodyInCheck": {"maxRequestBytes": 2048, "allowPartialMessage": True, "packAsBytes": True},
            "headersToUpstreamOnAllow": ["Authorization", *HEADERS],
            "headersToDownstreamOnDeny": ["Set-cookie", *HEADERS],
            "headersToDownstreamOnAllow": ["Set-cookie", *HEADERS],
        },
    }
]
LOADED: Object = json.loads(CASES.read_text()) if CASES.exists() else {"cases": [], "workload": {}}


def filters(case: Object) -> list[Object]:
    """The filters for the workload of the cases, as JSON."""
    mesh = Mesh()
    options = {"trustDomain": case.get("trustDomain"), "trustDomainAliases": case.get("trustDomainAliases")}
    options |= {"extensionProviders": PROVIDERS} if "CUSTOM" in case["input"] else {}
    mesh.configure(mesh_config.parse(json.dumps({k: v for k, v in options.items() if v})))
    objects, findings = manifests.load([case["input"], AUTHORIZER])
    assert not findings
    for key, obj in objects:
        mesh.apply(key, obj)
    workload = LOADED["workload"]
    labels = tuple(sorted(workload["labels"].items()))
    selected = policies.of_proxy(mesh.graph, workload["namespace"], labels, {}, "inbound")
    tcp = case["layer"] == "tcp"
    inputs = FilterInputs("inbound", mesh.graph.get(pipeline.resolve, selected), tcp=tcp)
    hooks = (external.network_filters, emit.network_filters) if tcp else (external.http_filters, emit.http_filters)
    made = [filter_ for hook in hooks for filter_ in hook(inputs)]
    kinds = {
        "envoy.filters.http.rbac": http_pb.RBAC,
        "envoy.filters.network.rbac": network_pb.RBAC,
        "envoy.filters.http.ext_authz": ext_authz_pb2.ExtAuthz,
    }
    return [
        {
            "name": f.name,
            "typedConfig": json_format.MessageToDict(kinds[f.name].FromString(f.typed_config.value)),
        }
        for f in made
    ]


@pytest.mark.skipif(not LOADED["cases"], reason=f"{CASES} is not at hand")
@pytest.mark.parametrize("case", LOADED["cases"], ids=lambda c: c["name"])
def test_case(case: Object) -> None:
    expected = [yaml.safe_load(text) for text in case["golden"]]
    for each in expected:
        del each["typedConfig"]["@type"]
    made = filters(case)
    for each in made:
        each["typedConfig"].pop("trackPerRuleStats", None)  # ours: counters for each policy
    assert made == expected
