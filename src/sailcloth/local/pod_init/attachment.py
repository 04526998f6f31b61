"""A client attached to a container's standard streams, as by `kubectl attach`."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket


class Attachment:
    """The client gets what the container writes from now on, and may write to its standard input."""

    def __init__(self, client: socket.socket, source: int, out: int, err: int) -> None:
        self.client, self.source = client, source
        self._sinks = {"stdout": out, "stderr": err}
        for fd in self._sinks.values():
            os.set_blocking(fd, False)
            with contextlib.suppress(OSError):
                fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, 1 << 20)

    def write(self, stream: str, data: bytes) -> None:
        with contextlib.suppress(OSError):  # one who does not read must not stop the application
            os.write(self._sinks[stream], data)

    def close(self) -> None:
        for fd in (self.source, *self._sinks.values()):
            if fd >= 0:
                os.close(fd)
