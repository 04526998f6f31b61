"""A program: a CA that signs by Istio's protocol over TLS, for any caller with a token. Imports nothing of the tests."""

from __future__ import annotations

import base64
import datetime as dt
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

PEM = serialization.Encoding.PEM


def varint(value: int) -> bytes:
    return bytes([value]) if value < 0x80 else bytes([value & 0x7F | 0x80]) + varint(value >> 7)


def csr_of(body: bytes) -> bytes:
    """Field 1 of the request, which comes first and has fewer than 16 KiB."""
    length, at = body[1] & 0x7F, 2
    if body[1] & 0x80:
        length, at = length | body[2] << 7, 3
    return body[at : at + length]


def identity(token: str) -> str:
    """By the claims alone: a CA in earnest asks the API server."""
    part = token.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    assert claims["aud"] == ["istio-ca"], claims["aud"]
    bound = claims["kubernetes.io"]
    return f"spiffe://cluster.local/ns/{bound['namespace']}/sa/{bound['serviceaccount']['name']}"


def main(folder: str, name: str, port: str) -> None:
    root = Path(folder, "ca.pem").read_bytes()
    issuer = x509.load_pem_x509_certificate(root)
    signer = serialization.load_pem_private_key(Path(folder, "ca.key").read_bytes(), None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)

    def sign(key: Any, alternative: x509.GeneralName) -> bytes:
        now = dt.datetime.now(dt.UTC)
        builder = x509.CertificateBuilder().subject_name(x509.Name([])).issuer_name(issuer.subject).public_key(key)
        builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - dt.timedelta(minutes=1))
        builder = builder.not_valid_after(now + dt.timedelta(hours=1))
        builder = builder.add_extension(x509.SubjectAlternativeName([alternative]), critical=True)
        return builder.sign(signer, hashes.SHA256()).public_bytes(PEM)

    def create(body: bytes, context: Any) -> bytes:
        token = dict(context.invocation_metadata())["authorization"].removeprefix("Bearer ")
        request = x509.load_pem_x509_csr(csr_of(body))
        leaf = sign(request.public_key(), x509.UniformResourceIdentifier(identity(token)))
        return b"".join(b"\x0a" + varint(len(part)) + part for part in (leaf, root))

    own = ec.generate_private_key(ec.SECP256R1())
    key = own.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    server = grpc.server(ThreadPoolExecutor(4))
    methods = {"CreateCertificate": grpc.unary_unary_rpc_method_handler(create)}
    service = grpc.method_handlers_generic_handler("istio.v1.auth.IstioCertificateService", methods)
    server.add_generic_rpc_handlers((service,))
    credentials = grpc.ssl_server_credentials([(key, sign(own.public_key(), x509.DNSName(name)))])
    server.add_secure_port(f"0.0.0.0:{port}", credentials)
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main(*sys.argv[1:4])
