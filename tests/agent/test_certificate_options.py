"""The variables of Istio's agent that say what a workload's certificate is."""

from __future__ import annotations

import logging

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from sailcloth.agent.certificate_options import CertificateOptions


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({}, CertificateOptions()),
        ({"ECC_SIGNATURE_ALGORITHM": "ECDSA", "WORKLOAD_RSA_KEY_SIZE": "4096"}, CertificateOptions()),
        ({"ECC_SIGNATURE_ALGORITHM": "ECDSA", "ECC_CURVE": "P384"}, CertificateOptions(curve="P384")),
        ({"WORKLOAD_RSA_KEY_SIZE": "2048"}, CertificateOptions(rsa_bits=2048)),
        ({"SECRET_TTL": "12h"}, CertificateOptions(lifetime_s=43_200)),
        ({"SECRET_GRACE_PERIOD_RATIO": "0.25"}, CertificateOptions(renew_at=0.75)),
        ({"SECRET_GRACE_PERIOD_RATIO_JITTER": "0.1"}, CertificateOptions(jitter=0.1)),
    ],
)
def test_read(env: dict[str, str], expected: CertificateOptions) -> None:
    assert CertificateOptions.from_env(env) == expected


@pytest.mark.parametrize(
    "env",
    [
        {"ECC_SIGNATURE_ALGORITHM": "RSA"},
        {"ECC_CURVE": "P224"},
        {"WORKLOAD_RSA_KEY_SIZE": "1024"},
        {"WORKLOAD_RSA_KEY_SIZE": "many"},
        {"SECRET_TTL": "soon"},
        {"SECRET_TTL": "-1h"},
        {"SECRET_GRACE_PERIOD_RATIO": "1.5"},
        {"SECRET_GRACE_PERIOD_RATIO": "nan"},
    ],
)
def test_a_wrong_value_is_said_and_has_no_effect(env: dict[str, str], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert CertificateOptions.from_env(env, 60) == CertificateOptions(lifetime_s=60)
    assert next(iter(env)) in caplog.text


def test_keys() -> None:
    for options, kind, bits in (
        (CertificateOptions(), ec.EllipticCurvePrivateKey, 256),
        (CertificateOptions(curve="P384"), ec.EllipticCurvePrivateKey, 384),
        (CertificateOptions(rsa_bits=2048), rsa.RSAPrivateKey, 2048),
    ):
        key = options.generate_key()
        assert isinstance(key, kind)
        assert key.key_size == bits


def test_renewal_is_at_half_of_the_lifetime_with_a_jitter_of_one_percent() -> None:
    options = CertificateOptions()
    assert [options.renewal_s(1000, r) for r in (0.0, 0.5, 1.0)] == pytest.approx([490, 500, 510])
    assert CertificateOptions(renew_at=1.0).renewal_s(1000, 1.0) == 950, "never after it has ended"
