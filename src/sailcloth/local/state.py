"""The state directory of a local cluster, and its lock."""

from __future__ import annotations

import fcntl
import json
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class StateError(Exception):
    """The state directory cannot be used; the text says why and what to do."""


@dataclass(frozen=True)
class StateDir:
    """Paths under one directory (default $SAILCLOTH_HOME, else ~/.sailcloth)."""

    root: Path

    @classmethod
    def default(cls) -> StateDir:
        return cls(Path(os.environ.get("SAILCLOTH_HOME") or Path.home() / ".sailcloth"))

    @property
    def kubeconfig(self) -> Path:
        return self.root / "kubeconfig"

    @property
    def database(self) -> Path:
        return self.root / "state" / "api.db"

    @property
    def console_token(self) -> Path:
        return self.root / "state" / "console-token"

    @property
    def console_links(self) -> Path:
        return self.root / "state" / "console-links.json"

    @property
    def images(self) -> Path:
        """The user's own images."""
        return self.root / "images.json"

    @property
    def roots(self) -> Path:
        """Root file systems of images that were unpacked."""
        return self.root / "images"

    @property
    def pki(self) -> Path:
        return self.root / "state" / "pki"

    @property
    def run(self) -> Path:
        return self.root / "run"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def pod_logs(self) -> Path:
        return self.logs / "pods"

    @property
    def lock(self) -> Path:
        return self.run / "lock"

    @property
    def record(self) -> Path:
        return self.run / "up.json"

    @property
    def number(self) -> int:
        """32 bits that tell the directories of one machine apart, as far as so few can."""
        return zlib.crc32(str(self.root.resolve()).encode())

    def make(self) -> None:
        """Make the directories, readable by their owner alone. Raises StateError."""
        try:
            for path in (self.root, self.root / "state", self.run, self.logs, self.pod_logs, self.run / "p"):
                path.mkdir(mode=0o700, parents=True, exist_ok=True)
            probe = self.run / "probe"
            probe.write_bytes(b"x" * 4096)
            probe.unlink()
        except OSError as error:
            raise StateError(
                f"the state directory {self.root} cannot be written: {error.strerror}; use --state DIR for another"
            ) from None
        if len(str(self.run / "p" / ("0" * 12) / "proxy" / "agent.sock")) > 107:
            raise StateError(
                f"the path {self.root} is too long for UNIX sockets; use --state with a shorter one (at most 60 characters)"
            )

    def remove_sockets(self) -> None:
        """Remove the sockets of a cluster that has ended. What pods left in their volumes stays."""
        for pattern in ("*.sock", "p/*/*.sock", "p/*/proxy/*.sock"):
            for path in self.run.glob(pattern):
                path.unlink(missing_ok=True)

    def acquire(self) -> int:
        """Lock the directory until this process exits, and every one that inherits the descriptor. Raises StateError if another
        process holds the lock."""
        descriptor = os.open(self.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            raise StateError(
                f"a cluster is already running in {self.root} (process {self.holder() or '?'}); `sailctl down` stops it"
            ) from None
        self.hold(descriptor)
        return descriptor

    @staticmethod
    def hold(descriptor: int) -> None:
        """Name this process as the one that holds the lock."""
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)

    def holder(self) -> int:
        """PID of the process that holds the lock: the launcher, or the command that starts it. 0 if none does, -1 if it is not
        known yet."""
        try:
            descriptor = os.open(self.lock, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return 0
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            text = os.read(descriptor, 32).decode().strip()
            return int(text) if text.isdigit() else -1
        finally:
            os.close(descriptor)
        return 0

    def running(self) -> dict[str, Any]:
        """The record of the running launcher; empty if none runs."""
        if not self.holder():
            return {}
        try:
            data = json.loads(self.record.read_text())
        except (OSError, ValueError):
            return {}
        return data if isinstance(data, dict) else {}
