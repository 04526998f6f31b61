"""Echoes lines with a prefix. Arguments: ports by comma, prefix."""

from __future__ import annotations

import os
import socketserver
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import socket_servers


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
    socket_servers.run(servers)


if __name__ == "__main__":
    main()
