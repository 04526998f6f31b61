"""Stock kubectl against the validating webhook: what is refused, what draws a warning, and that nothing is lost by it."""

from __future__ import annotations

import json

from bookinfo import Cluster, Object, to, virtual_service


def test_a_bad_rule_is_refused_and_the_one_before_stays(mesh: Cluster) -> None:
    mesh.apply("virtual-service-all-v1.yaml")
    before = json.loads(mesh.kubectl("get", "virtualservice", "reviews", "-o", "json"))
    bad = virtual_service("reviews", {"route": [to("reviews", "v2")], "timeout": "1us"}, {"route": [to("rev*ews")]})
    said = mesh.kubectl("apply", "-f", "-", stdin=json.dumps(bad), fails=True)
    assert "denied the request" in said
    assert "spec.http[0].timeout" in said
    assert "spec.http[1].route[0].destination.host" in said
    after = json.loads(mesh.kubectl("get", "virtualservice", "reviews", "-o", "json"))
    assert after["spec"] == before["spec"]
    assert after["metadata"]["generation"] == before["metadata"]["generation"]
    assert set(mesh.share(10)) == {"v1"}


def test_a_doubtful_rule_is_taken_with_a_warning(mesh: Cluster) -> None:
    doubtful = virtual_service("reviews", {"route": [to("reviews", "v1")]}, {"route": [to("reviews", "v2")]})
    said = mesh.kubectl("apply", "-f", "-", stdin=json.dumps(doubtful))
    assert "Warning: spec.http[1]: the rule is never used" in said
    mesh.applied("virtualservice/reviews")
    assert set(mesh.share(10)) == {"v1"}


def test_every_unknown_field_is_named_with_the_one_that_is_meant(mesh: Cluster) -> None:
    misspelt: Object = virtual_service("reviews", {"rout": [to("reviews")], "retry": {"attempts": 1}})
    misspelt["spec"]["gateway"] = ["mesh"]
    said = mesh.kubectl("apply", "-f", "-", stdin=json.dumps(misspelt), fails=True)
    assert 'unknown field "spec.gateway" (did you mean "gateways"?)' in said
    assert 'unknown field "spec.http[0].rout" (did you mean "route"?)' in said
    assert 'unknown field "spec.http[0].retry"' in said
