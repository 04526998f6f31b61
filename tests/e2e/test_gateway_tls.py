"""HTTPS at the ingress gateway: certificates from Secrets, their rotation, client certificates, hosts told apart by name."""

from __future__ import annotations

import datetime as dt
import json
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from .bookinfo import Cluster, Object

KEY = ec.EllipticCurvePrivateKey
PEM = serialization.Encoding.PEM


class Authority:
    """A certificate authority of the test's own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test authority")])
        self.root = folder / "root.pem"
        self.root.write_bytes(self._made(self._name, self._key, [], True).public_bytes(PEM))

    def issue(self, name: str) -> tuple[Path, Path, int]:
        """(certificate file, key file, serial number) for a host."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        made = self._made(subject, key, [name], False)
        certificate, secret = self._folder / f"{made.serial_number}.pem", self._folder / f"{made.serial_number}.key"
        certificate.write_bytes(made.public_bytes(PEM))
        secret.write_bytes(key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
        return certificate, secret, made.serial_number

    def revoke(self, serial: int) -> Path:
        """A list of revoked certificates with one in it."""
        now = dt.datetime.now(dt.UTC) - dt.timedelta(minutes=1)
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now).build()
        builder = x509.CertificateRevocationListBuilder().issuer_name(self._name).last_update(now)
        made = builder.next_update(now + dt.timedelta(days=1)).add_revoked_certificate(entry)
        path = self._folder / f"{serial}.crl"
        path.write_bytes(made.sign(self._key, hashes.SHA256()).public_bytes(PEM))
        return path

    def _made(self, subject: x509.Name, key: KEY, names: list[str], ca: bool) -> x509.Certificate:
        now = dt.datetime.now(dt.UTC) - dt.timedelta(minutes=1)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now)
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(n) for n in names]), False)
        return builder.sign(self._key, hashes.SHA256())


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def secure(mesh: Cluster) -> Iterator[Cluster]:
    yield mesh
    mesh.kubectl("delete", "gateway,virtualservice", "secure", "--ignore-not-found")
    mesh.kubectl("delete", "secret", "-n", "istio-system", "-l", "test=tls", "--ignore-not-found")


def server(host: str, credential: str, mode: str = "SIMPLE") -> Object:
    port = {"number": 443, "name": f"https-{credential}", "protocol": "HTTPS"}
    return {"port": port, "hosts": [host], "tls": {"mode": mode, "credentialName": credential}}


def expose(mesh: Cluster, *servers: Object) -> None:
    gateway = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "Gateway",
        "metadata": {"name": "secure"},
        "spec": {"selector": {"istio": "ingressgateway"}, "servers": list(servers)},
    }
    route = {"route": [{"destination": {"host": "productpage", "port": {"number": 9080}}}]}
    routes = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": "secure"},
        "spec": {"hosts": [h for s in servers for h in s["hosts"]], "gateways": ["secure"], "http": [route]},
    }
    for obj in (gateway, routes):
        mesh.kubectl("apply", "-f", "-", stdin=json.dumps(obj))
    mesh.applied("gateway.networking.istio.io/secure", "virtualservice.networking.istio.io/secure")


def store(mesh: Cluster, name: str, certificate: Path, key: Path) -> None:
    """The Secret, made or replaced, as its user would."""
    made = mesh.kubectl(
        *("create", "secret", "tls", name, f"--cert={certificate}", f"--key={key}"),
        *("-n", "istio-system", "--dry-run=client", "-o", "json"),
    )
    obj = json.loads(made)
    obj["metadata"]["labels"] = {"test": "tls"}
    mesh.kubectl("apply", "-f", "-", stdin=json.dumps(obj))


def ask(
    mesh: Cluster, authority: Authority, name: str, host: str = "", client: tuple[Path, Path] | None = None
) -> tuple[int, int]:
    """(status of /productpage, serial number of the server's certificate). Raises OSError."""
    context = ssl.create_default_context(cafile=str(authority.root))
    if client is not None:
        context.load_cert_chain(*client)
    address, _, port = str(mesh.found["urls"]["gateway_https"]).removeprefix("https://").partition(":")
    with (
        socket.create_connection((address, int(port)), 5) as raw,
        context.wrap_socket(raw, server_hostname=name) as secured,
    ):
        shown = secured.getpeercert(binary_form=True)
        assert shown
        secured.sendall(f"GET /productpage HTTP/1.1\r\nHost: {host or name}\r\nConnection: close\r\n\r\n".encode())
        status = int(secured.recv(64).split(b" ")[1])
        return status, x509.load_der_x509_certificate(shown).serial_number


def test_a_certificate_from_a_secret_and_its_rotation(secure: Cluster, authority: Authority) -> None:
    certificate, key, serial = authority.issue("shop.example.com")
    store(secure, "shop", certificate, key)
    expose(secure, server("shop.example.com", "shop"))
    secure.eventually(lambda: ask(secure, authority, "shop.example.com") == (200, serial))
    certificate, key, newer = authority.issue("shop.example.com")
    store(secure, "shop", certificate, key)
    secure.eventually(lambda: ask(secure, authority, "shop.example.com") == (200, newer))


def test_a_missing_secret_breaks_its_own_host_only_and_heals(secure: Cluster, authority: Authority) -> None:
    certificate, key, serial = authority.issue("shop.example.com")
    store(secure, "shop", certificate, key)
    expose(secure, server("shop.example.com", "shop"), server("late.example.com", "late"))
    secure.eventually(lambda: ask(secure, authority, "shop.example.com") == (200, serial))
    with pytest.raises((ssl.SSLError, ConnectionError)):
        ask(secure, authority, "late.example.com")
    certificate, key, late = authority.issue("late.example.com")
    store(secure, "late", certificate, key)
    secure.eventually(lambda: _served(secure, authority, "late.example.com") == (200, late))
    assert ask(secure, authority, "shop.example.com", host="late.example.com")[0] == 421


def _served(mesh: Cluster, authority: Authority, name: str) -> tuple[int, int]:
    try:
        return ask(mesh, authority, name)
    except OSError:
        return 0, 0


def test_mutual_wants_a_client_certificate_of_the_stored_roots(secure: Cluster, authority: Authority) -> None:
    certificate, key, serial = authority.issue("shop.example.com")
    mine, secret, _ = authority.issue("client.example.com")
    secure.kubectl(
        *("create", "secret", "generic", "shop", "-n", "istio-system", f"--from-file=tls.crt={certificate}"),
        *(f"--from-file=tls.key={key}", f"--from-file=ca.crt={authority.root}"),
    )
    secure.kubectl("label", "secret", "shop", "-n", "istio-system", "test=tls")
    expose(secure, server("shop.example.com", "shop", "MUTUAL"))
    secure.eventually(lambda: _with(secure, authority, (mine, secret)) == (200, serial))
    with pytest.raises((ssl.SSLError, ConnectionError)):
        ask(secure, authority, "shop.example.com")


def _with(
    mesh: Cluster, authority: Authority, client: tuple[Path, Path], name: str = "shop.example.com"
) -> tuple[int, int]:
    try:
        return ask(mesh, authority, name, client=client)
    except OSError:
        return 0, 0


def test_files_of_the_gateway_and_a_revoked_client(secure: Cluster, authority: Authority) -> None:
    """Certificates in mounted files, which come after the gateway has started; `caCrl` shuts out one client."""
    certificate, key, serial = authority.issue("files.example.com")
    good, revoked = authority.issue("good.example.com"), authority.issue("revoked.example.com")
    named = {
        "istio-ingressgateway-certs": {"tls.crt": certificate, "tls.key": key},
        "istio-ingressgateway-ca-certs": {"ca.crt": authority.root, "revoked.crl": authority.revoke(revoked[2])},
    }
    for name, files in named.items():
        sources = [f"--from-file={n}={p}" for n, p in files.items()]
        secure.kubectl("create", "secret", "generic", name, "-n", "istio-system", *sources)
        secure.kubectl("label", "secret", name, "-n", "istio-system", "test=tls")
    tls = {
        "mode": "MUTUAL",
        "serverCertificate": "/etc/istio/ingressgateway-certs/tls.crt",
        "privateKey": "/etc/istio/ingressgateway-certs/tls.key",
        "caCertificates": "/etc/istio/ingressgateway-ca-certs/ca.crt",
        "caCrl": "/etc/istio/ingressgateway-ca-certs/revoked.crl",
    }
    port = {"number": 443, "name": "https-files", "protocol": "HTTPS"}
    expose(secure, {"port": port, "hosts": ["files.example.com"], "tls": tls})
    secure.eventually(lambda: _with(secure, authority, good[:2], "files.example.com") == (200, serial))
    assert _with(secure, authority, revoked[:2], "files.example.com") == (0, 0)


def test_secrets_are_not_shown(secure: Cluster, authority: Authority) -> None:
    certificate, key, _ = authority.issue("shop.example.com")
    store(secure, "shop", certificate, key)
    expose(secure, server("shop.example.com", "shop"))
    secure.eventually(lambda: _served(secure, authority, "shop.example.com")[0] == 200)
    inner = key.read_text().splitlines()[1]
    gateway = secure.kubectl("get", "pods", "-n", "istio-system", "-o", "jsonpath={.items[0].metadata.name}")
    shown = secure.sailctl("proxy-config", "all", f"{gateway}.istio-system", "-o", "json")
    assert "kubernetes://shop" in shown
    assert inner not in shown
    logs = "".join(p.read_text(errors="replace") for p in secure.state.rglob("*.log"))
    assert inner not in logs
