"""The floor of a change at many proxies: a bare writer that sends each stream its frame and reads its acknowledgement.

No HTTP/2 but the frames' bytes, no TLS, no decisions: what remains is what Python's sockets cost. Sizes and the number of streams a
connection are those of `change`. CPU of the writer alone; the other side is a process of its own.
"""

from __future__ import annotations

import os
import selectors
import socket
import struct
import time

from . import machine

STREAMS, CONNECTIONS, CHANGES = 1000, 20, 30
_PUSH, _ACK = 14 + 344, 14 + 110  # bytes of a frame with an endpoint, and of its acknowledgement


def _frame(stream: int, size: int) -> bytes:
    return struct.pack(">HBBBI", (size - 9) >> 8, (size - 9) & 0xFF, 0, 0, stream) + bytes(size - 9)


def run() -> dict[str, float]:
    """CPU seconds of one change."""
    pairs = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        for _ in range(CONNECTIONS):
            client = socket.create_connection(listener.getsockname())
            pairs.append((listener.accept()[0], client))
    child = os.fork()
    if not child:
        try:
            for server, _ in pairs:
                server.close()
            _acknowledge([client for _, client in pairs])
        finally:
            os._exit(0)
    for _, client in pairs:
        client.close()
    servers = [server for server, _ in pairs]
    each = STREAMS // CONNECTIONS
    costs = []
    try:
        for _ in range(CHANGES):
            before = time.process_time()
            for server in servers:
                server.sendall(b"".join(_frame(2 * number + 1, _PUSH) for number in range(each)))
            _read(servers, each * _ACK)
            costs.append(time.process_time() - before)
    finally:
        for server in servers:
            server.close()
        os.waitpid(child, 0)
    return machine.spread(costs[2:], 4)


def _read(sockets: list[socket.socket], size: int) -> None:
    """Read that many bytes from each, frame by frame."""
    left = dict.fromkeys(sockets, size)
    buffers = {s: bytearray() for s in sockets}
    with selectors.DefaultSelector() as selector:
        for s in sockets:
            selector.register(s, selectors.EVENT_READ)
        while left:
            for key, _ in selector.select():
                s = key.fileobj
                assert isinstance(s, socket.socket)
                data = s.recv(65536)
                if not data:
                    raise ConnectionError("the other side has ended")
                buffer = buffers[s]
                buffer += data
                while len(buffer) >= 9:
                    high, low, _kind, _flags, _stream = struct.unpack_from(">HBBBI", buffer)
                    length = 9 + (high << 8 | low)
                    if len(buffer) < length:
                        break
                    bytes(buffer[9:length])
                    del buffer[:length]
                left[s] -= len(data)
                if left[s] <= 0:
                    selector.unregister(s)
                    del left[s]


def _acknowledge(sockets: list[socket.socket]) -> None:
    """The other side: an acknowledgement for every frame."""
    received = dict.fromkeys(sockets, 0)
    with selectors.DefaultSelector() as selector:
        for s in sockets:
            selector.register(s, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                s = key.fileobj
                assert isinstance(s, socket.socket)
                data = s.recv(65536)
                if not data:
                    return
                before, received[s] = received[s] // _PUSH, received[s] + len(data)
                s.sendall(_frame(1, _ACK) * (received[s] // _PUSH - before))
