"""Runs the sample programs for real, each on a port of its own."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sailcloth.local import images

START_S = 10.0


@dataclass(frozen=True)
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()


@dataclass(frozen=True)
class Program:
    process: subprocess.Popen[bytes]
    port: int

    def ask(self, target: str, method: str = "GET", body: Any = None, **headers: str) -> Answer:
        """One request on a connection of its own; header names have `_` for `-`."""
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=15)
        try:
            link.request(method, target, body, {k.replace("_", "-"): v for k, v in headers.items()})
            got = link.getresponse()
            return Answer(got.status, got.headers, got.read())
        finally:
            link.close()

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(timeout=15)


_RANDOM = random.SystemRandom()  # the seed of tests is the same in all their processes
Start = Callable[..., Program]


def free_port() -> int:
    """A port that nobody has, below those that connections take: one of them may be gone before the program binds it."""
    while True:
        number = _RANDOM.randint(15_000, 30_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("0.0.0.0", number))
            return number


def wait_for_line(process: subprocess.Popen[bytes], word: bytes) -> None:
    """Return once the program has printed `word`."""
    assert process.stdout is not None
    deadline = time.monotonic() + START_S
    seen = b""
    while word not in seen:
        left = deadline - time.monotonic()
        ready = left > 0 and select.select([process.stdout], [], [], left)[0]
        assert ready, f"no {word!r} in {START_S} s, saw {seen!r}"
        part = os.read(process.stdout.fileno(), 4096)
        assert part, f"the program ended with {process.wait(timeout=5)} after {seen!r}"
        seen += part


def begin(name: str, *more: str, **env: str) -> Program:
    """Start a program on a free port and return it once it listens. The caller ends it."""
    port = free_port()
    argv = [sys.executable, "-I", "-S", str(images.programs() / name), str(port), *more]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, env={"HOSTNAME": "pod-0", **env})
    try:
        wait_for_line(process, b"listening")
    except BaseException:
        with process:
            process.kill()
        raise
    return Program(process, port)
