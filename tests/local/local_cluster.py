"""A local cluster for tests: `sailctl up`, its processes as the host sees them, and its API."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

from sailcloth.kube.client import ApiError, Client

T = TypeVar("T")
Object = dict[str, Any]
SAILCTL = (sys.executable, "-m", "sailcloth.cli")


def sailctl(*arguments: str, deadline_s: float = 60, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*SAILCTL, *arguments],
        capture_output=True,
        text=True,
        timeout=deadline_s,
        check=False,
        env={**os.environ, **environment},
    )


def processes(word: str) -> dict[int, str]:
    """PIDs and command lines, as the host sees them, of processes whose command line or environment names `word`."""
    found = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            line = Path(f"/proc/{entry}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if word in line:
                found[int(entry)] = line.strip()
    return found


def descendants(pid: int) -> set[int]:
    parents: dict[int, int] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                parents[int(entry)] = int(Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[1])
    out = {pid}
    while True:
        more = {child for child, parent in parents.items() if parent in out} - out
        if not more:
            return out - {pid}
        out |= more


def eventually(what: str, holds: Callable[[], T], deadline_s: float = 20) -> T:
    """The first true value of `holds`."""
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        found = holds()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"after {deadline_s:.0f} s still not: {what}")


async def in_time(what: str, ask: Callable[[], Awaitable[T]], deadline_s: float = 20) -> T:
    """The first true value of `ask`; a connection that fails counts as not yet."""
    end = time.monotonic() + deadline_s
    last: object = None
    while time.monotonic() < end:
        try:
            last = await ask()
            if last:
                return last  # type: ignore[return-value]
        except (ApiError, OSError, TimeoutError) as error:
            last = error
        await asyncio.sleep(0.05)
    raise AssertionError(f"after {deadline_s:.0f} s still not: {what}; last: {last}")


class Up:
    """`sailctl up --detach` in a state directory."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.found: Object = {}

    def start(self, *options: str) -> Object:
        done = sailctl("up", "--detach", "--state", str(self.state), "-o", "json", *self._plain(options))
        assert done.returncode == 0, done.stderr
        self.found = json.loads(done.stdout)
        return self.found

    @staticmethod
    def _plain(options: tuple[str, ...]) -> tuple[str, ...]:
        """Without metrics unless they are asked for: a process less."""
        return options if "--telemetry" in options else (*options, "--no-telemetry")

    def down(self) -> None:
        sailctl("down", "--state", str(self.state))

    def client(self) -> Client:
        return Client.from_kubeconfig(self.found["kubeconfig"])

    @property
    def launcher(self) -> int:
        return int(json.loads((self.state / "run" / "up.json").read_text())["pid"])

    def component(self, name: str) -> int:
        """PID of one of apiserver, controlplane, node."""
        config = f"{self.state}/run/{name}.json"
        found = eventually(f"process {name} runs", lambda: processes(config))
        return min(found)

    def kill(self, name: str) -> None:
        os.kill(self.component(name), signal.SIGKILL)
