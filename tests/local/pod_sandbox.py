"""A pod without a kubelet: the fork server and PID 1 alone, in namespaces of the test's own."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from sailcloth.local import mounts, network, zygote
from sailcloth.local.node.sandbox_client import Event, SandboxClient

from .network_namespaces import inside

ENV = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
DEADLINE_S = 10


class Pod:
    """A pod without a kubelet."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.pid = 0  # of its PID 1
        self.events: asyncio.Queue[Event | None] = asyncio.Queue()
        self.link = SandboxClient(f"{directory}/{zygote.SOCKET}", self.events.put_nowait)

    async def until(self, kind: str) -> Event:
        async with asyncio.timeout(DEADLINE_S):
            while True:
                event = await self.events.get()
                assert event is not None, f"the pod ended while waiting for {kind}"
                if event["event"] == kind:
                    return event

    def start(self, name: str, argv: list[str], **more: Any) -> None:
        scratch = self.directory / "scratch" / name
        scratch.mkdir(parents=True, exist_ok=True)
        request = {
            "op": "start",
            "name": name,
            "argv": argv,
            "env": ENV,
            "cwd": "/",
            "caps": [],
            "mounts": [],
            "hide": mounts.masked_paths(),
            "needed": [sys.prefix, sys.base_prefix],
            "etc": str(self.directory / "etc"),
            "ports": [],
        }
        self.link.send({**request, "scratch": str(scratch), "log": str(self.log(name)), **more})

    def log(self, name: str) -> Path:
        return self.directory / "logs" / f"{name}.log"

    async def output(self, name: str, argv: list[str], **more: Any) -> tuple[int, list[str]]:
        """Exit code and the log's lines without their times, once the container has ended."""
        self.start(name, argv, **more)
        code = (await self.until("exited"))["exit"]
        end = time.monotonic() + DEADLINE_S
        while time.monotonic() < end:
            state = (await self.ask())["containers"][name]
            if not state["running"] and self.log(name).exists():
                break
        await asyncio.sleep(0.05)  # the pipe's end is read after the exit is reported
        return int(code), [line.split(" ", 1)[1] for line in self.log(name).read_text().splitlines()]

    async def ask(self) -> Event:
        other = SandboxClient(f"{self.directory}/{zygote.SOCKET}", lambda _: None)
        try:
            return await other.connect()
        finally:
            other.close()


def in_pod(directory: Path, scenario: Callable[[Pod], Coroutine[Any, Any, None]], uid: int = -1) -> None:
    """Run a scenario with one fresh pod, whose processes are gone afterwards; in a cluster of another user than this one if
    `uid` is not -1."""

    def work() -> None:
        network.set_up_node()
        server = str(directory / "z.sock")
        if os.fork() == 0:
            try:
                zygote.serve(server)
            finally:
                os._exit(1)
        end = time.monotonic() + DEADLINE_S
        while not os.path.exists(server) and time.monotonic() < end:
            time.sleep(0.002)
        (directory / "etc").mkdir()
        for name in ("resolv.conf", "hosts", "hostname", "nsswitch.conf"):
            (directory / "etc" / name).write_text(f"# {name} of the pod\n")
        pid, fd = zygote.make_pod(server, str(directory), "pod-1")
        network.connect_pod(fd, "10.42.0.2")
        os.close(fd)

        async def run() -> None:
            pod = Pod(directory)
            pod.pid = pid
            await pod.link.connect()
            await scenario(pod)
            pod.link.close()

        asyncio.run(run())

    inside(work, pid_namespace=True, uid=uid)
