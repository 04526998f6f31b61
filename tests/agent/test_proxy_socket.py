"""The socket that an Envoy is given: secrets over SDS, and its streams relayed with the workload's token."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2
from envoy.service.discovery.v3 import discovery_pb2

from sailcloth.agent import proxy_socket as module
from sailcloth.agent.identity import WorkloadIdentity
from sailcloth.agent.mounted_files import MountedFiles
from sailcloth.agent.proxy_socket import ADS, RATE_LIMITS, SDS, ProxySocket
from sailcloth.ca.authority import Authority, fingerprint
from sailcloth.ca.trust import ROOTS_HEADER
from sailcloth.lib.grpc_server import Abort, Call, Status

from .certificate_authority import TOKEN, certificate_service, current_token, serve, workload_identity

BEARER = f"Bearer {TOKEN}"
DELTA = f"/{ADS}/DeltaAggregatedResources"


@pytest.fixture(autouse=True)
async def deadline() -> AsyncIterator[None]:
    async with asyncio.timeout(20):
        yield


@dataclass
class ControlPlane:
    """Answers each message of a stream with its reverse and each rate limit request with itself; `status` ends streams."""

    status: Status | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    received: list[bytes] = field(default_factory=list)
    certificate_was_ready: bool = False
    identity: WorkloadIdentity | None = None

    def stream(self, call: Call) -> _Reversing:
        self.metadata = call.metadata
        self.certificate_was_ready = self.identity is not None and self.identity.secret is not None
        return _Reversing(self, call)

    async def limit(self, body: bytes, call: Call) -> bytes:
        self.metadata = call.metadata
        if self.status is not None:
            raise Abort(self.status, "no")
        return body


@dataclass
class _Reversing:
    plane: ControlPlane
    call: Call

    def message(self, body: bytes) -> None:
        self.plane.received.append(body)
        self.call.send(body[::-1])
        if self.plane.status is not None:
            self.call.finish(self.plane.status, "the control plane is going away")

    def client_ended(self) -> None:
        self.call.finish()

    def sent(self) -> None: ...

    def closed(self) -> None: ...


@asynccontextmanager
async def proxy_socket(
    path: Path,
    plane: ControlPlane | None = None,
    *,
    authority: Authority | None = None,
    lifetime_s: int = 3600,
    files: MountedFiles | None = None,
) -> AsyncIterator[grpc.aio.Channel]:
    """The channel that an Envoy has to its agent."""
    service = certificate_service(authority or Authority.create(), lifetime_s)
    plane = plane or ControlPlane()
    unary = {**service.methods(), f"/{RATE_LIMITS}/ShouldRateLimit": plane.limit}
    async with serve(unary, {DELTA: plane.stream}) as channel, workload_identity(channel) as identity:
        plane.identity = identity
        socket = ProxySocket(str(path), identity, lambda: channel, current_token, files)
        await socket.start()
        try:
            async with grpc.aio.insecure_channel(f"unix:{path}") as envoy:
                yield envoy
        finally:
            await socket.close()


def secret_request(*names: str) -> bytes:
    return bytes(discovery_pb2.DiscoveryRequest(resource_names=names).SerializeToString())


async def secrets(call: Any) -> list[secret_pb2.Secret]:
    response = discovery_pb2.DiscoveryResponse.FromString(await call.read())
    return [secret_pb2.Secret.FromString(r.value) for r in response.resources]


async def test_the_socket_is_its_owners_alone_and_goes_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "agent.sock"
    path.write_text("left by a process that was killed")
    async with proxy_socket(path):
        assert stat.S_ISSOCK(path.stat().st_mode)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not path.exists()


async def test_secrets_are_the_workloads_certificate_and_the_meshs_roots(tmp_path: Path) -> None:
    authority = Authority.create()
    async with proxy_socket(tmp_path / "agent.sock", authority=authority) as envoy:
        call = envoy.stream_stream(f"/{SDS}/StreamSecrets")()
        await call.write(secret_request("default"))
        [certificate] = await secrets(call)
        await call.write(secret_request("ROOTCA"))
        [roots] = await secrets(call)
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
    leaf = x509.load_pem_x509_certificate(certificate.tls_certificate.certificate_chain.inline_bytes)
    leaf.verify_directly_issued_by(authority.certificate)
    assert b"PRIVATE KEY" in certificate.tls_certificate.private_key.inline_bytes
    assert roots.name == "ROOTCA"
    assert roots.validation_context.trusted_ca.inline_bytes == authority.certificate_pem


async def test_a_renewed_certificate_is_sent_without_being_asked_for(tmp_path: Path) -> None:
    async with proxy_socket(tmp_path / "agent.sock", lifetime_s=1) as envoy:
        call = envoy.stream_stream(f"/{SDS}/StreamSecrets")()
        await call.write(secret_request("default"))
        [first] = await secrets(call)
        [second] = await secrets(call)
        call.cancel()
    assert first.tls_certificate.private_key != second.tls_certificate.private_key


async def test_a_certificate_in_a_volume_of_the_proxy_is_a_secret(tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    (volume / "tls.crt").write_text("a chain")
    (volume / "tls.key").write_text("a key")
    files = MountedFiles((("/etc/certs", str(volume), ""),))
    async with proxy_socket(tmp_path / "agent.sock", files=files) as envoy:
        call = envoy.stream_stream(f"/{SDS}/StreamSecrets")()
        await call.write(secret_request("file-cert:/etc/certs/tls.crt~/etc/certs/tls.key"))
        [secret] = await secrets(call)
        call.cancel()
    assert secret.tls_certificate.certificate_chain.inline_bytes == b"a chain"
    assert secret.tls_certificate.private_key.inline_bytes == b"a key"


async def test_a_stream_is_relayed_byte_by_byte_with_the_workloads_token(tmp_path: Path) -> None:
    plane = ControlPlane()
    async with proxy_socket(tmp_path / "agent.sock", plane) as envoy:
        call = envoy.stream_stream(DELTA)(metadata=(("authorization", "Bearer of-envoy"),))
        for message in (b"not protobuf \xff\0", b"second"):
            await call.write(message)
            assert await call.read() == message[::-1]
        call.cancel()
    assert plane.received == [b"not protobuf \xff\0", b"second"]
    assert plane.metadata["authorization"] == BEARER
    assert plane.certificate_was_ready


async def test_envoy_sees_how_the_control_plane_ended_the_stream(tmp_path: Path) -> None:
    async with proxy_socket(tmp_path / "agent.sock", ControlPlane(status=Status.RESOURCE_EXHAUSTED)) as envoy:
        call = envoy.stream_stream(DELTA)()
        await call.write(b"hello")
        assert await call.read() == b"olleh"
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await call.read()
    assert ended.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert ended.value.details() == "the control plane is going away"


async def test_rate_limit_requests_go_to_the_control_plane(tmp_path: Path) -> None:
    plane = ControlPlane()
    async with proxy_socket(tmp_path / "agent.sock", plane) as envoy:
        method = envoy.unary_unary(f"/{RATE_LIMITS}/ShouldRateLimit")
        assert await method(b"a request") == b"a request"
        assert plane.metadata["authorization"] == BEARER
        plane.status = Status.UNAVAILABLE
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await method(b"a request")
    assert refused.value.code() == grpc.StatusCode.UNAVAILABLE


async def test_new_roots_reach_the_proxy_at_once_and_the_certificate_is_signed_again(tmp_path: Path) -> None:
    authority, later = Authority.create(), Authority.create()
    plane = ControlPlane()
    async with proxy_socket(tmp_path / "agent.sock", plane, authority=authority) as envoy:
        roots = envoy.stream_stream(f"/{SDS}/StreamSecrets")()
        await roots.write(secret_request("ROOTCA"))
        [before] = await secrets(roots)
        assert plane.identity is not None
        assert plane.identity.secret is not None
        old = plane.identity.secret
        plane.identity.trust(later.certificate_pem, b"")
        [after] = await secrets(roots)
        assert (await plane.identity.wait_for_version_after(2)).key != old.key
        roots.cancel()
    assert before.validation_context.trusted_ca.inline_bytes == authority.certificate_pem
    trusted = x509.load_pem_x509_certificates(after.validation_context.trusted_ca.inline_bytes)
    assert trusted == [later.certificate, authority.certificate]


async def test_the_control_plane_is_told_which_roots_envoy_has_in_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not those that the agent has sent only."""
    monkeypatch.setattr(module, "_ROOTS_S", 0.2)
    authority, later = Authority.create(), Authority.create()
    plane = ControlPlane()

    async def told(envoy: grpc.aio.Channel) -> set[str]:
        call = envoy.stream_stream(DELTA)()
        await call.write(b"hello")
        assert await call.read() == b"olleh"
        call.cancel()
        return set(plane.metadata[ROOTS_HEADER].split(","))

    old, both = {fingerprint(authority.root)}, {fingerprint(authority.root), fingerprint(later.root)}
    async with proxy_socket(tmp_path / "agent.sock", plane, authority=authority) as envoy:
        assert await told(envoy) == old, "Envoy has not asked yet, and will get these"
        roots = envoy.stream_stream(f"/{SDS}/StreamSecrets")()
        await roots.write(secret_request("ROOTCA"))
        first = discovery_pb2.DiscoveryResponse.FromString(await roots.read())
        assert await told(envoy) == {""}, "it has not acknowledged them"
        await roots.write(acknowledgement(first))
        assert await told(envoy) == old
        assert plane.identity is not None
        plane.identity.trust(authority.certificate_pem + later.certificate_pem, b"")
        second = discovery_pb2.DiscoveryResponse.FromString(await roots.read())
        assert await told(envoy) == old
        await roots.write(acknowledgement(second, refused="no"))
        assert await told(envoy) == old
        await roots.write(acknowledgement(second))
        assert await told(envoy) == both
        roots.cancel()


def acknowledgement(response: discovery_pb2.DiscoveryResponse, refused: str = "") -> bytes:
    request = discovery_pb2.DiscoveryRequest(
        resource_names=["ROOTCA"], version_info=response.version_info, response_nonce=response.nonce
    )
    if refused:
        request.error_detail.message = refused
    return bytes(request.SerializeToString())
