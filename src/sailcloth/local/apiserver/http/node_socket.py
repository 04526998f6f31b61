"""The API server's side of the node socket: JSON requests with file descriptors, one connection a request."""

from __future__ import annotations

import json
import os
import socket
from typing import Any

from sailcloth.lib import descriptors


class NodeError(Exception):
    """The node refused, or cannot be reached."""


async def request(path: str, body: dict[str, Any], fds: list[int]) -> tuple[socket.socket, dict[str, Any], list[int]]:
    """(connection, answer, descriptors that came with it). Closing the connection ends what the request began."""
    link = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        link.connect(path)
        socket.send_fds(link, [json.dumps(body).encode()], fds)
        link.setblocking(False)
        answer, got = await receive(link)
    except OSError as error:
        link.close()
        raise NodeError(f"the node does not answer: {error.strerror or error}") from None
    except BaseException:  # the client has disconnected
        link.close()
        raise
    if answer.get("error") or not answer:
        link.close()
        for fd in got:
            os.close(fd)
        raise NodeError(str(answer.get("error") or "the node closed the connection"))
    return link, answer, got


async def receive(link: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """The next message; empty when the node has closed the connection."""
    await descriptors.readable(link.fileno())
    data, fds, _, _ = socket.recv_fds(link, 1 << 16, 8)
    return (json.loads(data) if data else {}), list(fds)
