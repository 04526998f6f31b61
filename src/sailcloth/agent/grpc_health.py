"""One call of `grpc.health.v1.Health/Check` over an open connection, for gRPC probes.

gRPC libraries cannot use a socket of another network namespace; one call with a small message needs only a few frames of
HTTP/2. Sources: RFC 9113 and 7541, the gRPC HTTP/2 protocol, the Kubernetes gRPC probe.
"""

from __future__ import annotations

import asyncio
import struct

_DATA, _HEADERS, _RESET, _SETTINGS, _GOAWAY = 0, 1, 3, 4, 7
_END_STREAM, _ACK, _END_HEADERS, _PADDED = 1, 1, 4, 8
_SERVING = 1
_STATES = {0: "UNKNOWN", 1: "SERVING", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}


def _frame(kind: int, flags: int, stream: int, body: bytes = b"") -> bytes:
    return struct.pack(">I", len(body))[1:] + struct.pack(">BBI", kind, flags, stream) + body


def _text(value: bytes) -> bytes:
    return bytes([len(value)]) + value  # plain, shorter than 127 bytes


def _request(service: str, authority: str) -> bytes:
    headers = b"\x83\x86"  # :method POST, :scheme http
    headers += b"\x04" + _text(b"/grpc.health.v1.Health/Check")
    headers += b"\x01" + _text(authority.encode())
    headers += b"\x0f\x10" + _text(b"application/grpc")
    headers += b"\x00" + _text(b"te") + _text(b"trailers")
    name = service.encode()[:120]
    message = b"\x0a" + _text(name) if name else b""
    body = b"\0" + struct.pack(">I", len(message)) + message
    return (
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        + _frame(_SETTINGS, 0, 0)
        + _frame(_HEADERS, _END_HEADERS, 1, headers)
        + _frame(_DATA, _END_STREAM, 1, body)
    )


async def check(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, service: str = "", authority: str = "localhost"
) -> tuple[bool, str]:
    """(whether the service says that it serves, why not). Raises OSError or EOFError if the connection fails."""
    writer.write(_request(service, authority))
    answer = b""
    while True:
        head = await reader.readexactly(9)
        kind, flags, stream = head[3], head[4], struct.unpack(">I", head[5:])[0] & 0x7FFFFFFF
        body = await reader.readexactly(int.from_bytes(head[:3], "big"))
        if kind == _SETTINGS and not flags & _ACK:
            writer.write(_frame(_SETTINGS, _ACK, 0))
        elif kind == _GOAWAY or (kind == _RESET and stream == 1):
            return False, "the server refuses the health check"
        elif kind == _DATA and stream == 1:
            answer += body[1 : len(body) - body[0]] if flags & _PADDED else body
        if kind in (_DATA, _HEADERS) and stream == 1 and flags & _END_STREAM:
            return _verdict(answer)


def _verdict(answer: bytes) -> tuple[bool, str]:
    if not answer:  # an error in the trailers: no such service, or no health service at all
        return False, "the server does not answer health checks for this service (grpc.health.v1.Health)"
    state = answer[6] if len(answer) > 6 and answer[5] == 8 else 0
    return state == _SERVING, f"service unhealthy (responded with {_STATES.get(state, state)})"
