"""A CA certificate and its key: a self-signed root, or an intermediate of a root elsewhere. It signs short-lived workload
certificates. The caller stores its key (a Secret, as in Istio)."""

from __future__ import annotations

import datetime as dt
import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from sailcloth.lib.x509_errors import as_value_errors

from . import csr

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
ROOT_LIFETIME = dt.timedelta(days=3650)
MAX_LIFETIME = dt.timedelta(days=90)
BACKDATE = dt.timedelta(minutes=2)  # clocks of workloads may be a little behind


@dataclass(frozen=True)
class Identity:
    """A verified workload: the parts of its SPIFFE id, and attributes for the certificate (empty ones are omitted). `pod` is the
    one that its token is bound to, empty if none."""

    trust_domain: str
    namespace: str
    service_account: str
    workload: str = ""
    app: str = ""
    version: str = ""
    canonical_service: str = ""
    canonical_revision: str = ""
    pod: str = ""

    @property
    def uri(self) -> str:
        return f"spiffe://{self.trust_domain}/ns/{self.namespace}/sa/{self.service_account}"

    @property
    def attributes(self) -> str:
        """One DNS name that holds workload, namespace, app, version, canonical service and revision: label by label, other
        characters escaped. The proxies of peers count requests by it."""
        canonical = self.canonical_service, self.canonical_revision
        parts = (self.workload, self.namespace, self.app, self.version, *canonical)
        return ".".join(_escape(p) for p in parts) + ".workload.sailcloth"


def _escape(text: str) -> str:
    """A DNS label: characters other than letters, digits and `-` as _hh; an empty text as `_`."""
    return re.sub(r"[^A-Za-z0-9-]", lambda m: "".join(f"_{b:02x}" for b in m[0].encode()), text)[:63] or "_"


class CaExpired(Exception):
    """The CA's own certificate, or one above it, has ended."""


class Authority:
    """Signs with a CA's key.

    chain: the certificates that a peer needs between a leaf and the root, the CA's own first; empty for a root.
    roots: the certificates to trust. The chain ends in `root`, one of them.
    """

    def __init__(
        self,
        certificate: x509.Certificate,
        key: PrivateKey,
        chain: tuple[x509.Certificate, ...] = (),
        roots: tuple[x509.Certificate, ...] = (),
        root: x509.Certificate | None = None,
    ) -> None:
        self.certificate, self._key = certificate, key
        self.chain, self.roots = chain, roots or (certificate,)
        self.root = root or certificate
        self.not_after = min(c.not_valid_after_utc for c in (certificate, *chain, self.root))

    @classmethod
    def create(cls, organization: str = "cluster.local", lifetime: dt.timedelta = ROOT_LIFETIME) -> Authority:
        """A new self-signed root (ECDSA P-256)."""
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
            .not_valid_after(now + lifetime)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_usage(sign_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        return cls(certificate, key)

    @classmethod
    def load(cls, certificate_pem: bytes, key_pem: bytes) -> Authority:
        """A root from PEM. Raises ValueError if the two do not belong together."""
        with as_value_errors():
            certificate = x509.load_pem_x509_certificate(certificate_pem)
            return cls(certificate, private_key(key_pem, certificate))

    @property
    def certificate_pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def __eq__(self, other: object) -> bool:
        """Whether the other signs as this one and names the same roots."""
        return (
            isinstance(other, Authority)
            and (self.certificate, self.chain) == (other.certificate, other.chain)
            and set(self.roots) == set(other.roots)
        )

    def __hash__(self) -> int:
        return hash(self.certificate)

    def sign(self, csr_pem: bytes, identity: Identity, lifetime: dt.timedelta) -> list[bytes]:
        """A certificate for the request's public key with the identity's names, as PEM: the leaf, the chain, and last the roots.

        It does not outlive the CA. Raises CsrRefused for a request that is not well formed, is not signed by its own key, has a
        weak key, or asks for names that are not the identity's; CaExpired.
        """
        key = csr.public_key(csr_pem, identity.uri)
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
        return [*(pem([c]) for c in (certificate, *self.chain)), pem(self.roots)]

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
        secret = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return pem([certificate, *self.chain]), secret

    def empty_list(self, until: dt.datetime) -> bytes:
        """A revocation list of this CA with nothing in it, as PEM, which holds until then."""
        now = dt.datetime.now(dt.UTC)
        builder = x509.CertificateRevocationListBuilder().issuer_name(self.certificate.subject)
        builder = builder.last_update(now - BACKDATE).next_update(max(until, now))
        signed = builder.add_extension(self._key_identifier(), critical=False).sign(self._key, hashes.SHA256())
        return signed.public_bytes(serialization.Encoding.PEM)

    def _builder(self, key: csr.PublicKey, now: dt.datetime, lifetime: dt.timedelta) -> x509.CertificateBuilder:
        if self.not_after <= now:
            raise CaExpired(f"the CA's certificate ended at {self.not_after:%Y-%m-%d %H:%M:%S} UTC")
        return (
            x509.CertificateBuilder()
            .issuer_name(self.certificate.subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - min(BACKDATE, lifetime))
            .not_valid_after(min(now + lifetime, self.not_after))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(sign_certificates=False), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
                critical=False,
            )
            .add_extension(self._key_identifier(), critical=False)
        )

    def _key_identifier(self) -> x509.AuthorityKeyIdentifier:
        try:
            own = self.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        except x509.ExtensionNotFound:
            return x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)


def pem(certificates: Iterable[x509.Certificate]) -> bytes:
    """Certificates, each once, as PEM."""
    return b"".join(c.public_bytes(serialization.Encoding.PEM) for c in dict.fromkeys(certificates))


def fingerprint(certificate: x509.Certificate) -> str:
    """What agents and the control plane call a root by: SHA-256 in hex."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def private_key(key_pem: bytes, certificate: x509.Certificate) -> PrivateKey:
    """A CA's key. Raises ValueError if it is not one, or not the certificate's."""
    try:
        key = serialization.load_pem_private_key(key_pem, None)
    except TypeError:
        raise ValueError("the CA's key is encrypted; store it without a passphrase") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise ValueError("the CA's key is neither ECDSA nor RSA")
    if key.public_key() != certificate.public_key():
        raise ValueError("the CA's key does not belong to its certificate")
    return key


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
