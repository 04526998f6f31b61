"""Processes that a test cluster consists of: each with a log file, ended by its id, and none outlives the test run.

The kernel kills them when the test run is killed (`PR_SET_PDEATHSIG`, by util-linux' setpriv).
"""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_LAST_LINES = 15


class StartError(Exception):
    """A process has ended, or something did not happen in time. The text has the end of the log."""


@dataclass
class Processes:
    """Processes by name, in the order of their start. `logs`: the folder of their output."""

    logs: Path
    _running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str, command: Sequence[str | Path], prefix: Sequence[str] = ()) -> subprocess.Popen[bytes]:
        """Start a program. `prefix`: a command that enters namespaces first."""
        with self.log(name).open("ab") as log:
            process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "nice", "-n", "5", *prefix, *map(str, command)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # an interrupt from the keyboard is for the test run, which then ends them in order
            )
        self._running[name] = process
        return process

    def stop(self, name: str, grace_s: float = 10.0) -> None:
        """End a process: by SIGTERM, and by SIGKILL when it has not ended after `grace_s`."""
        process = self._running.pop(name, None)
        if process is None:
            return
        if grace_s:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(grace_s)
        process.kill()
        process.wait()

    def stop_all(self, grace_s: float = 10.0) -> None:
        """End all, the last one first."""
        for name in reversed(list(self._running)):
            self.stop(name, grace_s)

    def join(self, seconds: float = 10.0) -> None:
        """Wait for all to end by themselves, and kill those that do not."""
        deadline = time.monotonic() + seconds
        for name, process in list(self._running.items()):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))
            self.stop(name, grace_s=0)

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def wait(self, what: str, met: Callable[[], bool], seconds: float = 60.0) -> None:
        """Return when the condition is met. Raises StartError when it is not in time, or a process ends before."""
        deadline = time.monotonic() + seconds
        while not met():
            for name, process in self._running.items():
                if process.poll() is not None:
                    raise StartError(f"{name} has ended ({process.returncode}), waiting for {what}:\n{self._end(name)}")
            if time.monotonic() > deadline:
                ends = "\n".join(f"{name}:\n{self._end(name)}" for name in self._running)
                raise StartError(f"no {what} after {seconds:.0f} s\n{ends}")
            time.sleep(0.1)

    def _end(self, name: str) -> str:
        return "\n".join(self.log(name).read_text(errors="replace").splitlines()[-_LAST_LINES:])
