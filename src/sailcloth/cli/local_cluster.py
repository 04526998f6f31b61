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


class Stopped(StateError):
    """The cluster was stopped on purpose, as by `sailctl down`, while this process waited for it."""


class LocalCluster:
    """The launcher process of a state directory."""

    def __init__(self, state: StateDir, detach: bool) -> None:
        self.state, self._detach = state, detach
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe = -1

    def start(self, options: Object) -> Object:
        """Start the launcher; returns its record. Raises StateError with the reason if it cannot."""
        self.state.make()
        # Handed to the launcher, so that `sailctl down` finds a start from its first moment on
        lock = self.state.acquire()
        config = {"state": str(self.state.root), **options, "lock_fd": lock}
        fds: tuple[int, ...] = (lock,)
        if not self._detach:
            self._close_pipe()
            read, self._pipe = os.pipe()
            config["parent_fd"], fds = read, (lock, read)
        try:
            log = self._launch(config, fds)
        finally:
            for fd in fds:
                os.close(fd)
        assert self._process is not None
        end = time.monotonic() + 20
        while time.monotonic() < end:
            record = self.state.running()
            if record.get("pid") == self._process.pid:
                return record
            if self._process.poll() is not None:
                self._stopped()
                text = log.read_text(errors="replace").strip().removeprefix("Error: ")
                raise StateError(text or f"the launcher ended with {self._process.returncode}; see {log}")
            time.sleep(0.005)
        raise StateError(f"the launcher does not come up; see {log}")

    def _launch(self, config: Object, fds: tuple[int, ...]) -> Path:
        """Start the launcher's process. Returns the path of its log."""
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
        return log

    def stop(self) -> None:
        """Stop the launcher that this process started, if it has not ended."""
        if self._process is None:
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.terminate()
            self._process.wait(10)
        self._process.kill()
        self._process.wait()
        self._close_pipe()

    def _close_pipe(self) -> None:
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1

    def _stopped(self) -> None:
        """Raises Stopped if the launcher has ended because it was asked to."""
        if self._process is not None and self._process.returncode in (0, -signal.SIGTERM):
            raise Stopped("the cluster was stopped")

    def check(self) -> None:
        """Raises StateError with the reason if the launcher has exited; Stopped if it was asked to."""
        if self._process is None or self._process.poll() is None:
            return
        self._stopped()
        with contextlib.suppress(OSError):
            lines = (self.state.logs / "apiserver.log").read_text(errors="replace").splitlines()
            if lines and lines[-1].startswith("Error: "):
                raise StateError(lines[-1].removeprefix("Error: "))
        raise StateError(f"the cluster ended with {self._process.returncode}; logs are in {self.state.logs}")

    def wait(self) -> bool:
        """Until the launcher ends. Returns whether it was asked to."""
        assert self._process is not None
        return self._process.wait() in (0, -signal.SIGTERM)


def stop(state: StateDir) -> bool:
    """Stop the cluster of a state directory, also one that is about to start. Returns whether there was one."""
    asked: set[int] = set()
    end = time.monotonic() + 10
    while pid := state.holder():
        late = time.monotonic() > end
        if pid > 0 and (late or pid not in asked):
            asked.add(pid)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL if late else signal.SIGTERM)
        if time.monotonic() > end + 5:
            raise StateError(f"the cluster in {state.root} (process {pid}) does not end")
        time.sleep(0.01)
    return bool(asked)


def state_of(given: str, name: str = "") -> StateDir:
    """The state directory of --state or --name, or the default one."""
    if given and name:
        output.fail("give --state or --name, not both", output.USAGE)
    if name:
        if not re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,18}[a-z0-9])?", name):
            output.fail(f"--name {name!r}: at most 20 lower-case letters, digits and dashes", output.USAGE)
        return StateDir(StateDir.default().root / "clusters" / name)
    return StateDir(Path(given).absolute()) if given else StateDir.default()
