"""Commands in containers and connections to their standard streams (exec, attach), over a websocket or SPDY/3.1.

Channels are numbered as in Kubernetes' protocols: 0 stdin, 1 stdout, 2 stderr, 3 the result, 4 the terminal's size.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import pty
import socket
import struct
import termios
from collections.abc import AsyncIterator
from typing import Protocol

import orjson
from aiohttp import WSMsgType, web

from sailcloth.lib import descriptors, spdy

from ..errors import bad_request
from ..unstructured import Unstructured
from . import node_socket, spdy_upgrade
from .node_socket import NodeError

_CHUNK = 1 << 15
LARGEST_MESSAGE = 32 << 20  # of a websocket, as in Kubernetes; some clients send all of their input at once
_WEBSOCKET = ("v5.channel.k8s.io", "v4.channel.k8s.io", "channel.k8s.io")
_SPDY = ("v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io")
_STREAMS = {"stdin": 0, "stdout": 1, "stderr": 2, "error": 3, "resize": 4}
_OPEN_S = 10.0
_WAITING = 16  # messages of a client that the command has not taken yet


class Channels(Protocol):
    """A client's side of a command."""

    async def send(self, channel: int, data: bytes) -> None:
        """Send output or the result. Raises ConnectionResetError if the client has gone."""

    def receive(self) -> AsyncIterator[tuple[int, bytes | None]]:
        """What the client sends, (channel, data), None for a channel's end; ends when the client has gone."""

    async def close(self) -> None:
        """Nothing more will be sent."""


class _WebSocket:
    def __init__(self, ws: web.WebSocketResponse) -> None:
        self._ws = ws

    async def send(self, channel: int, data: bytes) -> None:
        await self._ws.send_bytes(bytes([channel]) + data)

    async def receive(self) -> AsyncIterator[tuple[int, bytes | None]]:
        async for message in self._ws:
            if message.type == WSMsgType.BINARY and message.data:
                channel, data = message.data[0], message.data[1:]
                if channel == 255 and data:
                    yield data[0], None  # version 5: the end of a channel
                elif data:
                    yield channel, data

    async def close(self) -> None:
        if not self._ws.closed:
            await self._ws.close()


class _Spdy:
    """Streams on a connection that was taken from the HTTP server."""

    def __init__(self, connection: spdy_upgrade.Connection, expected: set[str]) -> None:
        self._connection = connection
        self._missing = set(expected)
        self._ids: dict[int, int] = {}  # channel -> stream
        self._input: asyncio.Queue[tuple[int, bytes | None] | None] = asyncio.Queue(_WAITING)
        self._tasks: set[asyncio.Task[None]] = set()
        self._open = asyncio.Event()
        self._session = spdy.Session(connection.write, self._on_stream)

    def _on_stream(self, stream: int, headers: dict[str, str], inbox: spdy.Inbox) -> None:
        kind = headers.get("streamtype", "")
        if kind not in _STREAMS or _STREAMS[kind] in self._ids:
            inbox.close()
            return
        channel = _STREAMS[kind]
        self._ids[channel] = stream
        task = asyncio.create_task(self._read(channel, inbox))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self._missing.discard(kind)
        if not self._missing:
            self._open.set()

    async def _read(self, channel: int, inbox: spdy.Inbox) -> None:
        while (data := await inbox.get()) is not None:
            await self._input.put((channel, data))
        await self._input.put((channel, None))

    async def pump(self) -> None:
        """Feed the session with what arrives, until the client goes, or does not speak the protocol."""
        with contextlib.suppress(ConnectionResetError, spdy.ProtocolError):
            await self._connection.pump(self._session.feed)
        self._open.set()
        await self._input.put(None)

    async def opened(self) -> bool:
        """Whether the client has opened all streams that it is to have."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._open.wait(), _OPEN_S)
        return not self._missing

    async def send(self, channel: int, data: bytes) -> None:
        stream = self._ids.get(channel)
        if stream is not None:
            await self._session.write(stream, data)

    async def receive(self) -> AsyncIterator[tuple[int, bytes | None]]:
        while (got := await self._input.get()) is not None:
            yield got

    async def close(self) -> None:
        with contextlib.suppress(ConnectionResetError):
            for stream in self._ids.values():
                await self._session.write(stream, b"", end=True)
        self.stop()

    def stop(self) -> None:
        """Read nothing any more."""
        self._session.close()
        for task in self._tasks:
            task.cancel()


async def serve(request: web.Request, command: Command, stdin: bool, stdout: bool, stderr: bool) -> web.StreamResponse:
    """Run a command for a client, by the protocol that it asks for. Raises StatusError for a request that upgrades to neither."""
    if request.headers.get("Upgrade", "").upper() == "SPDY/3.1":
        names = {"error", *(n for n, on in (("stdin", stdin), ("stdout", stdout), ("stderr", stderr)) if on)}
        if command.tty:
            names = names - {"stderr"} | {"resize"}
        return await _serve_spdy(request, command, names)
    ws = web.WebSocketResponse(protocols=_WEBSOCKET, max_msg_size=LARGEST_MESSAGE)
    if not ws.can_prepare(request).ok:
        raise bad_request("exec and attach need a websocket or an upgrade to SPDY/3.1")
    await ws.prepare(request)
    await command.serve(_WebSocket(ws))
    return ws


async def _serve_spdy(request: web.Request, command: Command, names: set[str]) -> web.StreamResponse:
    offered = [v.strip() for h in request.headers.getall("X-Stream-Protocol-Version", []) for v in h.split(",")]
    version = next((v for v in _SPDY if v in offered), "")
    if offered and not version:
        raise bad_request(
            f"no protocol in common: the client offers {', '.join(offered)}, the server {', '.join(_SPDY)}"
        )
    connection = spdy_upgrade.upgrade(request, version)
    channels = _Spdy(connection, names)
    carrying = asyncio.create_task(channels.pump())
    try:
        if await channels.opened():
            await command.serve(channels)
    finally:
        carrying.cancel()
        await asyncio.gather(carrying, return_exceptions=True)
        channels.stop()
        connection.close()
    return web.Response()  # for the books: the connection is gone


class Command:
    """One command in a container, or with `attach` the container's main process, for one client."""

    def __init__(self, node: str, uid: str, container: str, command: list[str] | None, tty: bool, stdin: bool) -> None:
        self._node, self.tty, self._stdin = node, tty, stdin
        self._pty = tty and command is not None  # an attached container has a terminal already
        self._fds: list[int] = []  # our ends; -1 is closed
        self._request: Unstructured = {"op": "exec", "uid": uid, "container": container, "argv": command, "tty": tty}
        if command is None:
            self._request = {"op": "attach", "uid": uid, "container": container, "stdin": stdin}

    async def serve(self, channels: Channels) -> None:
        """Run until the command has ended or the client has disconnected; then end the other side."""
        self._fds, theirs = self._open()
        try:
            try:
                link, _, _ = await node_socket.request(self._node, self._request, theirs)
            finally:
                _close(theirs)  # the node has its own copies
            await self._run(channels, link)
        except NodeError as error:
            with contextlib.suppress(ConnectionResetError):
                await channels.send(3, _failure(f"error executing command in container: {error}", None))
        finally:
            _close(self._fds)
        await channels.close()

    def _open(self) -> tuple[list[int], list[int]]:
        """(our ends of the command's standard streams, the node's ends); -1 is closed."""
        if self._pty:
            master, slave = pty.openpty()
            return [master], [slave, os.dup(slave), os.dup(slave)]
        ours: list[int] = []
        theirs: list[int] = []
        for reads in (True, False, False):
            r, w = os.pipe()
            theirs.append(r if reads else w)
            ours.append(w if reads else r)
        if not self._stdin:
            os.close(ours[0])
            ours[0] = -1
        return ours, theirs

    async def _run(self, channels: Channels, link: socket.socket) -> None:
        for fd in self._fds:
            if fd >= 0:
                os.set_blocking(fd, False)
        feed = asyncio.create_task(self._input(channels, link))
        work = asyncio.create_task(self._work(channels, link))
        try:
            # The input ends when the client disconnects; closing the link then ends the command.
            await asyncio.wait({feed, work}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (feed, work):
                task.cancel()
            await asyncio.gather(feed, work, return_exceptions=True)
            link.close()

    async def _work(self, channels: Channels, link: socket.socket) -> None:
        ours = self._fds
        outputs = [(1, ours[0])] if self._pty else [(1, ours[1]), (2, ours[2])]
        with contextlib.suppress(ConnectionResetError):
            await asyncio.gather(*(self._output(channels, channel, fd) for channel, fd in outputs))
            answer, _ = await node_socket.receive(link)
            code = answer.get("exit")
            result = orjson.dumps({"metadata": {}, "status": "Success"})
            if code != 0:
                result = _failure(f"command terminated with non-zero exit code: exit status {code}", code)
            await channels.send(3, result)

    @staticmethod
    async def _output(channels: Channels, channel: int, fd: int) -> None:
        while True:
            try:
                data = os.read(fd, _CHUNK)
            except BlockingIOError:
                await descriptors.readable(fd)
                continue
            except OSError:
                return  # a terminal reports its end as an error
            if not data:
                return
            await channels.send(channel, data)

    async def _input(self, channels: Channels, link: socket.socket) -> None:
        async for channel, data in channels.receive():
            fd = self._fds[0]
            if channel == 0 and fd >= 0 and data:
                with contextlib.suppress(OSError):  # the command may not want any more
                    await _write_all(fd, data)
            elif channel == 4 and self.tty and data and (size := terminal_size(data)) is not None:
                rows, columns = size
                if self._pty:
                    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
                else:
                    with contextlib.suppress(OSError):
                        link.send(json.dumps({"resize": [rows, columns]}).encode())
            elif channel == 0 and data is None and fd >= 0 and not self._pty:
                self._fds[0] = -1
                os.close(fd)


def terminal_size(data: bytes) -> tuple[int, int] | None:
    """(rows, columns) of what a client says of its terminal; None if it is not understood."""
    try:
        told = json.loads(data)
        rows, columns = int(told.get("Height", 24)), int(told.get("Width", 80))
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
        return None
    return (rows, columns) if 0 <= rows < 1 << 16 and 0 <= columns < 1 << 16 else None


def _close(fds: list[int]) -> None:
    for index, fd in enumerate(fds):
        if fd >= 0:
            fds[index] = -1
            with contextlib.suppress(OSError):
                os.close(fd)


async def _write_all(fd: int, data: bytes) -> None:
    while data:
        try:
            data = data[os.write(fd, data) :]
        except BlockingIOError:
            await descriptors.writable(fd)


def _failure(text: str, code: int | None) -> bytes:
    out: Unstructured = {"metadata": {}, "status": "Failure", "message": text}
    if code is None:
        return orjson.dumps({**out, "reason": "InternalError", "code": 500})
    causes = [{"reason": "ExitCode", "message": str(code)}]
    return orjson.dumps({**out, "reason": "NonZeroExitCode", "details": {"causes": causes}})
