"""The gRPC service AggregatedDiscoveryService: moves messages between clients and `stream.Stream`s.

A change wakes all streams that it concerns in one pass over them, without a task for each. Must not decide what a client gets:
`StreamCallbacks.admit` authenticates it and assigns its collections.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf.message import DecodeError

from sailcloth.lib.grpc_server import Call, Status, Streaming

from .cache import ResponseCache
from .stream import Stream

log = logging.getLogger(__name__)

SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"
_PASS_S = 0.02  # after which a pass over woken streams lets the event loop do other work
_MOST_EARLY = 64  # messages of a client before it is admitted


def _not_served() -> None: ...


@dataclass(eq=False)
class Connection:
    """A client's stream. `wake` has its responses sent in the next turn of the event loop."""

    stream: Stream
    peer: str
    wake: Callable[[], None] = _not_served
    close: Callable[[], None] = _not_served  # ends the stream; the client may open another
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
    """Discovery for any number of clients."""

    def __init__(self, callbacks: StreamCallbacks) -> None:
        self.callbacks = callbacks
        self.cache = ResponseCache()
        self._woken: dict[_Session, None] = {}
        self._scheduled = False

    def methods(self) -> dict[str, Streaming]:
        """The methods, by path, for a `GrpcServer`."""
        return {
            f"/{SERVICE}/DeltaAggregatedResources": partial(_Session, self, True),
            f"/{SERVICE}/StreamAggregatedResources": partial(_Session, self, False),
        }

    def wake(self, session: _Session) -> None:
        """Send a client's responses in the next pass."""
        self._woken[session] = None
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._pass)

    def _pass(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        end = now + _PASS_S
        while self._woken and loop.time() < end:
            session = next(iter(self._woken))
            del self._woken[session]
            session.pump(now)
        self._scheduled = bool(self._woken)
        if self._scheduled:
            loop.call_soon(self._pass)


class _Session:
    """One client's call. Implements `grpc_server.Receiver`."""

    def __init__(self, server: Server, delta: bool, call: Call) -> None:
        self._server, self._call, self._delta = server, call, delta
        self.connection = Connection(Stream(server.cache, delta=delta), call.peer, partial(server.wake, self))
        self.connection.close = partial(call.finish, Status.UNAVAILABLE, "disconnected on request; connect again")
        self.connection.stream.on_result = partial(server.callbacks.result, self.connection)
        self._request: type[Any] = discovery_pb2.DeltaDiscoveryRequest if delta else discovery_pb2.DiscoveryRequest
        self._admitted = False
        self._early: list[Any] = []  # requests that came before the client was admitted
        self._admission: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    # -- Receiver -------------------------------------------------------------------------------

    def message(self, body: bytes) -> None:
        try:
            request = self._request.FromString(body)
        except DecodeError:
            self._call.finish(Status.INVALID_ARGUMENT, "the message is no discovery request")
            return
        if self._admitted:
            self._receive(request)
            return
        self._early.append(request)
        if self._admission is None:
            self._admission = asyncio.get_running_loop().create_task(self._admit(), name="admission of a proxy")
        elif len(self._early) > _MOST_EARLY:
            self._call.finish(Status.RESOURCE_EXHAUSTED, "too many messages before the client is authenticated")

    def client_ended(self) -> None:
        self._call.finish()

    def sent(self) -> None:
        self.connection.wake()

    def closed(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._admission is not None:
            self._admission.cancel()
        if self._admitted:
            self._admitted = False
            self._server.callbacks.leave(self.connection)

    # -- requests -------------------------------------------------------------------------------

    async def _admit(self) -> None:
        """Authenticate the client, and take the requests that have come meanwhile. Before, answer what needs no subscription."""
        callbacks = self._server.callbacks
        try:
            while not self._delta and self._early:
                answer = await callbacks.query(self._early[0], self._call.metadata)
                if answer is None:
                    break
                self._early.pop(0)
                self._call.authenticated()
                if answer:
                    self._call.send(answer)
            if not self._early:
                self._admission = None
                return
            await callbacks.admit(self.connection, self._early[0].node, self._call.metadata)
        except PermissionError as error:
            self._call.finish(Status.UNAUTHENTICATED, str(error))
        except ValueError as error:
            self._call.finish(Status.INVALID_ARGUMENT, str(error))
        except Exception:
            log.exception("a client cannot be admitted")
            self._call.finish(Status.INTERNAL, "internal error")
        else:
            self._admitted, self._admission = True, None
            self._call.authenticated()
            if self._call.is_closed:
                self.closed()
            early, self._early = self._early, []
            for request in early:
                if self._admitted:
                    self._receive(request)

    def _receive(self, request: Any) -> None:
        stream = self.connection.stream
        error = request.error_detail.message if request.HasField("error_detail") else ""
        if error:
            error = error[:2000] or "rejected without a reason"
        if self._server.callbacks.on_notification(self.connection, request.type_url, error):
            return
        if self._delta:
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
        self.connection.wake()

    # -- responses ------------------------------------------------------------------------------

    def pump(self, now: float) -> None:
        """Send the responses that are due. Waits until earlier ones have left, so that changes coalesce meanwhile."""
        if not self._admitted or self._call.blocked:
            return
        stream = self.connection.stream
        try:
            for message in stream.pump(now):
                self._call.send(message)
        except Exception:
            log.exception("a discovery stream failed")
            self._call.finish(Status.INTERNAL, "internal error")
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if stream.deadline is not None:
            self._timer = asyncio.get_running_loop().call_at(stream.deadline + 0.001, self.connection.wake)
