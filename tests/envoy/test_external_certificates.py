"""Certificates that are not the mesh's: from a CA at CA_ADDR, and from a server of secrets in a volume of the pod. The agent is the
node's own, the Envoy that shakes hands is real, and it has the clusters of the bootstrap that the agent wrote."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import datetime as dt
import json
import queue
import socket
import ssl
import tempfile
import threading
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2
from envoy.service.discovery.v3 import discovery_pb2

from sailcloth.agent.external_ca import CaOptions, ExternalCa
from sailcloth.agent.identity import WorkloadIdentity
from sailcloth.agent.mounted_files import MountedFiles
from sailcloth.agent.netns import PodSockets
from sailcloth.agent.node_agent import Agent
from sailcloth.agent.protocol import PodFiles
from sailcloth.agent.proxy_socket import SDS
from sailcloth.ca.service import SERVICE, CertificateRequest, CertificateResponse
from sailcloth.xds.types import SECRET

from ..authorities import Authority
from .loopback import backend, configuration, envoy, eventually, free_port
from .test_mutual_tls import CLIENT, SERVER, STRICT, Client

Object = dict[str, Any]
PEM = serialization.Encoding.PEM
TOKEN = "token-of-app"
MESH, OURS, THEIRS = Authority("mesh"), Authority("ours"), Authority("theirs")
CONTROL_PLANE = "istiod.istio-system.svc"
FOLDER = "/var/run/secrets/workload-spiffe-uds"
POD: Object = {
    "metadata": {"uid": "1", "name": "app", "namespace": "default", "labels": {"app": "app"}},
    "spec": {"volumes": [{"name": "workload-socket", "emptyDir": {}}]},
}
CONTAINER: Object = {"args": ["proxy", "sidecar"], "volumeMounts": [{"name": "workload-socket", "mountPath": FOLDER}]}


class Loop:
    """An event loop in a thread of its own: Envoy is waited for in this one."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()

    def run(self, work: Awaitable[Any]) -> Any:
        async def waited() -> Any:
            return await work

        future: concurrent.futures.Future[Any] = asyncio.run_coroutine_threadsafe(waited(), self.loop)
        return future.result(20)

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.close()


@dataclass
class OtherCa:
    """A CA that speaks Istio's protocol, over TLS with a certificate for its name."""

    authority: Authority
    tokens: list[str] = field(default_factory=list)
    other_key: bool = False

    def answer(self, body: bytes, context: grpc.ServicerContext) -> bytes:
        metadata = dict(context.invocation_metadata())
        self.tokens.append(str(metadata.get("authorization", "")))
        if self.tokens[-1] != f"Bearer {TOKEN}":
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "no token of ours")
        csr = x509.load_pem_x509_csr(CertificateRequest.FromString(body).csr.encode())
        key = Authority("x").key.public_key() if self.other_key else csr.public_key()
        now = dt.datetime.now(dt.UTC)
        leaf = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self.authority.subject)
            .public_key(key)  # type: ignore[arg-type]
            .serial_number(x509.random_serial_number())
            .not_valid_before(now)
            .not_valid_after(now + dt.timedelta(hours=1))
            .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(SERVER)]), critical=True)
            .sign(self.authority.key, hashes.SHA256())
        )
        chain = [leaf.public_bytes(PEM).decode(), self.authority.pem.decode().strip()]
        return bytes(CertificateResponse(cert_chain=chain).SerializeToString())

    @contextlib.contextmanager
    def serving(self, name: str = "ca.example") -> Iterator[int]:
        """Its port on the loopback."""
        certificate, key = _for_name(MESH, name)
        server = grpc.server(concurrent.futures.ThreadPoolExecutor(2))
        methods = {"CreateCertificate": grpc.unary_unary_rpc_method_handler(self.answer)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
        port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(key, certificate)]))
        server.start()
        try:
            yield port
        finally:
            server.stop(0).wait()


def _for_name(authority: Authority, name: str) -> tuple[bytes, bytes]:
    key = Authority("key").key
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=True)
        .sign(authority.key, hashes.SHA256())
    )
    pem = key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return made.public_bytes(PEM), pem


@dataclass
class SecretServer:
    """A server of secrets on a UNIX socket, as SPIRE's agent is one: the certificate is `default`, the roots are `ROOTCA`."""

    authority: Authority
    renewed: queue.Queue[None] = field(default_factory=queue.Queue)

    def stream(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        request = discovery_pb2.DiscoveryRequest.FromString(next(requests))
        for version in range(1, 10):
            response = discovery_pb2.DiscoveryResponse(version_info=str(version), nonce=str(version), type_url=SECRET)
            for name in request.resource_names:
                response.resources.add(type_url=SECRET, value=self._secret(name).SerializeToString())
            yield bytes(response.SerializeToString())
            if request.resource_names != ["default"]:
                for _ in requests:  # until the stream ends
                    pass
                return
            while True:
                if not context.is_active():
                    return
                with contextlib.suppress(queue.Empty):
                    self.renewed.get(timeout=0.1)
                    break

    def _secret(self, name: str) -> secret_pb2.Secret:
        made = secret_pb2.Secret(name=name)
        if name == "ROOTCA":
            made.validation_context.trusted_ca.inline_bytes = self.authority.pem
        else:
            leaf, key = self.authority.leaf(SERVER)
            made.tls_certificate.certificate_chain.inline_bytes = leaf.public_bytes(PEM)
            made.tls_certificate.private_key.inline_bytes = key
        return made

    @contextlib.contextmanager
    def serving(self, path: Path) -> Iterator[None]:
        server = grpc.server(concurrent.futures.ThreadPoolExecutor(8))
        methods = {"StreamSecrets": grpc.stream_stream_rpc_method_handler(self.stream)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SDS, methods),))
        server.add_insecure_port(f"unix:{path}")
        server.start()
        try:
            yield
        finally:
            server.stop(0).wait()


async def nowhere(_: str) -> str:
    return ""


@contextlib.contextmanager
def running(loop: Loop, resolve: Callable[[str], Awaitable[str]] = nowhere) -> Iterator[Agent]:
    """A node's agent whose control plane is away."""

    async def roots() -> bytes:
        return MESH.pem

    async def token(_: Object) -> str:
        return TOKEN

    made = Agent("127.0.0.1:1", roots, token, server_name=CONTROL_PLANE, resolve=resolve)
    try:
        yield made
    finally:
        loop.run(made.close())


def prepared(loop: Loop, directory: Path, made: Agent, env: dict[str, str], moved: Path | None = None) -> Object:
    """The bootstrap that the agent writes for the pod. `moved`: where the path of its mounted folder is outside the pod."""
    mounted = MountedFiles.from_container(POD, CONTAINER, directory)
    files = PodFiles(directory / "proxy", directory / "etc" / "resolv.conf", mounted)
    process = loop.run(made.prepare(POD, CONTAINER, {"INSTANCE_IP": "127.0.0.1", **env}, files, PodSockets(-1)))
    text = Path(process.argv[2]).read_text()
    bootstrap: Object = json.loads(text.replace(FOLDER, str(moved)) if moved else text)
    return {**bootstrap, "mounts": list(process.mounts)}


@contextlib.contextmanager
def sidecar(bootstrap: Object) -> Iterator[tuple[str, int]]:
    """A port in mode STRICT of an Envoy whose secrets come as the bootstrap says."""
    with backend("application") as behind:
        port = free_port()
        text = STRICT % (port, "HTTP", "127.0.0.1", behind.port)
        made = configuration(text, {"ip": "127.0.0.1", "labels": {"app": "app"}}, (f"127.0.0.1_{port}",))
        static = made["static_resources"]
        own = [c for c in bootstrap["static_resources"]["clusters"] if c["name"] in ("sds-grpc", "xds-grpc")]
        static["clusters"] = [c for c in static["clusters"] if c["name"] not in ("sds-grpc", "xds-grpc")] + own
        made["node"] = bootstrap["node"]
        with envoy(made):
            yield "127.0.0.1", port


def trusting(root: Authority, certificate: Authority) -> Client:
    """A client that trusts one CA and has a certificate of another, or of the same."""
    made = Client(certificate.leaf(CLIENT))
    roots = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    roots.check_hostname = False
    roots.load_verify_locations(cadata=root.pem.decode())
    roots.set_alpn_protocols(["istio-http/1.1"])
    leaf, key = certificate.leaf(CLIENT)
    with tempfile.NamedTemporaryFile() as file:
        file.write(leaf.public_bytes(PEM) + key)
        file.flush()
        roots.load_cert_chain(file.name)
    made.context = roots
    return made


# -- CA_ADDR ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({}, CaOptions()),
        ({"CA_ADDR": "istiod.istio-system.svc:15012"}, CaOptions()),
        ({"CA_ADDR": "istiod.istio-system.svc.cluster.local:15012"}, CaOptions()),
        ({"CA_ADDR": "csr.cert-manager.svc:443"}, CaOptions("csr.cert-manager.svc:443", "csr.cert-manager.svc")),
        ({"CA_ADDR": "https://ca.example"}, CaOptions("ca.example:443", "ca.example")),
        (
            {"CA_ADDR": "10.0.0.1:9", "CA_SNI": "ca.example", "CA_ROOT_CA": "/etc/ca.pem", "CA_PROVIDER": "Citadel"},
            CaOptions("10.0.0.1:9", "ca.example", "/etc/ca.pem"),
        ),
    ],
)
def test_where_a_workload_is_signed_for(env: dict[str, str], expected: CaOptions) -> None:
    assert CaOptions.from_env(env, CONTROL_PLANE) == expected


def test_an_unknown_provider_is_told(caplog: pytest.LogCaptureFixture) -> None:
    CaOptions.from_env({"CA_ADDR": "ca:1", "CA_PROVIDER": "GoogleCAS"}, CONTROL_PLANE)
    assert "CA_PROVIDER='GoogleCAS' is not known" in caplog.text


def test_handshakes_with_a_certificate_of_another_ca(loop: Loop, tmp_path: Path) -> None:
    """It gets the token, its own certificate is under the mesh's roots, and peers under its root and the mesh's are let in."""
    ca = OtherCa(OURS)
    asked: list[str] = []

    async def resolve(name: str) -> str:
        asked.append(name)
        return "127.0.0.1"

    with ca.serving("csr.cert-manager.svc") as port, contextlib.ExitStack() as stack:
        made = stack.enter_context(running(loop, resolve))
        env = {"CA_ADDR": f"csr.cert-manager.svc:{port}"}
        bootstrap = prepared(loop, tmp_path, made, env)
        assert (bootstrap["mounts"], bootstrap["node"]["metadata"].get("SAILCLOTH_SDS")) == ([], None)
        address = stack.enter_context(sidecar(bootstrap))
        assert trusting(OURS, OURS).answer(address) == "application"
        assert trusting(OURS, MESH).answer(address) == "application"
        assert trusting(OURS, THEIRS).answer(address) == ""
        assert trusting(MESH, MESH).answer(address) == "", "the client does not know the certificate's root"
    assert (ca.tokens, asked) == ([f"Bearer {TOKEN}"], ["csr.cert-manager.svc"])


@pytest.mark.parametrize("wrong", ["name", "root", "key", "nowhere"])
def test_a_ca_that_is_not_the_one_gets_no_token_or_signs_in_vain(loop: Loop, wrong: str) -> None:
    ca = OtherCa(OURS, other_key=wrong == "key")

    async def resolve(_: str) -> str:
        if wrong == "nowhere":
            raise OSError("no service")
        return "127.0.0.1"

    async def attempt(port: int) -> None:
        options = CaOptions(f"ca.example:{port}", "ca.example")
        roots = THEIRS.pem if wrong == "root" else MESH.pem
        other = ExternalCa(options, lambda: roots, resolve)

        async def token() -> str:
            return TOKEN

        await WorkloadIdentity(other.connect, token, name="app").fetch()

    with ca.serving("other.example" if wrong == "name" else "ca.example") as port:
        errors: Any = (grpc.RpcError, OSError, ValueError)
        with pytest.raises(errors, match={"key": "another key", "nowhere": "no service"}.get(wrong)):
            loop.run(attempt(port))
    assert ca.tokens == ([f"Bearer {TOKEN}"] if wrong == "key" else [])


# -- a server of secrets ------------------------------------------------------------------------


def test_handshakes_with_a_certificate_of_another_server(loop: Loop, tmp_path: Path) -> None:
    """Envoy connects to it by itself, the mesh's CA is not asked, and a renewed certificate takes over."""
    volume = tmp_path / "volumes" / "workload-socket"
    volume.mkdir(parents=True)
    server = SecretServer(THEIRS)
    with server.serving(volume / "socket"), contextlib.ExitStack() as stack:
        made = stack.enter_context(running(loop))
        bootstrap = prepared(loop, tmp_path, made, {}, volume)
        assert bootstrap["mounts"] == [FOLDER]
        assert bootstrap["node"]["metadata"]["SAILCLOTH_SDS"] == "external"
        address = stack.enter_context(sidecar(bootstrap))
        client = trusting(THEIRS, THEIRS)
        assert client.answer(address) == "application"
        assert trusting(MESH, MESH).answer(address) == ""
        first = _serial(client, address)
        server.renewed.put(None)
        eventually("a renewed certificate", lambda: _serial(client, address) != first)


def _serial(client: Client, address: tuple[str, int]) -> int:
    with socket.create_connection(address, 10) as raw, client.context.wrap_socket(raw) as secure:
        return x509.load_der_x509_certificate(secure.getpeercert(True) or b"").serial_number


def test_without_an_answer_the_meshs_ca_signs_and_a_choice_lasts(loop: Loop, tmp_path: Path) -> None:
    volume = tmp_path / "volumes" / "workload-socket"
    volume.mkdir(parents=True)

    def sds() -> str:
        with running(loop) as made:
            bootstrap = prepared(loop, tmp_path, made, {})
            cluster = next(c for c in bootstrap["static_resources"]["clusters"] if c["name"] == "sds-grpc")
            pipe = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]["pipe"]["path"]
            return str(pipe)

    ours = str(tmp_path / "proxy" / "agent.sock")
    assert sds() == ours, "there is no socket"
    outside = tmp_path / "elsewhere"
    with SecretServer(THEIRS).serving(outside):
        (volume / "socket").symlink_to(outside)
        assert sds() == ours, "the socket is not in the volume"
        (volume / "socket").unlink()
    with SecretServer(THEIRS).serving(volume / "socket"):
        assert sds() == f"{FOLDER}/socket"
    assert sds() == f"{FOLDER}/socket", "an agent that starts while the server is away keeps to it"
