"""The server's side of WebSocket (RFC 6455) for the sample programs: the handshake, and whole messages."""

from __future__ import annotations

import base64
import hashlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from typing import BinaryIO

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from web import Request, Response, Upgraded

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
LARGEST = 1 << 20
_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # section 1.3


class Socket:
    """One connection. Safe for writers in several threads."""

    def __init__(self, reader: BinaryIO, writer: BinaryIO) -> None:
        self._reader, self._writer = reader, writer
        self._lock = threading.Lock()

    def send(self, data: str | bytes, opcode: int = 0) -> None:
        """Raises OSError."""
        body = data.encode() if isinstance(data, str) else data
        opcode = opcode or (TEXT if isinstance(data, str) else BINARY)
        size = len(body)
        if size < 126:
            head = bytes((0x80 | opcode, size))
        elif size < 1 << 16:
            head = bytes((0x80 | opcode, 126)) + size.to_bytes(2, "big")
        else:
            head = bytes((0x80 | opcode, 127)) + size.to_bytes(8, "big")
        with self._lock:
            self._writer.write(head + body)

    def messages(self) -> Iterator[tuple[int, bytes]]:
        """(opcode, data) of each message until the other side closes; pings are answered. Raises OSError."""
        kind, parts = 0, b""
        while True:
            frame = self._frame()
            if frame is None:
                return
            last, opcode, data = frame
            if opcode == CLOSE:
                self.send(data[:2], CLOSE)
                return
            if opcode == PING:
                self.send(data, PONG)
            elif opcode in (0, TEXT, BINARY):
                kind, parts = opcode or kind, (parts if not opcode else b"") + data
                if len(parts) > LARGEST:
                    self.send((1009).to_bytes(2, "big"), CLOSE)
                    return
                if last:
                    yield kind, parts

    def _frame(self) -> tuple[bool, int, bytes] | None:
        head = self._reader.read(2)
        if len(head) < 2 or not head[1] & 0x80:  # a client that does not mask is not heard (5.1)
            return None
        size = head[1] & 0x7F
        if size > 125:
            size = int.from_bytes(self._reader.read(2 if size == 126 else 8), "big")
        if size > LARGEST:
            return None
        mask, data = self._reader.read(4), self._reader.read(size)
        if len(data) < size:
            return None
        whole = (mask * (size // 4 + 1))[:size]
        plain = (int.from_bytes(data, "big") ^ int.from_bytes(whole, "big")).to_bytes(size, "big")
        return bool(head[0] & 0x80), head[0] & 0x0F, plain


def upgrade(request: Request, talk: Callable[[Socket], None]) -> Response:
    """The answer to a request for a WebSocket; 400 if it is none."""
    key = request.headers.get("sec-websocket-key", "")
    if request.headers.get("upgrade", "").lower() != "websocket" or not key:
        return Response("this path speaks WebSocket only\n", 400)

    def run(reader: BinaryIO, writer: BinaryIO) -> None:
        try:
            talk(Socket(reader, writer))
        except OSError:
            return  # the other side has gone

    accept = base64.b64encode(hashlib.sha1(key.encode() + _MAGIC, usedforsecurity=False).digest()).decode()
    return Upgraded(run, upgrade="websocket", connection="Upgrade", sec_websocket_accept=accept)
