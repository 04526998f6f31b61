"""SPDY/3.1 for Kubernetes' streaming protocols, over any duplex byte stream: a server session, and frames for clients.

Supports streams with headers, data, half-close and ping. Has no push, priorities or settings.
"""

from __future__ import annotations

import asyncio
import struct
import zlib
from collections import deque
from collections.abc import Awaitable, Callable, Iterator

_WORDS = [
    "options",
    "head",
    "post",
    "put",
    "delete",
    "trace",
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "accept-ranges",
    "age",
    "allow",
    "authorization",
    "cache-control",
    "connection",
    "content-base",
    "content-encoding",
    "content-language",
    "content-length",
    "content-location",
    "content-md5",
    "content-range",
    "content-type",
    "date",
    "etag",
    "expect",
    "expires",
    "from",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "last-modified",
    "location",
    "max-forwards",
    "pragma",
    "proxy-authenticate",
    "proxy-authorization",
    "range",
    "referer",
    "retry-after",
    "server",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "vary",
    "via",
    "warning",
    "www-authenticate",
    "method",
    "get",
    "status",
]


def dictionary() -> bytes:
    """The compression dictionary of SPDY/3 (draft 3.1, section 2.6.10.1): length-prefixed words, then fixed text."""
    words = b"".join(struct.pack(">I", len(w)) + w.encode() for w in _WORDS)
    words += struct.pack(">I", 6) + b"200 OK" + struct.pack(">I", 7) + b"version" + struct.pack(">I", 8) + b"HTTP/1.1"
    words += struct.pack(">I", 3) + b"url" + struct.pack(">I", 6) + b"public" + struct.pack(">I", 10) + b"set-cookie"
    words += struct.pack(">I", 10) + b"keep-alive" + struct.pack(">I", 6) + b"origin"
    return words + (
        b"100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
        b"203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden"
        b"404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable"
        b"Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT"
        b"chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,text/javascript,"
        b"publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
    )


_HEADERS, _NAMES = 1 << 16, 100  # of one stream
_STREAMS = 1000  # that a client has not ended
_HELD = 1 << 20  # of one stream, until its reader takes some of it


class ProtocolError(ValueError):
    """What the other side sends is not SPDY, or too much. The connection is of no use any more."""


class Inbox:
    """What the client sends on a stream. More than `_HELD` bytes are not held: the connection waits then."""

    def __init__(self) -> None:
        self._parts: deque[bytes] = deque()
        self._held = 0
        self._ended = self._closed = False
        self._changed = asyncio.Event()

    async def put(self, data: bytes) -> None:
        """Add data; waits for room. What comes after `close` is dropped."""
        while self._held >= _HELD and not self._closed:
            await self._wait()
        if not self._closed and data:
            self._parts.append(data)
            self._held += len(data)
            self._changed.set()

    async def get(self) -> bytes | None:
        """The next data; None at the end."""
        while not self._parts:
            if self._ended or self._closed:
                return None
            await self._wait()
        data = self._parts.popleft()
        self._held -= len(data)
        self._changed.set()
        return data

    async def _wait(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    def end(self) -> None:
        """Nothing more will come."""
        self._ended = True
        self._changed.set()

    def close(self) -> None:
        """Nobody reads any more."""
        self._closed = True
        self._parts.clear()
        self._changed.set()


class Session:
    """Streams of one connection. `on_stream(id, headers, inbox)` is called for each. The inbox of a stream that nobody reads must be
    closed, or the stream forgotten."""

    def __init__(
        self, send: Callable[[bytes], Awaitable[None]], on_stream: Callable[[int, dict[str, str], Inbox], None]
    ) -> None:
        self._send, self._on_stream = send, on_stream
        self._buffer = bytearray()
        self._inflate = zlib.decompressobj(zdict=dictionary())
        self._deflate = compressor()
        self._streams: dict[int, Inbox] = {}

    async def feed(self, data: bytes) -> None:
        """Process bytes from the client; returns when the streams have room for them. Raises ProtocolError."""
        self._buffer += data
        try:
            for first, flags, body in frames(self._buffer):
                if first & 0x80000000:
                    await self._control(first & 0xFFFF, flags, body)
                else:
                    await self._data(first, flags, body)
        except (struct.error, zlib.error) as error:
            raise ProtocolError(f"a frame is not of its form: {error}") from None

    def close(self) -> None:
        """The client has gone: nothing waits any more."""
        for inbox in self._streams.values():
            inbox.close()
        self._streams.clear()

    def forget(self, stream: int) -> None:
        """Nobody reads a stream any more."""
        inbox = self._streams.pop(stream, None)
        if inbox is not None:
            inbox.close()

    async def _control(self, kind: int, flags: int, body: bytes) -> None:
        if kind == 1:  # SYN_STREAM
            stream = struct.unpack_from(">I", body)[0] & 0x7FFFFFFF
            headers = self._headers(body[10:])
            if stream in self._streams or len(self._streams) >= _STREAMS:
                raise ProtocolError(f"stream {stream} is open, or {_STREAMS} others are")
            packed = self._deflate.compress(struct.pack(">I", 0)) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
            await self._send(_frame(2, 0, struct.pack(">I", stream) + packed))
            inbox = self._streams[stream] = Inbox()
            self._on_stream(stream, headers, inbox)
            if flags & 1:
                self._streams.pop(stream).end()
        elif kind == 6:  # PING
            await self._send(_frame(6, 0, body))
        elif kind == 3:  # RST_STREAM
            reset = self._streams.pop(struct.unpack_from(">I", body)[0], None)
            if reset is not None:
                reset.end()

    async def _data(self, stream: int, flags: int, body: bytes) -> None:
        inbox = self._streams.get(stream)
        if inbox is None:
            return
        if body:
            await inbox.put(body)
            await self._send(_frame(9, 0, struct.pack(">II", stream, len(body))))
        if flags & 1:
            self._streams.pop(stream, None)
            inbox.end()

    def _headers(self, packed: bytes) -> dict[str, str]:
        data = self._inflate.decompress(packed, _HEADERS)
        if self._inflate.unconsumed_tail:
            raise ProtocolError(f"the headers of a stream have more than {_HEADERS} bytes")
        (count,) = struct.unpack_from(">I", data)
        if count > _NAMES:
            raise ProtocolError(f"a stream has more than {_NAMES} headers")
        at, headers = 4, {}
        for _ in range(count):
            pair = []
            for _ in range(2):
                (length,) = struct.unpack_from(">I", data, at)
                pair.append(data[at + 4 : at + 4 + length].decode(errors="replace"))
                at += 4 + length
            headers[pair[0]] = pair[1]
        return headers

    async def write(self, stream: int, data: bytes, end: bool = False) -> None:
        """Send data on a stream; `end` closes it."""
        for at in range(0, max(len(data), 1), 1 << 15):
            part = data[at : at + (1 << 15)]
            last = end and at + len(part) >= len(data)
            await self._send(data_frame(stream, part, last))


def opening(stream: int, headers: dict[str, str], packer: zlib._Compress) -> bytes:
    """A SYN_STREAM frame. `packer`: the connection's only compressor, from `compressor()`."""
    raw = struct.pack(">I", len(headers))
    for key, value in headers.items():
        for text in (key.encode(), value.encode()):
            raw += struct.pack(">I", len(text)) + text
    packed = packer.compress(raw) + packer.flush(zlib.Z_SYNC_FLUSH)
    return _frame(1, 0, struct.pack(">IIH", stream, 0, 0) + packed)


def compressor() -> zlib._Compress:
    """The header compressor of a new connection."""
    return zlib.compressobj(zdict=dictionary())


def data_frame(stream: int, body: bytes, end: bool = False) -> bytes:
    """A data frame of at most 16 MiB."""
    return struct.pack(">II", stream, (1 << 24 if end else 0) | len(body)) + body


def frames(buffer: bytearray) -> Iterator[tuple[int, int, bytes]]:
    """Remove the complete frames from the start of a buffer and yield (first word, flags, body). The first word of a data frame is
    its stream id; that of a control frame has its highest bit set. A frame has less than 16 MiB by its form."""
    while len(buffer) >= 8:
        first, second = struct.unpack_from(">II", buffer)
        length, flags = second & 0xFFFFFF, second >> 24
        if len(buffer) < 8 + length:
            return
        body = bytes(buffer[8 : 8 + length])
        del buffer[: 8 + length]
        yield first, flags, body


def _frame(kind: int, flags: int, body: bytes) -> bytes:
    return struct.pack(">HHI", 0x8003, kind, flags << 24 | len(body)) + body
