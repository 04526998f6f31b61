"""The gRPC service AggregatedDiscoveryService: moves bytes between clients and `stream.Stream`s.

Must not decide what a client gets: `StreamCallbacks.admit` authenticates it and assigns its collections.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import grpc
from envoy.service.discovery.v3 import discovery_pb2

from .cache import ResponseCache
from .stream import Stream

log = logging.getLogger(__name__)

SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"
OPTIONS = (
    ("grpc.so_reuseport", 0),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", 16 << 20),
    # With the defaults, gRPC refuses some of many proxies that reconnect at once.
    ("grpc.server.max_pending_requests", 20_000),
    ("grpc.server.max_pending_requests_hard_limit", 30_000),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.http2.write_buffer_size", 1 << 20),
)
_BIG = (
    256 << 10
)  # bytes; at most _BIG_AT_ONCE responses of this size or more are written at a time, to limit memory in a full push
_BIG_AT_ONCE = 64


@dataclass(eq=False)
class Connection:
    """A client's stream and its writer's wake-up."""

    stream: Stream
    peer: str
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    node: Any = None
    since: float = field(default_factory=time.time)


class StreamCallbacks(Protocol):
    """What the server needs of the control plane."""

    async def admit(self, connection: Connection, node: Any, metadata: dict[str, str]) -> None:
        """Authenticate the client by its first message and assign its collections. Raises PermissionError, sent as
        UNAUTHENTICATED, or ValueError, sent as INVALID_ARGUMENT."""

    def leave(self, connection: Connection) -> None:
        """The client has disconnected. Called once for each admitted client."""

    async def query(self, request: Any, metadata: dict[str, str]) -> bytes | None:
        """The response to a state-of-the-world request that subscribes to nothing; None for all others. Asked of clients that are
        not admitted. Raises PermissionError and ValueError as `admit`."""

    def on_notification(self, connection: Connection, type_url: str, error: str) -> bool:
        """Handle a message that is a notification, not a request (such as a health report). Returns False for requests."""

    def result(self, connection: Connection, type_url: str, error: str) -> None:
        """The client acknowledged a response (empty error) or rejected it."""


class Server:
    """Serves discovery on any number of ports."""

    def __init__(self, callbacks: StreamCallbacks) -> None:
        self._callbacks = callbacks
        self.cache = ResponseCache()
        self._big = asyncio.Semaphore(_BIG_AT_ONCE)

    def handler(self) -> grpc.GenericRpcHandler:
        """The generic handler to add to a grpc.aio server; messages pass as bytes."""
        handlers = {
            "DeltaAggregatedResources": grpc.stream_stream_rpc_method_handler(self._delta),
            "StreamAggregatedResources": grpc.stream_stream_rpc_method_handler(self._sotw),
        }
        return grpc.method_handlers_generic_handler(SERVICE, handlers)

    async def _delta(self, requests: AsyncIterator[bytes], context: Any) -> None:
        await self._serve(context, delta=True)

    async def _sotw(self, requests: AsyncIterator[bytes], context: Any) -> None:
        await self._serve(context, delta=False)

    async def _serve(self, context: Any, delta: bool) -> None:
        connection = Connection(Stream(self.cache, delta=delta), context.peer())
        connection.stream.on_result = lambda url, error: self._callbacks.result(connection, url, error)
        admitted = False
        writer: asyncio.Task[None] | None = None
        try:
            while (message := await context.read()) is not grpc.aio.EOF:
                request = (discovery_pb2.DeltaDiscoveryRequest if delta else discovery_pb2.DiscoveryRequest).FromString(
                    message
                )
                if not admitted:
                    metadata = {k: v for k, v in context.invocation_metadata() or () if isinstance(v, str)}
                    try:
                        if not delta and (answer := await self._callbacks.query(request, metadata)) is not None:
                            if answer:
                                await context.write(answer)
                            continue
                        await self._callbacks.admit(connection, request.node, metadata)
                    except PermissionError as error:
                        await context.abort(grpc.StatusCode.UNAUTHENTICATED, str(error))
                    except ValueError as error:
                        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
                    admitted = True
                    writer = asyncio.create_task(self._write(connection, context.write))
                    writer.add_done_callback(lambda task: _ended(task, context))
                self._receive(connection, request, delta)
                connection.wake.set()
                if writer is not None and writer.done():
                    break
        except asyncio.CancelledError:
            raise
        finally:
            if writer is not None:
                writer.cancel()
                with contextlib.suppress(asyncio.CancelledError, grpc.RpcError, grpc.aio.UsageError):
                    await writer
            if admitted:
                self._callbacks.leave(connection)

    def _receive(self, connection: Connection, request: Any, delta: bool) -> None:
        stream = connection.stream
        error = request.error_detail.message if request.HasField("error_detail") else ""
        if error:
            error = error[:2000] or "rejected without a reason"
        if self._callbacks.on_notification(connection, request.type_url, error):
            return
        if delta:
            stream.on_delta(
                request.type_url,
                subscribe=request.resource_names_subscribe,
                unsubscribe=request.resource_names_unsubscribe,
                nonce=request.response_nonce,
                error=error,
                initial=dict(request.initial_resource_versions),
            )
        else:
            stream.on_sotw(request.type_url, request.resource_names, request.response_nonce, error)

    async def _write(self, connection: Connection, write: Callable[[bytes], Awaitable[None]]) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await connection.wake.wait()
            connection.wake.clear()
            for message in connection.stream.pump(loop.time()):
                if len(message) >= _BIG:
                    async with self._big:
                        await write(message)
                else:
                    await write(message)
            deadline = connection.stream.deadline
            if deadline is not None:
                loop.call_at(deadline + 0.001, connection.wake.set)


def _ended(writer: asyncio.Task[None], context: Any) -> None:
    """End a stream whose writer failed, so that the client reconnects."""
    if writer.cancelled() or writer.exception() is None:
        return
    if not isinstance(writer.exception(), (grpc.RpcError, grpc.aio.UsageError)):
        log.error("a discovery stream failed", exc_info=writer.exception())
    with contextlib.suppress(grpc.RpcError, grpc.aio.UsageError):
        context.cancel()
