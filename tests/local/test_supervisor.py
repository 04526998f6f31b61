"""When a process that ended is started again, and the host's ports that outlive the node's process."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Iterator

import pytest

from sailcloth.local.launcher import PublishedPorts
from sailcloth.local.supervisor import Backoff


def test_only_a_process_that_fails_by_itself_and_early_waits() -> None:
    backoff = Backoff()
    assert [backoff.ended(-signal.SIGKILL, 0.5) for _ in range(10)] == [0.0] * 10
    assert [backoff.ended(1, 60) for _ in range(10)] == [0.0] * 10
    delays = [backoff.ended(1, 0.5) for _ in range(10)]
    assert delays[0] < 0.1
    assert delays == sorted(delays)
    assert delays[-1] == 5.0
    assert backoff.ended(-signal.SIGSEGV, 0.5) == 5.0
    assert backoff.ended(1, 4) == 0.0
    assert backoff.ended(1, 0.5) == delays[0]


@pytest.fixture
def node() -> Iterator[tuple[socket.socket, PublishedPorts]]:
    """The node's end of the channel, and the launcher's ports."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    theirs.setblocking(False)
    ports = PublishedPorts(theirs)
    with ours, theirs:
        ours.settimeout(5)
        yield ours, ports
        ports.serve()
        ours.send(json.dumps({"only": []}).encode())
        ports.serve()


def _ask(
    node: tuple[socket.socket, PublishedPorts], address: str, port: int, protocol: str = "TCP"
) -> socket.socket | str:
    node[0].send(json.dumps({"address": address, "port": port, "protocol": protocol}).encode())
    node[1].serve()
    data, fds, _, _ = socket.recv_fds(node[0], 4096, 1)
    return socket.socket(fileno=fds[0]) if fds else str(json.loads(data)["error"])


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_a_published_port_outlives_the_process_that_accepts(node: tuple[socket.socket, PublishedPorts]) -> None:
    port = _free_port()
    first = _ask(node, "127.0.0.1", port)
    assert isinstance(first, socket.socket)
    first.close()  # the process is gone
    with socket.create_connection(("127.0.0.1", port), 5):
        second = _ask(node, "127.0.0.1", port)
        assert isinstance(second, socket.socket)
        with second:
            second.settimeout(5)
            second.accept()[0].close()


@pytest.mark.parametrize("how", ["withdraw", "only"])
def test_a_withdrawn_port_is_closed(node: tuple[socket.socket, PublishedPorts], how: str) -> None:
    stays, goes = _free_port(), _free_port()
    for port in (stays, goes):
        listener = _ask(node, "127.0.0.1", port)
        assert isinstance(listener, socket.socket)
        listener.close()
    node[0].send(json.dumps({how: [["127.0.0.1", goes if how == "withdraw" else stays, "TCP"]]}).encode())
    node[1].serve()
    socket.create_connection(("127.0.0.1", stays), 5).close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", goes), 5)


def test_a_port_number_is_free_for_datagrams_beside_connections(node: tuple[socket.socket, PublishedPorts]) -> None:
    port = _free_port()
    connections, datagrams = (_ask(node, "127.0.0.1", port, protocol) for protocol in ("TCP", "UDP"))
    assert isinstance(connections, socket.socket)
    assert isinstance(datagrams, socket.socket)
    with connections, datagrams, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.sendto(b"hello", ("127.0.0.1", port))
        datagrams.settimeout(5)
        assert datagrams.recv(100) == b"hello"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", port))  # the launcher still has it
    node[0].send(json.dumps({"withdraw": [["127.0.0.1", port, "UDP"]]}).encode())
    node[1].serve()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", port))
    socket.create_connection(("127.0.0.1", port), 5).close()


def test_only_loopback_is_published(node: tuple[socket.socket, PublishedPorts]) -> None:
    assert _ask(node, "10.0.0.1", 80) == "not a loopback address"
