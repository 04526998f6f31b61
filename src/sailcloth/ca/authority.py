"""A self-signed root certificate that signs short-lived workload certificates. The caller stores its key (a Secret, as in Istio)."""

from __future__ import annotations

import datetime as dt
import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

ROOT_LIFETIME = dt.timedelta(days=3650)
MAX_LIFETIME = dt.timedelta(days=90)
BACKDATE = dt.timedelta(minutes=2)  # clocks of workloads may be a little behind
_MAX_CSR = 16 << 10


class CsrRefused(Exception):
    """A CSR that must not be signed; the text says why, and contains no secret."""


@dataclass(frozen=True)
class Identity:
    """A verified workload: the parts of its SPIFFE id, and attributes for the certificate (empty ones are omitted)."""

    trust_domain: str
    namespace: str
    service_account: str
    workload: str = ""
    app: str = ""
    version: str = ""
    service: str = ""

    @property
    def uri(self) -> str:
        return f"spiffe://{self.trust_domain}/ns/{self.namespace}/sa/{self.service_account}"

    @property
    def attributes(self) -> str:
        """One DNS name that holds workload, namespace, app, version and service: label by label, other characters escaped."""
        parts = (self.workload, self.namespace, self.app, self.version, self.service)
        return ".".join(_escape(p) for p in parts) + ".workload.sailcloth"


def _escape(text: str) -> str:
    """A DNS label: characters other than letters, digits and `-` as _hh; an empty text as `_`."""
    return re.sub(r"[^A-Za-z0-9-]", lambda m: "".join(f"_{b:02x}" for b in m[0].encode()), text)[:63] or "_"


class Authority:
    """Holds the root certificate and key."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> None:
        self.certificate, self._key = certificate, key

    @classmethod
    def create(cls, organization: str = "cluster.local") -> Authority:
        """A new self-signed root (ECDSA P-256, ten years)."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization)])
        now = dt.datetime.now(dt.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - BACKDATE)
            .not_valid_after(now + ROOT_LIFETIME)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_usage(sign_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        return cls(certificate, key)

    @classmethod
    def load(cls, certificate_pem: bytes, key_pem: bytes) -> Authority:
        """A root from PEM. Raises ValueError if the two do not belong together."""
        certificate = x509.load_pem_x509_certificate(certificate_pem)
        key = serialization.load_pem_private_key(key_pem, None)
        if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
            raise ValueError("the root's key is neither ECDSA nor RSA")
        if key.public_key() != certificate.public_key():
            raise ValueError("the root's key does not belong to its certificate")
        return cls(certificate, key)

    @property
    def certificate_pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def sign(self, csr_pem: bytes, identity: Identity, lifetime: dt.timedelta) -> list[bytes]:
        """A certificate for the request's public key with the identity's names, as PEM, leaf first and root last.

        Raises CsrRefused for a request that is not well formed, is not signed by its own key, has a weak key, or asks for
        names that are not the identity's.
        """
        key = _public_key(csr_pem, identity)
        now = dt.datetime.now(dt.UTC)
        lifetime = min(max(lifetime, dt.timedelta(seconds=1)), MAX_LIFETIME)
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(identity.uri)]
        if identity.workload:
            names.append(x509.DNSName(identity.attributes))
        certificate = (
            self._builder(key, now, lifetime)
            .subject_name(x509.Name([]))
            .add_extension(x509.SubjectAlternativeName(names), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        return [certificate.public_bytes(serialization.Encoding.PEM), self.certificate_pem]

    def server(self, names: Sequence[str], lifetime: dt.timedelta) -> tuple[bytes, bytes]:
        """(certificate chain, key) as PEM for a server of the control plane."""
        key = ec.generate_private_key(ec.SECP256R1())
        alternatives: list[x509.GeneralName] = []
        for name in names:
            try:
                alternatives.append(x509.IPAddress(ipaddress.ip_address(name)))
            except ValueError:
                alternatives.append(x509.DNSName(name))
        certificate = (
            self._builder(key.public_key(), dt.datetime.now(dt.UTC), lifetime)
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])]))
            .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return certificate.public_bytes(serialization.Encoding.PEM) + self.certificate_pem, pem

    def _builder(
        self, key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey, now: dt.datetime, lifetime: dt.timedelta
    ) -> x509.CertificateBuilder:
        issuer = self.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        return (
            x509.CertificateBuilder()
            .issuer_name(self.certificate.subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - min(BACKDATE, lifetime))
            .not_valid_after(min(now + lifetime, self.certificate.not_valid_after_utc))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(sign_certificates=False), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
                critical=False,
            )
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer), critical=False)
        )


def _usage(sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=not sign_certificates,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _public_key(csr_pem: bytes, identity: Identity) -> ec.EllipticCurvePublicKey | rsa.RSAPublicKey:
    if len(csr_pem) > _MAX_CSR:
        raise CsrRefused(f"certificate request is larger than {_MAX_CSR} bytes")
    try:
        csr = x509.load_pem_x509_csr(csr_pem)
        valid = csr.is_signature_valid
    except (ValueError, InvalidSignature) as error:
        raise CsrRefused("certificate request is not valid PEM PKCS#10") from error
    if not valid:
        raise CsrRefused("certificate request is not signed by its own key")
    key = csr.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size < 2048:
            raise CsrRefused(f"RSA key of {key.key_size} bits is too short; use 2048 or more")
    elif not isinstance(key, ec.EllipticCurvePublicKey) or key.key_size < 256:
        raise CsrRefused("key type is not supported; use ECDSA P-256 or RSA-2048")
    try:
        asked = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return key
    foreign = [str(n.value) for n in asked if str(n.value) != identity.uri]
    if foreign:
        raise CsrRefused(f"certificate request asks for the name {foreign[0]!r}, but the caller is {identity.uri}")
    return key
