"""Frames and header blocks of HTTP/2, and what makes a request well formed. Source: RFC 9113, RFC 7541."""

from __future__ import annotations

import struct
from collections.abc import Sequence

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RESET, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED, HAS_PRIORITY = 1, 1, 4, 8, 32

NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR = 0, 1, 2, 3
STREAM_CLOSED, FRAME_SIZE_ERROR, REFUSED_STREAM, CANCEL, COMPRESSION_ERROR, ENHANCE_YOUR_CALM = 5, 6, 7, 8, 9, 11

LARGEST_WINDOW = 2**31 - 1
DEFAULT_WINDOW = 65_535
STREAM_WINDOW = 1 << 20  # what a client may send on a stream before it is told to go on
CONNECTION_WINDOW = 16 << 20
LARGEST_FRAME = 16_384  # the largest payload that is accepted
MOST_HEADERS = 64 << 10  # bytes of all headers of a request

Headers = Sequence[tuple[str, str]]
head = struct.Struct(">HBBBI")


class ConnectionFailed(Exception):
    """The client violates the protocol so that the connection ends."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class StreamFailed(Exception):
    """The client violates the protocol so that one stream ends."""

    def __init__(self, stream_id: int, code: int) -> None:
        super().__init__(code)
        self.stream_id, self.code = stream_id, code


def literal(name: bytes, value: bytes) -> bytes:
    """A header that is in no table and goes into none."""
    return b"\0" + _text(name) + _text(value)


def _text(text: bytes) -> bytes:
    if len(text) < 127:
        return bytes((len(text),)) + text
    size, out = len(text) - 127, bytearray((127,))
    while size > 127:
        out.append(size & 127 | 128)
        size >>= 7
    out.append(size)
    return bytes(out) + text


def status(code: int) -> bytes:
    """The header block's entry for `:status`."""
    return b"\x88" if code == 200 else b"\x08\x03" + str(code).encode()


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """A whole frame."""
    size = len(payload)
    return head.pack(size >> 8, size & 0xFF, kind, flags, stream_id) + payload


def unpadded(payload: bytes) -> bytes:
    """The payload of a padded frame. Raises ConnectionFailed."""
    if not payload or payload[0] >= len(payload):
        raise ConnectionFailed(PROTOCOL_ERROR, "more padding than payload")
    return payload[1 : len(payload) - payload[0]]


_PSEUDO = (":method", ":scheme", ":path", ":authority")
_OF_ONE_CONNECTION = ("connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade")


def well_formed(headers: Headers) -> bool:
    """Whether a request's headers are as RFC 9113, section 8, says."""
    pseudo: dict[str, str] = {}
    regular = False
    for name, value in headers:
        if name.startswith(":"):
            if regular or name not in _PSEUDO or name in pseudo:
                return False
            pseudo[name] = value
            continue
        regular = True
        if name != name.lower() or name in _OF_ONE_CONNECTION or (name == "te" and value != "trailers"):
            return False
    return bool(pseudo.get(":method") and pseudo.get(":scheme") and pseudo.get(":path"))
