"""The samples' databases and their queue: documents and queues in memory. Arguments: port, `--greet`, `--seed NAME`.

Stands for mongo, MySQL and RabbitMQ in the Sock Shop and in Bookinfo, in their places and on their ports, but speaks none of
their protocols: only what our own services use, a JSON object a line. With `--greet` the server speaks first, as MySQL
does, which is what makes such a port special in a mesh. Nothing is kept beyond the process.
"""

from __future__ import annotations

import json
import os
import socketserver
import sys
import threading
import time
from typing import Any

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import database_seeds
import socket_servers

LONGEST_WAIT_S = 20.0


class Data:
    """Documents by table and id, queues by name."""

    def __init__(self, seed: str = "") -> None:
        self.tables: dict[str, dict[str, Any]] = database_seeds.tables(seed)
        self.queues: dict[str, list[Any]] = {}
        self.changed = threading.Condition()

    def answer(self, asked: dict[str, Any]) -> Any:
        """One operation. Raises KeyError or ValueError if it makes no sense."""
        op = asked["op"]
        with self.changed:
            if op == "ping":
                return "pong"
            if op == "push":
                self.queues.setdefault(asked["queue"], []).append(asked["value"])
                self.changed.notify_all()
                return len(self.queues[asked["queue"]])
            if op == "pop":
                end = time.monotonic() + min(float(asked.get("wait", 0)), LONGEST_WAIT_S)
                while not self.queues.get(asked["queue"]) and (left := end - time.monotonic()) > 0:
                    self.changed.wait(left)
                waiting = self.queues.get(asked["queue"])
                return waiting.pop(0) if waiting else None
            if op == "depths":
                return {name: len(q) for name, q in self.queues.items()}
            table = self.tables.setdefault(asked["table"], {})
            if op == "get":
                return table.get(asked["id"])
            if op == "put":
                table[asked["id"]] = asked["value"]
                return asked["value"]
            if op == "delete":
                return table.pop(asked["id"], None) is not None
            if op == "find":  # documents whose fields have these values; all, without
                wanted = asked.get("where", {}).items()
                return [v for v in table.values() if all(v.get(k) == w for k, w in wanted)]
            raise ValueError(f"unknown operation {op!r}")


def server(port: int, data: Data, greeting: bytes = b"") -> socketserver.ThreadingTCPServer:
    class Handler(socketserver.StreamRequestHandler):
        disable_nagle_algorithm = True

        def handle(self) -> None:
            if greeting:
                self.wfile.write(greeting)
            for line in self.rfile:
                try:
                    answer = {"ok": data.answer(json.loads(line))}
                except (KeyError, TypeError, ValueError) as error:
                    answer = {"error": f"{type(error).__name__}: {error}"}
                try:
                    self.wfile.write(json.dumps(answer).encode() + b"\n")
                except OSError:
                    return  # the asker has gone

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        allow_reuse_address = True
        request_queue_size = 256

        def handle_error(self, *_: Any) -> None:
            pass  # resets of askers that end

    return Server(("0.0.0.0", port), Handler)


def main() -> None:
    arguments = sys.argv[1:]
    seed = arguments[arguments.index("--seed") + 1] if "--seed" in arguments else ""
    data = Data(seed)
    running = server(int(arguments[0]), data, b'{"greeting": "hello"}\n' if "--greet" in arguments else b"")
    socket_servers.run([running], f"listening on port {arguments[0]}")


if __name__ == "__main__":
    main()
