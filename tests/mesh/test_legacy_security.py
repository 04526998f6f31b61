"""What the security kinds of Istio 1.0 to 1.5 allow and refuse, decided as a proxy decides."""

from __future__ import annotations

from typing import Any

import pytest

from sailcloth.analysis import authorization, manifests, offline
from sailcloth.analysis.authorization import Call, Workload
from sailcloth.api.meta import Key
from sailcloth.api.peer_authentication import PeerAuthentication
from sailcloth.mesh import legacy, mesh_config, peer_authentication, selection
from sailcloth.mesh.registry import Mesh

from ..tokens import Issuer

SHOP = Issuer("https://shop.example.com")
SERVICES = """
apiVersion: v1
kind: Service
metadata: {name: products, namespace: shop}
spec: {selector: {app: products}, ports: [{name: http, port: 80, targetPort: 8080}, {name: admin, port: 90, targetPort: 9090}]}
---
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: shop}
spec: {selector: {app: reviews}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: stock, namespace: store}
spec: {selector: {app: stock}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: istio-ingressgateway, namespace: istio-system}
spec: {selector: {istio: ingressgateway}, ports: [{name: http, port: 80, targetPort: 8080}]}
"""
CART = "cluster.local/ns/shop/sa/cart"
PRODUCTS = Workload("shop", {"app": "products", "version": "v1"})
REVIEWS, STOCK = Workload("shop", {"app": "reviews"}), Workload("store", {"app": "stock"})
GATEWAY = Workload("istio-system", {"istio": "ingressgateway"}, gateway=True)


def authn(kind: str, name: str, namespace: str, spec: str, created: str = "2019-01-01T00:00:00Z") -> str:
    where = f", namespace: {namespace}" if namespace else ""
    return f"""
apiVersion: authentication.istio.io/v1alpha1
kind: {kind}
metadata: {{name: {name}{where}, creationTimestamp: "{created}"}}
spec: {spec}
"""


def rbac(kind: str, name: str, spec: str, namespace: str = "shop") -> str:
    where = f", namespace: {namespace}" if namespace else ""
    return f"""
apiVersion: rbac.istio.io/v1alpha1
kind: {kind}
metadata: {{name: {name}{where}}}
spec: {spec}
"""


def config(spec: str) -> str:
    return rbac("ClusterRbacConfig", "default", spec, "")


ON = config("{mode: 'ON'}")
VIEWER = rbac("ServiceRole", "viewer", '{rules: [{services: ["products.shop.svc.cluster.local"], methods: [GET]}]}')


def role(rule: str) -> str:
    return rbac("ServiceRole", "viewer", f"{{rules: [{rule}]}}")


def binding(subjects: str, more: str = "", name: str = "bind") -> str:
    spec = f"{{subjects: [{subjects}], roleRef: {{kind: ServiceRole, name: viewer}}{', ' + more if more else ''}}}"
    return rbac("ServiceRoleBinding", name, spec)


ANYONE = binding('{user: "*"}')


def mesh_of(*texts: str, options: str = "") -> Mesh:
    objects, findings = manifests.load([SERVICES, *texts])
    assert not findings, [str(f) for f in findings]
    return offline.mesh_of(objects, mesh_config.parse(options))


def allows(mesh: Mesh, workload: Workload = PRODUCTS, **call: Any) -> bool:
    return authorization.decide(mesh.graph, workload, Call(**{"port": 8080, **call})).decision != "deny"


def notes(mesh: Mesh, kind: str, namespace: str, name: str) -> str:
    return "; ".join(legacy.verdict(mesh.graph, Key(kind, namespace, name)).notes)


# -- role-based access control ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "products", "reviews", "stock"),
    [
        ("{mode: 'OFF'}", True, True, True),
        ("{}", True, True, True),
        ("{mode: 'ON'}", False, False, False),
        ("{mode: ON_WITH_INCLUSION, inclusion: {namespaces: [shop]}}", False, False, True),
        ("{mode: ON_WITH_INCLUSION, inclusion: {services: [reviews.shop.svc.cluster.local]}}", True, False, True),
        ("{mode: ON_WITH_EXCLUSION, exclusion: {namespaces: [store]}}", False, False, True),
        ("{mode: ON_WITH_EXCLUSION, exclusion: {services: [products.shop.svc.cluster.local]}}", True, False, False),
        ("{mode: 'ON', enforcementMode: PERMISSIVE}", True, True, True),
    ],
)
def test_which_services_refuse_what_nobody_allows(spec: str, products: bool, reviews: bool, stock: bool) -> None:
    mesh = mesh_of(config(spec))
    assert [allows(mesh, w) for w in (PRODUCTS, REVIEWS, STOCK)] == [products, reviews, stock]
    assert allows(mesh, GATEWAY), "it was for sidecars only"
    assert allows(mesh, Workload("shop", {"app": "no-service"}))


def test_the_configuration_of_the_cluster_wins_over_the_namespaced_one() -> None:
    older = rbac("RbacConfig", "default", "{mode: 'ON'}", "istio-system")
    assert not allows(mesh_of(older))
    both = mesh_of(older, config("{mode: 'OFF'}"))
    assert allows(both)
    assert "ClusterRbacConfig default holds" in notes(both, "RbacConfig", "istio-system", "default")


def test_a_binding_allows_what_its_role_says() -> None:
    mesh = mesh_of(ON, VIEWER, ANYONE)
    assert allows(mesh)
    assert not allows(mesh, method="POST")
    assert not allows(mesh, REVIEWS)
    assert not allows(
        mesh_of(ON, VIEWER, rbac("ServiceRoleBinding", "bind", "{subjects: [{user: '*'}], roleRef: {name: x}}"))
    )
    assert not allows(mesh_of(ON, VIEWER))
    inline = rbac("ServiceRoleBinding", "b", '{subjects: [{names: ["*"]}], actions: [{paths: ["/a*"]}]}')
    assert allows(mesh_of(ON, inline), principal=CART, path="/ab")
    assert not allows(mesh_of(ON, inline), path="/ab")


@pytest.mark.parametrize(
    ("rule", "call", "others"),
    [
        ('{services: ["*"], paths: ["/info*", "*.png"]}', {"path": "/x.png"}, {"path": "/x"}),
        ('{services: ["prod*"], notPaths: ["/admin*"]}', {"path": "/x"}, {"path": "/admin/x"}),
        ('{services: ["*.shop.svc.cluster.local"], hosts: [a.example]}', {"host": "a.example"}, {"host": "b.example"}),
        ('{services: ["*"], methods: ["*"], ports: [8080]}', {}, {"port": 9090}),
        ('{services: ["*"], notPorts: [9090]}', {}, {"port": 9090}),
        (
            '{services: ["*"], constraints: [{key: "request.headers[x-v]", values: ["v1", "v2*"]}]}',
            {"headers": {"x-v": "v2-beta"}},
            {"headers": {"x-v": "v3"}},
        ),
        ('{services: ["*"], constraints: [{key: "destination.labels[version]", values: [v1, v9]}]}', {}, None),
        ('{services: ["*"], constraints: [{key: "destination.labels[version]", values: [v9]}]}', None, {}),
        ('{services: ["*"], constraints: [{key: "destination.labels[app]", values: [products]}]}', {}, None),
        ('{services: ["*"], constraints: [{key: "destination.namespace", values: ["sh*"]}]}', {}, None),
        ('{services: ["*"], constraints: [{key: "destination.name", values: [reviews]}]}', None, {}),
        ('{services: ["*"], constraints: [{key: ":path", values: ["/a"]}]}', {"path": "/a"}, {"path": "/b"}),
        ('{services: ["*"], constraints: [{key: "connection.sni", values: ["*.x"]}]}', {"sni": "a.x"}, {"sni": "a.y"}),
        ('{services: ["*"], constraints: [{key: "no.such", values: [x]}]}', None, {}),
        ('{services: ["reviews.shop.svc.cluster.local"]}', None, {}),
    ],
)
def test_rules_of_roles(rule: str, call: dict[str, Any] | None, others: dict[str, Any] | None) -> None:
    mesh = mesh_of(ON, role(rule), ANYONE)
    assert call is None or allows(mesh, **call)
    assert others is None or not allows(mesh, **others)


TOKEN = {"iss": SHOP.name, "sub": "me", "groups": ["staff"], "aud": "shop", "azp": "web"}


@pytest.mark.parametrize(
    ("subject", "call", "others"),
    [
        (f"{{user: {CART}}}", {"principal": CART}, {"principal": "cluster.local/ns/shop/sa/x"}),
        ("{names: ['*']}", {"principal": CART}, {}),
        ("{notNames: ['*/sa/x']}", {"principal": CART}, {"principal": "cluster.local/ns/shop/sa/x"}),
        ("{namespaces: [shop]}", {"principal": CART}, {"principal": "cluster.local/ns/store/sa/cart"}),
        ("{namespaces: [shop], names: ['*/sa/cart']}", {"principal": CART}, {"principal": "cluster.local/ns/shop/sa/x"}),
        ("{ips: [10.0.0.0/8], notIps: [10.1.0.0/16]}", {"source_ip": "10.2.0.1"}, {"source_ip": "10.1.0.1"}),
        ("{groups: [staff]}", {"claims": TOKEN}, {"claims": {**TOKEN, "groups": ["guest"]}}),
        ("{group: staff}", {"claims": TOKEN}, {}),
        ("{user: '*', notGroups: [staff]}", {"claims": {**TOKEN, "groups": ["guest"]}}, {"claims": TOKEN}),
        ("{properties: {source.namespace: shop, source.ip: 10.0.0.1}}",
         {"principal": CART, "source_ip": "10.0.0.1"}, {"principal": CART, "source_ip": "10.0.0.2"}),
        (f"{{properties: {{source.principal: {CART}}}}}", {"principal": CART}, {}),
        (f"{{properties: {{request.auth.principal: {SHOP.name}/me}}}}", {"claims": TOKEN}, {}),
        ("{properties: {request.auth.audiences: shop, request.auth.presenter: web}}", {"claims": TOKEN}, {}),
        ("{properties: {'request.auth.claims[sub]': me}}", {"claims": TOKEN}, {}),
        ("{properties: {'request.headers[x-a]': b}}", {"headers": {"x-a": "b"}}, {"headers": {"x-a": "c"}}),
        ("{properties: {no.such: x}}", None, {"principal": CART}),
    ],
)  # fmt: skip
def test_subjects_of_bindings(subject: str, call: dict[str, Any] | None, others: dict[str, Any]) -> None:
    tokens = f"""
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {{name: users, namespace: shop}}
spec: {{jwtRules: [{{issuer: "{SHOP.name}", jwks: '{SHOP.keys}'}}]}}
"""
    mesh = mesh_of(ON, VIEWER, binding(subject), tokens)
    assert call is None or allows(mesh, **call)
    assert not allows(mesh, **others)


def test_a_permissive_binding_only_counts() -> None:
    assert not allows(mesh_of(ON, VIEWER, binding('{user: "*"}', "mode: PERMISSIVE")))
    enforced = binding(f"{{user: {CART}}}", name="other")
    mesh = mesh_of(ON, VIEWER, binding('{user: "*"}', "mode: PERMISSIVE"), enforced)
    assert allows(mesh, principal=CART)
    assert not allows(mesh)


def test_a_policy_of_today_replaces_it_for_its_workloads() -> None:
    today = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: gets, namespace: shop}
spec: {selector: {matchLabels: {app: products}}, rules: [{to: [{operation: {methods: [POST]}}]}]}
"""
    mesh = mesh_of(ON, VIEWER, ANYONE, today)
    assert allows(mesh, method="POST")
    assert not allows(mesh)
    assert not allows(mesh, REVIEWS)


def test_what_is_wrong_is_told() -> None:
    mesh = mesh_of(
        rbac("ServiceRoleBinding", "lost", "{subjects: [{properties: {no.such: x}}], roleRef: {name: nobody}}"),
        role('{services: ["*"], constraints: [{key: no.such, values: [x]}]}'),
        rbac("ServiceRoleBinding", "bind", "{subjects: [{properties: {no.such: x}}], roleRef: {name: viewer}}"),
        role('{services: ["*"], constraints: [{key: "destination.user", values: [x]}]}').replace("viewer", "other"),
        config("{mode: 'ON'}").replace("name: default", "name: misnamed"),
    )
    assert "no ServiceRole nobody" in notes(mesh, "ServiceRoleBinding", "shop", "lost")
    assert "not enforced" in notes(mesh, "ServiceRole", "shop", "viewer")
    assert "named default" in notes(mesh, "ClusterRbacConfig", "", "misnamed")
    mesh = mesh_of(ON, role('{services: ["*"], constraints: [{key: no.such, values: [x]}]}'), ANYONE)
    assert "constraint no.such is not supported" in notes(mesh, "ServiceRole", "shop", "viewer")
    mesh = mesh_of(ON, VIEWER, binding("{properties: {no.such: x}}"))
    assert "property no.such is not supported" in notes(mesh, "ServiceRoleBinding", "shop", "bind")


def test_changes_follow_the_objects_and_their_services() -> None:
    mesh = mesh_of(ON, VIEWER, ANYONE)
    objects, _ = manifests.load([SERVICES.replace("app: products", "app: renamed")])
    mesh.apply(*objects[0])
    assert allows(mesh), "no service covers it any more"
    renamed = Workload("shop", {"app": "renamed"})
    assert allows(mesh, renamed)
    mesh.apply(Key("ServiceRoleBinding", "shop", "bind"), None)
    assert not allows(mesh, renamed)
    mesh.apply(Key("ClusterRbacConfig", "", "default"), None)
    assert allows(mesh, renamed)
    assert not [key for key in mesh.objects if key.kind == "AuthorizationPolicy"]


# -- authentication -----------------------------------------------------------------------------


def modes(mesh: Mesh, workload: Workload = PRODUCTS) -> tuple[str, str]:
    """The mutual TLS modes of the ports 8080 and 9090."""
    labels = tuple(sorted(workload.labels.items()))
    keys = mesh.graph.get(selection.for_workload, PeerAuthentication, workload.namespace, labels)
    found = mesh.graph.get(peer_authentication.modes, keys)
    return found.mode_of_port(8080), found.mode_of_port(9090)


@pytest.mark.parametrize(
    ("spec", "mode"),
    [
        ("{peers: [{mtls: {}}]}", "STRICT"),
        ("{peers: [{mtls: null}]}", "STRICT"),
        ("{peers: [{}]}", "STRICT"),
        ("{peers: [{mtls: {mode: PERMISSIVE}}]}", "PERMISSIVE"),
        ("{peers: [{mtls: {allowTls: true}}]}", "PERMISSIVE"),
        ("{peers: [{mtls: {}}], peerIsOptional: true}", "PERMISSIVE"),
        ("{}", "DISABLE"),
    ],
)
def test_modes_of_peers(spec: str, mode: str) -> None:
    mesh = mesh_of(authn("MeshPolicy", "default", "", spec))
    assert modes(mesh) == modes(mesh, STOCK) == (mode, mode)


def test_the_narrowest_policy_holds_and_nothing_is_merged() -> None:
    mesh = mesh_of(
        authn("MeshPolicy", "default", "", "{peers: [{mtls: {}}]}"),
        authn("Policy", "default", "shop", "{peers: [{mtls: {mode: PERMISSIVE}}]}"),
        authn("Policy", "products", "shop", "{targets: [{name: products, ports: [{number: 90}]}]}"),
        authn("Policy", "later", "shop", "{targets: [{name: products}], peers: [{mtls: {}}]}", "2019-06-01T00:00:00Z"),
    )
    assert modes(mesh) == ("STRICT", "DISABLE")
    assert modes(mesh, REVIEWS) == ("PERMISSIVE", "PERMISSIVE")
    assert modes(mesh, STOCK) == ("STRICT", "STRICT")


def test_a_port_by_name_and_the_rest_by_the_namespace() -> None:
    mesh = mesh_of(
        authn("Policy", "default", "shop", "{peers: [{mtls: {}}]}"),
        authn("Policy", "products", "shop", "{targets: [{name: products, ports: [{name: http}]}]}"),
    )
    assert modes(mesh) == ("DISABLE", "STRICT")


def test_a_policy_of_today_wins_at_its_level() -> None:
    today = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: shop, creationTimestamp: "2026-01-01T00:00:00Z"}
spec: {mtls: {mode: PERMISSIVE}}
"""
    mesh = mesh_of(authn("Policy", "default", "shop", "{peers: [{mtls: {}}]}"), today)
    assert modes(mesh) == ("PERMISSIVE", "PERMISSIVE")


def origins(more: str = "", rules: str = "") -> str:
    jwt = f"{{issuer: '{SHOP.name}', jwks: '{SHOP.keys}'{', triggerRules: ' + rules if rules else ''}}}"
    return f"{{origins: [{{jwt: {jwt}}}], peers: [{{mtls: {{mode: PERMISSIVE}}}}]{', ' + more if more else ''}}}"


GOOD = {"claims": {"iss": SHOP.name, "sub": "me"}}


def test_end_users_need_a_token() -> None:
    mesh = mesh_of(authn("Policy", "default", "shop", origins()))
    assert allows(mesh, **GOOD)
    assert not allows(mesh)
    assert not allows(mesh, claims={"iss": "else"})
    assert allows(mesh, STOCK)
    optional = mesh_of(authn("Policy", "default", "shop", origins("originIsOptional: true")))
    assert allows(optional)
    assert not allows(optional, claims={"iss": "else"})


def test_tokens_at_the_gateway() -> None:
    spec = origins("targets: [{name: istio-ingressgateway}]")
    mesh = mesh_of(authn("Policy", "users", "istio-system", spec))
    assert allows(mesh, GATEWAY, **GOOD)
    assert not allows(mesh, GATEWAY)


@pytest.mark.parametrize(
    ("rules", "with_token", "without"),
    [
        ("[{excludedPaths: [{exact: /health}, {prefix: /public}]}]", ["/", "/healthy"], ["/health", "/public/x"]),
        ("[{includedPaths: [{suffix: .js}, {exact: /admin}]}]", ["/a.js", "/admin"], ["/", "/admin/x"]),
        ("[{includedPaths: [{prefix: /a}], excludedPaths: [{exact: /a/b}]}]", ["/a", "/a/c"], ["/a/b", "/c"]),
        ("[{includedPaths: [{exact: /a}]}, {includedPaths: [{exact: /b}]}]", ["/a", "/b"], ["/c"]),
        ("[{includedPaths: [{regex: '/a.*'}]}]", ["/a", "/c"], []),
        ("[{excludedPaths: [{regex: '/a.*'}, {exact: /b}]}]", ["/a", "/c"], ["/b"]),
    ],
)
def test_paths_that_need_a_token(rules: str, with_token: list[str], without: list[str]) -> None:
    mesh = mesh_of(authn("Policy", "default", "shop", origins(rules=rules)))
    assert not [path for path in with_token if allows(mesh, path=path)]
    assert all(allows(mesh, path=path) for path in without)
    assert all(allows(mesh, path=path, **GOOD) for path in [*with_token, *without])


def test_a_service_of_its_own_policy_forgets_the_others_tokens() -> None:
    mesh = mesh_of(
        authn("MeshPolicy", "default", "", origins()),
        authn("Policy", "products", "shop", "{targets: [{name: products}], peers: [{mtls: {mode: PERMISSIVE}}]}"),
    )
    assert allows(mesh)
    assert not allows(mesh, REVIEWS)


def test_what_has_no_effect_is_told() -> None:
    mesh = mesh_of(
        authn("Policy", "misnamed", "shop", "{peers: [{mtls: {}}]}"),
        authn("MeshPolicy", "misnamed", "", "{peers: [{mtls: {}}]}"),
        authn("Policy", "default", "store", "{principalBinding: USE_ORIGIN}"),
    )
    assert "named default" in notes(mesh, "Policy", "shop", "misnamed")
    assert "named default" in notes(mesh, "MeshPolicy", "", "misnamed")
    assert "USE_ORIGIN" in notes(mesh, "Policy", "store", "default")
    assert modes(mesh) == ("PERMISSIVE", "PERMISSIVE")
