"""A caller's own rule beside the service's: whose policy holds, and which subsets there are."""

from __future__ import annotations

from sailcloth.analysis import manifests, offline
from sailcloth.api.meta import Key
from sailcloth.mesh import destination_rules
from sailcloth.mesh.registry import Mesh

HOST = "reviews.shop.svc.cluster.local"
SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: shop}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: provider, namespace: shop}
spec:
  host: reviews
  trafficPolicy: {loadBalancer: {simple: RANDOM}}
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
"""
CALLER = f"""
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: mine, namespace: front}}
spec:
  host: {HOST}
  trafficPolicy: {{loadBalancer: {{simple: ROUND_ROBIN}}}}
  subsets: [{{name: v2, labels: {{version: two}}}}]
"""


def mesh(*texts: str) -> Mesh:
    objects, findings = manifests.load(list(texts))
    assert not findings
    return offline.mesh_of(objects)


def test_a_callers_policy_holds_and_the_services_subsets_stay() -> None:
    graph = mesh(SERVICE, CALLER).graph
    rules = graph.get(destination_rules.for_host, HOST, "shop", "front", ())
    assert rules.policy is not None
    assert rules.policy.load_balancer is not None
    assert rules.policy.load_balancer.simple == "ROUND_ROBIN"
    assert {s.name: s.labels["version"] for s in rules.subsets} == {"v1": "v1", "v2": "two"}
    assert [k.name for k in rules.sources] == ["mine", "provider"]
    own = graph.get(destination_rules.for_host, HOST, "shop", "shop", ())
    assert {s.name: s.labels["version"] for s in own.subsets} == {"v1": "v1", "v2": "v2"}


def test_a_rule_says_which_subsets_come_from_elsewhere() -> None:
    graph = mesh(SERVICE, CALLER).graph
    told = graph.get(destination_rules.inherited_subsets, Key("DestinationRule", "front", "mine"))
    assert told == f"callers in front have the subsets v1 of {HOST} from shop/provider too"
    assert graph.get(destination_rules.inherited_subsets, Key("DestinationRule", "shop", "provider")) == ""


def test_rules_that_are_not_exported_add_nothing() -> None:
    private = SERVICE.replace("spec:\n  host: reviews", "spec:\n  exportTo: ['.']\n  host: reviews")
    rules = mesh(private, CALLER).graph.get(destination_rules.for_host, HOST, "shop", "front", ())
    assert [s.name for s in rules.subsets] == ["v2"]
