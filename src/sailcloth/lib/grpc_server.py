"""A gRPC server over `http2`, for services of which one process pushes the same messages to a thousand streams.

A streaming call is an object with callbacks, not a task: a message costs one call of `send`. Unary methods are coroutines. Messages
pass as bytes, uncompressed. Must know no service. Source: the gRPC protocol over HTTP/2.
"""

from __future__ import annotations

import asyncio
import enum
import logging
import re
from collections.abc import Awaitable, Callable
from typing import Protocol
from urllib.parse import quote

from . import http2
from .connections import Connections

log = logging.getLogger(__name__)

_CHUNK = 64 << 10  # bytes handed to a transport at a time
_KEEPALIVE_S, _ANSWER_S = 30.0, 20.0
_CUT_OFF_S = 0.5  # until the last connection that was cut off has ended
_LAST_WORDS_S = 1.0
_LARGEST_MESSAGE = 16 << 20
_MOST_BUFFERED = 64 << 20  # bytes of incomplete messages on a connection
_TIMEOUT = re.compile(r"(\d{1,8})([HMSmun])\Z")
_UNITS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_RESPONSE = http2.status(200) + http2.literal(b"content-type", b"application/grpc")


class Status(enum.IntEnum):
    """gRPC's status codes, as far as they are sent."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    UNAUTHENTICATED = 16


class Abort(Exception):
    """Raised by a method to end the call with a status and a text that the caller may see."""

    def __init__(self, status: Status, text: str) -> None:
        super().__init__(text)
        self.status = status


class Receiver(Protocol):
    """What a streaming method does with a call."""

    def message(self, body: bytes) -> None:
        """The client has sent a message."""

    def client_ended(self) -> None:
        """The client sends no more."""

    def sent(self) -> None:
        """Messages that had to wait (`Call.blocked`) have been sent."""

    def closed(self) -> None:
        """The call is over, for whatever reason. Called once."""


Unary = Callable[[bytes, "Call"], Awaitable[bytes]]
"""A unary method: the request to the response. Raises Abort."""
Streaming = Callable[["Call"], Receiver]
"""A streaming method: called when a call begins."""


class Call:
    """One call. `metadata` holds its text headers in lower case; of several of one name the last."""

    __slots__ = ("_connection", "_receiver", "_started", "_stream", "_timeout", "metadata", "partial", "path", "task")

    def __init__(self, connection: _Connection, stream: http2.Stream, metadata: dict[str, str]) -> None:
        self._connection, self._stream = connection, stream
        self.metadata, self.path = metadata, metadata.get(":path", "")
        self._started = False
        self._timeout: asyncio.TimerHandle | None = None
        self._receiver: Receiver | None = None
        self.partial = bytearray()  # of a message
        self.task: asyncio.Task[None] | None = None

    @property
    def peer(self) -> str:
        """The client's address, for logs."""
        return self._connection.peer

    @property
    def blocked(self) -> bool:
        """Whether messages wait for the client or the network. `Receiver.sent` follows."""
        return bool(self._stream.queue)

    @property
    def is_closed(self) -> bool:
        return self._stream.local_closed

    def authenticated(self) -> None:
        """The client has proved who it is: its connection is not closed to make room for others."""
        self._connection.authenticated()

    def send(self, message: bytes) -> None:
        """Send a message; does nothing if the call is over."""
        self._start()
        self._connection.http2.send_data(self._stream, b"\0" + len(message).to_bytes(4, "big"), message)
        self._connection.schedule()

    def finish(self, status: Status = Status.OK, text: str = "") -> None:
        """End the call."""
        if self._stream.local_closed:
            return
        trailers = http2.literal(b"grpc-status", str(int(status)).encode())
        if text:
            trailers += http2.literal(
                b"grpc-message", quote(text[:2000], safe=" !\"#$&'()*+,/:;<=>?@[\\]^`{|}").encode()
            )
        if self._started:
            self._connection.http2.end(self._stream, trailers)
        else:
            self._connection.http2.send_headers(self._stream, _RESPONSE + trailers, end=True)
        self._connection.schedule()
        self.close()

    def _start(self) -> None:
        if not self._started:
            self._started = True
            self._connection.http2.send_headers(self._stream, _RESPONSE)

    # -- called by the connection ---------------------------------------------------------------

    def begin(self, method: Streaming | None, timeout_s: float | None) -> None:
        if timeout_s is not None:
            late = (Status.DEADLINE_EXCEEDED, "the deadline has passed")
            self._timeout = asyncio.get_running_loop().call_later(timeout_s, self.finish, *late)
        if method is not None:
            self._receiver = method(self)

    def deliver(self, message: bytes) -> None:
        if self._receiver is not None:
            try:
                self._receiver.message(message)
            except Exception:  # ends this call, and not the connection with all others
                log.exception("%s", self.path)
                self.finish(Status.INTERNAL, "internal error")

    def end_of_requests(self) -> None:
        if self._receiver is not None:
            self._receiver.client_ended()

    def sent(self) -> None:
        if self._receiver is not None:
            self._receiver.sent()

    def close(self) -> None:
        if self._timeout is not None:
            self._timeout.cancel()
        self._connection.forget(self)
        if self.task is not None and self.task is not asyncio.current_task():
            self.task.cancel()
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            receiver.closed()


class _Connection(asyncio.Protocol):
    """One client. Implements `http2.Requests`."""

    def __init__(self, server: GrpcServer) -> None:
        self._server = server
        self._loop = asyncio.get_running_loop()
        self.http2 = http2.ServerConnection(self)
        self.peer = ""
        self._transport: asyncio.Transport | None = None
        self._paused = self._scheduled = self._cutting = False
        self._heard = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None
        self._buffered = 0

    # -- asyncio.Protocol -----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(_CHUNK)
        address = transport.get_extra_info("peername")
        self.peer = f"{address[0]}:{address[1]}" if isinstance(address, tuple) else "a local socket"
        self._server.connections.add(self)
        if self._server.closing:  # it was accepted while the others were told to go
            transport.abort()
        self._timer = self._loop.call_later(_ANSWER_S, self._check)
        self.flush()

    def data_received(self, data: bytes) -> None:
        self._heard = self._loop.time()
        self.http2.receive(data)
        self.flush()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self.flush()

    def eof_received(self) -> bool:
        return False  # closes the connection

    def connection_lost(self, _: Exception | None) -> None:
        self._server.connections.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        self._transport = None
        for stream in list(self.http2.streams.values()):
            self.on_reset(stream)

    # -- writing --------------------------------------------------------------------------------

    def schedule(self) -> None:
        """Write in the next turn of the event loop, together with what else is sent until then."""
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Write what the transport takes now."""
        self._scheduled = False
        transport = None if self._cutting else self._transport
        while transport is not None and not self._paused and (chunk := self.http2.outgoing(_CHUNK)):
            transport.write(chunk)
        if self.http2.ended and transport is not None:
            self._cut_off(transport)

    def _cut_off(self, transport: asyncio.Transport) -> None:
        """Close the connection of a client that has broken the rules, after it could read why: what it still sends would reset it."""
        if not transport.can_write_eof():
            transport.close()
        elif not self._cutting:
            self._cutting = True
            transport.write_eof()
            self._loop.call_later(_LAST_WORDS_S, transport.abort)

    def _check(self) -> None:
        """Close the connection if its client has begun nothing, or is gone; otherwise ask it for a sign of life."""
        silent = self._loop.time() - self._heard
        if self._transport is None:
            return
        if silent >= _KEEPALIVE_S + _ANSWER_S or not self.http2.begun:
            self._transport.abort()
            return
        if silent >= _ANSWER_S:
            self.http2.ping()
            self.flush()
        else:
            self.http2.calm()
        self._timer = self._loop.call_later(_ANSWER_S, self._check)

    def authenticated(self) -> None:
        """Note that a call of this connection was authenticated."""
        if self._server.limits is not None:
            self._server.limits.authenticate(self._transport, "a client", privileged=True)

    async def close(self, grace_s: float) -> None:
        """Tell the client to go to another server, end its calls, and close."""
        self.http2.go_away()
        for stream in list(self.http2.streams.values()):
            call = stream.owner
            if isinstance(call, Call):
                call.finish(Status.UNAVAILABLE, "the server ends")
        self.flush()
        transport = self._transport
        if transport is not None:
            transport.close()
            self._loop.call_later(grace_s, transport.abort)

    # -- http2.Requests -------------------------------------------------------------------------

    def on_request(self, stream: http2.Stream, headers: http2.Headers) -> None:
        metadata = dict(headers)
        if metadata.get(":method") != "POST" or not metadata.get("content-type", "").startswith("application/grpc"):
            return  # answered at its end
        call = stream.owner = Call(self, stream, metadata)
        unary, streaming = self._server.unary.get(call.path), self._server.streaming.get(call.path)
        if unary is None and streaming is None:
            call.finish(Status.UNIMPLEMENTED, f"there is no method {call.path}")
            return
        call.begin(streaming, _timeout_s(metadata.get("grpc-timeout")))

    def on_data(self, stream: http2.Stream, data: bytes) -> None:
        call = stream.owner
        if not isinstance(call, Call) or call.is_closed:
            return
        partial = call.partial
        if not partial and len(data) >= 5 and len(data) == 5 + int.from_bytes(data[1:5], "big") and not data[0]:
            self._deliver(call, data[5:])  # one whole message, as nearly always
            return
        partial += data
        self._buffered += len(data)
        while len(partial) >= 5 and not call.is_closed:
            size = int.from_bytes(partial[1:5], "big")
            if partial[0]:
                call.finish(Status.UNIMPLEMENTED, "compressed messages are not understood")
                return
            if size > _LARGEST_MESSAGE or self._buffered > _MOST_BUFFERED:
                call.finish(Status.RESOURCE_EXHAUSTED, f"a message is larger than {_LARGEST_MESSAGE} bytes")
                return
            if len(partial) < 5 + size:
                return
            message = bytes(partial[5 : 5 + size])
            del partial[: 5 + size]
            self._buffered -= 5 + size
            self._deliver(call, message)

    def _deliver(self, call: Call, message: bytes) -> None:
        method = self._server.unary.get(call.path)
        if method is None:
            call.deliver(message)
        elif call.task is None:
            call.task = self._loop.create_task(self._answer(call, method, message))
        else:
            call.finish(Status.INVALID_ARGUMENT, "a unary method takes one message")

    async def _answer(self, call: Call, method: Unary, message: bytes) -> None:
        try:
            response = await method(message, call)
        except Abort as error:
            call.finish(error.status, str(error))
        except Exception:
            log.exception("%s", call.path)
            call.finish(Status.INTERNAL, "internal error")
        else:
            call.send(response)
            call.finish()

    def on_end(self, stream: http2.Stream) -> None:
        call = stream.owner
        if not isinstance(call, Call):
            self.http2.send_headers(stream, http2.status(415) + http2.literal(b"content-type", b"text/plain"))
            self.http2.send_data(stream, b"", b"This port speaks gRPC only.\n")
            self.http2.end(stream, http2.literal(b"grpc-status", str(int(Status.UNKNOWN)).encode()))
            return
        if call.is_closed:
            return
        if call.partial:
            call.finish(Status.INVALID_ARGUMENT, "a message is cut off")
        elif call.path in self._server.streaming:
            call.end_of_requests()
        elif call.task is None:
            call.finish(Status.INVALID_ARGUMENT, "a unary method takes one message")

    def on_reset(self, stream: http2.Stream) -> None:
        call = stream.owner
        if isinstance(call, Call):
            call.close()

    def on_sent(self, stream: http2.Stream) -> None:
        if isinstance(stream.owner, Call):
            stream.owner.sent()

    def forget(self, call: Call) -> None:
        """A call is over."""
        self._buffered -= len(call.partial)
        call.partial.clear()


def _timeout_s(text: str | None) -> float | None:
    match = _TIMEOUT.match(text) if text else None
    return int(match[1]) * _UNITS[match[2]] if match is not None else None


class GrpcServer:
    """Methods by path (`/package.Service/Method`). Pass `protocol` to `loop.create_server`, or to `limits`, which then is told of
    clients that have authenticated themselves."""

    def __init__(
        self,
        unary: dict[str, Unary] | None = None,
        streaming: dict[str, Streaming] | None = None,
        limits: Connections | None = None,
    ) -> None:
        self.unary, self.streaming, self.limits = unary or {}, streaming or {}, limits
        self.connections: set[_Connection] = set()
        self.closing = False

    def protocol(self) -> asyncio.Protocol:
        """A protocol for one accepted connection. Needs a running event loop."""
        return _Connection(self)

    async def close(self, grace_s: float = 0.5, over_s: float = 0.0) -> None:
        """End all calls and connections, one after the other within `over_s`, so that clients do not come to another server all at once. Those
        that do not take what is sent are cut off after `grace_s`."""
        self.closing = True
        left = list(self.connections)
        pause = over_s / max(1, len(left))
        for connection in left:
            await connection.close(grace_s)
            await asyncio.sleep(pause)
        end = asyncio.get_running_loop().time() + grace_s
        while self.connections and asyncio.get_running_loop().time() < end + _CUT_OFF_S:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
