"""The streaming subresources of pods: logs, port-forward, and (in `remote_command`) exec and attach."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, BinaryIO

from aiohttp import WSCloseCode, WSMsgType, web

from sailcloth.lib import spdy

from ..errors import StatusError, bad_request
from ..storage import Store
from ..unstructured import Unstructured
from . import bodies, node_socket, remote_command, spdy_upgrade
from .node_socket import NodeError
from .remote_command import LARGEST_MESSAGE

_CHUNK = 1 << 15
_LONG_AGO_S = 10**9


_CONTAINER_FIELDS = ("containers", "initContainers", "ephemeralContainers")
_STATUS_FIELDS = ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses")


class PodStreams:
    """Serves the streaming subresources of pods."""

    def __init__(self, store: Store, node_socket: str, log_root: str) -> None:
        self._store, self._node, self._logs = store, node_socket, Path(log_root)

    async def serve(self, request: web.Request, namespace: str, name: str, sub: str) -> web.StreamResponse:
        pod = self._store.get("pods", namespace, name)
        assert pod is not None
        if sub == "log":
            return await self._log(request, pod)
        if sub == "portforward":
            return await self._forward(request, pod)
        if sub in ("exec", "attach"):
            return await self._exec(request, pod, attach=sub == "attach")
        raise bad_request(f"{sub} is not supported by this cluster yet")

    # -- logs -----------------------------------------------------------------------------------

    def _container(self, request: web.Request, pod: Unstructured) -> str:
        wanted = request.query.get("container", "")
        names = [c["name"] for group in _CONTAINER_FIELDS for c in pod["spec"].get(group) or ()]
        if not wanted:
            if len(pod["spec"]["containers"]) > 1:
                text = f"a container name must be specified for pod {pod['metadata']['name']}, choose one of: {names}"
                raise bad_request(text)
            return str(pod["spec"]["containers"][0]["name"])
        if wanted not in names:
            raise bad_request(f"container {wanted} is not valid for pod {pod['metadata']['name']}")
        return wanted

    def _status(self, pod: Unstructured, container: str) -> Unstructured:
        status = pod.get("status", {})
        for entry in [e for group in _STATUS_FIELDS for e in status.get(group) or ()]:
            if entry["name"] == container:
                return dict(entry)
        return {}

    async def _log(self, request: web.Request, pod: Unstructured) -> web.StreamResponse:
        query = request.query
        container = self._container(request, pod)
        metadata = pod["metadata"]
        folder = self._logs / f"{metadata['namespace']}_{metadata['name']}_{metadata['uid']}" / container
        restarts = int(self._status(pod, container).get("restartCount", 0))
        previous = query.get("previous") == "true"
        number = restarts - 1 if previous else restarts
        path = folder / f"{number}.log"
        if number < 0 or (previous and not path.exists()):
            raise bad_request(f'previous terminated container "{container}" in pod "{metadata["name"]}" not found')
        follow = query.get("follow") == "true"
        if not path.exists() and not follow:
            waiting = (self._status(pod, container).get("state") or {}).get("waiting") or {}
            if waiting:
                reason = waiting.get("reason", "waiting to start")
                raise bad_request(f'container "{container}" in pod "{metadata["name"]}" is waiting to start: {reason}')
        since = _since(query)
        limit = _non_negative(query, "limitBytes") or None
        tail = _non_negative(query, "tailLines")
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await response.prepare(request)
        stamps = query.get("timestamps") == "true"
        with contextlib.suppress(ConnectionResetError):
            async for line in self._lines(path, pod, container, follow, tail, number):
                text = _render(line, since, stamps)
                if text is None:
                    continue
                if limit is not None:
                    text = text[:limit]
                    limit -= len(text)
                await response.write(text)
                if limit == 0:
                    break
        return response

    async def _lines(
        self, path: Path, pod: Unstructured, container: str, follow: bool, tail: int | None, number: int
    ) -> AsyncIterator[bytes]:
        log, partial, first, last_turn = _LogFile(path), b"", True, not follow
        try:
            while True:
                data = log.read()
                *lines, partial = (partial + data).split(b"\n")
                if first and tail is not None:
                    lines = lines[len(lines) - tail :] if tail < len(lines) else lines
                first = False
                for line in lines:
                    yield line
                if not data:
                    if last_turn:
                        return
                    # What was written between the read above and the container's end is read in one more turn.
                    last_turn = not self._may_grow(pod, container, number)
                    if not last_turn:
                        await asyncio.sleep(0.1)
        finally:
            log.close()

    def _may_grow(self, pod: Unstructured, container: str, number: int) -> bool:
        """Whether more may come into the log of a container's run with this number."""
        live = self._store.get("pods", pod["metadata"]["namespace"], pod["metadata"]["name"])
        if live is None or live["metadata"]["uid"] != pod["metadata"]["uid"]:
            return False
        status = self._status(live, container)
        state = status.get("state") or {}
        ended = "terminated" in state or ("waiting" in state and status.get("lastState"))
        return not ended and int(status.get("restartCount", 0)) <= number

    # -- exec and attach ------------------------------------------------------------------------

    async def _exec(self, request: web.Request, pod: Unstructured, attach: bool) -> web.StreamResponse:
        query = request.query
        container = query.get("container") or pod["spec"]["containers"][0]["name"]
        self._container(request, pod) if query.get("container") else None
        command = query.getall("command", [])
        if not command and not attach:
            raise bad_request("you must specify at least one command for the container")
        if not (self._status(pod, container).get("state") or {}).get("running"):
            raise StatusError(
                500, "InternalError", f'unable to upgrade connection: container not found ("{container}")'
            )
        stdin, stdout, stderr, tty = (query.get(n) == "true" for n in ("stdin", "stdout", "stderr", "tty"))
        uid = pod["metadata"]["uid"]
        run = remote_command.Command(self._node, uid, container, None if attach else command, tty, stdin)
        return await remote_command.serve(request, run, stdin, stdout, stderr)

    # -- port-forward ---------------------------------------------------------------------------

    async def _forward(self, request: web.Request, pod: Unstructured) -> web.StreamResponse:
        if pod.get("status", {}).get("phase") != "Running":
            raise bad_request(
                f"unable to forward port because pod is not running. Current status={pod.get('status', {}).get('phase')}"
            )
        if request.headers.get("Upgrade", "").upper() == "SPDY/3.1":
            return await self._forward_classic(request, pod)
        ws = web.WebSocketResponse(protocols=("SPDY/3.1+portforward.k8s.io",), max_msg_size=LARGEST_MESSAGE)
        if not ws.can_prepare(request).ok:
            raise bad_request("port-forward needs a websocket or SPDY/3.1 upgrade")
        await ws.prepare(request)
        forward = _PortForward(self._node, pod["metadata"]["uid"], ws.send_bytes)
        try:
            async for message in ws:
                if message.type == WSMsgType.BINARY:
                    await forward.session.feed(message.data)
        except spdy.ProtocolError as error:
            await ws.close(code=WSCloseCode.PROTOCOL_ERROR, message=str(error).encode())
        finally:
            forward.close()
        return ws

    async def _forward_classic(self, request: web.Request, pod: Unstructured) -> web.StreamResponse:
        """An HTTP upgrade: the connection is taken from the HTTP server and speaks SPDY from then on."""
        connection = spdy_upgrade.upgrade(request, "portforward.k8s.io")
        forward = _PortForward(self._node, pod["metadata"]["uid"], connection.write)
        try:
            with contextlib.suppress(spdy.ProtocolError, ConnectionResetError):
                await connection.pump(forward.session.feed)
        finally:
            forward.close()
            connection.close()
        return web.Response()  # for the books: the connection is gone


class _PortForward:
    """Connections into a pod for the data streams of a SPDY session."""

    def __init__(self, node: str, uid: str, send: Any) -> None:
        self._node, self._uid = node, uid
        self.session = spdy.Session(send, self._on_stream)
        self._errors: dict[str, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def _on_stream(self, stream: int, headers: dict[str, str], inbox: spdy.Inbox) -> None:
        if headers.get("streamtype") != "data":
            inbox.close()  # clients only listen on it
            if headers.get("streamtype") == "error":
                self._errors[headers.get("requestid", "")] = stream
            return
        task = asyncio.create_task(self._serve(stream, headers, inbox))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: self.session.forget(stream))

    async def _serve(self, stream: int, headers: dict[str, str], inbox: spdy.Inbox) -> None:
        text = headers.get("port", "")
        port = int(text) if text.isascii() and text.isdigit() and len(text) <= 5 else 0
        error_stream = self._errors.pop(headers.get("requestid", ""), None)
        try:
            link, _, fds = await node_socket.request(self._node, {"op": "connect", "uid": self._uid, "port": port}, [])
        except NodeError as error:
            await self._end(stream, error_stream, f"an error occurred forwarding {port} -> {port}: {error}")
            return
        link.close()
        reader, writer = await asyncio.open_connection(sock=socket.socket(fileno=fds[0]))

        async def up() -> None:
            while (data := await inbox.get()) is not None:
                writer.write(data)
                await writer.drain()
            with contextlib.suppress(OSError):
                writer.write_eof()

        upward = asyncio.create_task(up())
        try:
            while data := await reader.read(_CHUNK):
                await self.session.write(stream, data)
        except OSError:
            pass
        finally:
            upward.cancel()
            with contextlib.suppress(asyncio.CancelledError, OSError):
                await upward
            writer.close()
        await self._end(stream, error_stream, "")

    async def _end(self, stream: int, error_stream: int | None, why: str) -> None:
        """End both streams, unless the client has gone."""
        with contextlib.suppress(ConnectionResetError):
            if error_stream is not None:
                await self.session.write(error_stream, why.encode(), end=True)
            await self.session.write(stream, b"", end=True)

    def close(self) -> None:
        self.session.close()
        for task in self._tasks:
            task.cancel()


class _LogFile:
    """A log that is read as it grows. It stays open, so that its end can be read after the node has removed the folder of a
    deleted pod; a file that was rotated is followed by its successor."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None

    def read(self) -> bytes:
        """What has been written since the last call."""
        data = self._file.read() if self._file is not None else b""
        if not data and self._reopen():
            assert self._file is not None
            data = self._file.read()
        return data

    def _reopen(self) -> bool:
        """Whether there is another file now, or the same one from its beginning."""
        try:
            named = self._path.stat()
        except FileNotFoundError:
            return False
        if self._file is not None:
            held = os.fstat(self._file.fileno())
            if (held.st_dev, held.st_ino) == (named.st_dev, named.st_ino):
                if held.st_size >= self._file.tell():
                    return False
                self._file.seek(0)
                return True
            self._file.close()
        self._file = self._path.open("rb")
        return True

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def _non_negative(query: Any, name: str) -> int | None:
    text = query.get(name)
    if not text:
        return None
    return bodies.non_negative(query, name)


def _since(query: Any) -> str:
    """The earliest time to show, as text that compares with the log's stamps."""
    if query.get("sinceTime"):
        try:
            moment = dt.datetime.fromisoformat(str(query["sinceTime"]).replace("Z", "+00:00"))
            moment = moment.astimezone(dt.UTC)
        except (ValueError, OverflowError):
            text = f"Invalid value: {query['sinceTime']!r}: sinceTime must be a time as RFC 3339 writes it"
            raise bad_request(text) from None
        return moment.strftime("%Y-%m-%dT%H:%M:%S.%f").removesuffix(".000000")
    if query.get("sinceSeconds"):
        seconds = min(_non_negative(query, "sinceSeconds") or 0, _LONG_AGO_S)
        then = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=seconds)
        return then.strftime("%Y-%m-%dT%H:%M:%S.%f")
    return ""


def _render(line: bytes, since: str, stamps: bool) -> bytes | None:
    """A line of the log file (`time stream F|P text`) as the client wants it; None to leave it out."""
    parts = line.split(b" ", 3)
    if len(parts) < 3 or parts[2] not in (b"F", b"P"):  # of the control plane's own log
        return line + b"\n"
    if since and parts[0].decode(errors="replace").rstrip("Z") < since:
        return None
    text = parts[3] if len(parts) > 3 else b""
    end = b"\n" if parts[2] == b"F" else b""
    return parts[0] + b" " + text + end if stamps else text + end
