"""Odd certificates and requests are refused by everything that reads those of others, and end in nothing else."""

from __future__ import annotations

import base64
import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from sailcloth.ca import authority, csr, plugged_in
from sailcloth.local.apiserver.kinds import certificates
from sailcloth.mesh import mesh_config

from ..authorities import Authority

DER = serialization.Encoding.DER
KEY = ec.generate_private_key(ec.SECP256R1())
X400, DNS = b"\xa3\x06\x02\x04\x00\x00\x00\x00", b"\x82\x06aaaaaa"  # names of eight bytes
ROOT = Authority("root")


def pem(kind: str, der: bytes) -> bytes:
    return f"-----BEGIN {kind}-----\n{base64.encodebytes(der).decode()}-----END {kind}-----\n".encode()


def request(old: bytes, new: bytes) -> bytes:
    names = x509.SubjectAlternativeName([x509.DNSName("a" * 6)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).add_extension(names, False)
    der = builder.sign(KEY, hashes.SHA256()).public_bytes(DER)
    assert old in der
    return pem("CERTIFICATE REQUEST", der.replace(old, new, 1))


def certificate() -> bytes:
    return pem(
        "CERTIFICATE", ROOT.certificate.public_bytes(DER).replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x40", 1)
    )


@pytest.mark.parametrize(
    "odd", [request(b"\x02\x01\x00", b"\x02\x01\x40"), request(DNS, X400)], ids=["version", "kind of name"]
)
def test_requests(odd: bytes) -> None:
    with pytest.raises(csr.CsrMalformed):
        csr.public_key(odd, "spiffe://a/ns/b/sa/c")
    with pytest.raises(ValueError, match="CERTIFICATE REQUEST expected"):
        certificates.parse_request({"request": base64.b64encode(odd).decode()})


@pytest.mark.parametrize(
    ("read", "error"),
    [
        (
            lambda odd: plugged_in.load({**ROOT.secret(), "ca-cert.pem": odd}, dt.datetime.now(dt.UTC)),
            plugged_in.InvalidCa,
        ),
        (
            lambda odd: plugged_in.load({**ROOT.secret(), "root-cert.pem": odd}, dt.datetime.now(dt.UTC)),
            plugged_in.InvalidCa,
        ),
        (lambda odd: authority.Authority.load(odd, ROOT.key_pem), ValueError),
        (lambda odd: mesh_config.parse(f"caCertificates: [{{pem: {odd.decode()!r}}}]"), ValueError),
    ],
)
def test_certificates(read: Callable[[bytes], Any], error: type[Exception]) -> None:
    with pytest.raises(x509.InvalidVersion):
        x509.load_pem_x509_certificate(certificate())
    with pytest.raises(error):
        read(certificate())
