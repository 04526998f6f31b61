"""Security kinds of Istio 1.0 to 1.5, and what they are converted to: the same calls are allowed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from sailcloth.analysis import authorization, manifests, offline
from sailcloth.analysis.authorization import Call, Workload
from sailcloth.api.authorization_policy import AuthorizationPolicy
from sailcloth.api.peer_authentication import PeerAuthentication
from sailcloth.api.rate_limit import RateLimit
from sailcloth.api.request_authentication import RequestAuthentication
from sailcloth.mesh.registry import Mesh

from .calls import texts

SERVICES = "".join(
    f"""
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{selector: {{{label}}}, ports: [{{name: http, port: 80, targetPort: 8080}}, {{name: admin, port: 90, targetPort: 9090}}]}}
---
"""
    for name, namespace, label in (
        ("products", "shop", "app: products"),
        ("reviews", "shop", "app: reviews"),
        ("stock", "store", "app: stock"),
        ("istio-ingressgateway", "istio-system", "istio: ingressgateway"),
    )
)
WORKLOADS = (
    Workload("shop", {"app": "products", "version": "v1"}),
    Workload("shop", {"app": "products", "version": "v2"}),
    Workload("shop", {"app": "reviews"}),
    Workload("shop", {"app": "no-service"}),
    Workload("store", {"app": "stock"}),
    Workload("istio-system", {"istio": "ingressgateway"}, gateway=True),
)
CALLS = [
    Call(port=port, principal=principal, method=method, path=path, headers={"x-user": user} if user else {})
    for port in (8080, 9090)
    for principal in ("", "cluster.local/ns/shop/sa/cart", "cluster.local/ns/other/sa/x")
    for method, path in (("GET", "/info/1"), ("POST", "/info"), ("GET", "/"))
    for user in ("", "eve")
]


def mesh_of(text: str) -> Mesh:
    objects, findings = manifests.load([text])
    assert not findings, [str(f) for f in findings]
    return offline.mesh_of(objects)


def decisions(text: str) -> list[str]:
    mesh = mesh_of(text)
    return [
        f"{workload.labels} {call}: {authorization.decide(mesh.graph, workload, call).decision != 'deny'}"
        for workload in WORKLOADS
        for call in CALLS
    ]


def same(text: str) -> None:
    """Whether the same calls are allowed by objects and by what they become."""
    new, _ = texts(SERVICES + text)
    assert "rbac.istio.io" not in new
    assert "authentication.istio.io" not in new
    before, after = decisions(SERVICES + text), decisions(new)
    assert [pair for pair in zip(before, after, strict=True) if pair[0] != pair[1]][:3] == []


def document(api: str, kind: str, name: str, namespace: str, spec: dict[str, Any]) -> str:
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    return str(yaml.safe_dump({"apiVersion": api, "kind": kind, "metadata": metadata, "spec": spec})) + "---\n"


RULES = st.fixed_dictionaries(
    {"services": st.sampled_from((["*"], ["products.shop.svc.cluster.local"], ["reviews*"], ["*.cluster.local"]))},
    optional={
        "methods": st.just(["GET"]),
        "paths": st.sampled_from((["/info*"], ["/"])),
        "ports": st.just([8080]),
        "constraints": st.sampled_from(
            (
                [{"key": "destination.labels[version]", "values": ["v1", "v3"]}],
                [{"key": "request.headers[x-user]", "values": ["eve"]}],
                [{"key": "destination.namespace", "values": ["shop"]}],
            )
        ),
    },
)
SUBJECTS = st.sampled_from(
    (
        {"user": "*"},
        {"user": "cluster.local/ns/shop/sa/cart"},
        {"namespaces": ["shop"]},
        {"properties": {"source.namespace": "other"}},
        {"notNames": ["cluster.local/ns/shop/sa/cart"]},
    )
)
MODES = st.sampled_from(
    (
        {"mode": "ON"},
        {"mode": "OFF"},
        {"mode": "ON_WITH_INCLUSION", "inclusion": {"namespaces": ["shop"]}},
        {"mode": "ON_WITH_EXCLUSION", "exclusion": {"services": ["products.shop.svc.cluster.local"]}},
        {"mode": "ON", "enforcementMode": "PERMISSIVE"},
    )
)
RBAC = "rbac.istio.io/v1alpha1"


@settings(max_examples=30, deadline=None)
@given(MODES, st.lists(RULES, min_size=1, max_size=2), st.lists(SUBJECTS, min_size=1, max_size=2), st.booleans())
def test_roles(mode: dict[str, Any], rules: list[Any], subjects: list[Any], counted: bool) -> None:
    binding = {"subjects": subjects, "roleRef": {"kind": "ServiceRole", "name": "role"}}
    same(
        document(RBAC, "ClusterRbacConfig", "default", "", mode)
        + document(RBAC, "ServiceRole", "role", "shop", {"rules": rules})
        + document(RBAC, "ServiceRoleBinding", "b", "shop", {**binding, **({"mode": "PERMISSIVE"} if counted else {})})
    )


PEERS = st.sampled_from(([{"mtls": {}}], [{"mtls": {"mode": "PERMISSIVE"}}], [], [{"mtls": {"allowTls": True}}]))
TARGETS = st.sampled_from(
    (
        None,
        [{"name": "products"}],
        [{"name": "products", "ports": [{"number": 90}]}],
        [{"name": "reviews", "ports": [{"name": "http"}]}],
    )
)


@settings(max_examples=30, deadline=None)
@given(st.none() | PEERS, st.lists(st.tuples(TARGETS, PEERS), max_size=3, unique_by=lambda item: str(item[0])))
def test_peers(mesh: list[Any] | None, policies: list[tuple[Any, list[Any]]]) -> None:
    api, out = "authentication.istio.io/v1alpha1", ""
    if mesh is not None:
        out += document(api, "MeshPolicy", "default", "", {"peers": mesh})
    for index, (targets, peers) in enumerate(policies):
        name = "default" if targets is None else f"p{index}"
        out += document(api, "Policy", name, "shop", {"peers": peers, **({"targets": targets} if targets else {})})
    if out:
        same(out)


@pytest.mark.parametrize(
    "match",
    [
        'destination.labels["app"] == "products" && request.headers["x-user"] == "eve"',
        'destination.service.name == "reviews" && request.method != "GET"',
        'request.path.startsWith("/info")',
        "",
    ],
)
def test_deniers(match: str) -> None:
    api = "config.istio.io/v1alpha2"
    rule = {"match": match, "actions": [{"handler": "deny", "instances": ["all"]}]}
    same(
        document(api, "handler", "deny", "shop", {"compiledAdapter": "denier", "params": {"status": {"code": 7}}})
        + document(api, "instance", "all", "shop", {"compiledTemplate": "checknothing"})
        + document(api, "rule", "deny", "shop", rule)
    )


@pytest.mark.parametrize(
    "triggers", [None, [{"excludedPaths": [{"exact": "/info"}]}], [{"includedPaths": [{"prefix": "/i"}]}]]
)
@pytest.mark.parametrize("optional", [False, True])
@pytest.mark.parametrize("targets", [None, [{"name": "products"}]])
def test_origins(targets: list[Any] | None, optional: bool, triggers: list[Any] | None) -> None:
    """Of end users: calls without a token."""
    jwt = {
        "issuer": "https://shop.example.com",
        "jwks": '{"keys": []}',
        **({"triggerRules": triggers} if triggers else {}),
    }
    spec = {"origins": [{"jwt": jwt}], "originIsOptional": optional, "peers": [{"mtls": {"mode": "PERMISSIVE"}}]}
    name = "default" if targets is None else "own"
    same(
        document(
            "authentication.istio.io/v1alpha1",
            "Policy",
            name,
            "shop",
            {**spec, **({"targets": targets} if targets else {})},
        )
    )


def test_a_peer_authentication_of_today_wins() -> None:
    text = document("security.istio.io/v1", "PeerAuthentication", "own", "shop", {"mtls": {"mode": "PERMISSIVE"}})
    text += document("authentication.istio.io/v1alpha1", "Policy", "default", "shop", {"peers": [{"mtls": {}}]})
    same(text)
    other = {"selector": {"matchLabels": {"version": "v1"}}, "mtls": {"mode": "DISABLE"}}
    text += document("security.istio.io/v1", "PeerAuthentication", "v1", "shop", other)
    text += document(
        "authentication.istio.io/v1alpha1", "Policy", "products", "shop", {"targets": [{"name": "products"}]}
    )
    assert any("the older one holds" in one for one in texts(SERVICES + text)[1])


def test_an_allow_policy_of_today_is_a_loss() -> None:
    """It was instead of roles; what it becomes is beside them."""
    policy = document("security.istio.io/v1", "AuthorizationPolicy", "own", "shop", {"rules": [{}]})
    _, lost = texts(SERVICES + document(RBAC, "ClusterRbacConfig", "default", "", {"mode": "ON"}) + policy)
    assert any("were not under roles" in one for one in lost)


@pytest.mark.parametrize("case", ["policies", "mixer"])
def test_policies_say_what_the_mesh_makes_of_the_originals(case: str) -> None:
    """Rate limits included, which decide nothing by themselves."""
    text = (Path(__file__).parent / "cases" / "istio" / case / "input.yaml").read_text()
    kinds = (AuthorizationPolicy, PeerAuthentication, RateLimit, RequestAuthentication)
    found = [
        [(key.namespace, obj.spec) for key, obj in mesh_of(one).objects.items() if isinstance(obj, kinds)]
        for one in (text, texts(text)[0])
    ]
    assert found[0]
    assert sorted(map(str, found[0])) == sorted(map(str, found[1]))
