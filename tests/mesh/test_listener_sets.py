"""ListenerSets of the Gateway API: who allows them, what of them is in conflict, which routes are attached to them, and what a change touches."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sailcloth.analysis import manifests, offline
from sailcloth.api.meta import Finding, Key
from sailcloth.controlplane import gateway_deployments
from sailcloth.mesh import gateway_listeners
from sailcloth.mesh.listener_sets import ListenerSetState
from sailcloth.mesh.registry import Mesh
from sailcloth.testing import validate
from sailcloth.xds.types import ROUTES

from .test_kubernetes_gateways import CLASS, EDGE, HTTP, SECRET, SERVICE, apply, gateway, mesh_of, route, rules

Object = dict[str, Any]
ALL = "{namespaces: {from: All}}"
OTHER = "{apiVersion: v1, kind: Namespace, metadata: {name: other, labels: {team: web}}}"
IN_OTHER = "{kind: ListenerSet, name: more, namespace: other}"


def edge(*listeners: str, allowed: str = ALL, **more: str) -> str:
    return gateway(*(listeners or (HTTP,)), allowedListeners=allowed, **more)


def listener_set(*listeners: str, name: str = "more", namespace: str = "other", age: int = 0) -> str:
    metadata = f"{{name: {name}, namespace: {namespace}, creationTimestamp: '2026-01-01T00:00:{age:02d}Z'}}"
    parent = "{name: edge, namespace: default}"
    spec = f"{{parentRef: {parent}, listeners: [{', '.join(listeners)}]}}"
    return f"{{apiVersion: gateway.networking.k8s.io/v1, kind: ListenerSet, metadata: {metadata}, spec: {spec}}}"


def http(hostname: str = "", port: int = 80, name: str = "http", **more: str) -> str:
    host = f", hostname: '{hostname}'" if hostname else ""
    rest = "".join(f", {k}: {v}" for k, v in more.items())
    return f"{{name: {name}, port: {port}, protocol: HTTP{host}{rest}}}"


def tls(hostname: str, secret: str, port: int = 443) -> str:
    return f"{{name: tls, port: {port}, protocol: HTTPS, hostname: {hostname}, tls: {{certificateRefs: [{{name: {secret}}}]}}}}"


def state(mesh: Mesh, name: str = "more", namespace: str = "other") -> ListenerSetState:
    return mesh.gateways.sets[Key("ListenerSet", namespace, name)]


def conflicts(mesh: Mesh, name: str = "more", namespace: str = "other") -> list[str]:
    return [s.conflicted[1] for s in state(mesh, name, namespace).listeners]


def served(mesh: Mesh) -> set[str]:
    return {k.name for k in mesh.objects if k.kind == "Gateway"}


def reasons(mesh: Mesh, name: str, namespace: str = "other") -> list[str]:
    return [s.accepted[1] for s in mesh.gateways.status(Key("HTTPRoute", namespace, name))]


# -- who allows them ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("allowed", "accepted"),
    [
        ("{}", {"other": False, "default": False}),
        ("{namespaces: {from: None}}", {"other": False, "default": False}),
        ("{namespaces: {from: Same}}", {"other": False, "default": True}),
        (ALL, {"other": True, "default": True}),
        (
            "{namespaces: {from: Selector, selector: {matchLabels: {team: web}}}}",
            {"other": True, "default": False},
        ),
    ],
)
def test_a_gateway_says_which_it_takes(allowed: str, accepted: dict[str, bool]) -> None:
    sets = [listener_set(http(port=8080 + i), namespace=n) for i, n in enumerate(accepted)]
    mesh = mesh_of(OTHER, edge(allowed=allowed), *sets)
    assert {n: state(mesh, namespace=n).accepted[0] for n in accepted} == accepted
    assert {state(mesh, namespace=n).accepted[1] for n in accepted} <= {"Accepted", "NotAllowed"}
    assert served(mesh) == {"edge~http"} | {f"edge~{n}~more~http" for n, allowed in accepted.items() if allowed}
    assert mesh.gateways.attached_sets(EDGE) == sum(accepted.values())


def test_labels_of_a_namespace_let_it_in_and_out() -> None:
    selector = "{namespaces: {from: Selector, selector: {matchLabels: {team: web}}}}"
    mesh = mesh_of(edge(allowed=selector), listener_set(http(port=81)), route("r", parents=IN_OTHER, namespace="other"))
    assert (state(mesh).accepted[1], reasons(mesh, "r")) == ("NotAllowed", ["NoMatchingParent"])
    apply(mesh, OTHER)
    assert (state(mesh).accepted[1], reasons(mesh, "r")) == ("Accepted", ["Accepted"])
    assert ("default/edge~other~more~http", "*") in rules(mesh)
    mesh.apply(Key("Namespace", "", "other"), None)
    assert (state(mesh).accepted[1], served(mesh)) == ("NotAllowed", {"edge~http"})
    assert rules(mesh) == {}


def test_one_of_a_gateway_that_is_not_accepted_or_not_ours() -> None:
    mesh = mesh_of(edge(infrastructure="{parametersRef: {kind: ConfigMap, name: c}}"), listener_set(http(port=81)))
    assert (state(mesh).accepted[1], served(mesh)) == ("ParentNotAccepted", set())
    apply(mesh, edge().replace("gatewayClassName: istio", "gatewayClassName: theirs"))
    assert not mesh.gateways.sets
    apply(mesh, edge())
    assert state(mesh).accepted[0]
    mesh.apply(EDGE, None)
    assert not mesh.gateways.sets
    assert not served(mesh)


# -- conflicts ------------------------------------------------------------------------------------


def test_the_gateways_own_listeners_come_first_then_older_ones_then_by_name() -> None:
    twin, other = http("a.example.com", name="twin"), http("b.example.com", name="own")
    sets = [
        listener_set(twin, other, name="young", age=9),
        listener_set(twin, name="old", age=1),
        listener_set(twin, name="also-old", age=1),
        listener_set(http(), name="wide"),
    ]
    for order in (sets, sets[::-1]):
        mesh = mesh_of(edge(), *order)
        assert conflicts(mesh, "also-old") == ["NoConflicts"]
        assert conflicts(mesh, "old") == ["HostnameConflict"]
        assert conflicts(mesh, "young") == ["HostnameConflict", "NoConflicts"]
        assert conflicts(mesh, "wide") == ["HostnameConflict"]  # with the Gateway's own
        accepted = {n: state(mesh, n).accepted[1] for n in ("also-old", "old", "young", "wide")}
        assert accepted == {
            "also-old": "Accepted",
            "old": "ListenersNotValid",
            "young": "Accepted",
            "wide": "ListenersNotValid",
        }
        assert mesh.gateways.attached_sets(EDGE) == 2
        mesh.apply(Key("ListenerSet", "other", "also-old"), None)
        assert (conflicts(mesh, "old"), conflicts(mesh, "young")[0]) == (["NoConflicts"], "HostnameConflict")
        assert mesh.gateways.states[EDGE].listeners[0].serves


def test_a_port_has_one_protocol() -> None:
    tcp = "{name: tcp, port: 90, protocol: TCP}"
    mesh = mesh_of(
        edge(), listener_set(tcp, name="first", age=1), listener_set(http("x.com", 90), name="second", age=2)
    )
    assert (conflicts(mesh, "first"), conflicts(mesh, "second")) == (["NoConflicts"], ["ProtocolConflict"])
    text = state(mesh, "second").listeners[0].conflicted[2]
    assert text == "port 90 is TCP in another listener of the Gateway"  # says nothing of another's object
    apply(mesh, edge(HTTP, http("y.com", 90, "mine")))
    assert (conflicts(mesh, "first"), conflicts(mesh, "second")) == (["ProtocolConflict"], ["NoConflicts"])


def test_what_conflicts_in_one_object_is_named() -> None:
    two = "{name: tls, port: 80, protocol: TLS, tls: {mode: Passthrough}}"
    mesh = mesh_of(edge(HTTP, two))
    assert [s.conflicted[1:] for s in mesh.gateways.states[EDGE].listeners][1] == (
        "ProtocolConflict",
        "port 80 is HTTP in listener http",
    )


def test_routes_go_to_the_listener_that_wins_once_the_other_is_gone() -> None:
    twin = http("a.example.com")
    routes = [
        route(n, parents=f"{{kind: ListenerSet, name: {n}, namespace: other}}", namespace="other")
        for n in ("new", "old")
    ]
    sets = [listener_set(twin, name="new", age=2), listener_set(twin, name="old", age=1)]
    mesh = mesh_of(edge(), *sets, *routes)
    assert rules(mesh) == {("default/edge~other~old~http", "a.example.com"): ["other.old.0"]}
    assert (reasons(mesh, "new"), reasons(mesh, "old")) == (["Accepted"], ["Accepted"])
    assert mesh.gateways.attached(EDGE, "other~new~http") == 1
    mesh.apply(Key("ListenerSet", "other", "old"), None)
    assert rules(mesh) == {("default/edge~other~new~http", "a.example.com"): ["other.new.0"]}


# -- routes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parents", "expected", "at"),
    [
        (IN_OTHER, ["Accepted"], {"a", "b"}),
        ("{kind: ListenerSet, name: more, namespace: other, sectionName: b}", ["Accepted"], {"b"}),
        ("{kind: ListenerSet, name: more, namespace: other, port: 82}", ["Accepted"], {"b"}),
        ("{kind: ListenerSet, name: more, namespace: other, sectionName: c}", ["NoMatchingParent"], set()),
        ("{kind: ListenerSet, name: more, namespace: other, port: 80}", ["NoMatchingParent"], set()),
        ("{kind: ListenerSet, name: none, namespace: other}", [], set()),
        ("{name: edge, namespace: default, sectionName: b}", ["NoMatchingParent"], set()),
        (f"{IN_OTHER}, {{name: edge, namespace: default}}", ["Accepted", "NotAllowedByListeners"], {"a", "b"}),
    ],
)
def test_a_route_names_a_set_its_listener_or_port(parents: str, expected: list[str], at: set[str]) -> None:
    """And a Gateway stands for its own listeners alone."""
    sets = listener_set(http(port=81, name="a"), http(port=82, name="b"))
    mesh = mesh_of(edge(), sets, route("r", parents=parents, namespace="other"))
    assert reasons(mesh, "r") == expected
    assert {gateway.rpartition("~")[2] for gateway, _ in rules(mesh)} == at
    assert {n for n in "ab" if mesh.gateways.attached(EDGE, f"other~more~{n}")} == at


def test_other_namespaces_are_allowed_by_the_listener_of_the_set() -> None:
    open_ = http(port=81, name="open", allowedRoutes="{namespaces: {from: All}}")
    sets = listener_set(open_, http(port=82, name="own"))
    mesh = mesh_of(edge(), sets, route("r", parents=IN_OTHER), route("s", parents=IN_OTHER, namespace="other"))
    assert reasons(mesh, "r", "default") == ["Accepted"]
    assert {n: mesh.gateways.attached(EDGE, f"other~more~{n}") for n in ("open", "own")} == {"open": 2, "own": 1}
    assert mesh.gateways.status(Key("HTTPRoute", "default", "r"))[0].parent.kind == "ListenerSet"


def test_the_narrower_listener_has_its_hosts_alone_whosever_it_is() -> None:
    everything = route("r", "hostnames: [a.example.com, b.example.com]", "{name: edge, namespace: default}")
    mesh = mesh_of(edge(), everything)
    assert {host for _, host in rules(mesh)} == {"a.example.com", "b.example.com"}
    apply(mesh, listener_set(http("a.example.com")))
    assert rules(mesh) == {
        ("default/edge~http", "b.example.com"): ["default.r.0"],
        ("default/edge~other~more~http", "a.example.com"): ["no-route"],
    }
    apply(mesh, listener_set(http("a.example.com", port=81)))
    assert {host for _, host in rules(mesh)} == {"a.example.com", "b.example.com"}
    apply(mesh, listener_set(http("*.example.com")), listener_set(http("b.example.com"), name="b"))
    assert rules(mesh) == {
        ("default/edge~other~more~http", "*.example.com"): ["no-route"],
        ("default/edge~other~b~http", "b.example.com"): ["no-route"],
    }
    mesh.apply(Key("ListenerSet", "other", "more"), None)
    mesh.apply(Key("ListenerSet", "other", "b"), None)
    assert {host for _, host in rules(mesh)} == {"a.example.com", "b.example.com"}


# -- certificates ---------------------------------------------------------------------------------


def grant(kind: str, namespace: str) -> str:
    return (
        "{apiVersion: gateway.networking.k8s.io/v1beta1, kind: ReferenceGrant, metadata: {name: g, namespace: certs},"
        f" spec: {{from: [{{group: gateway.networking.k8s.io, kind: {kind}, namespace: {namespace}}}],"
        ' to: [{group: "", kind: Secret}]}}'
    )


def test_certificates_of_its_own_namespace() -> None:
    mesh = mesh_of(SECRET % "default", edge(), listener_set(tls("a.com", "c")))
    assert (state(mesh).listeners[0].resolved[1], state(mesh).accepted[1]) == (
        "InvalidCertificateRef",
        "ListenersNotValid",
    )
    apply(mesh, SECRET % "other")
    made: Any = mesh.objects[Key("Gateway", "default", "edge~other~more~tls")]
    assert made.spec.servers[0].tls.credential_name == "kubernetes-gateway://other/c"
    mesh.apply(Key("Secret", "other", "c"), None)
    assert "edge~other~more~tls" not in served(mesh)


@pytest.mark.parametrize(
    ("kind", "namespace", "resolved"),
    [
        ("ListenerSet", "other", "ResolvedRefs"),
        ("ListenerSet", "default", "RefNotPermitted"),
        ("Gateway", "other", "RefNotPermitted"),
        ("Gateway", "default", "RefNotPermitted"),
    ],
)
def test_certificates_of_other_namespaces_are_granted_to_its_kind(kind: str, namespace: str, resolved: str) -> None:
    mesh = mesh_of(SECRET % "certs", edge(), listener_set(tls("a.com", "c, namespace: certs")))
    apply(mesh, grant(kind, namespace))
    assert state(mesh).listeners[0].resolved[1] == resolved
    own = mesh_of(SECRET % "certs", edge(tls("a.com", "c, namespace: certs")), grant(kind, namespace))
    granted = (kind, namespace) == ("Gateway", "default")
    assert own.gateways.states[EDGE].listeners[0].serves == granted, "nor the reverse"
    mesh.apply(Key("ReferenceGrant", "certs", "g"), None)
    assert state(mesh).listeners[0].resolved[1] == "RefNotPermitted"


def test_clients_certificates_are_verified_at_its_ports_too() -> None:
    roots = '{apiVersion: v1, kind: ConfigMap, metadata: {name: roots, namespace: default}, data: {ca.crt: "-----BEGIN CERTIFICATE-----"}}'
    references = "{caCertificateRefs: [{group: '', kind: ConfigMap, name: roots}]}"
    mutual = f"{{frontend: {{default: {{validation: {references}}}}}}}"
    mesh = mesh_of(SECRET % "other", edge(tls=mutual), listener_set(tls("a.com", "c")))
    assert state(mesh).listeners[0].accepted[1] == "NoValidCACertificate"
    apply(mesh, roots)
    made: Any = mesh.objects[Key("Gateway", "default", "edge~other~more~tls")]
    assert made.spec.servers[0].tls.mode == "MUTUAL"


# -- proxies --------------------------------------------------------------------------------------


PODS = (
    "{apiVersion: v1, kind: Service, metadata: {name: edge-istio, namespace: default}, spec: {clusterIP: 10.0.0.2,"
    " selector: {gateway.networking.k8s.io/gateway-name: edge},"
    " ports: [{name: http, port: 80}, {name: more, port: 81}, {name: tls, port: 443}]}}"
)
PROXY = offline.describe(
    {"type": "router", "namespace": "default", "labels": {"gateway.networking.k8s.io/gateway-name": "edge"}}
)


def test_envoy_takes_what_a_gateway_with_sets_becomes() -> None:
    sets = [listener_set(http("a.com", 81), tls("a.com", "c")), listener_set(http("b.com"), name="b")]
    mesh = mesh_of(PODS, SECRET % "other", edge(), *sets, route("r", parents=IN_OTHER, namespace="other"))
    dump = offline.config_dump(offline.resources(mesh, PROXY))
    assert validate.envoy_error(validate.static_bootstrap(dump, "router")) == ""
    assert "kubernetes-gateway://other/c" in str(dump)


def test_a_certificate_more_makes_no_other_route_configuration_anew() -> None:
    sets = [listener_set(tls(f"h{n}.example.com", "c"), name=f"s{n}") for n in range(100)]
    routes = [route(f"r{n}", parents=f"{{kind: ListenerSet, name: s{n}}}", namespace="other") for n in range(100)]
    mesh = mesh_of(PODS, SECRET % "other", edge(), *sets, *routes)
    assert len(offline.resources(mesh, PROXY)[ROUTES]) == 101, "and that of port 80"
    made: list[str] = []
    mesh.graph.trace = made.append
    apply(mesh, listener_set(tls("more.example.com", "c"), name="s100"))
    assert len(offline.resources(mesh, PROXY)[ROUTES]) == 102
    assert len([m for m in made if m.startswith("routes(")]) == 1
    assert len([m for m in made if m.startswith("virtual_hosts(")]) == 1


def test_a_deployments_service_opens_the_ports_of_its_sets() -> None:
    lost = tls("b.com", "none", 444).replace("name: tls", "name: lost")
    mesh = mesh_of(edge(), SECRET % "other", listener_set(http("a.com", 81), tls("a.com", "c"), lost))
    made = gateway_deployments.objects(mesh.gateways.states[EDGE], mesh.gateways.listeners(EDGE))
    ports = {p["name"] for p in made[1]["spec"]["ports"]}
    assert ports == {"status-port", "http-80", "http-81", "https-443"}


# -- what a change costs --------------------------------------------------------------------------


def test_a_change_of_one_set_among_many_touches_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    many = 300
    mesh = mesh_of(
        gateway(HTTP, name="far", allowedListeners=ALL),
        edge(),
        route("all", parents="{name: edge, namespace: default}"),
        *(listener_set(http(f"h{n}.org"), name=f"s{n}") for n in range(many)),
        *(route(f"r{n}", parents=f"{{kind: ListenerSet, name: s{n}}}", namespace="other") for n in range(many)),
    )
    assert mesh.gateways.attached_sets(EDGE) == many
    for evaluated in (mesh.gateways.gateways_evaluated, mesh.gateways.sets_evaluated, mesh.gateways.routes_evaluated):
        evaluated.clear()
    written: list[Key] = []
    put, judged = mesh.gateways._put, gateway_listeners.judge

    def counted(key: Key, obj: Any) -> bool:
        written.append(key)
        return put(key, obj)

    def parent(at: Key, *arguments: Any) -> Any:
        assert at.name == "s7"
        return judged(at, *arguments)

    mesh.gateways._put = counted
    monkeypatch.setattr(gateway_listeners, "judge", parent)
    apply(mesh, listener_set(http("other.org"), name="s7"))
    expected = {"edge~other~s7~http", "edge~other~s7~http~h7.org", "edge~other~s7~http~other.org"}
    assert {k.name for k in written} == expected
    assert mesh.gateways.gateways_evaluated == {EDGE}
    assert mesh.gateways.sets_evaluated == {Key("ListenerSet", "other", "s7")}
    assert mesh.gateways.routes_evaluated == {Key("HTTPRoute", "other", "r7")}
    written.clear()
    apply(mesh, listener_set(http("other.org"), name="s7"))
    assert not written, "the same again, as after its status is written"


# -- laws -----------------------------------------------------------------------------------------

PROTOCOLS = ["HTTP", "HTTP", "HTTP", "HTTPS", "TLS", "TCP", "UDP"]
listeners = st.fixed_dictionaries(
    {
        "port": st.sampled_from([80, 80, 81]),
        "protocol": st.sampled_from(PROTOCOLS),
        "hostname": st.sampled_from([None, "*.a.com", "x.a.com", "*.x.a.com", "b.com"]),
    }
)


@st.composite
def _changes(draw: st.DrawFn) -> tuple[Object, bool]:
    """(an object, whether it is deleted)."""
    often = ["ListenerSet"] * 6 + ["HTTPRoute"] * 4
    kind = draw(st.sampled_from([*often, "Gateway", "Secret", "Namespace"]))
    name, namespace = draw(st.sampled_from("abc")), draw(st.sampled_from("nm"))
    metadata: Object = {"name": name, "namespace": namespace}
    metadata["creationTimestamp"] = f"2026-01-01T00:00:0{draw(st.integers(0, 2))}Z"
    made: Object = {"apiVersion": "gateway.networking.k8s.io/v1", "kind": kind, "metadata": metadata}
    found = draw(st.lists(listeners, min_size=1, max_size=3))
    named = [{"name": f"l{i}", "tls": {"certificateRefs": [{"name": "c"}]}, **entry} for i, entry in enumerate(found)]
    parent = {"name": draw(st.sampled_from("aaab")), "namespace": "n"}
    if kind == "Gateway":
        metadata["namespace"] = "n"
        allowed = draw(st.sampled_from(["All", "All", "Same", "Selector"]))
        namespaces = {"from": allowed, "selector": {"matchLabels": {"k": "v"}}}
        made["spec"] = {"gatewayClassName": "istio", "listeners": named, "allowedListeners": {"namespaces": namespaces}}
    elif kind == "ListenerSet":
        made["spec"] = {"parentRef": parent, "listeners": named}
    elif kind == "HTTPRoute":
        at = {"kind": "ListenerSet", "name": draw(st.sampled_from("abc")), "namespace": draw(st.sampled_from("nm"))}
        hosts = draw(st.sampled_from([[], ["x.a.com"], ["*.a.com", "b.com"], ["y.x.a.com"]]))
        made["spec"] = {"parentRefs": [at, parent], "hostnames": hosts, "rules": [{"backendRefs": []}]}
    elif kind == "Secret":
        pem = {"tls.crt": "LS0tLS1CRUdJTiBDRVJU", "tls.key": "LS0tLS1CRUdJTiBLRVk="}
        made |= {"apiVersion": "v1", "type": "kubernetes.io/tls", "data": pem}
    else:
        made["apiVersion"] = "v1"
        made["metadata"] = {"name": namespace, "labels": draw(st.sampled_from([{}, {"k": "v"}]))}
    return made, draw(st.integers(0, 5)) == 0


def _whole(mesh: Mesh) -> list[Any]:
    """What a mesh is made of, and what statuses say."""
    found = mesh.gateways
    counts = {(g, s.ident): found.attached(g, s.ident) for g in found.states for s in found.listeners(g)}
    return [mesh.objects, found.states, found.sets, {k: found.status(k) for k in found._routes}, counts]


@settings(max_examples=150, deadline=None)
@given(st.lists(_changes(), min_size=8, max_size=24))
def test_any_changes_end_as_the_objects_alone_would(changes: list[tuple[Object, bool]]) -> None:
    start = [edge(HTTP, http("*.a.com", name="wild")), SECRET % "n", SECRET % "m"]
    start[0] = start[0].replace("name: edge, namespace: default", "name: a, namespace: n")
    mesh, last = apply(Mesh(), CLASS, SERVICE), {}
    typed = [manifests.typed(d) for text in start for d in manifests.documents(text)]
    for parsed, gone in [*((t, False) for t in typed), *((manifests.typed(change), gone) for change, gone in changes)]:
        assert parsed is not None
        assert not isinstance(parsed, Finding)
        last[parsed[0]] = None if gone else parsed[1]
        mesh.apply(parsed[0], last[parsed[0]])
    expected = apply(Mesh(), CLASS, SERVICE)
    for key, obj in sorted(last.items(), key=lambda i: i[0], reverse=True):
        if obj is not None:
            expected.apply(key, obj)
    assert _whole(mesh) == _whole(expected)
