"""Gateways of the Gateway API and the routes that are attached to them: what they become, what their statuses say, and what a change touches."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from sailcloth.analysis import manifests
from sailcloth.api.gateway import Gateway
from sailcloth.api.meta import Finding, Key
from sailcloth.api.virtual_service import VirtualService
from sailcloth.controlplane import gateway_deployments
from sailcloth.mesh import backend_tls_settings
from sailcloth.mesh.registry import Mesh

CLASS = "{apiVersion: gateway.networking.k8s.io/v1, kind: GatewayClass, metadata: {name: istio}, spec: {controllerName: istio.io/gateway-controller}}"
SERVICE = "{apiVersion: v1, kind: Service, metadata: {name: web, namespace: default}, spec: {clusterIP: 10.0.0.1, ports: [{port: 80}]}}"
EDGE = Key("KubernetesGateway", "default", "edge")


def gateway(*listeners: str, name: str = "edge", **spec: str) -> str:
    more = "".join(f", {k}: {v}" for k, v in spec.items())
    return (
        f"{{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {{name: {name}, namespace: default}},"
        f" spec: {{gatewayClassName: istio, listeners: [{', '.join(listeners)}]{more}}}}}"
    )


def route(name: str, spec: str = "", parents: str = "{name: edge}", namespace: str = "default", path: str = "/") -> str:
    rules = f"[{{matches: [{{path: {{value: {path}}}}}], backendRefs: [{{name: web, namespace: default, port: 80}}]}}]"
    return (
        f"{{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {{name: {name}, namespace: {namespace}}},"
        f" spec: {{parentRefs: [{parents}], rules: {rules}{', ' + spec if spec else ''}}}}}"
    )


HTTP = "{name: http, port: 80, protocol: HTTP}"
WILD = '{name: wild, port: 80, protocol: HTTP, hostname: "*.example.com"}'


def apply(mesh: Mesh, *texts: str) -> Mesh:
    for text in texts:
        for body in manifests.documents(text):
            parsed = manifests.typed(body)
            assert parsed is not None
            assert not isinstance(parsed, Finding)
            mesh.apply(*parsed)
    return mesh


def mesh_of(*texts: str) -> Mesh:
    return apply(Mesh(), CLASS, SERVICE, *texts)


def rules(mesh: Mesh) -> dict[tuple[str, str], list[str]]:
    """The names of the routes by (Gateway, host)."""
    found = {}
    for obj in mesh.objects.values():
        if isinstance(obj, VirtualService):
            (host,), (bound,) = obj.spec.hosts, obj.spec.gateways
            found[bound, host] = [r.name or "" for r in obj.spec.http]
    return found


def status(mesh: Mesh, name: str, namespace: str = "default") -> list[tuple[bool, str, bool, str]]:
    found = mesh.gateways.status(Key("HTTPRoute", namespace, name))
    return [(*s.accepted[:2], *s.resolved[:2]) for s in found]


def test_a_route_of_a_listener() -> None:
    mesh = mesh_of(gateway(HTTP), route("r"))
    assert rules(mesh) == {("default/edge~http", "*"): ["default.r.0"]}
    made = mesh.objects[Key("Gateway", "default", "edge~http")]
    assert isinstance(made, Gateway)
    assert made.spec.servers[0].hosts == ("*/*",)
    assert made.metadata.annotations["internal.istio.io/gateway-service"] == "edge-istio.default.svc.cluster.local"
    assert mesh.gateways.attached(EDGE, "http") == 1
    assert status(mesh, "r") == [(True, "Accepted", True, "ResolvedRefs")]


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ((gateway(HTTP), route("r", parents="{name: edge, sectionName: none}")), "NoMatchingParent"),
        ((gateway(HTTP), route("r", parents="{name: edge, port: 81}")), "NoMatchingParent"),
        ((gateway(WILD), route("r", "hostnames: [example.org]")), "NoMatchingListenerHostname"),
        (
            (gateway("{name: a, port: 80, protocol: HTTP, allowedRoutes: {kinds: [{kind: GRPCRoute}]}}"), route("r")),
            "NotAllowedByListeners",
        ),
    ],
)
def test_a_route_that_is_not_attached(texts: tuple[str, ...], expected: str) -> None:
    mesh = mesh_of(*texts)
    assert [s[1] for s in status(mesh, "r")] == [expected]
    assert rules(mesh) == {}
    assert not any(mesh.gateways.attached(EDGE, n) for n in ("http", "wild", "a"))


@pytest.mark.parametrize(
    ("allowed", "accepted"),
    [
        ("{namespaces: {from: Same}}", False),
        ("{namespaces: {from: All}}", True),
        ("{namespaces: {from: None}}", False),
        ("{namespaces: {from: Selector, selector: {matchLabels: {team: web}}}}", True),
        ("{namespaces: {from: Selector, selector: {matchLabels: {team: other}}}}", False),
    ],
)
def test_routes_of_other_namespaces(allowed: str, accepted: bool) -> None:
    listener = f"{{name: http, port: 80, protocol: HTTP, allowedRoutes: {allowed}}}"
    other = "{apiVersion: v1, kind: Namespace, metadata: {name: other, labels: {team: web}}}"
    mesh = mesh_of(other, gateway(listener), route("r", parents="{name: edge, namespace: default}", namespace="other"))
    assert [s[0] for s in status(mesh, "r", "other")] == [accepted]


def test_hosts_are_where_listener_and_route_overlap() -> None:
    mesh = mesh_of(
        gateway(WILD), route("r", 'hostnames: [a.example.com, "*.com", b.example.org]'), route("any", path="/any")
    )
    assert rules(mesh) == {
        ("default/edge~wild", "a.example.com"): ["default.r.0"],
        ("default/edge~wild", "*.example.com"): ["default.any.0", "default.r.0"],
    }


def test_the_narrower_listener_has_its_hosts_alone() -> None:
    """Also those that it has no route for."""
    mesh = mesh_of(
        gateway(HTTP, WILD), route("r", "hostnames: [a.example.com, b.org]", "{name: edge, sectionName: http}")
    )
    assert rules(mesh) == {
        ("default/edge~http", "b.org"): ["default.r.0"],
        ("default/edge~wild", "*.example.com"): ["no-route"],
    }


def test_conflicts_and_protocols() -> None:
    mesh = mesh_of(
        gateway(
            HTTP,
            "{name: twin, port: 80, protocol: HTTP}",
            "{name: tls, port: 80, protocol: HTTPS, tls: {certificateRefs: [{name: c}]}}",
            "{name: sctp, port: 53, protocol: SCTP}",
        )
    )
    state = mesh.gateways.states[EDGE]
    assert [s.conflicted[1] for s in state.listeners] == [
        "NoConflicts",
        "HostnameConflict",
        "ProtocolConflict",
        "NoConflicts",
    ]
    assert state.listeners[3].accepted[1] == "UnsupportedProtocol"
    assert state.accepted[:2] == (True, "ListenersNotValid")
    assert [k.name for k in mesh.objects if k.kind == "Gateway"] == ["edge~http"]
    assert not mesh_of(gateway("{name: sctp, port: 53, protocol: SCTP}")).gateways.states[EDGE].accepted[0]


SECRET = (
    "{apiVersion: v1, kind: Secret, metadata: {name: c, namespace: %s}, type: kubernetes.io/tls,"
    " data: {tls.crt: LS0tLS1CRUdJTiBDRVJU, tls.key: LS0tLS1CRUdJTiBLRVk=}}"
)
GRANT = """
{apiVersion: gateway.networking.k8s.io/v1beta1, kind: ReferenceGrant, metadata: {name: g, namespace: certs},
 spec: {from: [{group: gateway.networking.k8s.io, kind: Gateway, namespace: default}], to: [{group: "", kind: Secret}]}}
"""


def test_certificates() -> None:
    own = "{name: tls, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: c}]}}"
    mesh = mesh_of(gateway(own))
    assert mesh.gateways.states[EDGE].listeners[0].resolved[1] == "InvalidCertificateRef"
    apply(mesh, SECRET % "default")
    assert mesh.gateways.states[EDGE].listeners[0].serves
    made: Any = mesh.objects[Key("Gateway", "default", "edge~tls")]
    assert made.spec.servers[0].tls.credential_name == "c"
    mesh.apply(Key("Secret", "default", "c"), None)
    assert Key("Gateway", "default", "edge~tls") not in mesh.objects


def test_certificates_of_other_namespaces_need_a_grant() -> None:
    other = "{name: tls, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: c, namespace: certs}]}}"
    mesh = mesh_of(gateway(other), SECRET % "certs")
    assert mesh.gateways.states[EDGE].listeners[0].resolved[1] == "RefNotPermitted"
    apply(mesh, GRANT)
    made: Any = mesh.objects[Key("Gateway", "default", "edge~tls")]
    assert made.spec.servers[0].tls.credential_name == "kubernetes-gateway://certs/c"
    mesh.apply(Key("ReferenceGrant", "certs", "g"), None)
    assert Key("Gateway", "default", "edge~tls") not in mesh.objects


def test_backends_that_do_not_exist_answer_500_until_they_do() -> None:
    mesh = apply(Mesh(), CLASS, gateway(HTTP), route("r"))
    assert status(mesh, "r") == [(True, "Accepted", False, "BackendNotFound")]
    made: Any = mesh.objects[Key("VirtualService", "default", "edge~http~any")]
    assert made.spec.http[0].direct_response.status == 500
    apply(mesh, SERVICE)
    made = mesh.objects[Key("VirtualService", "default", "edge~http~any")]
    assert made.spec.http[0].route[0].destination.host == "web.default.svc.cluster.local"


def test_what_goes_leaves_nothing() -> None:
    mesh = mesh_of(gateway(HTTP, WILD), route("r"))
    before = len(mesh_of().objects)
    mesh.apply(Key("HTTPRoute", "default", "r"), None)
    assert mesh.gateways.attached(EDGE, "http") == 0
    mesh.apply(EDGE, None)
    assert len(mesh.objects) == before
    apply(mesh, gateway(HTTP), route("r"), CLASS.replace("istio.io/", "example.com/"))
    assert not [k for k in mesh.objects if "~" in k.name]


TEXTS = (CLASS, SERVICE, gateway(HTTP, WILD), route("a", "hostnames: [x.example.com]"), route("b", path="/b"))


@pytest.mark.parametrize("order", [*itertools.permutations(range(len(TEXTS)))][::7])
def test_any_order_gives_the_same(order: tuple[int, ...]) -> None:
    mesh = apply(Mesh(), *(TEXTS[i] for i in order))
    expected = apply(Mesh(), *TEXTS)
    assert mesh.objects == expected.objects
    assert [status(mesh, n) for n in "ab"] == [status(expected, n) for n in "ab"]


def test_a_change_of_one_route_among_many_touches_its_hosts() -> None:
    mesh = mesh_of(gateway(HTTP), *(route(f"r{n}", f"hostnames: [h{n}.org]") for n in range(200)))
    written: list[Key] = []
    put = mesh.gateways._put

    def counted(key: Key, obj: Any) -> bool:
        written.append(key)
        return put(key, obj)

    mesh.gateways._put = counted
    apply(mesh, route("r7", "hostnames: [h7.org, other.org]"))
    assert {k.name for k in written} == {"edge~http~h7.org", "edge~http~other.org"}


def other(kind: str, rule: str, parents: str = "{name: edge}", more: str = "") -> str:
    return (
        f"{{apiVersion: gateway.networking.k8s.io/v1, kind: {kind}, metadata: {{name: r, namespace: default}},"
        f" spec: {{parentRefs: [{parents}], rules: [{rule}]{more}}}}}"
    )


BACKENDS = "backendRefs: [{name: web, port: 80}]"


@pytest.mark.parametrize(
    ("method", "uri"),
    [
        ("{service: a.B, method: C}", {"exact": "/a.B/C"}),
        ("{service: a.B}", {"prefix": "/a.B"}),
        ("{method: C}", {"regex": "/[^/]+/C"}),
        ('{type: RegularExpression, service: "a.*", method: C}', {"regex": "/a.*/C"}),
    ],
)
def test_a_method_is_a_path(method: str, uri: dict[str, str]) -> None:
    mesh = mesh_of(gateway(HTTP), other("GRPCRoute", f"{{matches: [{{method: {method}}}], {BACKENDS}}}"))
    made: Any = mesh.objects[Key("VirtualService", "default", "edge~http~any")]
    found = made.spec.http[0].match[0].uri
    assert {k: getattr(found, k) for k in uri} == uri
    assert mesh.gateways.status(Key("GRPCRoute", "default", "r"))[0].accepted[0]


TLS = '{name: tls, port: 443, protocol: TLS, hostname: "*.example.com", tls: {mode: %s, certificateRefs: [{name: c}]}}'


@pytest.mark.parametrize("mode", ["Passthrough", "Terminate"])
def test_routes_of_tls_connections(mode: str) -> None:
    route_ = other("TLSRoute", f"{{{BACKENDS}}}", more=", hostnames: [a.example.com]")
    mesh = mesh_of(SECRET % "default", gateway(TLS % mode), route_)
    made: Any = mesh.objects[Key("VirtualService", "default", "edge~tls~a.example.com")]
    if mode == "Passthrough":
        assert made.spec.tls[0].match[0].sni_hosts == ("a.example.com",)
        assert not made.spec.tcp
    else:
        assert made.spec.tcp[0].route[0].destination.host == "web.default.svc.cluster.local"
    server: Any = mesh.objects[Key("Gateway", "default", "edge~tls")]
    assert server.spec.servers[0].tls.mode == ("PASSTHROUGH" if mode == "Passthrough" else "SIMPLE")


def test_routes_of_connections() -> None:
    backends = "backendRefs: [{name: web, port: 80, weight: 3}, {name: web, port: 80, weight: 1}, {name: none, port: 1, weight: 6}]"
    mesh = mesh_of(gateway("{name: tcp, port: 9000, protocol: TCP}", HTTP), other("TCPRoute", f"{{{backends}}}"))
    made: Any = mesh.objects[Key("VirtualService", "default", "edge~tcp~any")]
    assert [r.weight for r in made.spec.tcp[0].route] == [3, 1]
    assert mesh.gateways.attached(EDGE, "http") == 0
    found = mesh.gateways.status(Key("TCPRoute", "default", "r"))[0]
    assert (found.accepted[1], found.resolved[1]) == ("Accepted", "BackendNotFound")


UDP = "{name: %s, port: 53, protocol: UDP}"
DNS = "{apiVersion: v1, kind: Service, metadata: {name: dns, namespace: default}, spec: {clusterIP: 10.0.0.2, ports: [{port: 53, protocol: UDP}]}}"


def test_a_port_number_is_free_for_datagrams_beside_connections() -> None:
    tcp = "{name: tcp, port: 53, protocol: TCP}"
    state = mesh_of(gateway(UDP % "udp", tcp, UDP % "twin")).gateways.states[EDGE]
    assert [s.serves for s in state.listeners] == [True, True, False]
    assert state.listeners[2].conflicted[1] == "HostnameConflict"
    assert [s.kinds for s in state.listeners[:2]] == [("UDPRoute",), ("TCPRoute",)]
    service = gateway_deployments.objects(state, state.listeners)[1]
    assert [(p["name"], p["port"], p["protocol"]) for p in service["spec"]["ports"]] == [
        ("status-port", 15021, "TCP"),
        ("tcp-53", 53, "TCP"),
        ("udp-53", 53, "UDP"),
    ]


def test_routes_of_datagrams() -> None:
    backends = "backendRefs: [{name: dns, port: 53, weight: 3}, {name: none, port: 1, weight: 6}, {name: far, namespace: x, port: 1}]"
    mesh = mesh_of(DNS, gateway(UDP % "udp", HTTP), other("UDPRoute", f"{{{backends}}}"))
    made: Any = mesh.objects[Key("VirtualService", "default", "edge~udp~any")]
    # The share of what cannot be resolved is lost, as the API wants it of datagrams.
    assert {r.destination.host: r.weight for r in made.spec.tcp[0].route} == {
        "dns.default.svc.cluster.local": 3,
        "unresolved.invalid": 7,
    }
    assert (mesh.gateways.attached(EDGE, "udp"), mesh.gateways.attached(EDGE, "http")) == (1, 0)
    found = mesh.gateways.status(Key("UDPRoute", "default", "r"))[0]
    assert (found.accepted[1], found.resolved[1]) == ("Accepted", "RefNotPermitted")
    apply(mesh, other("TCPRoute", "{backendRefs: [{name: dns, port: 53}]}"))
    wrong = mesh.gateways.status(Key("TCPRoute", "default", "r"))[0].resolved
    assert wrong[1:] == ("BackendNotFound", "service default/dns has no port 53")
    apply(mesh, other("UDPRoute", "{backendRefs: [{name: none, port: 1}]}"))
    made = mesh.objects[Key("VirtualService", "default", "edge~udp~any")]
    assert not made.spec.tcp


def test_of_several_routes_of_datagrams_the_oldest_counts() -> None:
    def aged(name: str, year: int, backend: str) -> str:
        return (
            f"{{apiVersion: gateway.networking.k8s.io/v1, kind: UDPRoute, metadata: {{name: {name}, namespace: default,"
            f" creationTimestamp: '{year}-01-01T00:00:00Z'}}, spec: {{parentRefs: [{{name: edge}}],"
            f" rules: [{{backendRefs: [{{name: {backend}, port: 53}}]}}]}}}}"
        )

    second = DNS.replace("name: dns", "name: second")
    mesh = mesh_of(DNS, second, gateway(UDP % "udp"), aged("a", 2026, "second"), aged("b", 2025, "dns"))
    made: Any = mesh.objects[Key("VirtualService", "default", "edge~udp~any")]
    assert [r.destination.host for r in made.spec.tcp[0].route] == ["dns.default.svc.cluster.local"]
    assert mesh.gateways.attached(EDGE, "udp") == 2
    mesh.apply(Key("UDPRoute", "default", "b"), None)
    made = mesh.objects[Key("VirtualService", "default", "edge~udp~any")]
    assert [r.destination.host for r in made.spec.tcp[0].route] == ["second.default.svc.cluster.local"]


def test_https_and_tls_share_a_port() -> None:
    https = "{name: https, port: 443, protocol: HTTPS, hostname: b.example.com, tls: {certificateRefs: [{name: c}]}}"
    mesh = mesh_of(SECRET % "default", gateway(TLS % "Passthrough", https))
    assert all(s.serves for s in mesh.gateways.states[EDGE].listeners)


ROOTS = '{apiVersion: v1, kind: ConfigMap, metadata: {name: roots, namespace: %s}, data: {ca.crt: "-----BEGIN CERTIFICATE-----"}}'
HTTPS = "{name: %s, port: %d, protocol: HTTPS, tls: {certificateRefs: [{name: c}]}}"


def validation(reference: str, mode: str = "AllowValidOnly") -> str:
    return f"{{validation: {{caCertificateRefs: [{reference}], mode: {mode}}}}}"


def servers(mesh: Mesh) -> dict[str, Any]:
    """The TLS settings of each listener that is served."""
    found = (o for k, o in mesh.objects.items() if k.kind == "Gateway")
    return {g.metadata.name.partition("~")[2]: g.spec.servers[0].tls for g in found if isinstance(g, Gateway)}


def test_clients_certificates() -> None:
    own = '{group: "", kind: ConfigMap, name: roots}'
    lenient = f"{{port: 8443, tls: {validation(own, 'AllowInsecureFallback')}}}"
    tls = f"{{frontend: {{default: {validation(own)}, perPort: [{lenient}, {{port: 9443, tls: {{}}}}]}}}}"
    listeners = [HTTPS % (name, port) for name, port in (("a", 443), ("b", 8443), ("c", 9443))]
    mesh = mesh_of(SECRET % "default", gateway(*listeners, HTTP, tls=tls))
    assert set(servers(mesh)) == {"c", "http"}  # the others let in nobody while there are no roots to verify by
    states = {s.listener.name: s for s in mesh.gateways.states[EDGE].listeners}
    assert (states["a"].accepted[1], states["a"].resolved[1]) == ("NoValidCACertificate", "InvalidCACertificateRef")
    apply(mesh, ROOTS % "default")
    name = "kubernetes-gateway://default/configmap/roots"
    assert {n: (t.mode, bool(t.insecure_skip_verify), t.ca_cert_credential_name) for n, t in servers(mesh).items() if t} == {
        "a": ("MUTUAL", False, name),
        "b": ("OPTIONAL_MUTUAL", True, name),
        "c": ("SIMPLE", False, None),
    }  # fmt: skip
    mesh.apply(Key("ConfigMap", "default", "roots"), None)
    assert set(servers(mesh)) == {"c", "http"}


@pytest.mark.parametrize(
    ("reference", "resolved"),
    [
        ('{group: "", kind: Service, name: web}', "InvalidCACertificateKind"),
        ('{group: "", kind: ConfigMap, name: roots, namespace: other}', "RefNotPermitted"),
        ('{group: "", kind: Secret, name: c}', "InvalidCACertificateRef"),
    ],
)
def test_clients_certificates_that_nothing_verifies(reference: str, resolved: str) -> None:
    tls = f"{{frontend: {{default: {validation(reference)}}}}}"
    mesh = mesh_of(SECRET % "default", ROOTS % "other", gateway(HTTPS % ("a", 443), tls=tls))
    (state,) = mesh.gateways.states[EDGE].listeners
    assert (state.accepted[1], state.resolved[1], state.serves) == ("NoValidCACertificate", resolved, False)


def test_a_gateways_own_certificate_for_backends() -> None:
    """Which it shows to those with a BackendTLSPolicy, if it exists and may be used."""

    def own(mesh: Mesh) -> str:
        labels = (("gateway.networking.k8s.io/gateway-name", "edge"),)
        return str(mesh.graph.get(backend_tls_settings.client_certificate, "default", labels))

    mesh = mesh_of(gateway(HTTP, tls="{backend: {clientCertificateRef: {name: c}}}"))
    assert mesh.gateways.states[EDGE].client == (
        False, "InvalidClientCertificateRef", "Secret default/c does not exist",
    )  # fmt: skip
    assert own(mesh) == ""
    apply(mesh, SECRET % "default")
    assert own(mesh) == "c"
    apply(mesh, gateway(HTTP, tls="{backend: {clientCertificateRef: {name: c, namespace: certs}}}"), SECRET % "certs")
    assert mesh.gateways.states[EDGE].client[1] == "RefNotPermitted"  # type: ignore[index]
    assert own(mesh) == ""
    apply(mesh, GRANT)
    assert own(mesh) == "kubernetes-gateway://certs/c"
    apply(mesh, gateway(HTTP))
    assert (own(mesh), mesh.gateways.states[EDGE].client) == ("", None)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("tls-terminate-mode: MUTUAL", ("MUTUAL", "cert")),
        ("tls-terminate-mode: OPTIONAL_MUTUAL", ("OPTIONAL_MUTUAL", "cert")),
        ("tls-terminate-mode: ISTIO_MUTUAL", ("ISTIO_MUTUAL", None)),
        ("tls-terminate-mode: ISTIO_SIMPLE", ("SIMPLE", "builtin://")),
        ('tls-cipher-suites: "ECDHE-RSA-AES128-GCM-SHA256, other"', ("SIMPLE", "cert")),
    ],
)
def test_istios_options_of_tls(options: str, expected: tuple[str, str | None]) -> None:
    secret = (
        "{apiVersion: v1, kind: Secret, metadata: {name: cert, namespace: default}, data: {tls.crt: %s, tls.key: %s}}"
    )
    pem = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0t"
    refs = "" if "ISTIO" in options else "certificateRefs: [{name: cert}], "
    listener = f"{{name: tls, port: 443, protocol: HTTPS, tls: {{{refs}options: {{gateway.istio.io/{options}}}}}}}"
    mesh = mesh_of(secret % (pem, pem), gateway(listener))
    tls = mesh.objects[Key("Gateway", "default", "edge~tls")].spec.servers[0].tls  # type: ignore[attr-defined]
    assert (tls.mode, tls.credential_name) == expected
    assert tls.cipher_suites == (("ECDHE-RSA-AES128-GCM-SHA256", "other") if "cipher" in options else ())


def test_an_unknown_option_of_tls_is_told() -> None:
    tls = "{options: {gateway.istio.io/tls-terminate-mode: MAGIC}}"
    (state,) = (
        mesh_of(gateway(f"{{name: tls, port: 443, protocol: HTTPS, tls: {tls}}}")).gateways.states[EDGE].listeners
    )
    assert state.accepted[1] == "UnsupportedValue"


@pytest.mark.parametrize(
    ("labels", "options", "port", "mode"),
    [
        ("{topology.istio.io/network: n1}", "", 15443, "AUTO_PASSTHROUGH"),
        ("{topology.istio.io/network: n1}", "", 443, "PASSTHROUGH"),
        ('{topology.istio.io/network: n1, networking.istio.io/gatewayPort: "35443"}', "", 35443, "AUTO_PASSTHROUGH"),
        ("{}", "", 15443, "PASSTHROUGH"),
        ("{}", ", options: {gateway.istio.io/listener-protocol: auto-passthrough}", 443, "AUTO_PASSTHROUGH"),
    ],
)
def test_an_east_west_gateway_passes_mutual_tls_on(labels: str, options: str, port: int, mode: str) -> None:
    listener = f"{{name: x, port: {port}, protocol: TLS, hostname: '*.local', tls: {{mode: Passthrough{options}}}}}"
    text = gateway(listener).replace("namespace: default}", f"namespace: default, labels: {labels}}}", 1)
    mesh = mesh_of(text)
    tls = mesh.objects[Key("Gateway", "default", "edge~x")].spec.servers[0].tls  # type: ignore[attr-defined]
    assert tls.mode == mode


def test_a_waypoint_is_refused_with_a_reason_unless_it_is_anothers() -> None:
    waypoint = gateway(HTTP).replace("gatewayClassName: istio", "gatewayClassName: istio-waypoint")
    mesh = mesh_of(waypoint)
    assert mesh.gateways.states[EDGE].accepted[1] == "Invalid"
    apply(
        mesh,
        CLASS.replace("name: istio}", "name: istio-waypoint}").replace(
            "istio.io/gateway-controller", "example.com/other"
        ),
    )
    assert EDGE not in mesh.gateways.states
