"""A container's log file in the format of the CRI: `time stream F|P text`, one record a line."""

from __future__ import annotations

import os
import time

_MAX_BYTES = 10 << 20  # then the file is rotated
_MAX_LINE_BYTES = 16384  # longer lines are split into partial records


def _timestamp() -> str:
    now = time.time_ns()
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now // 1_000_000_000)) + f".{now % 1_000_000_000:09d}Z"


class ContainerLog:
    """The log of one run of a container."""

    def __init__(self, path: str) -> None:
        self._path = path
        os.makedirs(os.path.dirname(path), exist_ok=True)
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._size = os.fstat(self._file).st_size
        self._incomplete = {"stdout": b"", "stderr": b""}

    def write(self, stream: str, data: bytes, last: bool = False) -> None:
        """Store what a container has written. An access log comes in hundreds of lines at once, so lines cost no step of their own."""
        lines, newline, incomplete = (self._incomplete[stream] + data).rpartition(b"\n")
        head = f"{_timestamp()} {stream} ".encode()
        out = head + b"F " + lines.replace(b"\n", b"\n" + head + b"F ") + newline if newline else b""
        if incomplete and (last or len(incomplete) > _MAX_LINE_BYTES):
            out += head + b"P " + incomplete + b"\n"
            incomplete = b""
        self._incomplete[stream] = incomplete
        if out:
            try:
                self._size += os.write(self._file, out)
                if self._size > _MAX_BYTES:
                    os.replace(self._path, self._path + ".old")
                    os.close(self._file)
                    self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
                    self._size = 0
            except OSError:
                pass  # a full disk must not stop the application

    def close(self) -> None:
        for stream in self._incomplete:
            self.write(stream, b"", last=True)
        os.close(self._file)
