"""Runs the TCP and UDP servers of a sample until the container is told to stop."""

from __future__ import annotations

import signal
import socketserver
import threading
from collections.abc import Sequence


def run(servers: Sequence[socketserver.BaseServer], message: str = "listening") -> None:
    """Serve, each server in a thread of its own, until SIGTERM or SIGINT; `message` tells a log's reader that they listen."""
    done = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: done.set())
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    print(message, flush=True)
    done.wait()
