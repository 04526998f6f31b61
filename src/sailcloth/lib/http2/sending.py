"""The sending half of a connection: the queues of its streams, within the client's windows."""

from __future__ import annotations

import struct
from collections import OrderedDict, deque
from typing import Protocol

from . import frames

_REMEMBERED = 1_000  # streams that were closed most recently


class Stream:
    """One request and its response. `owner` belongs to the application."""

    __slots__ = (
        "declared",
        "local_closed",
        "number",
        "owner",
        "queue",
        "receive_window",
        "received",
        "remote_closed",
        "send_window",
        "size",
        "trailers",
    )

    def __init__(self, number: int, send_window: int, size: int) -> None:
        self.number, self.size = number, size  # size: of the headers, in bytes
        self.owner: object = None
        self.send_window, self.receive_window = send_window, frames.STREAM_WINDOW
        self.queue: deque[memoryview] = deque()  # not sent yet
        self.trailers: bytes | None = None  # header block that follows the queue and ends the response
        self.remote_closed = self.local_closed = False
        self.declared: int | None = None  # content-length
        self.received = 0


class Requests(Protocol):
    """What an application does with requests."""

    def on_request(self, stream: Stream, headers: frames.Headers) -> None:
        """A request has begun."""

    def on_data(self, stream: Stream, data: bytes) -> None:
        """A part of its body."""

    def on_end(self, stream: Stream) -> None:
        """The body is complete."""

    def on_reset(self, stream: Stream) -> None:
        """The client has taken the request back, or has violated the protocol. Nothing can be sent on the stream any more."""

    def on_sent(self, stream: Stream) -> None:
        """What had to wait in the stream's queue has been sent."""


class Sender:
    """Sends responses. `outgoing` returns the bytes, as long as there are some."""

    def __init__(self, requests: Requests) -> None:
        self._requests = requests
        self.streams: dict[int, Stream] = {}
        self._closed: OrderedDict[int, bool] = OrderedDict()  # number -> whether the client had ended the stream
        self._last = 0  # number of the newest stream
        self._held = 0  # bytes of the headers of all streams
        self._send_window, self._stream_window = frames.DEFAULT_WINDOW, frames.DEFAULT_WINDOW
        self._largest_frame = frames.LARGEST_FRAME
        self._waiting: deque[Stream] = deque()  # streams with a queue
        self._out: list[bytes | memoryview] = []

    def outgoing(self, most: int) -> bytes:
        """The bytes to send now: all control frames, and data up to about `most` bytes."""
        out, self._out = self._out, []
        if self._waiting:
            size = sum(len(part) for part in out)
            while self._waiting and size < most and (self._send_window > 0 or not self._waiting[0].queue):
                stream = self._waiting.popleft()
                size += self._send_queued(stream, out)
            out += self._out  # what `on_sent` has added
            self._out = []
        return b"".join(out)

    def _send_queued(self, stream: Stream, out: list[bytes | memoryview]) -> int:
        """Send one frame of a stream's queue. Returns its size."""
        size = 0
        if stream.local_closed:
            return 0
        if stream.queue:
            part = stream.queue[0]
            size = min(len(part), self._largest_frame, self._send_window, stream.send_window)
            if size <= 0:
                return 0  # until the client widens the stream's window
            out.append(frames.head.pack(size >> 8, size & 0xFF, frames.DATA, 0, stream.number))
            out.append(part[:size])
            self._send_window -= size
            stream.send_window -= size
            if size == len(part):
                stream.queue.popleft()
            else:
                stream.queue[0] = part[size:]
        if stream.queue:
            self._waiting.append(stream)
        elif stream.trailers is not None:
            self._end(stream, stream.trailers, out)
        else:
            self._requests.on_sent(stream)
        return size + 9

    def send_headers(self, stream: Stream, block: bytes, end: bool = False) -> None:
        """Begin a response."""
        if stream.local_closed:
            return
        if end:
            self._end(stream, block, self._out)
        else:
            self._out.append(frames.frame(frames.HEADERS, frames.END_HEADERS, stream.number, block))

    def send_data(self, stream: Stream, prefix: bytes, body: bytes) -> None:
        """Send two parts of the response's body, of which the second may be shared by many streams."""
        size = len(prefix) + len(body)
        if stream.local_closed or stream.trailers is not None:
            return
        if stream.queue or size > self._send_window or size > stream.send_window or size > self._largest_frame:
            if not stream.queue:
                self._waiting.append(stream)
            stream.queue += [memoryview(part) for part in (prefix, body) if part]
            return
        self._out.append(frames.head.pack(size >> 8, size & 0xFF, frames.DATA, 0, stream.number) + prefix)
        self._out.append(body)
        self._send_window -= size
        stream.send_window -= size

    def end(self, stream: Stream, trailers: bytes) -> None:
        """End the response, after what is still queued."""
        if stream.local_closed or stream.trailers is not None:
            return
        if stream.queue:
            stream.trailers = trailers
        else:
            self._end(stream, trailers, self._out)

    def _end(self, stream: Stream, block: bytes, out: list[bytes | memoryview]) -> None:
        out.append(frames.frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, stream.number, block))
        stream.local_closed = True
        if not stream.remote_closed:  # the client need not send the rest of its request
            out.append(frames.frame(frames.RESET, 0, stream.number, struct.pack(">I", frames.NO_ERROR)))
        self._forget(stream, stream.remote_closed)

    def go_away(self, code: int = frames.NO_ERROR, text: str = "") -> None:
        """Tell the client that no further requests are answered."""
        self._out.append(frames.frame(frames.GOAWAY, 0, 0, struct.pack(">II", self._last, code) + text.encode()[:200]))

    def reset(self, stream: Stream, code: int) -> None:
        """End a stream without a response."""
        if not stream.local_closed:
            self._out.append(frames.frame(frames.RESET, 0, stream.number, struct.pack(">I", code)))
            self._forget(stream, False)

    def _widen(self, stream: Stream, more: int) -> None:
        before = stream.send_window
        stream.send_window += more
        if stream.send_window > frames.LARGEST_WINDOW:
            raise frames.ConnectionFailed(frames.FLOW_CONTROL_ERROR, "the window of a stream is too large")
        if before <= 0 < stream.send_window and stream.queue and stream not in self._waiting:
            self._waiting.append(stream)

    def _forget(self, stream: Stream, ended_by_client: bool) -> None:
        stream.local_closed = True
        stream.queue.clear()
        stream.trailers = None
        if self.streams.pop(stream.number, None) is not None:
            self._held -= stream.size
        self._remember(stream.number, ended_by_client)

    def _remember(self, stream_id: int, ended_by_client: bool) -> None:
        self._closed[stream_id] = ended_by_client
        if len(self._closed) > _REMEMBERED:
            self._closed.popitem(last=False)
