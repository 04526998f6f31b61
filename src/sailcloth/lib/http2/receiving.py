"""The receiving half of a connection: frames become calls of `Requests`, and violations of the protocol its end.

What costs work and asks for nothing is counted and ends the connection: pings, settings, requests that are taken back at once,
header blocks without an end.
"""

from __future__ import annotations

import struct

import hpack

from . import frames
from .sending import Requests, Sender, Stream

_MOST_HELD = 32 << 20  # bytes of the headers of all streams
_MOST_CONTROL = 2_000  # frames that cost work and ask for nothing, between two messages or two calls of `calm`


class ServerConnection(Sender):
    """Feed it with `receive`, and send what `outgoing` returns, as long as that is not empty."""

    def __init__(self, requests: Requests, most_streams: int = 10_000) -> None:
        super().__init__(requests)
        self._most_streams = most_streams
        self._buffer = bytearray()
        self._begun = self._settled = False
        self._decoder = hpack.Decoder(max_header_list_size=frames.MOST_HEADERS)
        self._block: tuple[int, int, bytearray] | None = None  # (stream, flags, header block) that continues
        self._receive_window = frames.CONNECTION_WINDOW
        self._control = 0  # frames that cost work and ask for nothing
        settings = struct.pack(">HIHIHI", 3, most_streams, 4, frames.STREAM_WINDOW, 6, frames.MOST_HEADERS)
        wider = struct.pack(">I", frames.CONNECTION_WINDOW - frames.DEFAULT_WINDOW)
        self._out += [frames.frame(frames.SETTINGS, 0, 0, settings), frames.frame(frames.WINDOW, 0, 0, wider)]
        self.ended = False  # nothing is received any more; what `outgoing` returns is the last

    def ping(self) -> None:
        """Ask the client for a sign of life."""
        self.calm()
        self._out.append(frames.frame(frames.PING, 0, 0, b"sailclth"))

    def calm(self) -> None:
        """Forget the frames that asked for nothing. To be called regularly."""
        self._control = 0

    @property
    def begun(self) -> bool:
        """Whether the client has sent its settings."""
        return self._settled

    def receive(self, data: bytes) -> None:
        """Bytes from the client. After a violation of the protocol `ended` is set, and all requests are reset."""
        if self.ended:
            return
        try:
            self._receive(data)
        except frames.ConnectionFailed as error:
            self.ended = True
            self.go_away(error.code, str(error))
            for stream in list(self.streams.values()):
                self._drop(stream)

    def _receive(self, data: bytes) -> None:
        buffer = self._buffer
        if buffer or not self._begun:
            buffer += data
            if not self._begun:
                if not frames.PREFACE.startswith(buffer[: len(frames.PREFACE)]):
                    raise frames.ConnectionFailed(frames.PROTOCOL_ERROR, "this is no HTTP/2")
                if len(buffer) < len(frames.PREFACE):
                    return
                del buffer[: len(frames.PREFACE)]
                self._begun = True
            data = bytes(buffer)
            buffer.clear()
        at, end = 0, len(data)
        while end - at >= 9:
            high, low, kind, flags, stream_id = frames.head.unpack_from(data, at)
            size = high << 8 | low
            if size > frames.LARGEST_FRAME:
                raise frames.ConnectionFailed(frames.FRAME_SIZE_ERROR, "a frame is too large")
            if end - at - 9 < size:
                break
            payload = data[at + 9 : at + 9 + size]
            at += 9 + size
            try:
                self._dispatch(kind, flags, stream_id & frames.LARGEST_WINDOW, payload)
            except frames.StreamFailed as error:
                self._reset(error.stream_id, error.code)
        if at < end:
            buffer += data[at:]

    def _dispatch(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        if not self._settled and kind != frames.SETTINGS:
            raise frames.ConnectionFailed(frames.PROTOCOL_ERROR, "the first frame is not SETTINGS")
        if self._block is not None and (kind != frames.CONTINUATION or stream_id != self._block[0]):
            raise frames.ConnectionFailed(frames.PROTOCOL_ERROR, "a header block is interrupted")
        if kind == frames.DATA:
            self._on_data(flags, stream_id, payload)
            return
        if kind not in (frames.HEADERS, frames.CONTINUATION, frames.WINDOW):
            self._control += 1
            if self._control > _MOST_CONTROL:
                raise frames.ConnectionFailed(frames.ENHANCE_YOUR_CALM, "too many frames that ask for nothing")
        if kind == frames.HEADERS:
            self._on_headers(flags, stream_id, payload)
        elif kind == frames.WINDOW:
            self._on_window(stream_id, payload)
        elif kind == frames.SETTINGS:
            self._on_settings(flags, stream_id, payload)
        elif kind == frames.PING:
            self._on_ping(flags, stream_id, payload)
        elif kind == frames.RESET:
            self._on_reset(stream_id, payload)
        elif kind == frames.CONTINUATION:
            self._on_continuation(flags, payload)
        elif kind == frames.PRIORITY:
            self._on_priority(stream_id, payload)
        elif kind == frames.GOAWAY:
            if stream_id or len(payload) < 8:
                raise frames.ConnectionFailed(frames.PROTOCOL_ERROR, "GOAWAY is malformed")
        elif kind == frames.PUSH:
            raise frames.ConnectionFailed(frames.PROTOCOL_ERROR, "a client cannot push")

    def _on_data(self, flags: int, stream_id: int, payload: bytes) -> None:
        size = len(payload)
        self._receive_window -= size
        if self._receive_window < 0:
            raise frames.ConnectionFailed(frames.FLOW_CONTROL_ERROR, "more data than the window allows")
        if self._receive_window < frames.CONNECTION_WINDOW // 2:
            self._out.append(
                frames.frame(frames.WINDOW, 0, 0, struct.pack(">I", frames.CONNECTION_WINDOW - self._receive_window))
            )
            self._receive_window = frames.CONNECTION_WINDOW
        stream = self.streams.get(stream_id)
        if stream is None or stream.remote_closed:
            self._not_open(stream_id, stream)
            return
        if flags & frames.PADDED:
            payload = frames.unpadded(payload)
        stream.receive_window -= size
        if stream.receive_window < 0:
            raise frames.StreamFailed(stream_id, frames.FLOW_CONTROL_ERROR)
        stream.received += len(payload)
        ends = bool(flags & frames.END_STREAM)
        if stream.receive_window < frames.STREAM_WINDOW // 2 and not ends:
            self._out.append(
                frames.frame(
                    frames.WINDOW, 0, stream_id, struct.pack(">I", frames.STREAM_WINDOW - stream.receive_window)
                )
            )
            stream.receive_window = frames.STREAM_WINDOW
        if payload:
            self._control = 0
            self._requests.on_data(stream, payload)
        elif not ends:
            self._control += 1
        if ends:
            self._on_end(stream)

    def _not_open(self, stream_id: int, stream: Stream | None) -> None:
        """Data or headers on a stream that takes none: ignored if it was this side that closed it."""
        if stream_id == 0 or stream_id > self._last or stream_id % 2 == 0:
            raise frames.ConnectionFailed(frames.PROTOCOL_ERROR, "a frame for a stream that was not opened")
        if stream is not None or self._closed.get(stream_id, True):
            raise frames.ConnectionFailed(frames.STREAM_CLOSED, "a frame for a stream that the client has ended")

    def _on_end(self, stream: Stream) -> None:
        stream.remote_closed = True
        if stream.declared is not None and stream.declared != stream.received:
            raise frames.StreamFailed(stream.number, frames.PROTOCOL_ERROR)
        if not stream.local_closed:
            self._requests.on_end(stream)

    def _on_headers(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id % 2 == 0:
            raise frames.ConnectionFailed(frames.PROTOCOL_ERROR, "a request needs an odd stream number")
        if flags & frames.PADDED:
            payload = frames.unpadded(payload)
        depends = -1
        if flags & frames.HAS_PRIORITY:
            if len(payload) < 5:
                raise frames.ConnectionFailed(frames.FRAME_SIZE_ERROR, "a priority is cut off")
            depends = int.from_bytes(payload[:4], "big") & frames.LARGEST_WINDOW
            payload = payload[5:]
        self._block = (stream_id, flags | (0x100 if depends == stream_id else 0), bytearray(payload))
        if flags & frames.END_HEADERS:
            self._on_block()

    def _on_continuation(self, flags: int, payload: bytes) -> None:
        if self._block is None:
            raise frames.ConnectionFailed(frames.PROTOCOL_ERROR, "CONTINUATION without a header block")
        self._block[2].extend(payload)
        if len(self._block[2]) > frames.MOST_HEADERS or not payload:
            raise frames.ConnectionFailed(frames.ENHANCE_YOUR_CALM, "the headers are too large")
        if flags & frames.END_HEADERS:
            self._on_block()

    def _on_block(self) -> None:
        """A header block is complete: a request, or its trailers."""
        assert self._block is not None
        (stream_id, flags, block), self._block = self._block, None
        try:
            headers = [(str(name), str(value)) for name, value in self._decoder.decode(bytes(block))]
        except (hpack.HPACKError, UnicodeDecodeError):
            raise frames.ConnectionFailed(frames.COMPRESSION_ERROR, "the headers cannot be decoded") from None
        stream = self.streams.get(stream_id)
        if stream is not None:
            if stream.remote_closed:
                raise frames.ConnectionFailed(frames.STREAM_CLOSED, "headers for a stream that the client has ended")
            if not flags & frames.END_STREAM or any(name.startswith(":") for name, _ in headers):
                raise frames.StreamFailed(stream_id, frames.PROTOCOL_ERROR)
            self._on_end(stream)
            return
        if stream_id <= self._last:
            self._not_open(stream_id, None)
            return
        self._last = stream_id
        size = sum(len(name) + len(value) + 32 for name, value in headers)
        if len(self.streams) >= self._most_streams or self._held + size > _MOST_HELD:
            raise frames.StreamFailed(stream_id, frames.REFUSED_STREAM)
        if flags & 0x100 or not frames.well_formed(headers):
            raise frames.StreamFailed(stream_id, frames.PROTOCOL_ERROR)
        stream = self.streams[stream_id] = Stream(stream_id, self._stream_window, size)
        self._held += size
        length = next((value for name, value in headers if name == "content-length"), None)
        if length is not None:
            if not (length.isascii() and length.isdigit() and len(length) < 19):
                raise frames.StreamFailed(stream_id, frames.PROTOCOL_ERROR)
            stream.declared = int(length)
        self._requests.on_request(stream, headers)
        if flags & frames.END_STREAM and not stream.local_closed:
            self._on_end(stream)

    def _on_settings(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id:
            raise frames.ConnectionFailed(frames.PROTOCOL_ERROR, "SETTINGS on a stream")
        if flags & frames.ACK:
            if payload:
                raise frames.ConnectionFailed(frames.FRAME_SIZE_ERROR, "an acknowledgement of SETTINGS has a payload")
            return
        if len(payload) % 6:
            raise frames.ConnectionFailed(frames.FRAME_SIZE_ERROR, "SETTINGS is cut off")
        self._settled = True
        for name, value in struct.iter_unpack(">HI", payload):
            if name == 2 and value > 1:
                raise frames.ConnectionFailed(frames.PROTOCOL_ERROR, "ENABLE_PUSH is neither 0 nor 1")
            if name == 4:
                if value > frames.LARGEST_WINDOW:
                    raise frames.ConnectionFailed(frames.FLOW_CONTROL_ERROR, "INITIAL_WINDOW_SIZE is too large")
                change, self._stream_window = value - self._stream_window, value
                for stream in self.streams.values():
                    self._widen(stream, change)
            if name == 5:
                if not frames.LARGEST_FRAME <= value < 1 << 24:
                    raise frames.ConnectionFailed(frames.PROTOCOL_ERROR, "MAX_FRAME_SIZE is out of range")
                self._largest_frame = min(value, 1 << 17)
        self._out.append(frames.frame(frames.SETTINGS, frames.ACK, 0))

    def _on_window(self, stream_id: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise frames.ConnectionFailed(frames.FRAME_SIZE_ERROR, "WINDOW_UPDATE is not 4 bytes long")
        more = int.from_bytes(payload, "big") & frames.LARGEST_WINDOW
        if stream_id == 0:
            if not more:
                raise frames.ConnectionFailed(frames.PROTOCOL_ERROR, "WINDOW_UPDATE by nothing")
            self._send_window += more
            if self._send_window > frames.LARGEST_WINDOW:
                raise frames.ConnectionFailed(frames.FLOW_CONTROL_ERROR, "the window is too large")
            return
        stream = self.streams.get(stream_id)
        if stream is None:
            if stream_id > self._last or stream_id % 2 == 0:
                raise frames.ConnectionFailed(frames.PROTOCOL_ERROR, "WINDOW_UPDATE for a stream that was not opened")
            return
        if not more:
            raise frames.StreamFailed(stream_id, frames.PROTOCOL_ERROR)
        if stream.send_window + more > frames.LARGEST_WINDOW:
            raise frames.StreamFailed(stream_id, frames.FLOW_CONTROL_ERROR)
        self._widen(stream, more)

    def _on_ping(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id:
            raise frames.ConnectionFailed(frames.PROTOCOL_ERROR, "PING on a stream")
        if len(payload) != 8:
            raise frames.ConnectionFailed(frames.FRAME_SIZE_ERROR, "PING is not 8 bytes long")
        if not flags & frames.ACK:
            self._out.append(frames.frame(frames.PING, frames.ACK, 0, payload))

    def _on_reset(self, stream_id: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise frames.ConnectionFailed(frames.FRAME_SIZE_ERROR, "RST_STREAM is not 4 bytes long")
        if stream_id == 0 or stream_id > self._last or stream_id % 2 == 0:
            raise frames.ConnectionFailed(frames.PROTOCOL_ERROR, "RST_STREAM for a stream that was not opened")
        stream = self.streams.get(stream_id)
        if stream is not None:
            self._drop(stream)

    def _on_priority(self, stream_id: int, payload: bytes) -> None:
        if stream_id == 0:
            raise frames.ConnectionFailed(frames.PROTOCOL_ERROR, "PRIORITY without a stream")
        if len(payload) != 5:
            raise frames.StreamFailed(stream_id, frames.FRAME_SIZE_ERROR)
        if int.from_bytes(payload[:4], "big") & frames.LARGEST_WINDOW == stream_id:
            raise frames.StreamFailed(stream_id, frames.PROTOCOL_ERROR)

    def _reset(self, stream_id: int, code: int) -> None:
        self._control += 1
        self._out.append(frames.frame(frames.RESET, 0, stream_id, struct.pack(">I", code)))
        stream = self.streams.get(stream_id)
        if stream is None:
            self._remember(stream_id, False)
        else:
            self._forget(stream, False)
            self._requests.on_reset(stream)

    def _drop(self, stream: Stream) -> None:
        self._forget(stream, True)
        self._requests.on_reset(stream)
