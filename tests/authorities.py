"""Certificate authorities of tests' own: roots, intermediates, leaves of any kind, and revocation lists."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

PEM = serialization.Encoding.PEM
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
DAY = dt.timedelta(days=1)


def key_pem(key: Key) -> bytes:
    return key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


@dataclass
class Authority:
    """A CA; `above` issued it, None for a root. `valid`: from and until when, relative to now."""

    name: str
    above: Authority | None = None
    key: Key = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    valid: tuple[dt.timedelta, dt.timedelta] = (-DAY, 10 * DAY)
    ca: bool = True

    def __post_init__(self) -> None:
        issuer = self.above or self
        self.certificate = self._made(issuer, self.subject, self.key, self.ca, [], self.valid)

    @property
    def subject(self) -> x509.Name:
        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, self.name)])

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(PEM)

    @property
    def key_pem(self) -> bytes:
        return key_pem(self.key)

    @property
    def root(self) -> Authority:
        return self.above.root if self.above is not None else self

    def secret(self, *chain: Authority, revoked: bytes = b"", roots: bytes = b"") -> dict[str, bytes]:
        """The files of a Secret `cacerts`."""
        files = {"ca-cert.pem": self.pem, "ca-key.pem": self.key_pem, "root-cert.pem": roots or self.root.pem}
        files["cert-chain.pem"] = b"".join(each.pem for each in chain) or self.pem
        return files | ({"ca-crl.pem": revoked} if revoked else {})

    def leaf(
        self, *uris: str, valid: tuple[dt.timedelta, dt.timedelta] = (-DAY, DAY)
    ) -> tuple[x509.Certificate, bytes]:
        """(certificate, PEM of its key) of a workload with these names."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = [x509.UniformResourceIdentifier(u) for u in uris]
        return self._made(self, x509.Name([]), key, False, names, valid), key_pem(key)

    def revoke(self, *serials: int) -> bytes:
        """A list of revoked certificates."""
        now = dt.datetime.now(dt.UTC) - dt.timedelta(minutes=1)
        builder = x509.CertificateRevocationListBuilder().issuer_name(self.subject).last_update(now)
        builder = builder.next_update(now + DAY)
        for serial in serials:
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now).build()
            builder = builder.add_revoked_certificate(entry)
        return builder.sign(self.key, hashes.SHA256()).public_bytes(PEM)

    @staticmethod
    def _made(
        issuer: Authority,
        subject: x509.Name,
        key: Key,
        ca: bool,
        names: list[x509.UniformResourceIdentifier],
        valid: tuple[dt.timedelta, dt.timedelta],
    ) -> x509.Certificate:
        now = dt.datetime.now(dt.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + valid[0])
            .not_valid_after(now + valid[1])
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=True)
        return builder.sign(issuer.key, hashes.SHA256())
