"""Limits of connections, without a protocol above them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from sailcloth.lib.connections import ConnectionLimits, Connections, listen

Peer = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Echo(asyncio.Protocol):
    """`auth NAME` names the user, `touch` counts as an answer; everything is echoed."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        word, _, user = data.decode().partition(" ")
        if word == "touch":
            self._connections.touch(self._transport)
        if word == "auth" and not self._connections.authenticate(self._transport, user, user == "root"):
            data = b"refused"
        self._transport.write(data)


async def test_parts_of_an_answer_do_not_wait_for_each_other() -> None:
    """Nagle's algorithm would hold the second back until the peer acknowledges the first, which it delays by 40 ms."""
    undelayed: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    class Server(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            accepted = transport.get_extra_info("socket")
            undelayed.set_result(accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    connections, listener = Connections("test", ConnectionLimits()), listen("127.0.0.1", 0)
    task = asyncio.create_task(connections.serve(listener, Server, None))
    _, writer = await asyncio.open_connection(*listener.getsockname())
    writer.write(b"hello")
    assert await asyncio.wait_for(undelayed, 5) == 1
    writer.close()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


@asynccontextmanager
async def serving(limits: ConnectionLimits) -> AsyncIterator[int]:
    connections, listener = Connections("test", limits), listen("127.0.0.1", 0)
    task = asyncio.create_task(connections.serve(listener, lambda: Echo(connections), None))
    port = listener.getsockname()[1]
    try:
        yield port
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@asynccontextmanager
async def peers(port: int) -> AsyncIterator[list[Peer]]:
    """Peers that are closed in the end."""
    opened: list[Peer] = []
    yield opened
    for _, writer in opened:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def say(peer: Peer, words: str) -> str:
    """The answer; empty if the connection was closed."""
    reader, writer = peer
    try:
        writer.write(words.encode())
        async with asyncio.timeout(5):
            return (await reader.read(100)).decode()
    except ConnectionError:
        return ""


async def connect(port: int, address: str = "127.0.0.1") -> Peer:
    return await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))


async def is_open(peer: Peer) -> bool:
    return await say(peer, "x") == "x"


async def test_one_more_replaces_the_oldest() -> None:
    async with serving(ConnectionLimits(unauthenticated=3, turn_s=0)) as port, peers(port) as opened:
        for _ in range(5):
            opened.append(await connect(port))
            assert await is_open(opened[-1])
        assert [await is_open(p) for p in opened] == [False, False, True, True, True]


async def test_an_answered_client_is_replaced_later() -> None:
    async with serving(ConnectionLimits(unauthenticated=3, turn_s=0)) as port, peers(port) as opened:
        for _ in range(3):
            opened.append(await connect(port))
            assert await is_open(opened[-1])
        assert await say(opened[0], "touch") == "touch"
        opened.append(await connect(port))
        assert [await is_open(p) for p in opened] == [True, False, True, True]


async def test_a_flood_closes_connections_of_its_own_address() -> None:
    async with serving(ConnectionLimits(unauthenticated=10, turn_s=0, silent_turn_s=0)) as port, peers(port) as opened:
        opened.append(await connect(port, "127.0.0.2"))
        assert await is_open(opened[0])
        for _ in range(30):
            opened.append(await connect(port))
        assert await is_open(opened[-1])
        assert await is_open(opened[0])


async def test_each_has_its_turn_before_it_is_replaced() -> None:
    async with (
        serving(ConnectionLimits(unauthenticated=10, turn_s=0.3, silent_turn_s=0.1)) as port,
        peers(port) as opened,
    ):
        for _ in range(10):
            opened.append(await connect(port))
        assert await is_open(opened[0])
        loop = asyncio.get_running_loop()
        start = loop.time()
        for _ in range(9):  # as many as the silent ones are; the tenth would take the turn of the one that spoke
            opened.append(await connect(port))
        assert await is_open(opened[-1])
        assert loop.time() - start > 0.05
        assert await is_open(opened[0])


async def test_the_unauthenticated_never_replace_the_authenticated() -> None:
    async with serving(ConnectionLimits(unauthenticated=3, turn_s=0)) as port, peers(port) as opened:
        for _ in range(5):
            opened.append(await connect(port))
            assert await say(opened[-1], "auth ann") == "auth ann"
        for _ in range(10):
            opened.append(await connect(port))
            assert await is_open(opened[-1])
        assert all([await is_open(p) for p in opened[:5]])


async def test_users_have_limits_and_the_privileged_have_none() -> None:
    limits = ConnectionLimits(per_user=2, users=3)
    async with serving(limits) as port, peers(port) as opened:

        async def answer(user: str) -> str:
            opened.append(await connect(port))
            return await say(opened[-1], f"auth {user}")

        assert [await answer(u) for u in ("ann", "ann", "ann")] == ["auth ann", "auth ann", "refused"]
        assert [await answer(u) for u in ("bob", "cid")] == ["auth bob", "refused"]
        assert [await answer("root") for _ in range(5)] == ["auth root"] * 5
        opened[0][1].close()
        await opened[0][1].wait_closed()
        async with asyncio.timeout(5):
            while await answer("ann") != "auth ann":
                pass


async def test_who_never_authenticates_is_closed(caplog: pytest.LogCaptureFixture) -> None:
    limits = ConnectionLimits(unauthenticated_s=0.2)
    async with serving(limits) as port, peers(port) as opened:
        for _ in range(3):
            opened.append(await connect(port))
        assert await say(opened[2], "auth ann") == "auth ann"
        with caplog.at_level(logging.WARNING):
            async with asyncio.timeout(10):
                assert [await opened[n][0].read() for n in (0, 1)] == [b"", b""]
        assert await is_open(opened[2])
        assert len(caplog.messages) == 1, "one line, however many there are"
        assert "nobody authenticated in time" in caplog.messages[0]
