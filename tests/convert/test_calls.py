"""Where calls go before and after a conversion; for kinds that the mesh does not read, where their documents say that calls go."""

from __future__ import annotations

import re
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from sailcloth.analysis import authorization, manifests, offline
from sailcloth.analysis.authorization import Workload
from sailcloth.analysis.simulate import Call

from .calls import SERVICES, outcome, simulator, texts

CALLS = [
    Call(port=80, host="a", path=path, method=method, headers=headers)
    for path in ("/", "/one", "/one/two", "/four")
    for method in ("GET", "PUT")
    for headers in ({}, {"x-a": "1"}, {"cookie": "user=jason"})
]


def document(api: str, kind: str, name: str, spec: dict[str, Any]) -> str:
    head = {"apiVersion": api, "kind": kind, "metadata": {"name": name, "namespace": "default"}}
    return str(yaml.safe_dump({**head, "spec": spec})) + "---\n"


# -- fields of VirtualServices that the mesh still reads --------------------------------------------


@settings(max_examples=25, deadline=None)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "mirrorPercent": st.integers(0, 100),
            "fault": st.fixed_dictionaries({"delay": st.just({"fixedDelay": "1s", "percent": 30})}),
            "corsPolicy": st.just({"allowOrigin": ["https://x.example", "*"], "allowMethods": ["GET"]}),
        },
    )
)
def test_removed_fields_that_are_read(fields: dict[str, Any]) -> None:
    rule = {"route": [{"destination": {"host": "b"}}], "mirror": {"host": "c"}, **fields}
    text = SERVICES + document("networking.istio.io/v1alpha3", "VirtualService", "a", {"hosts": ["a"], "http": [rule]})
    new, lost = texts(text)
    assert lost == []
    assert not any(name in new for name in ("mirrorPercent:", "percent:", "allowOrigin:"))
    before, after = simulator(text), simulator(new)
    assert [outcome(after, call) for call in CALLS] == [outcome(before, call) for call in CALLS]


# -- Ingresses ------------------------------------------------------------------------------------

PATHS = st.sampled_from((("/one", "Prefix"), ("/one/", "Exact"), ("/", "Prefix"), ("/f.*", "ImplementationSpecific")))


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(("a.example.com", "")), PATHS, st.sampled_from("abc")), min_size=1, max_size=4)
)
def test_ingresses(rows: list[tuple[str, tuple[str, str], str]]) -> None:
    rules = []
    for host, (path, kind), service in rows:
        backend = {"service": {"name": service, "port": {"name": "http"}}}
        http = {"paths": [{"path": path, "pathType": kind, "backend": backend}]}
        rules.append({**({"host": host} if host else {}), "http": http})
    text = SERVICES + document("networking.k8s.io/v1", "Ingress", "web", {"ingressClassName": "istio", "rules": rules})
    text += """
apiVersion: v1
kind: Service
metadata: {name: istio-ingressgateway, namespace: istio-system}
spec: {clusterIP: 10.0.1.1, selector: {istio: ingressgateway}, ports: [{name: http, port: 80, targetPort: 80}]}
"""
    new, lost = texts(text)
    assert lost == []
    assert "kind: Ingress" not in new
    gateway = {"type": "router", "namespace": "istio-system", "labels": {"istio": "ingressgateway"}}
    before, after = (simulator(one, **gateway) for one in (text, new))
    for host in ("a.example.com", "other"):
        for path in ("/", "/one", "/one/", "/one/x", "/foo"):
            call = Call(port=80, host=host, path=path, mode="gateway", address="0.0.0.0")
            assert outcome(after, call) == outcome(before, call)


# -- RouteRules, by what they say -----------------------------------------------------------------

CONDITIONS = st.dictionaries(
    st.sampled_from(("uri", "method", "x-a", "cookie")),
    st.sampled_from(({"exact": "/one"}, {"prefix": "/one"}, {"exact": "GET"}, {"exact": "1"}, {"regex": "^(.*?;)?(user=jason)(;.*)?$"})),
    max_size=2,
)  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), CONDITIONS, st.sampled_from(("v1", "v2", "b", "redirect"))), max_size=4))
def test_route_rules(rows: list[tuple[int, dict[str, Any], str]]) -> None:
    text = SERVICES
    for index, (precedence, headers, action) in enumerate(rows):
        spec: dict[str, Any] = {"destination": {"name": "a"}, "precedence": precedence}
        if headers:
            spec["match"] = {"request": {"headers": headers}}
        if action == "redirect":
            spec["redirect"] = {"uri": "/new"}
        else:
            spec["route"] = [{"destination": {"name": "b"}} if action == "b" else {"labels": {"version": action}}]
        text += document("config.istio.io/v1alpha2", "RouteRule", f"r{index}", spec)
    new, lost = texts(text)
    assert lost == []
    proxy = simulator(new)
    for call in CALLS:
        ranked = sorted(enumerate(rows), key=lambda item: (-item[1][0], item[0]))
        action = next((a for _, (_, headers, a) in ranked if _all(headers, call)), "")
        found = proxy.run(call)
        if action == "redirect":
            assert (found.status, found.location) == (301, "http://a/new")
        else:
            host, subset = ("b", "") if action == "b" else ("a", action)
            assert found.clusters == (f"outbound|80|{subset}|{host}.default.svc.cluster.local",)


def _all(headers: dict[str, Any], call: Call) -> bool:
    """Whether a call meets all conditions of a rule."""
    values = {"uri": call.path, "method": call.method, **call.headers}
    return all(name in values and _is(match, values[name]) for name, match in headers.items())


def _is(match: dict[str, str], value: str) -> bool:
    if "exact" in match:
        return value == match["exact"]
    if "prefix" in match:
        return value.startswith(match["prefix"])
    return re.fullmatch(match["regex"], value) is not None


# -- SMI, by what it says -------------------------------------------------------------------------

MATCHES = st.lists(
    st.fixed_dictionaries(
        {"name": st.sampled_from("mn")},
        optional={
            "pathRegex": st.sampled_from(("/one", "/one/.*", ".*two", "/f.*r", "/[a-z]+")),
            "methods": st.sampled_from((["GET"], ["GET", "PUT"], ["*"])),
            "headers": st.just([{"x-a": "1.*"}]),
        },
    ),
    min_size=1,
    max_size=3,
)


def _smi(match: dict[str, Any], call: Call) -> bool:
    methods, headers = match.get("methods", ["*"]), match.get("headers", [{}])[0]
    return (
        re.fullmatch(match.get("pathRegex", ".*"), call.path) is not None
        and (call.method in methods or "*" in methods)
        and all(re.fullmatch(v, call.headers.get(k, "")) for k, v in headers.items())
    )


def _group(matches: list[dict[str, Any]]) -> str:
    return document("specs.smi-spec.io/v1alpha4", "HTTPRouteGroup", "group", {"matches": matches})


@settings(max_examples=30, deadline=None)
@given(MATCHES, st.booleans())
def test_traffic_splits(matches: list[dict[str, Any]], limited: bool) -> None:
    spec: dict[str, Any] = {
        "service": "a",
        "backends": [{"service": "b", "weight": 90}, {"service": "c", "weight": 10}],
    }
    if limited:
        spec["matches"] = [{"kind": "HTTPRouteGroup", "name": "group"}]
    new, lost = texts(SERVICES + document("split.smi-spec.io/v1alpha4", "TrafficSplit", "s", spec) + _group(matches))
    assert lost == []
    proxy = simulator(new)
    for call in CALLS:
        split = not limited or any(_smi(m, call) for m in matches)
        wanted = ("b", "c") if split else ("a",)
        assert proxy.run(call).clusters == tuple(f"outbound|80||{h}.default.svc.cluster.local" for h in wanted)


@settings(max_examples=30, deadline=None)
@given(MATCHES, st.sampled_from((None, ["m"], ["m", "n"])))
def test_a_traffic_target_never_allows_more(matches: list[dict[str, Any]], names: list[str] | None) -> None:
    rule = {"kind": "HTTPRouteGroup", "name": "group", **({"matches": names} if names else {})}
    account = {"kind": "ServiceAccount", "namespace": "default"}
    spec = {"destination": {**account, "name": "a"}, "sources": [{**account, "name": "b"}], "rules": [rule]}
    template = {"metadata": {"labels": {"app": "a"}}, "spec": {"serviceAccountName": "a", "containers": []}}
    text = SERVICES + document("apps/v1", "Deployment", "a", {"template": template})
    text += document("access.smi-spec.io/v1alpha3", "TrafficTarget", "t", spec) + _group(matches)
    new, lost = texts(text)
    mesh = offline.mesh_of(manifests.load([new])[0])
    for account_name in ("b", "c"):
        for call in CALLS:
            principal = f"cluster.local/ns/default/sa/{account_name}"
            asked = authorization.Call(
                port=80, principal=principal, method=call.method, path=call.path, headers=call.headers
            )
            allowed = authorization.decide(mesh.graph, Workload("default", {"app": "a"}), asked).decision != "deny"
            meant = account_name == "b" and any(_smi(m, call) for m in matches if not names or m["name"] in names)
            assert meant or not allowed
            if not lost:
                assert allowed == meant
