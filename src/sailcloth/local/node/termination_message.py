"""Termination messages: read from the container's file or, with FallbackToLogsOnError, from the end of its log."""

from __future__ import annotations

import os
from pathlib import Path

from .pod_state import Container, PodState

_MESSAGE_BYTES, _LOG_BYTES = 4096, 2048  # bytes
_LOG_LINES = 80


def create_file(pod: PodState, c: Container) -> list[str]:
    """Create an empty message file. Returns its mount: [source, target, mode]."""
    path = _file(pod, c)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    path.unlink(missing_ok=True)
    path.touch(mode=0o666)
    path.chmod(0o666)
    return [str(path), str(c.spec.get("terminationMessagePath") or "/dev/termination-log"), "rw"]


def read(pod: PodState, c: Container, code: int) -> str:
    """The message of a container that exited with `code`."""
    text = _tail(str(_file(pod, c)), _MESSAGE_BYTES)
    if text or code == 0 or c.spec.get("terminationMessagePolicy") != "FallbackToLogsOnError":
        return text
    lines = _tail(pod.log_path(c), _LOG_BYTES * 4).splitlines()[-_LOG_LINES:]
    tail = "\n".join(line.split(" ", 3)[3] if line.count(" ") >= 3 else "" for line in lines)
    return tail.encode()[-_LOG_BYTES:].decode(errors="ignore")


def _file(pod: PodState, c: Container) -> Path:
    return pod.directory / "termination" / c.name


def _tail(path: str, size: int) -> str:
    """The last bytes of a regular file, empty for anything else that the program put in its place."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return ""
    with os.fdopen(fd, "rb") as file:
        length = os.fstat(fd).st_size
        file.seek(max(0, length - size))
        return file.read(size).decode(errors="replace")
