"""What the certificate authority signs, and what it refuses."""

from __future__ import annotations

import datetime as dt

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from sailcloth.ca.authority import Authority, Identity
from sailcloth.ca.csr import CsrRefused

WHO = Identity("cluster.local", "default", "reviews", workload="reviews-v1", app="reviews", version="1.2")


def csr(names: list[str] | None = None, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | None = None) -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    if names:
        uris = [x509.UniformResourceIdentifier(n) for n in names]
        builder = builder.add_extension(x509.SubjectAlternativeName(uris), critical=False)
    made = builder.sign(key or ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    return made.public_bytes(serialization.Encoding.PEM)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.create()


def test_names_come_from_the_identity(authority: Authority) -> None:
    chain = authority.sign(csr(), WHO, dt.timedelta(hours=1))
    leaf = x509.load_pem_x509_certificate(chain[0])
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["spiffe://cluster.local/ns/default/sa/reviews"]
    assert names.get_values_for_type(x509.DNSName) == ["reviews-v1.default.reviews.1_2e2._._.workload.sailcloth"]
    leaf.verify_directly_issued_by(authority.certificate)
    assert chain[-1] == authority.certificate_pem
    life = leaf.not_valid_after_utc - dt.datetime.now(dt.UTC)
    assert dt.timedelta(minutes=58) < life <= dt.timedelta(hours=1)


@pytest.mark.parametrize(
    ("request_pem", "reason"),
    [
        (b"nonsense", "not valid PEM"),
        (b"x" * 20_000, "larger than"),
        (csr(["spiffe://cluster.local/ns/kube-system/sa/admin"]), "asks for the name"),
        (csr(key=rsa.generate_private_key(65537, 1024)), "too short"),
        (csr(key=ec.generate_private_key(ec.SECP192R1())), "not supported"),
    ],
    ids=["not a request", "too large", "foreign name", "weak RSA", "weak curve"],
)
def test_refused(authority: Authority, request_pem: bytes, reason: str) -> None:
    with pytest.raises(CsrRefused, match=reason):
        authority.sign(request_pem, WHO, dt.timedelta(hours=1))


def test_own_name_in_the_request_is_fine(authority: Authority) -> None:
    assert authority.sign(csr([WHO.uri]), WHO, dt.timedelta(hours=1))


def test_root_survives_storage(authority: Authority) -> None:
    again = Authority.load(authority.certificate_pem, authority.key_pem)
    assert again.certificate == authority.certificate
    with pytest.raises(ValueError, match="does not belong"):
        Authority.load(authority.certificate_pem, Authority.create().key_pem)
