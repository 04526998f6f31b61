"""A small Redis: strings with an expiry, in memory, over RESP2. Argument: port.

Used where no `redis-server` is installed. It knows the commands that keep sessions and counters (PING, GET, SET with EX, PX and
NX, SETEX, DEL, EXISTS, EXPIRE, PEXPIRE, TTL, PTTL, INCR, INCRBY, MULTI, EXEC, DISCARD, DBSIZE, FLUSHALL, SELECT, INFO, QUIT) and refuses
all others.
"""

from __future__ import annotations

import os
import socketserver
import sys
import threading
import time
from typing import Any, BinaryIO

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import socket_servers

LARGEST = 16 << 20  # bytes of one argument


class Refused(Exception):
    """A command that makes no sense; the text goes to the client."""


class Data:
    def __init__(self) -> None:
        self.values: dict[bytes, tuple[bytes, float]] = {}  # value, when it ends (monotonic seconds; 0: never)
        self.lock = threading.RLock()  # a transaction holds it over its commands

    def _live(self, key: bytes) -> bytes | None:
        value, ends = self.values.get(key, (None, 0.0))
        if ends and time.monotonic() >= ends:
            del self.values[key]
            return None
        return value

    def run(self, name: str, rest: list[bytes]) -> Any:
        """A reply: None, int, bytes, or str for a status. Raises Refused, IndexError or ValueError."""
        with self.lock:
            if name == "PING":
                return rest[0] if rest else "PONG"
            if name == "GET":
                return self._live(rest[0])
            if name in ("SET", "SETEX"):
                key, value, options = rest[0], rest[1], [o.upper() for o in rest[2:]]
                if name == "SETEX":
                    value, options = rest[2], [b"EX", rest[1]]
                if b"NX" in options and self._live(key) is not None:
                    return None
                ends = 0.0
                for unit, scale in ((b"EX", 1.0), (b"PX", 0.001)):
                    if unit in options:
                        ends = time.monotonic() + int(options[options.index(unit) + 1]) * scale
                self.values[key] = (value, ends)
                return "OK"
            if name in ("DEL", "EXISTS"):
                found = [k for k in rest if self._live(k) is not None]
                for key in found if name == "DEL" else ():
                    self.values.pop(key, None)
                return len(found)
            if name in ("EXPIRE", "PEXPIRE"):
                found_value = self._live(rest[0])
                if found_value is not None:
                    scale = 1.0 if name == "EXPIRE" else 0.001
                    self.values[rest[0]] = (found_value, time.monotonic() + int(rest[1]) * scale)
                return int(found_value is not None)
            if name in ("TTL", "PTTL"):
                if self._live(rest[0]) is None:
                    return -2
                ends = self.values[rest[0]][1]
                return round((ends - time.monotonic()) * (1 if name == "TTL" else 1000)) if ends else -1
            if name in ("INCR", "INCRBY"):
                number = int(self._live(rest[0]) or b"0") + (int(rest[1]) if name == "INCRBY" else 1)
                self.values[rest[0]] = (str(number).encode(), self.values.get(rest[0], (b"", 0.0))[1])
                return number
            if name == "DBSIZE":
                return sum(self._live(k) is not None for k in list(self.values))
            if name == "FLUSHALL":
                self.values.clear()
                return "OK"
            if name in ("SELECT", "QUIT"):
                return "OK"
            if name == "INFO":
                return f"# Server\r\nredis_version:7.0.0\r\n# Keyspace\r\ndb0:keys={len(self.values)}\r\n".encode()
        raise Refused(f"unknown command '{name}'")


def read(stream: BinaryIO) -> list[bytes] | None:
    """One command, in RESP or as a plain line; None at the end. Raises ValueError if it is broken."""
    line = stream.readline(65536)
    if not line:
        return None
    if not line.startswith(b"*"):
        return line.split()
    out = []
    for _ in range(int(line[1:])):
        head = stream.readline(64)
        size = int(head[1:]) if head.startswith(b"$") else -1
        if not 0 <= size <= LARGEST:
            raise ValueError("bad argument")
        out.append(stream.read(size + 2)[:-2])
    return out


def encode(reply: Any) -> bytes:
    if reply is None:
        return b"$-1\r\n"
    if isinstance(reply, list):
        return b"*%d\r\n" % len(reply) + b"".join(encode(each) for each in reply)
    if isinstance(reply, Exception):
        return f"-ERR {reply}\r\n".encode()
    if isinstance(reply, int):
        return b":%d\r\n" % reply
    if isinstance(reply, str):
        return f"+{reply}\r\n".encode()
    return b"$%d\r\n%s\r\n" % (len(reply), reply)


def answer(data: Data, command: list[bytes]) -> Any:
    """The reply to one command; what is wrong with it as a Refused."""
    name = command[0].decode(errors="replace").upper()
    try:
        return data.run(name, command[1:])
    except (IndexError, ValueError):
        return Refused(f"wrong arguments for '{name.lower()}'")
    except Refused as error:
        return error


class Handler(socketserver.StreamRequestHandler):
    disable_nagle_algorithm = True

    def handle(self) -> None:
        data: Data = self.server.data  # type: ignore[attr-defined]
        queued: list[list[bytes]] | None = None  # the commands of a transaction
        try:
            while (command := read(self.rfile)) is not None:
                if not command:
                    continue
                name = command[0].decode(errors="replace").upper()
                if queued is not None and name not in ("EXEC", "DISCARD"):
                    queued.append(command)
                    self.wfile.write(b"+QUEUED\r\n")
                    continue
                if name == "EXEC" and queued is not None:
                    with data.lock:
                        reply: object = [answer(data, each) for each in queued]
                    queued = None
                elif name in ("MULTI", "DISCARD"):
                    queued, reply = ([] if name == "MULTI" else None), "OK"
                else:
                    reply = answer(data, command)
                self.wfile.write(encode(reply))
                if name == "QUIT":
                    return
        except (OSError, ValueError):
            return


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 256


def main() -> None:
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 6379
    server = Server(("0.0.0.0", port), Handler)
    server.data = Data()  # type: ignore[attr-defined]
    socket_servers.run([server], f"listening on port {port}")


if __name__ == "__main__":
    main()
