"""The UNIX socket over which the API server streams to pods: exec, attach and port-forward; descriptors come with the messages."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import Sequence
from typing import Any

from sailcloth.agent.netns import socket_in
from sailcloth.lib import namespaces as ns
from sailcloth.local import images

from . import sandbox_client
from .mirror_pod import MirrorPod
from .pod_worker import PodWorker


class StreamingServer:
    """Accepts requests until closed."""

    def __init__(self, listener: socket.socket, workers: dict[str, PodWorker], mirrors: Sequence[MirrorPod]) -> None:
        self._listener, self._workers, self._mirrors = listener, workers, mirrors
        self._tasks: set[asyncio.Task[None]] = set()
        asyncio.get_running_loop().add_reader(listener.fileno(), self._accept)

    def _accept(self) -> None:
        try:
            client, _ = self._listener.accept()
        except OSError:
            return
        client.setblocking(False)
        task = asyncio.create_task(self._serve(client))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, client: socket.socket) -> None:
        fds: list[int] = []
        try:
            await _readable(client)
            data, fds, _, _ = socket.recv_fds(client, 1 << 18, 8)
            if not data:
                return
            request = json.loads(data)
            mirror = next((m for m in self._mirrors if m.uid and m.uid == request.get("uid")), None)
            if mirror is not None and request["op"] == "connect":
                with await mirror.connect(int(request["port"])) as sock:
                    socket.send_fds(client, [json.dumps({"ok": True}).encode()], [sock.fileno()])
                return
            worker = self._workers.get(request.get("uid", ""))
            if worker is None or worker.pod.sandbox is None:
                raise OSError("the pod is not running on this node")
            if request["op"] in ("exec", "attach"):
                await self._exec(client, worker, request, fds)
            elif request["op"] == "connect":
                await self._connect(client, worker, int(request["port"]))
            else:
                raise OSError(f"unknown request {request['op']!r}")
        except (OSError, ValueError, KeyError) as error:
            text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            with contextlib.suppress(OSError):
                client.send(json.dumps({"error": text}).encode())
        finally:
            for fd in fds:
                os.close(fd)
            client.close()

    async def _exec(self, client: socket.socket, worker: PodWorker, request: dict[str, Any], fds: list[int]) -> None:
        if request["op"] == "attach":
            container = request["container"]
            link, code = await sandbox_client.attach(
                worker.pod.init_path, container, fds[:3], bool(request.get("stdin"))
            )
        else:
            link, code = await _exec_in(
                worker, request["argv"], request["container"], fds[:3], bool(request.get("tty"))
            )
        while fds:
            os.close(fds.pop())
        try:
            client.send(json.dumps({"started": True}).encode())
            while not code.done():
                said: asyncio.Future[Any] = asyncio.ensure_future(_readable(client))
                ended: asyncio.Future[Any] = code
                await asyncio.wait({ended, said}, return_when=asyncio.FIRST_COMPLETED)
                if not said.done():
                    said.cancel()
                    await asyncio.wait({said})
                    break
                data = client.recv(4096)
                if not data:
                    break  # the client has disconnected
                rows, columns = json.loads(data)["resize"]
                size = {"op": "resize", "container": request["container"], "rows": rows, "columns": columns}
                link.send(json.dumps(size).encode())
            if code.done():
                client.send(json.dumps({"exit": code.result()}).encode())
        finally:
            with contextlib.suppress(OSError, ValueError):
                asyncio.get_running_loop().remove_reader(link.fileno())
            link.close()

    async def _connect(self, client: socket.socket, worker: PodWorker, port: int) -> None:
        assert worker.pod.sandbox is not None
        sock = await asyncio.wait_for(socket_in(worker.pod.sandbox.netns_fd, "127.0.0.1", port), 5)
        with sock:
            socket.send_fds(client, [json.dumps({"ok": True}).encode()], [sock.fileno()])

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._listener.fileno())
        self._listener.close()
        for task in self._tasks:
            task.cancel()


async def serve(path: str, workers: dict[str, PodWorker], mirrors: Sequence[MirrorPod]) -> StreamingServer:
    """Start serving (mode 0600)."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(path)
    os.chmod(path, 0o600)
    listener.listen(64)
    listener.setblocking(False)
    return StreamingServer(listener, workers, mirrors)


async def _readable(client: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def done() -> None:
        if not ready.done():
            ready.set_result(None)

    number = client.fileno()  # remembered: the socket may be closed before this is cancelled
    loop.add_reader(number, done)
    try:
        await ready
    finally:
        if client.fileno() == number:
            loop.remove_reader(number)


async def _exec_in(worker: PodWorker, argv: list[str], container: str, fds: list[int], tty: bool) -> Any:
    """Run a command in a container. Raises OSError if that is not running."""
    c = worker.pod.container(container)
    if c is None or not c.running:
        raise OSError(f"container {container} is not running")
    env = {**c.env, "TERM": "xterm"} if tty else c.env
    image = worker.node.images.resolve(str(c.spec.get("image", "")))
    argv = images.command_line(image, argv) if image is not None else argv
    if argv[0].rpartition("/")[2] == "tar" and "".join(argv[1:2]).startswith("-x") and ns.one_user():
        argv = [argv[0], "--no-same-owner", *argv[1:]]  # kubectl cp: only one user id is mapped
    return await sandbox_client.execute(worker.pod.init_path, argv, env, fds, tty, container=c.name, cwd=c.cwd)
