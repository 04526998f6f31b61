"""A program: a server of secrets on a UNIX socket, for one identity under the CA of a mounted folder. Imports nothing of the tests."""

from __future__ import annotations

import datetime as dt
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2
from envoy.service.discovery.v3 import discovery_pb2

PEM = serialization.Encoding.PEM
URL = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"


def main(folder: str, identity: str, path: str) -> None:
    roots = Path(folder, "ca.pem").read_bytes()
    issuer = x509.load_pem_x509_certificate(roots)
    signer = serialization.load_pem_private_key(Path(folder, "ca.key").read_bytes(), None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    key, now = ec.generate_private_key(ec.SECP256R1()), dt.datetime.now(dt.UTC)
    leaf = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(identity)]), critical=True)
        .sign(signer, hashes.SHA256())
    )

    def secret(name: str) -> secret_pb2.Secret:
        made = secret_pb2.Secret(name=name)
        if name == "ROOTCA":
            made.validation_context.trusted_ca.inline_bytes = roots
        else:
            made.tls_certificate.certificate_chain.inline_bytes = leaf.public_bytes(PEM)
            private = key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
            made.tls_certificate.private_key.inline_bytes = private
        return made

    def stream(requests: Iterator[bytes], _: Any) -> Iterator[bytes]:
        for body in requests:
            request = discovery_pb2.DiscoveryRequest.FromString(body)
            if not request.response_nonce:
                response = discovery_pb2.DiscoveryResponse(version_info="1", nonce="1", type_url=URL)
                for name in request.resource_names:
                    response.resources.add(type_url=URL, value=secret(name).SerializeToString())
                yield bytes(response.SerializeToString())

    server = grpc.server(ThreadPoolExecutor(16))
    methods = {"StreamSecrets": grpc.stream_stream_rpc_method_handler(stream)}
    service = "envoy.service.secret.v3.SecretDiscoveryService"
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, methods),))
    server.add_insecure_port(f"unix:{path}")
    server.start()
    os.chmod(path, 0o777)  # Envoy is another user
    server.wait_for_termination()


if __name__ == "__main__":
    main(*sys.argv[1:4])
