"""A local cluster as commands see it: its launcher process, started and stopped, and its state directory."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from sailcloth.local.state import StateDir, StateError

from . import output

Object = dict[str, Any]


class LocalCluster:
    """The launcher process of a state directory."""

    def __init__(self, state: StateDir, detach: bool) -> None:
        self.state, self._detach = state, detach
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe = -1

    def start(self, options: Object) -> Object:
        """Start the launcher; returns its record. Raises StateError with the reason if it cannot."""
        self.state.make()
        holder = self.state.holder()
        if holder:
            raise StateError(
                f"a cluster is already running in {self.state.root} (process {holder}); `sailctl down` stops it"
            )
        config = {"state": str(self.state.root), **options}
        fds: tuple[int, ...] = ()
        if not self._detach:
            read, self._pipe = os.pipe()
            config["parent_fd"], fds = read, (read,)
        path = self.state.run / "launcher.json"
        path.write_text(json.dumps(config))
        log = self.state.logs / "launcher.log"
        with log.open("wb") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "sailcloth.local.launcher", "--config", str(path)],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
                pass_fds=fds,
            )
        for fd in fds:
            os.close(fd)
        end = time.monotonic() + 20
        while time.monotonic() < end:
            record = self.state.running()
            if record.get("pid") == self._process.pid:
                return record
            if self._process.poll() is not None:
                text = log.read_text(errors="replace").strip().removeprefix("Error: ")
                raise StateError(text or f"the launcher ended with {self._process.returncode}; see {log}")
            time.sleep(0.005)
        raise StateError(f"the launcher does not come up; see {log}")

    def stop(self) -> None:
        stop(self.state)
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(5)

    def check(self) -> None:
        """Raises StateError with the reason if the launcher has exited."""
        if self._process is None or self._process.poll() is None:
            return
        with contextlib.suppress(OSError):
            lines = (self.state.logs / "apiserver.log").read_text(errors="replace").splitlines()
            if lines and lines[-1].startswith("Error: "):
                raise StateError(lines[-1].removeprefix("Error: "))
        raise StateError(f"the cluster ended with {self._process.returncode}; logs are in {self.state.logs}")

    def wait(self) -> int:
        """Until the launcher ends."""
        assert self._process is not None
        return self._process.wait()


def stop(state: StateDir) -> bool:
    """Stop the cluster of a state directory. Returns whether one ran."""
    pid = state.holder()
    if pid <= 0:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    end = time.monotonic() + 10
    while state.holder() == pid and time.monotonic() < end:
        time.sleep(0.01)
    if state.holder() == pid:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return True


def state_of(given: str, name: str = "") -> StateDir:
    """The state directory of --state or --name, or the default one."""
    if given and name:
        output.fail("give --state or --name, not both", output.USAGE)
    if name:
        if not re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,18}[a-z0-9])?", name):
            output.fail(f"--name {name!r}: at most 20 lower-case letters, digits and dashes", output.USAGE)
        return StateDir(StateDir.default().root / "clusters" / name)
    return StateDir(Path(given).absolute()) if given else StateDir.default()
