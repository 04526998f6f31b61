"""What a container says when it ends: its termination message, from its file or, if asked for, from its log."""

from __future__ import annotations

import os
from pathlib import Path

from .podstate import Container, PodState

_MESSAGE, _LOG = 4096, 2048  # bytes
_LOG_LINES = 80


def prepare(pod: PodState, c: Container) -> list[str]:
    """An empty file for the message, and where it is to be mounted."""
    path = _file(pod, c)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    path.unlink(missing_ok=True)
    path.touch(mode=0o666)
    path.chmod(0o666)
    return [str(path), str(c.spec.get("terminationMessagePath") or "/dev/termination-log"), "rw"]


def read(pod: PodState, c: Container, code: int) -> str:
    """The message of a container that has ended."""
    text = _tail(str(_file(pod, c)), _MESSAGE)
    if text or code == 0 or c.spec.get("terminationMessagePolicy") != "FallbackToLogsOnError":
        return text
    lines = _tail(log_path(pod, c), _LOG * 4).splitlines()[-_LOG_LINES:]
    said = "\n".join(line.split(" ", 3)[3] if line.count(" ") >= 3 else "" for line in lines)
    return said.encode()[-_LOG:].decode(errors="ignore")


def log_path(pod: PodState, c: Container) -> str:
    """The log of a container's present run."""
    return str(pod.node.logs_dir / f"{pod.namespace}_{pod.name}_{pod.uid}" / c.name / f"{c.restarts}.log")


def _file(pod: PodState, c: Container) -> Path:
    return pod.directory / "termination" / c.name


def _tail(path: str, size: int) -> str:
    """The last bytes of a regular file; a program may have put anything in its place."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return ""
    with os.fdopen(fd, "rb") as file:
        length = os.fstat(fd).st_size
        file.seek(max(0, length - size))
        return file.read(size).decode(errors="replace")
