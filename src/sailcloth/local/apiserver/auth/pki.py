"""The server's certificates and keys, created once in a private directory (0700, files 0600), and kubeconfigs for clients."""

from __future__ import annotations

import base64
import datetime as dt
import ipaddress
from dataclasses import dataclass
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from sailcloth.lib.private_file import write_private

_LIFE = dt.timedelta(days=3650)
_NAMES = (
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
)
_ADDRESSES = ("127.0.0.1", "10.42.0.1", "10.96.0.1")


@dataclass(frozen=True)
class KeyPair:
    certificate: bytes
    key: bytes


@dataclass(frozen=True)
class Pki:
    """Everything the server needs; all PEM."""

    ca: KeyPair
    server: KeyPair
    service_account_key: bytes
    directory: Path

    def client(self, name: str, groups: tuple[str, ...]) -> KeyPair:
        """A client certificate (CN=name, O=group…)."""
        subject = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, g) for g in groups]
        return _issue(self.ca, [*subject, x509.NameAttribute(NameOID.COMMON_NAME, name)], client=True)


def load(directory: Path) -> Pki:
    """The PKI in a directory, created if it does not exist. Raises ValueError that names a file which is damaged, and OSError."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def pair(name: str, make: object) -> KeyPair:
        cert, key = directory / f"{name}.crt", directory / f"{name}.key"
        if not (cert.exists() and key.exists()):
            loaded = make()  # type: ignore[operator]
            write_private(key, loaded.key)
            write_private(cert, loaded.certificate)
        return _checked(cert, key)

    ca = pair("ca", _authority)
    server = pair(
        "server", lambda: _issue(ca, [x509.NameAttribute(NameOID.COMMON_NAME, "kube-apiserver")], client=False)
    )
    accounts = directory / "service-accounts.key"
    if not accounts.exists():
        write_private(accounts, _pem(ec.generate_private_key(ec.SECP256R1())))
    _private_key(accounts)
    return Pki(ca, server, accounts.read_bytes(), directory)


def _private_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """Raises ValueError that names the file."""
    content = path.read_bytes()
    if not content.strip():
        raise ValueError(f"{path} is empty")
    try:
        key = serialization.load_pem_private_key(content, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ValueError(f"{path} is not a private key in PEM: {error}") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError(f"{path} is not a key of an elliptic curve")
    return key


def _checked(cert: Path, key: Path) -> KeyPair:
    """A certificate and its key. Raises ValueError that names the damaged file."""
    pair = KeyPair(cert.read_bytes(), key.read_bytes())
    if not pair.certificate.strip():
        raise ValueError(f"{cert} is empty")
    try:
        certificate = x509.load_pem_x509_certificate(pair.certificate)
    except ValueError as error:
        raise ValueError(f"{cert} is not a certificate in PEM: {error}") from None
    if certificate.public_key() != _private_key(key).public_key():
        raise ValueError(f"{key} is not the key of {cert}")
    return pair


def kubeconfig(pki: Pki, server: str, user: str, groups: tuple[str, ...]) -> bytes:
    """A kubeconfig with an embedded client certificate."""
    pair = pki.client(user, groups)

    def data(pem: bytes) -> str:
        return base64.b64encode(pem).decode()

    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "sailcloth",
        "clusters": [
            {"name": "sailcloth", "cluster": {"server": server, "certificate-authority-data": data(pki.ca.certificate)}}
        ],
        "contexts": [{"name": "sailcloth", "context": {"cluster": "sailcloth", "user": user, "namespace": "default"}}],
        "users": [
            {
                "name": user,
                "user": {"client-certificate-data": data(pair.certificate), "client-key-data": data(pair.key)},
            }
        ],
    }
    return yaml.safe_dump(config, sort_keys=False).encode()


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _authority() -> KeyPair:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sailcloth-kubernetes")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + _LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.KeyUsage(True, False, False, False, False, True, True, False, False), critical=True)
        .sign(key, hashes.SHA256())
    )
    return KeyPair(certificate.public_bytes(serialization.Encoding.PEM), _pem(key))


def _issue(ca: KeyPair, subject: list[x509.NameAttribute[str]], client: bool) -> KeyPair:
    issuer = x509.load_pem_x509_certificate(ca.certificate)
    issuer_key = serialization.load_pem_private_key(ca.key, None)
    assert isinstance(issuer_key, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    now = dt.datetime.now(dt.UTC)
    usage = x509.oid.ExtendedKeyUsageOID.CLIENT_AUTH if client else x509.oid.ExtendedKeyUsageOID.SERVER_AUTH
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name(subject))
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + _LIFE)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    if not client:
        names: list[x509.GeneralName] = [x509.DNSName(n) for n in _NAMES]
        names += [x509.IPAddress(ipaddress.ip_address(a)) for a in _ADDRESSES]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    certificate = builder.sign(issuer_key, hashes.SHA256())
    return KeyPair(certificate.public_bytes(serialization.Encoding.PEM), _pem(key))
