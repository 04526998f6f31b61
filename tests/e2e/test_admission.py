"""Stock kubectl against the validating webhook: what is refused, what draws a warning, and that nothing is lost by it."""

from __future__ import annotations

import json

from .bookinfo import Cluster, Object, to, virtual_service


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


def test_what_came_in_while_nobody_validated_hurts_nobody(mesh: Cluster) -> None:
    mesh.apply("virtual-service-all-v1.yaml")
    hooks = "validatingwebhookconfigurations"
    saved = json.loads(mesh.kubectl("get", hooks, "istio-validator-istio-system", "-o", "json"))
    for field in ("resourceVersion", "uid", "managedFields"):
        saved["metadata"].pop(field, None)
    bad = virtual_service("reviews", {"match": [{"uri": {"regex": "(?=x)"}}], "route": [to("reviews", "v2")]})
    mesh.kubectl("delete", hooks, "istio-validator-istio-system")
    try:
        mesh.kubectl("apply", "-f", "-", stdin=json.dumps(bad))
    finally:
        mesh.kubectl("create", "-f", "-", stdin=json.dumps(saved))

    def accepted() -> Object:
        found = json.loads(mesh.kubectl("get", "virtualservice", "reviews", "-o", "json"))
        return next(c for c in found["status"]["conditions"] if c["type"] == "Accepted")

    mesh.eventually(lambda: accepted()["status"] == "False")
    assert "spec.http[0].match[0].uri.regex" in accepted()["message"]
    assert set(mesh.share(10)) == {"v1"}  # the rule before
    mesh.apply(virtual_service("ratings", {"route": [to("ratings", "v1")]}))  # and others still take effect
    said = mesh.kubectl("label", "virtualservice", "reviews", "team=a")
    assert "Warning: spec.http[0].match[0].uri.regex" in said
    said = mesh.kubectl("apply", "-f", "-", stdin=json.dumps(_with_host(bad, "reviews.default")), fails=True)
    assert "denied the request" in said
    mesh.apply("virtual-service-all-v1.yaml")
    mesh.eventually(lambda: accepted()["status"] == "True")


def _with_host(service: Object, host: str) -> Object:
    return {**service, "spec": {**service["spec"], "hosts": [host]}}
