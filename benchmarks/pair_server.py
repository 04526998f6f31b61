"""The application behind every contestant of `pair`: HTTP/1.1 with kept connections, one fixed answer of 1 kB.

Runs by itself inside a pod (`python -I -S -c SOURCE PORT...`), so it imports nothing of ours. It must stay cheap next to
an Envoy: one readiness call, one read and one write a request, no parsing beyond the blank line that ends a request without
a body. It must not become a web server.
"""

from __future__ import annotations

import gc
import select
import socket
import sys

BODY = b"x" * 1024
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: %d\r\n\r\n" % len(BODY) + BODY


def serve(ports: list[int]) -> None:
    """Answer on all ports, for ever."""
    poll = select.epoll()
    listeners = {}
    for port in ports:
        made = socket.create_server(("0.0.0.0", port), backlog=256)
        made.setblocking(False)
        listeners[made.fileno()] = made
        poll.register(made, select.EPOLLIN)
    open_: dict[int, socket.socket] = {}
    begun: dict[int, bytes] = {}
    while True:
        for fd, _ in poll.poll():
            if fd in listeners:
                made, _ = listeners[fd].accept()
                made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                open_[made.fileno()] = made
                poll.register(made, select.EPOLLIN)
                continue
            connection = open_[fd]
            try:
                data = connection.recv(65536)
            except ConnectionError:
                data = b""
            if not data:
                poll.unregister(fd)
                connection.close()
                del open_[fd]
                begun.pop(fd, None)
                continue
            if fd in begun:
                data = begun.pop(fd) + data
            if data.endswith(b"\r\n\r\n"):
                connection.sendall(ANSWER)
            else:
                begun[fd] = data


if __name__ == "__main__":
    gc.disable()
    serve([int(a) for a in sys.argv[1:]])
