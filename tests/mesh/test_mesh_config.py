"""The mesh's options: what is read, and what a wrong one is told."""

from __future__ import annotations

import pytest

from sailcloth.envoy.features.retries.policy import inbound
from sailcloth.mesh import mesh_config
from sailcloth.mesh.model import MeshConfig


def test_nothing_given_is_the_default() -> None:
    assert mesh_config.parse("") == MeshConfig()
    assert mesh_config.parse("unknownOption: {a: 1}") == MeshConfig()


def test_what_is_not_given_stays() -> None:
    base = mesh_config.parse("{trustDomain: a, connectTimeout: 5s, defaultHttpRetryPolicy: {attempts: 7}}")
    made = mesh_config.parse("rootNamespace: mesh", base)
    assert (made.trust_domain, made.connect_timeout_ms, made.root_namespace) == ("a", 5000.0, "mesh")
    assert made.retries is not None
    assert made.retries.attempts == 7


def test_options_can_be_a_key() -> None:
    hash(
        mesh_config.parse(
            "{defaultHttpRetryPolicy: {attempts: 7}, tcpKeepalive: {time: 5s}, trustDomainAliases: [b], "
            "localityLbSetting: {distribute: [{from: a, to: {b: 100}}]}}"
        )
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[", "not YAML"),
        ("[]", "must be a YAML object"),
        ("connectTimeout: soon", "connectTimeout"),
        ("protocolDetectionTimeout: 5 parsecs", "protocolDetectionTimeout"),
        ("outboundTrafficPolicy: {mode: SOME}", "REGISTRY_ONLY or ALLOW_ANY"),
        ("outboundTrafficPolicy: ALLOW_ANY", "outboundTrafficPolicy: 'ALLOW_ANY' is no object"),
        ("inboundTrafficPolicy: [1]", "inboundTrafficPolicy: [1] is no object"),
        ("defaultConfig: {1: 1, a: 2}", "defaultConfig: a name in it is no text"),
        ("accessLogEncoding: XML", "TEXT or JSON"),
        ("pathNormalization: {normalization: ALL}", "pathNormalization"),
        ("defaultHttpRetryPolicy: {attempts: many}", "defaultHttpRetryPolicy"),
        ("localityLbSetting: {distribute: [{from: 1}]}", "localityLbSetting"),
        ("trustDomainAliases: a", "trustDomainAliases: must be a list"),
        ("virtualServiceMerging: NEWEST", "MERGE or OLDEST_WINS"),
        ("caCertificates: {}", "caCertificates: must be a list"),
        ("caCertificates: [{spiffeBundleUrl: 'https://a'}]", "caCertificates[0].pem"),
        ("meshMTLS: []", "meshMTLS: must be an object"),
        ("meshMTLS: {minProtocolVersion: SSL3}", "meshMTLS.minProtocolVersion"),
        ("meshMTLS: {ecdhCurves: P-256}", "meshMTLS.ecdhCurves: must be a list"),
        ("tlsDefaults: {ecdhCurves: [P-224]}", "tlsDefaults.ecdhCurves"),
        ("tlsDefaults: {cipherSuites: [1]}", "tlsDefaults.cipherSuites"),
        ("defaultTrafficPolicy: []", "defaultTrafficPolicy: must be an object"),
        (
            "defaultTrafficPolicy: {connectionPool: {tcp: {maxConnections: many}}}",
            "defaultTrafficPolicy.connectionPool",
        ),
        ("defaultInboundHttpRetryPolicy: {attempts: many}", "defaultInboundHttpRetryPolicy"),
        ("h2UpgradePolicy: MAYBE", "UPGRADE or DO_NOT_UPGRADE"),
    ],
)
def test_a_wrong_option_is_named(text: str, words: str) -> None:
    with pytest.raises(ValueError, match="MeshConfig") as told:
        mesh_config.parse(text)
    assert words in str(told.value)


@pytest.mark.parametrize(
    ("options", "retries"),
    [
        ("", (2, ("reset-before-request",))),
        ("defaultInboundHttpRetryPolicy: {}", None),
        ("defaultInboundHttpRetryPolicy: {attempts: 1, retryOn: '5xx'}", (1, ("5xx",))),
    ],
)
def test_retries_of_requests_to_the_application(options: str, retries: object) -> None:
    policy = inbound(mesh_config.parse(options).inbound_retries)
    assert (policy and (policy.attempts, policy.on)) == retries


@pytest.mark.parametrize(
    ("selectors", "problem"),
    [
        ("{matchLabels: {a: b}}", r"discoverySelectors: must be a list"),
        ("[a]", r"discoverySelectors\[0\]: must be a label selector"),
        ("[{}, {labels: {a: b}}]", r"discoverySelectors\[1\].labels: is unknown; use matchLabels"),
        ("[{matchLabels: {a: true}}]", r"discoverySelectors\[0\].matchLabels: must map .* quotes"),
        ("[{matchExpressions: 1}]", r"discoverySelectors\[0\].matchExpressions: must be a list"),
        ("[{matchExpressions: [{operator: In}]}]", r"matchExpressions\[0\]: must be an object with key"),
        ("[{matchExpressions: [{key: a, operator: Is}]}]", r"operator: 'Is'; use In, NotIn, Exists or DoesNotExist"),
        ("[{matchExpressions: [{key: a, operator: In}]}]", r"values: must be a list for In and NotIn"),
    ],
)
def test_a_wrong_discovery_selector_is_refused(selectors: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        mesh_config.parse(f"discoverySelectors: {selectors}")
