"""Mixer's quotas, deniers and lists: what they limit and refuse, and what is told of the rest."""

from __future__ import annotations

from typing import Any

import pytest

from sailcloth.analysis import authorization
from sailcloth.analysis.authorization import Call, Workload
from sailcloth.api import validation
from sailcloth.api.meta import Key
from sailcloth.api.rate_limit import RateLimit
from sailcloth.mesh.legacy import expressions
from sailcloth.mesh.legacy.expressions import Comparison
from sailcloth.mesh.registry import Mesh

from .test_legacy_security import PRODUCTS, REVIEWS, mesh_of, notes

V1, V2 = PRODUCTS, Workload("shop", {"app": "products", "version": "v2"})


def mixer(kind: str, name: str, spec: str, namespace: str = "istio-system") -> str:
    return f"""
apiVersion: config.istio.io/v1alpha2
kind: {kind}
metadata: {{name: {name}, namespace: {namespace}}}
spec: {spec}
"""


def allows(mesh: Mesh, workload: Workload = PRODUCTS, **call: Any) -> bool:
    return authorization.decide(mesh.graph, workload, Call(**{"port": 8080, **call})).decision != "deny"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ()),
        ('destination.labels["app"] == "a" && request.method != "GET"',
         (Comparison('destination.labels["app"]', "a"), Comparison("request.method", "GET", True))),
        ('(request.headers["x"] | "none") == "1"', (Comparison('request.headers["x"]', "1"),)),
        ('match(request.headers["cookie"], "user=*") == false', (Comparison('request.headers["cookie"]', "user=*", True),)),
        ('request.path.startsWith("/a")', (Comparison("request.path", "/a*"),)),
        ('a.b == "x" || c.d == "y"', None),
        ("request.size > 100", None),
    ],
)  # fmt: skip
def test_conditions(text: str, expected: Any) -> None:
    assert expressions.conjunction(text) == expected


# -- deniers ------------------------------------------------------------------------------------

DENIER = mixer("handler", "refuse", "{compiledAdapter: denier, params: {status: {code: 7, message: no}}}")
NOTHING = mixer("instance", "check", "{compiledTemplate: checknothing}")


def refusing(match: str, namespace: str = "istio-system", handler: str = "refuse", instance: str = "check") -> str:
    spec = f"{{match: '{match}', actions: [{{handler: {handler}, instances: [{instance}]}}]}}"
    return mixer("rule", "refuses", spec, namespace)


@pytest.mark.parametrize(
    ("match", "call", "workload", "refused"),
    [
        ('destination.labels["app"] == "products"', {}, PRODUCTS, True),
        ('destination.labels["app"] == "products"', {}, REVIEWS, False),
        ('destination.labels["app"] == "products" && destination.labels["version"] == "v2"', {}, V1, False),
        ('destination.labels["app"] == "products" && destination.labels["version"] == "v2"', {}, V2, True),
        ('destination.service.host == "reviews.shop.svc.cluster.local"', {}, REVIEWS, True),
        ('destination.service.name == "reviews"', {}, PRODUCTS, False),
        ('match(destination.service, "reviews.*")', {}, REVIEWS, True),
        ('destination.namespace == "store"', {}, PRODUCTS, False),
        ('destination.namespace == "shop" && request.path.startsWith("/admin")', {"path": "/admin/x"}, PRODUCTS, True),
        ('destination.namespace == "shop" && request.path.startsWith("/admin")', {"path": "/x"}, PRODUCTS, False),
        ('source.namespace != "shop"', {"namespace": "store"}, PRODUCTS, True),
        ('source.namespace != "shop"', {"namespace": "shop"}, PRODUCTS, False),
        ('request.headers["x-v"] == "1" && context.protocol == "http"', {"headers": {"x-v": "1"}}, PRODUCTS, True),
        ('request.headers["x-v"] == "1"', {}, PRODUCTS, False),
        ('source.labels["version"] == "v3"', {}, PRODUCTS, False),
        ('request.method == "GET" || request.method == "PUT"', {}, PRODUCTS, False),
    ],
)
def test_deniers(match: str, call: dict[str, Any], workload: Workload, refused: bool) -> None:
    assert allows(mesh_of(DENIER, NOTHING, refusing(match)), workload, **call) != refused


def test_a_rule_holds_for_its_namespace() -> None:
    mesh = mesh_of(DENIER, NOTHING, refusing("true", "shop", "refuse.istio-system", "check.instance.istio-system"))
    assert not allows(mesh)
    assert allows(mesh, Workload("store", {"app": "stock"}))


def test_the_kinds_of_adapters_before_1_3() -> None:
    mesh = mesh_of(
        mixer("denier", "handler", "{status: {code: 7}}"),
        mixer("checknothing", "request", "null"),
        refusing('destination.labels["app"] == "products"', handler="handler.denier", instance="request.checknothing"),
    )
    assert not allows(mesh)


def test_what_is_not_converted_is_told() -> None:
    labels = mesh_of(DENIER, NOTHING, refusing('source.labels["version"] == "v3"'))
    assert "labels of the caller" in notes(labels, "rule", "istio-system", "refuses")
    either = mesh_of(DENIER, NOTHING, refusing('a.b == "x" || c.d == "y"'))
    assert "joined by &&" in notes(either, "rule", "istio-system", "refuses")
    gone = mesh_of(NOTHING, refusing("true", handler="metrics"))
    assert "handler metrics has no effect" in notes(gone, "rule", "istio-system", "refuses")


# -- lists --------------------------------------------------------------------------------------


def listing(params: str, value: str) -> tuple[str, ...]:
    return (
        mixer("handler", "list", f"{{compiledAdapter: listchecker, params: {params}}}"),
        mixer("instance", "entry", f"{{compiledTemplate: listentry, params: {{value: '{value}'}}}}"),
        refusing('destination.labels["app"] == "products"', handler="list", instance="entry"),
    )


@pytest.mark.parametrize(
    ("params", "value", "call", "refused"),
    [
        ("{overrides: [v1, v2], blacklist: false}", 'request.headers["x-v"] | "none"', {"headers": {"x-v": "v2"}}, False),
        ("{overrides: [v1, v2], blacklist: false}", 'request.headers["x-v"] | "none"', {"headers": {"x-v": "v3"}}, True),
        ("{overrides: [v1], blacklist: true}", 'request.headers["x-v"]', {"headers": {"x-v": "v1"}}, True),
        ("{overrides: [v1], blacklist: true}", 'request.headers["x-v"]', {}, False),
        ("{overrides: [10.57.0.0/16], entryType: IP_ADDRESSES, blacklist: false}", "source.ip | ip(\"0.0.0.0\")",
         {"source_ip": "10.57.1.1"}, False),
        ("{overrides: [10.57.0.0/16], entryType: IP_ADDRESSES, blacklist: false}", "source.ip | ip(\"0.0.0.0\")",
         {"source_ip": "10.1.1.1"}, True),
        ("{overrides: [shop]}", "source.namespace", {"namespace": "store"}, True),
        ("{overrides: ['v.*'], entryType: REGEX}", 'request.headers["x-v"]', {}, False),
        ("{overrides: [v3], blacklist: true}", 'source.labels["version"]', {}, False),
    ],
)  # fmt: skip
def test_lists(params: str, value: str, call: dict[str, Any], refused: bool) -> None:
    value = value.replace("'", "''")
    assert allows(mesh_of(*listing(params, value)), **call) != refused


# -- quotas -------------------------------------------------------------------------------------

QUOTA = mixer(
    "instance",
    "requestcount",
    """
  {compiledTemplate: quota, params: {dimensions: {source: 'request.headers["x-forwarded-for"] | "unknown"',
   destination: 'destination.labels["app"] | destination.service.name | "unknown"', caller: 'source.ip'}}}""",
)
MEMQUOTA = mixer(
    "handler",
    "quotahandler",
    """
  {compiledAdapter: memquota, params: {quotas: [{name: requestcount.instance.istio-system, maxAmount: 500, validDuration: 1s,
   overrides: [{dimensions: {destination: reviews}, maxAmount: 1, validDuration: 5s},
               {dimensions: {destination: products, source: 10.0.0.1}, maxAmount: 2, validDuration: 5s}]}]}}""",
)
SPEC = mixer("QuotaSpec", "request-count", "{rules: [{quotas: [{charge: 1, quota: requestcount}]}]}")


def bound(services: str) -> str:
    spec = f"{{quotaSpecs: [{{name: request-count, namespace: istio-system}}], services: [{services}]}}"
    return mixer("QuotaSpecBinding", "request-count", spec)


def quota(match: str = "") -> str:
    return mixer(
        "rule", "quota", f"{{match: '{match}', actions: [{{handler: quotahandler, instances: [requestcount]}}]}}"
    )


def limits(mesh: Mesh) -> dict[str, tuple[int, str]]:
    """The limits by the `app` label of their workloads."""
    found = [obj for obj in mesh.objects.values() if isinstance(obj, RateLimit)]
    assert all(obj.spec.workload_selector is not None for obj in found)
    return {
        obj.spec.workload_selector.labels.get("app", "gateway"): (
            obj.spec.http[0].limit.requests,
            obj.spec.http[0].limit.per,
        )
        for obj in found
        if obj.spec.workload_selector is not None
    }


def test_quotas_of_services() -> None:
    mesh = mesh_of(
        QUOTA, MEMQUOTA, SPEC, quota(), bound("{name: products, namespace: shop}, {name: reviews, namespace: shop}")
    )
    assert limits(mesh) == {"products": (500, "1s"), "reviews": (1, "5s")}
    rule = next(obj for obj in mesh.objects.values() if isinstance(obj, RateLimit)).spec.http[0]
    assert {key.header for key in rule.by if key.header} == {"x-forwarded-for"}
    assert [key.source_address for key in rule.by if not key.header] == [True]
    assert rule.scope == "GLOBAL"
    assert "single callers" in notes(mesh, "handler", "istio-system", "quotahandler")


def test_a_quota_for_all_services_and_by_a_condition() -> None:
    everywhere = mesh_of(QUOTA, MEMQUOTA, SPEC, quota(), bound("{service: '*'}"))
    assert set(limits(everywhere)) >= {"products", "reviews", "stock"}
    some = mesh_of(
        QUOTA,
        MEMQUOTA,
        SPEC,
        quota('destination.labels["app"] == "products" && request.headers["x"] == "1"'),
        bound("{service: '*'}"),
    )
    assert set(limits(some)) == {"products"}
    obj = some.objects[Key("RateLimit", "shop", "mixer/quota/requestcount/products")]
    assert isinstance(obj, RateLimit)
    assert obj.spec.http[0].match is not None
    assert obj.spec.http[0].match.headers["x"].exact == "1"
    negated = mesh_of(
        QUOTA, MEMQUOTA, SPEC, quota('match(request.headers["cookie"], "user=*") == false'), bound("{service: '*'}")
    )
    assert limits(negated) == {}
    assert "nothing is limited" in notes(negated, "rule", "istio-system", "quota")


def test_a_binding_without_its_spec_is_told() -> None:
    mesh = mesh_of(QUOTA, MEMQUOTA, quota(), bound("{service: '*'}"))
    assert limits(mesh) == {}
    assert "no QuotaSpec istio-system/request-count" in notes(mesh, "QuotaSpecBinding", "istio-system", "request-count")


@pytest.mark.parametrize("params", ["null", "[]", "5", "{quotas: 5}", "{quotas: [5]}", "{quotas: [{name: requestcount}]}",
                                    "{quotas: [{name: requestcount, maxAmount: x, validDuration: 1s}]}",
                                    "{quotas: [{name: requestcount, maxAmount: 1, validDuration: x}]}"])  # fmt: skip
def test_a_wrong_handler_limits_nothing(params: str) -> None:
    handler = mixer("handler", "quotahandler", f"{{compiledAdapter: memquota, params: {params}}}")
    assert limits(mesh_of(QUOTA, handler, SPEC, quota(), bound("{service: '*'}"))) == {}


@pytest.mark.parametrize("actions", ["[{handler: refuse, instances: 5}]", "[{handler: list, instances: [check]}]"])
def test_a_wrong_list_refuses_nothing(actions: str) -> None:
    listed = mixer("handler", "list", "{compiledAdapter: listchecker, params: {overrides: 5}}")
    assert allows(mesh_of(DENIER, NOTHING, listed, mixer("rule", "wrong", f"{{actions: {actions}}}")))


def test_what_is_only_stored_draws_a_warning() -> None:
    obj = {
        "apiVersion": "config.istio.io/v1alpha2",
        "kind": "prometheus",
        "metadata": {"name": "x"},
        "spec": {"metrics": []},
    }
    (finding,) = validation.check(obj)
    assert (finding.severity, finding.resource) == ("Warning", Key("prometheus", "default", "x"))
    assert "no effect" in finding.text
