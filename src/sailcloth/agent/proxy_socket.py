"""The agent's UNIX socket for one Envoy: secrets (SDS), and its discovery stream relayed to the control plane.

The relay copies messages without parsing them, and adds the workload's token, so Envoy holds no credential. Where the agent
serves DNS, it subscribes to its name tables on the same stream and filters them out of it. When the control plane
disconnects, the stream ends; Envoy keeps its configuration and reconnects.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from cryptography import x509
from envoy.config.core.v3 import base_pb2
from envoy.extensions.transport_sockets.tls.v3 import common_pb2, secret_pb2
from envoy.service.discovery.v3 import discovery_pb2

from sailcloth.ca.trust import ROOTS_HEADER, fingerprints
from sailcloth.xds.types import NAMES, SECRET

from .identity import Secret, WorkloadIdentity
from .mounted_files import CERTIFICATE, ROOTS, MountedFiles
from .name_tables import NameTables

log = logging.getLogger(__name__)

ADS = "envoy.service.discovery.v3.AggregatedDiscoveryService"
RATE_LIMITS = "envoy.service.ratelimit.v3.RateLimitService"
SDS = "envoy.service.secret.v3.SecretDiscoveryService"
_ROOTS_S = 2.0


class ProxySocket:
    """Serves one Envoy on a UNIX socket (mode 0600). Without an identity, it has its certificate from elsewhere; then `bundle` gives the
    roots that the agent itself trusts."""

    def __init__(
        self,
        path: str,
        identity: WorkloadIdentity | None,
        channel: Callable[[], grpc.aio.Channel],
        token: Callable[[], Awaitable[str]],
        files: MountedFiles | None = None,
        names: NameTables | None = None,
        bundle: Callable[[], bytes] = bytes,
    ) -> None:
        self._path, self._identity, self._channel, self._token = path, identity, channel, token
        self._files = files or MountedFiles()
        self._names = names
        self._bundle = bundle
        self._roots: dict[object, bytes] = {}  # that Envoy has acknowledged, by its stream of them
        self._roots_acknowledged = asyncio.Event()
        self._server: grpc.aio.Server | None = None

    async def start(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)
        server = grpc.aio.server(
            options=[("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
        )
        ads = {
            name: grpc.stream_stream_rpc_method_handler(self._relay(name))
            for name in ("DeltaAggregatedResources", "StreamAggregatedResources")
        }
        sds = {"StreamSecrets": grpc.stream_stream_rpc_method_handler(self._secrets)}
        limits = {"ShouldRateLimit": grpc.unary_unary_rpc_method_handler(self._should_rate_limit)}
        server.add_generic_rpc_handlers(
            (
                grpc.method_handlers_generic_handler(ADS, ads),
                grpc.method_handlers_generic_handler(SDS, sds),
                grpc.method_handlers_generic_handler(RATE_LIMITS, limits),
            )
        )
        server.add_insecure_port(f"unix:{self._path}")
        await server.start()
        os.chmod(self._path, 0o600)  # its folder is the owner's alone already
        self._server = server

    async def close(self) -> None:
        if self._server is not None:
            await self._server.stop(0)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)

    def _relay(self, method: str) -> Callable[[AsyncIterator[bytes], Any], Awaitable[None]]:
        names = self._names if method.startswith("Delta") else None

        async def relay(_: AsyncIterator[bytes], context: Any) -> None:
            if self._identity is not None:
                await self._identity.wait_for_version_after(0)  # a proxy without a certificate cannot serve
            token = await self._token()
            await self._wait_for_roots()
            # Nothing is awaited in between: roots that come later replace the channel, and with it this stream.
            metadata = (("authorization", f"Bearer {token}"), (ROOTS_HEADER, _fingerprints(self._trusted())))
            call = self._channel().stream_stream(f"/{ADS}/{method}")(metadata=metadata)

            writing = asyncio.Lock()  # a call takes one message at a time

            async def write(message: bytes) -> None:
                async with writing:
                    await call.write(message)

            async def up() -> None:
                asks = names is not None
                while (message := await context.read()) is not grpc.aio.EOF:
                    await write(message)
                    if asks and names is not None:  # after Envoy's first message, which identifies the node
                        asks = False
                        await write(_name_table_request(names))
                await call.done_writing()

            upward = asyncio.create_task(up())
            try:
                while (message := await call.read()) is not grpc.aio.EOF:
                    answer = _accept_name_tables(names, message) if names is not None and _NAMES in message else b""
                    if answer:
                        await write(answer)
                    else:
                        await context.write(message)
                await context.abort(await call.code(), (await call.details()) or "")
            except asyncio.CancelledError:
                if not call.cancelled():  # by the end of its channel, not with this stream
                    raise
                await context.abort(grpc.StatusCode.UNAVAILABLE, "connecting to the control plane again")
            except grpc.aio.AioRpcError as error:
                await context.abort(error.code(), error.details() or "")
            finally:
                upward.cancel()
                with contextlib.suppress(asyncio.CancelledError, grpc.RpcError, asyncio.InvalidStateError):
                    await upward
                call.cancel()

        return relay

    def _trusted(self) -> bytes:
        """The roots that Envoy has in use. Before it asks for any, it is those that it will get. Of an Envoy that has them from elsewhere
        it is the agent's: nothing else depends on the mesh's roots."""
        if self._identity is None:
            return self._bundle()
        assert self._identity.secret is not None
        current = self._identity.secret.roots
        return next((roots for roots in self._roots.values() if roots != current), current)

    async def _wait_for_roots(self) -> None:
        """Wait until Envoy has acknowledged the present roots, for `_ROOTS_S` at most."""
        if self._identity is None:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_ROOTS_S):
                while self._identity.secret is not None and self._trusted() != self._identity.secret.roots:
                    self._roots_acknowledged.clear()
                    await self._roots_acknowledged.wait()

    async def _should_rate_limit(self, body: bytes, context: Any) -> bytes:
        """Forward a request for a global rate limit to the control plane."""
        call = self._channel().unary_unary(f"/{RATE_LIMITS}/ShouldRateLimit")
        try:
            return bytes(await call(body, metadata=(("authorization", f"Bearer {await self._token()}"),), timeout=1.0))
        except grpc.aio.AioRpcError as error:
            await context.abort(error.code(), error.details() or "")
            raise

    async def _secrets(self, _: AsyncIterator[bytes], context: Any) -> None:
        """State-of-the-world SDS, one secret per stream; each new version is pushed."""
        names: tuple[str, ...] = ()
        stream, sent = object(), dict[str, bytes]()  # roots by the nonce that Envoy acknowledges
        reader: asyncio.Task[Any] = asyncio.create_task(context.read())
        fresh: asyncio.Task[tuple[str, list[secret_pb2.Secret]]] | None = None
        try:
            while True:
                waiting = {t for t in (reader, fresh) if t is not None}
                done, _pending = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                if reader in done:
                    message = reader.result()
                    if message is grpc.aio.EOF:
                        return
                    request = discovery_pb2.DiscoveryRequest.FromString(message)
                    if request.HasField("error_detail"):
                        log.warning("Envoy refused a secret: %s", request.error_detail.message)
                    elif request.response_nonce in sent:
                        self._roots[stream] = sent.pop(request.response_nonce)
                        self._roots_acknowledged.set()
                    if tuple(request.resource_names) != names:
                        names = tuple(request.resource_names)
                        if fresh is not None:
                            fresh.cancel()
                        fresh = asyncio.create_task(self._next_secrets(names, ""))
                    reader = asyncio.create_task(context.read())
                if fresh is not None and fresh in done:
                    version, secrets = fresh.result()
                    secret = self._identity.secret if self._identity is not None else None
                    if secret is not None and "ROOTCA" in names:
                        sent = {version: secret.roots}
                        self._roots.setdefault(stream, b"")
                    await context.write(_secret_response(version, secrets))
                    fresh = asyncio.create_task(self._next_secrets(names, version))
        finally:
            self._roots.pop(stream, None)
            self._roots_acknowledged.set()
            for task in (reader, fresh):
                if task is not None:
                    task.cancel()

    async def _next_secrets(self, names: tuple[str, ...], after: str) -> tuple[str, list[secret_pb2.Secret]]:
        """Wait for secrets that differ from a version: from files, or the workload's certificate."""
        if len(names) == 1 and names[0].startswith((CERTIFICATE, ROOTS)):
            version, created = await self._files.wait_for_version_after(names[0], after)
            return version, [created]
        if self._identity is None:
            log.warning("Envoy asks the agent for %s, which it has from elsewhere", ", ".join(names)[:100])
            await asyncio.Event().wait()
        assert self._identity is not None
        secret = await self._identity.wait_for_version_after(int(after or 0))
        return str(self._identity.version), [_workload_secret(name, secret) for name in names]


def _fingerprints(roots: bytes) -> str:
    return fingerprints(x509.load_pem_x509_certificates(roots)) if roots else ""


_NAMES = NAMES.encode()


def _name_table_request(names: NameTables) -> bytes:
    """Subscribe to all name tables; versions of an earlier stream are announced."""
    message = discovery_pb2.DeltaDiscoveryRequest(type_url=NAMES, resource_names_subscribe=["*"])
    message.initial_resource_versions.update(names.versions)
    return bytes(message.SerializeToString())


def _accept_name_tables(names: NameTables, message: bytes) -> bytes:
    """Apply a response with name tables. Returns the ACK or NACK; empty for a response of another type."""
    response = discovery_pb2.DeltaDiscoveryResponse.FromString(message)
    if response.type_url != NAMES:
        return b""
    answer = discovery_pb2.DeltaDiscoveryRequest(type_url=NAMES, response_nonce=response.nonce)
    try:
        names.update({r.name: (r.version, r.resource.value) for r in response.resources}, response.removed_resources)
    except ValueError as error:
        log.warning("NACK for name tables: %s", error)
        answer.error_detail.code, answer.error_detail.message = 3, str(error)
    return bytes(answer.SerializeToString())


def _workload_secret(name: str, secret: Secret) -> secret_pb2.Secret:
    """The workload's certificate, or the mesh's roots."""
    message = secret_pb2.Secret(name=name)
    if name == "ROOTCA":
        message.validation_context.trusted_ca.inline_bytes = secret.roots
        if secret.revoked:
            message.validation_context.crl.inline_bytes = secret.revoked
            # Of a chain with an intermediate, its own CA seldom has a list.
            message.validation_context.only_verify_leaf_cert_crl = True
    else:
        message.tls_certificate.CopyFrom(
            common_pb2.TlsCertificate(
                certificate_chain=base_pb2.DataSource(inline_bytes=secret.chain),
                private_key=base_pb2.DataSource(inline_bytes=secret.key),
            )
        )
    return message


def _secret_response(version: str, secrets: list[secret_pb2.Secret]) -> bytes:
    out = discovery_pb2.DiscoveryResponse(version_info=version, type_url=SECRET, nonce=version)
    for created in secrets:
        resource = out.resources.add()
        resource.type_url = SECRET
        resource.value = created.SerializeToString()
    return bytes(out.SerializeToString())
