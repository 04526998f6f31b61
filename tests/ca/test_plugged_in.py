"""A CA that an administrator plugs in: what it signs is trusted by its roots, and what does not fit together is refused."""

from __future__ import annotations

import datetime as dt
import itertools

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from sailcloth.ca import plugged_in
from sailcloth.ca.authority import CaExpired
from sailcloth.ca.plugged_in import InvalidCa

from ..authorities import DAY, Authority
from .test_authority import WHO, csr

NOW = dt.datetime.now(dt.UTC)
HOUR = dt.timedelta(hours=1)
ROOT = Authority("root")
UPPER = Authority("upper", ROOT)
LOWER = Authority("lower", UPPER)


def ec_key(curve: ec.EllipticCurve) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(curve)


@pytest.mark.parametrize(
    ("files", "names"),
    [
        (LOWER.secret(LOWER, UPPER, ROOT), ["lower", "upper"]),
        (LOWER.secret(UPPER), ["lower", "upper"]),
        (LOWER.secret(ROOT, UPPER, LOWER), ["lower", "upper"]),
        (UPPER.secret(), ["upper"]),
        (ROOT.secret(), []),
        ({**UPPER.secret(), "cert-chain.pem": b""}, ["upper"]),
        (UPPER.secret(roots=Authority("another").pem + ROOT.pem), ["upper"]),
    ],
    ids=["Istio's order", "without itself", "upside down", "one", "a root", "no chain file", "two roots"],
)
def test_the_chain_leads_from_the_leaf_to_a_root(files: dict[str, bytes], names: list[str]) -> None:
    authority = plugged_in.load(files, NOW)
    assert [c.subject.rfc4514_string() for c in authority.chain] == [f"CN={n}" for n in names]
    leaf, *chain, roots = [x509.load_pem_x509_certificates(pem) for pem in authority.sign(csr(), WHO, HOUR)]
    path = [leaf[0], *(c[0] for c in chain), authority.root]
    for lower, upper in itertools.pairwise(path):
        lower.verify_directly_issued_by(upper)
    assert authority.root == ROOT.certificate
    assert authority.root in roots


@pytest.mark.parametrize(
    "key",
    [ec_key(ec.SECP384R1()), rsa.generate_private_key(65537, 2048)],
    ids=["ECDSA P-384", "RSA"],
)
def test_keys_of_both_kinds_sign(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> None:
    authority = plugged_in.load(Authority("ours", ROOT, key).secret(), NOW)
    leaf = x509.load_pem_x509_certificate(authority.sign(csr(), WHO, HOUR)[0])
    leaf.verify_directly_issued_by(authority.certificate)


def test_no_certificate_outlives_the_ca() -> None:
    authority = plugged_in.load(Authority("ours", ROOT, valid=(-DAY, HOUR / 2)).secret(), NOW)
    leaf = x509.load_pem_x509_certificate(authority.sign(csr(), WHO, HOUR)[0])
    assert leaf.not_valid_after_utc == authority.certificate.not_valid_after_utc
    ended = Authority("ours", ROOT, valid=(-DAY, -HOUR)).secret()
    with pytest.raises(CaExpired, match="ended at"):
        plugged_in.load(ended, NOW - 2 * HOUR).sign(csr(), WHO, HOUR)


ENCRYPTED = UPPER.key.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"word")
)


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({}, "ca-cert.pem is missing"),
        ({**UPPER.secret(), "root-cert.pem": b"\n"}, "root-cert.pem is missing"),
        ({**UPPER.secret(), "ca-cert.pem": b"nonsense"}, "ca-cert.pem holds no certificate"),
        ({**UPPER.secret(), "ca-key.pem": b""}, "ca-key.pem: "),
        ({**UPPER.secret(), "ca-key.pem": b"nonsense"}, "ca-key.pem: "),
        ({**UPPER.secret(), "ca-key.pem": LOWER.key_pem}, "does not belong"),
        ({**UPPER.secret(), "ca-key.pem": ENCRYPTED}, "encrypted"),
        ({**UPPER.secret(), "root-cert.pem": Authority("foreign").pem}, "no certificate of root-cert.pem or"),
        (LOWER.secret(), "issued CN=lower"),
        (Authority("leaf", ROOT, ca=False).secret(), "not one of a CA"),
        (Authority("old", ROOT, valid=(-2 * DAY, -DAY)).secret(), "renew it"),
        (Authority("early", ROOT, valid=(DAY, 2 * DAY)).secret(), "renew it"),
        (Authority("under old", Authority("old root", valid=(-2 * DAY, -DAY))).secret(), "CN=old root"),
    ],
)
def test_refused(files: dict[str, bytes], reason: str) -> None:
    with pytest.raises(InvalidCa, match=reason) as refused:
        plugged_in.load(files, NOW)
    assert "PRIVATE" not in str(refused.value)


def test_revocation_lists_are_kept_and_nonsense_is_refused() -> None:
    one, two = UPPER.revoke(1), ROOT.revoke(2)
    assert plugged_in.revoked({"ca-crl.pem": b"# comment\n" + one + two}) == one + two
    assert plugged_in.revoked({}) == plugged_in.revoked({"ca-crl.pem": b"\n"}) == b""
    for wrong in (b"nonsense", b"-----BEGIN X509 CRL-----\nnonsense\n-----END X509 CRL-----\n"):
        with pytest.raises(InvalidCa, match=r"ca-crl\.pem"):
            plugged_in.revoked({"ca-crl.pem": wrong})
