"""Client of a pod's PID 1 (`local.pod_init`)."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Callable
from typing import Any

from sailcloth.agent.netns import PodSockets

Event = dict[str, Any]


class SandboxClient:
    """Sends requests. Events go to `on_event`; None means that PID 1 is gone."""

    def __init__(self, path: str, on_event: Callable[[Event | None], None]) -> None:
        self._path, self._on_event = path, on_event
        self._socket: socket.socket | None = None
        self.netns_fd = -1
        self.kept: dict[str, int] = {}  # sockets that an earlier process of the node left with PID 1
        self.sockets = KeptSockets(self)
        self._state: asyncio.Future[Event] | None = None

    async def connect(self, deadline_s: float = 5.0, answer_s: float = 5.0) -> Event:
        """Connect, and return the pod's state. Raises OSError if nothing listens within the deadline, TimeoutError if PID 1
        does not answer within `answer_s`."""
        loop = asyncio.get_running_loop()
        end = loop.time() + deadline_s
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        while True:
            try:
                sock.connect(self._path)
                break
            except (FileNotFoundError, ConnectionRefusedError):
                if loop.time() > end:
                    sock.close()
                    raise
                await asyncio.sleep(0.005)
        sock.setblocking(False)
        self._socket = sock
        self._state = loop.create_future()
        loop.add_reader(sock.fileno(), self._readable)
        self.send({"op": "state"})
        async with asyncio.timeout(answer_s):  # `wait_for` would swallow a cancellation that comes with the result
            return await self._state

    def send(self, request: dict[str, Any], fds: list[int] | None = None) -> None:
        """Send a request. Raises OSError if PID 1 is gone."""
        if self._socket is None:
            raise OSError("the pod is gone")
        socket.send_fds(self._socket, [json.dumps(request).encode()], fds or [])

    def _readable(self) -> None:
        assert self._socket is not None
        try:
            data, fds, _, _ = socket.recv_fds(self._socket, 1 << 18, 16)
        except BlockingIOError:
            return
        except OSError:
            data, fds = b"", []
        if not data:
            self.close()
            self._on_event(None)
            return
        event = json.loads(data)
        if event.get("event") == "state":
            if self.netns_fd < 0 and fds:
                self.netns_fd, *kept = fds
                self.kept, fds = dict(zip(event.get("kept", ()), kept, strict=False)), []
                self.sockets.connected()
            if self._state is not None and not self._state.done():
                self._state.set_result(event)
        else:
            self._on_event(event)
        for fd in fds:
            os.close(fd)

    def close(self) -> None:
        """Close the connection. The pod keeps running."""
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket.fileno())
            self._socket.close()
            self._socket = None
        if self.netns_fd >= 0:
            os.close(self.netns_fd)
            self.netns_fd = -1
        for fd in self.kept.values():
            os.close(fd)
        self.kept.clear()


class KeptSockets(PodSockets):
    """Sockets of a pod that its PID 1 keeps, so that what is sent to them waits while the node's process restarts."""

    def __init__(self, client: SandboxClient) -> None:
        super().__init__(-1)
        self._client = client
        self._adopted = False

    def connected(self) -> None:
        """Called when the client has the namespace and the kept sockets."""
        self.netns_fd, self._adopted = self._client.netns_fd, bool(self._client.kept)

    @property
    def adopted(self) -> bool:
        return self._adopted

    def adopt(self, name: str) -> socket.socket | None:
        fd = self._client.kept.pop(name, -1)
        return socket.socket(fileno=fd) if fd >= 0 else None

    def keep(self, name: str, sock: socket.socket) -> None:
        self._client.send({"op": "keep", "socket": name}, [sock.fileno()])


async def execute(
    path: str,
    argv: list[str],
    env: dict[str, str],
    fds: list[int],
    tty: bool = False,
    container: str = "",
    cwd: str = "/",
) -> tuple[socket.socket, asyncio.Future[int]]:
    """Run a command in a pod, with the mounts of `container` if that is named.

    Returns (connection, future exit code). Closing the connection kills the command.
    """
    return _request(path, {"op": "exec", "argv": argv, "env": env, "tty": tty, "container": container, "cwd": cwd}, fds)


async def attach(path: str, container: str, fds: list[int], stdin: bool) -> tuple[socket.socket, asyncio.Future[int]]:
    """Attach to a container's standard streams. Returns as `execute` does; closing the connection only detaches."""
    return _request(path, {"op": "attach", "container": container, "stdin": stdin}, fds)


def _request(path: str, request: dict[str, Any], fds: list[int]) -> tuple[socket.socket, asyncio.Future[int]]:
    loop = asyncio.get_running_loop()
    link = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    link.connect(path)
    link.setblocking(False)
    socket.send_fds(link, [json.dumps(request).encode()], fds)
    code: asyncio.Future[int] = loop.create_future()

    def readable() -> None:
        try:
            data = link.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        event: dict[str, Any] = json.loads(data) if data else {"event": "exit", "exit": 137}
        if event.get("event") in ("exit", "error"):
            loop.remove_reader(link.fileno())
            if not code.done():
                code.set_result(int(event.get("exit", 126)))

    loop.add_reader(link.fileno(), readable)
    return link, code
