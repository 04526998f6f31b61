"""Sockets swapped at bind(2): what becomes of the watcher when the container that it watched is gone."""

from __future__ import annotations

import os
import select
import socket
import sys

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


# -- sockets that outlive their process -------------------------------------------------------------

LISTEN = """
import socket, sys, time
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
s.bind(("127.0.0.1", int(sys.argv[1])))
s.listen(8)
if sys.argv[2] == "answer":
    s.accept()[0].sendall(b"answered")
time.sleep(1000)
"""


class _Server:
    """A process that listens, and what is told of it."""

    def __init__(self, sockets: seccomp_bind.ListeningSockets, port: int, what: str, times: int = 1) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self.pid = os.fork()
        if self.pid == 0:
            try:
                fd = seccomp_bind.install_filter(listen=True)
                socket.send_fds(theirs, [b"1"], [fd])
                os.close(fd)
                os.execv(sys.executable, [sys.executable, "-I", "-S", "-c", LISTEN, str(port), what])
            finally:
                os._exit(1)
        theirs.close()
        _, (self._fd,), _, _ = socket.recv_fds(ours, 1, 1)
        ours.close()
        sockets.restart()
        for _ in range(times):
            assert select.select([self._fd], [], [], 10)[0], "the process does not listen"
            seccomp_bind.handle_notification(self._fd, sockets)

    def kill(self) -> None:
        os.kill(self.pid, 9)
        os.waitpid(self.pid, 0)
        os.close(self._fd)


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_who_connects_between_two_processes_is_answered_by_the_second(port: int) -> None:
    sockets = seccomp_bind.ListeningSockets([port], 1)
    _Server(sockets, port, "wait").kill()
    with socket.create_connection(("127.0.0.1", port), 5) as waiting:
        second = _Server(sockets, port, "answer")
        waiting.settimeout(10)
        assert waiting.recv(100) == b"answered"
        second.kill()
    sockets.release()


def test_released_sockets_refuse_and_those_of_other_ports_are_never_held(port: int) -> None:
    for sockets in (seccomp_bind.ListeningSockets([port], 1), seccomp_bind.ListeningSockets([port + 1], 1)):
        _Server(sockets, port, "wait").kill()
        sockets.release()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), 5)


def test_a_listener_that_is_updated_listens_again_on_its_socket() -> None:
    sockets = seccomp_bind.ListeningSockets([0], 1)
    with socket.socket() as first, socket.socket() as second:
        assert [sockets.listen(os.dup(first.fileno())) for _ in range(3)] == [-1, -1, -1]
        sockets.restart()
        held = sockets.listen(os.dup(second.fileno()))
        assert os.fstat(held).st_ino == os.fstat(first.fileno()).st_ino
        assert sockets.listen(os.dup(held)) == -1
        assert not sockets.released
    sockets.release()


def test_a_process_that_replaces_its_listener_has_its_own() -> None:
    """Nobody would accept on the first socket any more."""
    sockets = seccomp_bind.ListeningSockets([0], 1)
    made = [socket.socket() for _ in range(2)]
    try:
        assert [sockets.listen(os.dup(s.fileno())) for s in made] == [-1, -1]
        assert sockets.released
    finally:
        for each in made:
            each.close()
