"""The link of a sample program to a database of `database.py`: one JSON object a line and one back."""

from __future__ import annotations

import json
import socket
import threading
from typing import Any

LIMIT_S = 5.0  # how long an answer may take


class Store:
    """Safe for threads; a lost link is made again."""

    def __init__(self, where: str, greets: bool = False, limit: float = LIMIT_S) -> None:
        host, _, port = where.rpartition(":")
        self._where, self._greets, self._limit = (host, int(port)), greets, limit
        self._lock = threading.Lock()
        self._link: socket.socket | None = None
        self._lines: Any = None

    def ask(self, op: str, **fields: Any) -> Any:
        """What the database answers. Raises OSError if it cannot be reached, ValueError if it refuses."""
        line = json.dumps({"op": op, **fields}).encode() + b"\n"
        with self._lock:
            kept = self._link is not None
            try:
                answer = self._once(line)
            except OSError:
                self._drop()
                if not kept:
                    raise
                answer = self._once(line)  # the database was started anew since the last question
        found = json.loads(answer)
        if "error" in found:
            raise ValueError(found["error"])
        return found["ok"]

    def _once(self, line: bytes) -> bytes:
        try:
            if self._link is None:
                self._link = socket.create_connection(self._where, timeout=self._limit)
                self._link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._lines = self._link.makefile("rb")
                if self._greets and not self._lines.readline():
                    raise ConnectionResetError("no greeting")
            self._link.sendall(line)
            answer: bytes = self._lines.readline()
            if not answer.endswith(b"\n"):
                raise ConnectionResetError("the database closed the link")
            return answer
        except OSError:
            self._drop()
            raise

    def _drop(self) -> None:
        if self._link is not None:
            self._lines.close()
            self._link.close()
            self._link = None
