"""Echoes lines with a prefix. Arguments: ports by comma, prefix."""

from __future__ import annotations

import signal
import socketserver
import sys
import threading
from typing import Any


class Handler(socketserver.StreamRequestHandler):
    disable_nagle_algorithm = True

    def handle(self) -> None:
        prefix = sys.argv[2] if len(sys.argv) > 2 else "hello"
        for line in self.rfile:
            self.wfile.write(prefix.encode() + b" " + line)


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 1024


def main() -> None:
    servers = [Server(("0.0.0.0", int(p)), Handler) for p in (sys.argv[1] if len(sys.argv) > 1 else "9000").split(",")]
    done = threading.Event()

    def stop(*_: Any) -> None:
        done.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    print("listening", flush=True)
    done.wait()


if __name__ == "__main__":
    main()
