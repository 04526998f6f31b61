"""Sockets swapped at bind(2): what becomes of the watcher when the container that it watched is gone."""

from __future__ import annotations

import os
import select
import socket

import pytest

from sailcloth.local import seccomp_bind


def _filtered(script: str) -> tuple[int, int]:
    """A child with the filter that runs a shell script: its pid, and the filter's descriptor."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    pid = os.fork()
    if pid == 0:
        try:
            fd = seccomp_bind.install_filter()
            socket.send_fds(theirs, [b"1"], [fd])
            os.close(fd)
            os.execv("/bin/sh", ["sh", "-c", script])
        finally:
            os._exit(1)
    theirs.close()
    _, fds, _, _ = socket.recv_fds(ours, 1, 1)
    ours.close()
    return pid, fds[0]


def test_the_watcher_ends_with_the_last_process_that_the_filter_holds_for() -> None:
    """The descriptor is readable for ever from then on: whoever only ignores it spins."""
    pid, fd = _filtered("exit 0")
    os.waitpid(pid, 0)
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    assert poll.poll(5000)
    with pytest.raises(OSError, match="No such file"):
        seccomp_bind.handle_notification(fd, {})
    os.close(fd)


def test_the_watcher_stays_while_a_process_is_left() -> None:
    pid, fd = _filtered("exec sleep 1000")
    try:
        assert not seccomp_bind._hung_up(fd)
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        os.close(fd)
