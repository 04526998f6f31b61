"""BackendTLSPolicies: which TLS gateways speak to a service, what a policy that cannot be used does, and whose entry its status gets."""

from __future__ import annotations

from typing import Any

import pytest

from sailcloth.analysis import manifests
from sailcloth.api.destination_rule import ClientTLSSettings
from sailcloth.api.meta import Finding, Key
from sailcloth.mesh import backend_tls_settings
from sailcloth.mesh.registry import Mesh

SERVICE = "{apiVersion: v1, kind: Service, metadata: {name: web, namespace: default}, spec: {ports: [{name: https, port: 443}, {name: other, port: 444}]}}"
ROOTS = '{apiVersion: v1, kind: ConfigMap, metadata: {name: %s, namespace: default}, data: {ca.crt: "-----BEGIN CERTIFICATE-----"}}'
REF = '{group: "", kind: ConfigMap, name: %s}'
WEB = Key("Service", "default", "web")


def policy(name: str, validation: str, section: str = "", created: str = "2026-01-01T00:00:00Z") -> str:
    part = f", sectionName: {section}" if section else ""
    return (
        f"{{apiVersion: gateway.networking.k8s.io/v1, kind: BackendTLSPolicy, metadata: {{name: {name}, namespace: default,"
        f' creationTimestamp: "{created}"}}, spec: {{targetRefs: [{{group: "", kind: Service, name: web{part}}}],'
        f" validation: {{hostname: web.example.com, {validation}}}}}}}"
    )


def mesh_of(*texts: str) -> Mesh:
    made = Mesh()
    for text in texts:
        apply(made, text)
    return made


def apply(mesh: Mesh, text: str) -> None:
    for body in manifests.documents(text):
        parsed = manifests.typed(body)
        assert parsed is not None
        assert not isinstance(parsed, Finding)
        mesh.apply(*parsed)


def settings(mesh: Mesh, port: str = "https") -> ClientTLSSettings | None:
    found: Any = mesh.graph.get(backend_tls_settings.settings, WEB, port)
    return found  # type: ignore[no-any-return]


def status(mesh: Mesh, name: str) -> tuple[str, str]:
    found = mesh.backend_tls.status(Key("BackendTLSPolicy", "default", name))
    assert found is not None
    assert found.resolved is not None
    return found.accepted[1], found.resolved[1]


def test_a_policy_with_roots_of_a_config_map() -> None:
    mesh = mesh_of(SERVICE, ROOTS % "roots", policy("p", f"caCertificateRefs: [{REF % 'roots'}]"))
    name = "kubernetes-gateway://default/configmap/roots"
    expected = ClientTLSSettings(
        mode="SIMPLE", sni="web.example.com", subject_alt_names=("web.example.com",), credential_name=name
    )
    assert settings(mesh) == settings(mesh, "other") == expected
    assert mesh.graph.get(backend_tls_settings.credentials) == (name,)
    assert status(mesh, "p") == ("Accepted", "ResolvedRefs")
    mesh.apply(Key("BackendTLSPolicy", "default", "p"), None)
    assert settings(mesh) is None
    assert mesh.graph.get(backend_tls_settings.credentials) == ()


def test_names_that_the_certificate_may_have() -> None:
    names = "[{type: Hostname, hostname: a.example.com}, {type: URI, uri: 'spiffe://x/y'}]"
    mesh = mesh_of(SERVICE, policy("p", f"wellKnownCACertificates: System, subjectAltNames: {names}"))
    found = settings(mesh)
    assert found is not None
    assert (found.sni, found.subject_alt_names, found.credential_name) == (
        "web.example.com", ("a.example.com", "spiffe://x/y"), None,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("validation", "expected"),
    [
        (f"caCertificateRefs: [{REF % 'missing'}]", ("NoValidCACertificate", "InvalidCACertificateRef")),
        (
            "caCertificateRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: x}]",
            ("NoValidCACertificate", "InvalidKind"),
        ),
        ("wellKnownCACertificates: example.com/ours", ("Invalid", "ResolvedRefs")),
        (f"caCertificateRefs: [{REF % 'roots'}, {REF % 'missing'}]", ("Accepted", "InvalidCACertificateRef")),
    ],
)
def test_a_policy_that_verifies_nothing_lets_nothing_through(validation: str, expected: tuple[str, str]) -> None:
    mesh = mesh_of(SERVICE, ROOTS % "roots", policy("p", validation))
    assert status(mesh, "p") == expected
    found = settings(mesh)
    assert found is not None
    assert (found.subject_alt_names == ("web.example.com",)) == (expected[0] == "Accepted")


def test_roots_that_come_later() -> None:
    mesh = mesh_of(SERVICE, policy("p", f"caCertificateRefs: [{REF % 'roots'}]"))
    assert status(mesh, "p")[0] == "NoValidCACertificate"
    mesh.backend_tls.evaluated.clear()
    apply(mesh, ROOTS % "roots")
    assert status(mesh, "p") == ("Accepted", "ResolvedRefs")
    assert mesh.backend_tls.evaluated == {Key("BackendTLSPolicy", "default", "p")}


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_the_oldest_policy_of_a_port_counts(order: tuple[int, ...]) -> None:
    system = "wellKnownCACertificates: System"
    texts = (
        policy("young", system, created="2026-02-02T00:00:00Z"),
        policy("old", system),
        policy("part", system.replace("System", "System, subjectAltNames: [{type: Hostname, hostname: b}]"), "https", "2026-03-03T00:00:00Z"),
    )  # fmt: skip
    mesh = mesh_of(SERVICE, *(texts[i] for i in order))
    assert [status(mesh, n)[0] for n in ("young", "old", "part")] == ["Conflicted", "Accepted", "Accepted"]
    https, other = settings(mesh), settings(mesh, "other")
    assert https is not None
    assert other is not None
    assert (https.subject_alt_names, other.subject_alt_names) == (("b",), ("web.example.com",))
    mesh.apply(Key("BackendTLSPolicy", "default", "old"), None)
    assert status(mesh, "young")[0] == "Accepted"


def test_a_service_that_does_not_exist() -> None:
    mesh = mesh_of(policy("p", "wellKnownCACertificates: System"))
    assert status(mesh, "p")[0] == "TargetNotFound"
    mesh.backend_tls.evaluated.clear()
    apply(mesh, SERVICE)
    assert status(mesh, "p")[0] == "Accepted"
    assert mesh.backend_tls.evaluated


ENTRY = (
    "{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: web, namespace: default},"
    " spec: {hosts: [web.example.com], resolution: DNS, ports: [{name: tls, number: 443, protocol: HTTPS}]}}"
)


def target_statuses(mesh: Mesh, name: str) -> list[tuple[str, str]]:
    found = mesh.backend_tls.target_statuses(Key("BackendTLSPolicy", "default", name))
    return [(target.section, s.accepted[1]) for target, s in found]


def test_service_entries_have_policies_too() -> None:
    entry = policy("p", "wellKnownCACertificates: System", "tls").replace(
        'group: "", kind: Service', "group: networking.istio.io, kind: ServiceEntry"
    )
    mesh = mesh_of(SERVICE, entry)
    assert target_statuses(mesh, "p") == [("tls", "TargetNotFound")]
    apply(mesh, ENTRY)
    assert target_statuses(mesh, "p") == [("tls", "Accepted")]
    found: Any = mesh.graph.get(backend_tls_settings.settings, Key("ServiceEntry", "default", "web"), "tls")
    assert found.sni == "web.example.com"
    assert settings(mesh) is None  # of the Service of the same name


def test_a_target_whose_port_does_not_exist() -> None:
    mesh = mesh_of(SERVICE, policy("p", "wellKnownCACertificates: System", "htpps"))
    assert target_statuses(mesh, "p") == [("htpps", "TargetNotFound")]
    assert status(mesh, "p") == ("TargetNotFound", "ResolvedRefs")


def test_an_ignored_policy_counts_for_nothing() -> None:
    system = "wellKnownCACertificates: System"
    ignored = policy("old", system).replace(
        "{name: old,", '{name: old, annotations: {istio.io/ignore-policy-attachment: "true"},'
    )
    mesh = mesh_of(SERVICE, ignored, policy("young", system, created="2026-02-02T00:00:00Z"))
    assert target_statuses(mesh, "old") == [("", "IgnoredByIstio")]
    assert target_statuses(mesh, "young") == [("", "Accepted")]
    apply(mesh, policy("old", system))
    assert target_statuses(mesh, "young") == [("", "Conflicted")]
