"""A real API server process for tests, stock kubectl against it, and a node that only pretends to run pods."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sailcloth.kube import resources
from sailcloth.kube.client import ApiError, Client

KUBECTL = shutil.which("kubectl")
Object = dict[str, Any]


class Server:
    """The process. `start` and `kill` may alternate: the state directory stays."""

    def __init__(self, root: Path, **settings: Any) -> None:
        self.root, self._settings = root, settings
        self.kubeconfig = root / "kubeconfig"
        self.node_socket = root / "node.sock"
        self.logs = root / "pods"
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://127.0.0.1:{self._socket.getsockname()[1]}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, deadline_s: float = 20) -> None:
        read, write = os.pipe()
        listen = self._socket.dup()
        config = {
            "db": str(self.root / "api.db"),
            "pki_dir": str(self.root / "pki"),
            "listen": [{"fd": listen.fileno()}],
            "public_url": self.url,
            "kubeconfig": str(self.kubeconfig),
            "node_socket": str(self.node_socket),
            "pod_log_root": str(self.logs),
            "ready_fd": write,
            **self._settings,
        }
        (self.root / "config.json").write_text(json.dumps(config))
        with (self.root / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "sailcloth.local.apiserver", "--config", str(self.root / "config.json")],
                pass_fds=(listen.fileno(), write),
                stdout=log,
                stderr=log,
            )
        listen.close()
        os.close(write)
        try:
            ready, _, _ = select.select([read], [], [], deadline_s)
            if not ready or os.read(read, 1) != b"1":
                raise AssertionError(f"the API server was not ready in {deadline_s} s:\n{self.log()}")
        finally:
            os.close(read)

    def log(self) -> str:
        return (self.root / "log").read_text()

    def end(self, how: int = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(how)
        code = self.process.wait(10)
        self.process = None
        return code

    def close(self) -> None:
        if self.process is not None:
            self.end(signal.SIGKILL)
        self._socket.close()

    def client(self) -> Client:
        return Client.from_kubeconfig(str(self.kubeconfig))


@dataclass
class Result:
    """What a kubectl command answered."""

    code: int
    out: str
    err: str


class Kubectl:
    """Stock kubectl in one namespace."""

    def __init__(self, server: Server, namespace: str) -> None:
        self.server, self.namespace = server, namespace
        self.environment = {
            **os.environ,
            "KUBECONFIG": str(server.kubeconfig),
            "KUBECACHEDIR": str(server.root / "cache"),
            "HOME": str(server.root),
            "GOGC": "off",  # a command ends before a garbage collection would pay
        }

    async def run(self, *words: str, input: Any = None, timeout_s: float = 20, **environment: str) -> Result:
        """Run to its end, whatever that is. Objects given as `input` go to standard input as JSON."""
        process = await self.start(*words, **environment)
        data = b"" if input is None else (input if isinstance(input, bytes) else json.dumps(input).encode())
        try:
            out, err = await asyncio.wait_for(process.communicate(data), timeout_s)
        except TimeoutError:
            raise AssertionError(f"kubectl {' '.join(words)} did not end in {timeout_s} s") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert process.returncode is not None
        return Result(process.returncode, out.decode(), err.decode())

    async def start(self, *words: str, **environment: str) -> asyncio.subprocess.Process:
        assert KUBECTL is not None
        return await asyncio.create_subprocess_exec(
            KUBECTL,
            "-n",
            self.namespace,
            *words,
            stdin=-1,
            stdout=-1,
            stderr=-1,
            env={**self.environment, **environment},
        )

    async def __call__(self, *words: str, input: Any = None, **environment: str) -> str:
        """Standard output of a command that must succeed."""
        result = await self.run(*words, input=input, **environment)
        assert result.code == 0, f"kubectl {' '.join(words)}: {result.code}\n{result.out}{result.err}"
        return result.out

    async def refused(self, *words: str, input: Any = None) -> str:
        """What a command that must fail says."""
        result = await self.run(*words, input=input)
        assert result.code != 0, f"kubectl {' '.join(words)} was to fail and said: {result.out}"
        return result.err

    async def json(self, *words: str) -> Any:
        return json.loads(await self(*words, "-o", "json"))


async def until(what: str, check: Callable[[], Any], deadline_s: float = 15) -> Any:
    """The first true answer of `check`, which may be a coroutine function."""
    end = asyncio.get_running_loop().time() + deadline_s
    while True:
        found = check()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return found
        if asyncio.get_running_loop().time() > end:
            raise AssertionError(f"waited {deadline_s} s for: {what}")
        await asyncio.sleep(0.03)


class Pretender:
    """A node whose pods become ready at once and go when asked to: what controllers need to see of a node."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._number = 2

    async def run(self) -> None:
        with contextlib.suppress(ApiError):
            await self._client.create(resources.NODES, {"metadata": {"name": "sailcloth"}, "spec": {}})
        path = resources.PODS.path("")
        async with self._client.request("GET", path, params={"watch": "true"}) as response:
            async for line in response.content:
                event = json.loads(line)
                if event["type"] != "DELETED":
                    await self._pod(event["object"])

    async def _pod(self, pod: Object) -> None:
        metadata = pod["metadata"]
        with contextlib.suppress(ApiError):
            if metadata.get("deletionTimestamp"):
                await self._client.delete(resources.PODS, metadata["name"], metadata["namespace"], grace=0)
            elif pod["spec"].get("nodeName") and not pod.get("status", {}).get("podIP"):
                self._number += 1
                # Strategic, as a kubelet writes it: conditions of others, such as readiness gates, stay.
                name, namespace, status = metadata["name"], metadata["namespace"], self._status(pod)
                await self._client.patch(resources.PODS, name, namespace, status, type="strategic", sub="status")

    def _status(self, pod: Object) -> Object:
        now = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        containers = [
            {
                "name": c["name"],
                "image": c["image"],
                "imageID": "",
                "ready": True,
                "started": True,
                "restartCount": 0,
                "state": {"running": {"startedAt": now}},
            }
            for c in pod["spec"]["containers"]
        ]
        conditions = [
            {"type": t, "status": "True", "lastTransitionTime": now}
            for t in ("PodScheduled", "Initialized", "ContainersReady", "Ready")
        ]
        address = f"10.42.1.{self._number}"
        return {
            "status": {
                "phase": "Running",
                "podIP": address,
                "podIPs": [{"ip": address}],
                "startTime": now,
                "conditions": conditions,
                "containerStatuses": containers,
            }
        }


class NodeSocket:
    """The node's side of exec and port-forward, with this machine's own processes and ports."""

    def __init__(self, path: Path) -> None:
        self._listen = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listen.bind(str(path))
        self._listen.listen(16)
        self.running: list[subprocess.Popen[bytes]] = []
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    def close(self) -> None:
        self._listen.shutdown(socket.SHUT_RDWR)
        self._listen.close()
        self._thread.join(10)

    def _accept(self) -> None:
        threads = []
        while True:
            try:
                link, _ = self._listen.accept()
            except OSError:
                break
            threads.append(threading.Thread(target=self._serve, args=(link,)))
            threads[-1].start()
        for thread in threads:
            thread.join(10)

    def _serve(self, link: socket.socket) -> None:
        with link:
            data, fds, _, _ = socket.recv_fds(link, 1 << 16, 8)
            request = json.loads(data)
            if request["op"] == "connect":
                try:
                    found = socket.create_connection(("127.0.0.1", request["port"]), 5)
                except OSError as error:
                    link.send(json.dumps({"error": str(error)}).encode())
                    return
                with found:
                    socket.send_fds(link, [b'{"ok": true}'], [found.fileno()])
                return
            try:
                process = subprocess.Popen(
                    request["argv"],
                    stdin=fds[0],
                    stdout=fds[1],
                    stderr=fds[2],
                    start_new_session=True,
                )
            except OSError as error:
                link.send(json.dumps({"error": str(error)}).encode())
                return
            finally:
                for fd in fds:
                    os.close(fd)
            self.running.append(process)
            link.send(b'{"started": true}')
            self._watch(link, process)

    @staticmethod
    def _watch(link: socket.socket, process: subprocess.Popen[bytes]) -> None:
        ended = os.pidfd_open(process.pid)
        try:
            ready, _, _ = select.select([link, ended], [], [], 30)
            if ended not in ready:
                process.kill()
            code = process.wait(10)
            with contextlib.suppress(OSError):
                link.send(json.dumps({"exit": code}).encode())
        finally:
            os.close(ended)
