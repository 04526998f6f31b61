"""Who gets through a sidecar in mode STRICT: real handshakes with a real Envoy, each client wrong in one way."""

from __future__ import annotations

import contextlib
import datetime as dt
import re
import socket
import ssl
import tempfile
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from google.protobuf import json_format

from sailcloth.envoy.features.client_tls import emit as client_tls
from sailcloth.mesh import mesh_config, tls_parameters
from sailcloth.mesh.model import MeshConfig

from ..authorities import DAY, Authority
from .loopback import backend, configuration, envoy, fetch, free_port, free_ports

Object = dict[str, Any]
ROOT = Authority("mesh")
MIDDLE = Authority("middle", ROOT)
FOREIGN = Authority("foreign")
LEAF = Authority("leaf", ROOT, ca=False)
SERVER = "spiffe://cluster.local/ns/default/sa/app"
CLIENT = "spiffe://cluster.local/ns/default/sa/client"
MESH = "trustDomainAliases: [old.example.com]\n"
STRICT = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: STRICT}}
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: s, namespace: default}
spec:
  ingress:
  - {port: {number: %d, protocol: %s, name: port}, captureMode: NONE, bind: "%s", defaultEndpoint: "127.0.0.1:%d"}
"""
_TCP_PROXY = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
_TIMEOUT_S = 10


class Client:
    """A client of TLS with a certificate, or none."""

    def __init__(self, certificate: tuple[Any, bytes] | None, *chain: Authority, alpn: str = "istio-http/1.1") -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.context.check_hostname = False
        self.context.load_verify_locations(cadata=ROOT.pem.decode())
        self.context.set_alpn_protocols([alpn])
        if certificate is not None:
            leaf = certificate[0].public_bytes(serialization.Encoding.PEM)
            with tempfile.NamedTemporaryFile() as file:
                file.write(leaf + b"".join(each.pem for each in chain) + certificate[1])
                file.flush()
                self.context.load_cert_chain(file.name)

    def answer(self, address: tuple[str, int]) -> str:
        """The body of the response; empty if there is none."""
        try:
            with socket.create_connection(address, _TIMEOUT_S) as raw, self.context.wrap_socket(raw) as secure:
                return _ask(secure)
        except OSError:
            return ""


def _ask(connection: socket.socket) -> str:
    connection.sendall(b"GET / HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n")
    received = b""
    while part := connection.recv(4096):
        received += part
    head, _, body = received.partition(b"\r\n\r\n")
    return body.decode() if head.startswith(b"HTTP/1.1 200") else ""


def plain(address: tuple[str, int]) -> str:
    with contextlib.suppress(OSError), socket.create_connection(address, _TIMEOUT_S) as raw:
        return _ask(raw)
    return ""


def with_secrets(config: Object, revoked: bytes = b"") -> Object:
    """The configuration with the secrets in it that an agent would serve."""
    leaf, key = MIDDLE.leaf(SERVER)
    chain = leaf.public_bytes(serialization.Encoding.PEM) + MIDDLE.pem
    own = {"certificate_chain": {"inline_string": chain.decode()}, "private_key": {"inline_string": key.decode()}}
    roots: Object = {"trusted_ca": {"inline_string": ROOT.pem.decode()}}
    if revoked:
        roots |= {"crl": {"inline_string": revoked.decode()}, "only_verify_leaf_cert_crl": True}
    secrets = [{"name": "default", "tls_certificate": own}, {"name": "ROOTCA", "validation_context": roots}]
    config["static_resources"]["secrets"] = secrets
    _without_source(config)
    return config


def _without_source(value: Any) -> None:
    if isinstance(value, dict):
        if value.get("name") in ("default", "ROOTCA"):
            value.pop("sds_config", None)
        for each in value.values():
            _without_source(each)
    elif isinstance(value, list):
        for each in value:
            _without_source(each)


@contextlib.contextmanager
def sidecar(protocol: str = "HTTP", bind: str = "127.0.0.1", revoked: bytes = b"") -> Iterator[tuple[str, int]]:
    """The address of a port in mode STRICT, with an application behind it."""
    with backend("application") as behind:
        port = free_port()
        text = STRICT % (port, protocol, bind, behind.port)
        made = configuration(text, {"ip": "127.0.0.1", "labels": {"app": "app"}}, (f"{bind}_{port}",), MESH)
        with envoy(with_secrets(made, revoked)):
            yield bind, port


@pytest.fixture(scope="module", params=["HTTP", "TCP", "auto"])
def strict(request: pytest.FixtureRequest) -> Iterator[tuple[str, int]]:
    with sidecar("" if request.param == "auto" else request.param) as address:
        yield address


GOOD = {
    "of the mesh": Client(ROOT.leaf(CLIENT)),
    "under an intermediate": Client(MIDDLE.leaf(CLIENT), MIDDLE),
    "of an alias of the trust domain": Client(ROOT.leaf("spiffe://old.example.com/ns/default/sa/client")),
    "for a TCP port": Client(ROOT.leaf(CLIENT), alpn="istio"),
}
BAD = {
    "without a certificate": Client(None),
    "of another CA": Client(FOREIGN.leaf(CLIENT), FOREIGN),
    "of another CA with our intermediate's name": Client(Authority("middle", FOREIGN).leaf(CLIENT)),
    "of a foreign trust domain": Client(ROOT.leaf("spiffe://evil.example.com/ns/default/sa/client")),
    "of a trust domain that begins as ours": Client(ROOT.leaf("spiffe://cluster.local.evil.com/ns/default/sa/client")),
    "expired": Client(ROOT.leaf(CLIENT, valid=(-2 * DAY, -dt.timedelta(minutes=1)))),
    "not valid yet": Client(ROOT.leaf(CLIENT, valid=(DAY, 2 * DAY))),
    "without a name": Client(ROOT.leaf()),
    "with a name that is no SPIFFE id": Client(ROOT.leaf("https://cluster.local/ns/default/sa/client")),
    "by a leaf that acts as a CA": Client(LEAF.leaf(CLIENT), LEAF),
}


@pytest.mark.parametrize("name", GOOD)
def test_admitted(strict: tuple[str, int], name: str) -> None:
    assert GOOD[name].answer(strict) == "application"


@pytest.mark.parametrize("name", BAD)
def test_refused(strict: tuple[str, int], name: str) -> None:
    assert BAD[name].answer(strict) == ""


def test_plain_text_is_refused(strict: tuple[str, int]) -> None:
    assert plain(strict) == ""


def test_old_versions_of_tls_are_refused(strict: tuple[str, int]) -> None:
    client = Client(ROOT.leaf(CLIENT))
    client.context.minimum_version = client.context.maximum_version = ssl.TLSVersion.TLSv1_2
    assert client.answer(strict) == "application"
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        client.context.minimum_version = client.context.maximum_version = ssl.TLSVersion.TLSv1_1
    assert client.answer(strict) == ""


def test_ipv6_is_no_way_around() -> None:
    with sidecar(bind="::1") as address:
        assert Client(ROOT.leaf(CLIENT)).answer(address) == "application"
        assert plain(address) == Client(None).answer(address) == ""


def test_a_revoked_certificate_is_refused() -> None:
    revoked, other, below = ROOT.leaf(CLIENT), ROOT.leaf(CLIENT), MIDDLE.leaf(CLIENT)
    lists = ROOT.revoke(revoked[0].serial_number)
    with sidecar(revoked=lists) as address:
        assert Client(revoked).answer(address) == ""
        assert Client(other).answer(address) == "application"
        assert Client(below, MIDDLE).answer(address) == "", "of this CA there is no list"
    with sidecar(revoked=lists + MIDDLE.revoke(1)) as address:
        assert Client(revoked).answer(address) == ""
        assert Client(below, MIDDLE).answer(address) == "application"


class Pair:
    """A sidecar that calls another: both ends in one Envoy, with the options of one mesh."""

    def __init__(
        self, options: str = "", base: MeshConfig | None = None, client: tls_parameters.TlsParameters | None = None
    ) -> None:
        self._options = mesh_config.parse(options, base)
        self._client = client or self._options.mesh_tls
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Pair:
        behind = self._stack.enter_context(backend("application"))
        port, self._entry = free_ports(2)
        text = STRICT % (port, "HTTP", "127.0.0.1", behind.port)
        made = with_secrets(configuration(text, {"ip": "127.0.0.1"}, (f"127.0.0.1_{port}",), self._options))
        made.pop("stats_config")  # a sidecar does not count handshakes
        tls = client_tls.mesh_socket("app", (SERVER,), client_tls.ALPN_HTTP, self._client)
        endpoint = {"lb_endpoints": [{"endpoint": {"address": _address(port)}}]}
        cluster: Object = {"name": "out", "load_assignment": {"cluster_name": "out", "endpoints": [endpoint]}}
        cluster["transport_socket"] = json_format.MessageToDict(tls, preserving_proto_field_name=True)
        proxy = {"@type": _TCP_PROXY, "stat_prefix": "out", "cluster": "out"}
        chain = {"filters": [{"name": "envoy.filters.network.tcp_proxy", "typed_config": proxy}]}
        made["static_resources"]["clusters"].append(cluster)
        made["static_resources"]["listeners"].append(
            {"name": "out", "address": _address(self._entry), "filter_chains": [chain]}
        )
        _without_source(cluster)
        self._admin = self._stack.enter_context(envoy(made))
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    def answer(self) -> str:
        """Of the application, through both."""
        return plain(("127.0.0.1", self._entry))

    def agreed(self) -> set[str]:
        """Version, key exchange and cipher suite of the handshakes."""
        lines = fetch(self._admin, "/stats?filter=listener.*ssl.(versions|curves|ciphers)")[1].splitlines()
        return {re.split(r"ssl\.\w+\.", line)[1].partition(":")[0] for line in lines if not line.endswith(" 0")}


def _address(port: int) -> Object:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def test_sidecars_agree_on_a_key_exchange_that_quantum_computers_do_not_break() -> None:
    with Pair() as pair:
        assert pair.answer() == "application"
        assert pair.agreed() >= {"X25519MLKEM768", "TLSv1.3"}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("meshMTLS: {minProtocolVersion: TLSV1_3, ecdhCurves: [P-384]}", {"P-384", "TLSv1.3"}),
        ("meshMTLS: {ecdhCurves: [X25519, P-256]}", {"X25519", "TLSv1.3"}),
    ],
)
def test_the_mesh_limits_mutual_tls(options: str, expected: set[str]) -> None:
    with Pair(options) as pair:
        assert pair.answer() == "application"
        assert pair.agreed() >= expected


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("fips-140-2", {"P-256", "TLSv1.2", "ECDHE-ECDSA-AES256-GCM-SHA384"}),
        ("pqc", {"X25519MLKEM768", "TLSv1.3"}),
    ],
)
def test_a_compliance_policy_comes_before_what_the_mesh_says(policy: str, expected: set[str]) -> None:
    options = mesh_config.parse("meshMTLS: {ecdhCurves: [P-521]}", MeshConfig(compliance_policy=policy))
    with Pair(base=options) as pair:
        assert pair.answer() == "application"
        assert pair.agreed() >= expected
    weak = tls_parameters.TlsParameters("TLSV1_2", "TLSV1_2", ("X25519",))
    with Pair(base=options, client=weak) as pair:
        assert pair.answer() == "", "a client that has nothing of it"
