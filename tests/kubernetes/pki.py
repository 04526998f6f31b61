"""Keys and certificates of one Kubernetes cluster: an authority of its own, and the kubeconfig of each component.

Everything lies in one folder that only its owner may read.
"""

from __future__ import annotations

import base64
import datetime as dt
import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.authorities import key_pem

NODE = "node1"
_DAY = dt.timedelta(days=1)
_SERVICE = "kubernetes.default.svc"
_COMPONENTS = {  # user name and group by which RBAC knows each
    "admin": ("admin", "system:masters"),
    "controller-manager": ("system:kube-controller-manager", ""),
    "scheduler": ("system:kube-scheduler", ""),
    "kube-proxy": ("system:kube-proxy", ""),
    NODE: (f"system:node:{NODE}", "system:nodes"),
}


@dataclass(frozen=True)
class Pki:
    """The files of one cluster. `addresses`: where its API server and its kubelet are reached."""

    folder: Path
    server: str  # URL of the API server
    addresses: tuple[str, ...]

    def kubeconfig(self, component: str) -> Path:
        return self.folder / f"{component}.kubeconfig"

    def certificate(self, name: str) -> Path:
        return self.folder / f"{name}.crt"

    def key(self, name: str) -> Path:
        return self.folder / f"{name}.key"

    def write(self) -> None:
        """Make all files, which takes some hundredths of a second."""
        self.folder.mkdir(mode=0o700)
        authority = ec.generate_private_key(ec.SECP256R1())
        name = _name("kubernetes", "")
        own = _certificate(name, name, authority.public_key(), authority, _authority_extensions())
        self._store("ca", authority, own)
        service_accounts = ec.generate_private_key(ec.SECP256R1())
        self._store("service-accounts", service_accounts, None)
        public = service_accounts.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        _write(self.folder / "service-accounts.pub", public)

        def issue(file: str, user: str, group: str, names: list[str]) -> None:
            key = ec.generate_private_key(ec.SECP256R1())
            issued = _certificate(_name(user, group), name, key.public_key(), authority, _leaf_extensions(names))
            self._store(file, key, issued)

        services = ["localhost", "kubernetes", "kubernetes.default", _SERVICE, f"{_SERVICE}.cluster.local", "10.96.0.1"]
        issue("apiserver", "kube-apiserver", "", [*services, *self.addresses])
        issue("etcd", "etcd", "", ["localhost", "127.0.0.1"])
        issue("kubelet", NODE, "", [NODE, *self.addresses])
        issue("apiserver-kubelet", "kube-apiserver-kubelet-client", "system:masters", [])
        issue("front-proxy", "front-proxy-client", "", [])
        for component, (user, group) in _COMPONENTS.items():
            issue(component, user, group, [])
            _write(self.kubeconfig(component), self._kubeconfig(component).encode())

    def _store(self, name: str, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate | None) -> None:
        _write(self.key(name), key_pem(key))
        if certificate is not None:
            _write(self.certificate(name), certificate.public_bytes(Encoding.PEM))

    def _kubeconfig(self, component: str) -> str:
        def data(file: Path) -> str:
            return base64.b64encode(file.read_bytes()).decode()

        return f"""\
apiVersion: v1
kind: Config
current-context: cluster
contexts: [{{name: cluster, context: {{cluster: cluster, user: {component}}}}}]
clusters:
- name: cluster
  cluster: {{server: "{self.server}", certificate-authority-data: {data(self.certificate("ca"))}}}
users:
- name: {component}
  user:
    client-certificate-data: {data(self.certificate(component))}
    client-key-data: {data(self.key(component))}
"""


def _write(file: Path, content: bytes) -> None:
    with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as opened:
        opened.write(content)


def _name(user: str, group: str) -> x509.Name:
    groups = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group)] if group else []
    return x509.Name([*groups, x509.NameAttribute(NameOID.COMMON_NAME, user)])


def _authority_extensions() -> list[tuple[x509.ExtensionType, bool]]:
    return [(x509.BasicConstraints(ca=True, path_length=None), True), (_usage(signs=True), True)]


def _leaf_extensions(names: list[str]) -> list[tuple[x509.ExtensionType, bool]]:
    purposes = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
    out: list[tuple[x509.ExtensionType, bool]] = [
        (_usage(signs=False), True),
        (x509.ExtendedKeyUsage(purposes if names else purposes[:1]), False),
    ]
    return [*out, (x509.SubjectAlternativeName([_general(name) for name in names]), False)] if names else out


def _usage(signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    public: ec.EllipticCurvePublicKey,
    signer: ec.EllipticCurvePrivateKey,
    extensions: list[tuple[x509.ExtensionType, bool]],
) -> x509.Certificate:
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder(issuer, subject, public, x509.random_serial_number(), now - _DAY, now + 30 * _DAY)
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(signer, hashes.SHA256())
