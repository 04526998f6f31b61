"""Datagrams to a published port: sessions, their endpoints, and their bounds."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable

from sailcloth.local.node.datagram_relay import Address, DatagramRelay

_DEADLINE_S = 5


def bound() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    sock.setblocking(False)
    return sock


async def receive(sock: socket.socket) -> bytes:
    return await asyncio.wait_for(asyncio.get_running_loop().sock_recv(sock, 100), _DEADLINE_S)


async def ask(client: socket.socket, relay: Address, data: bytes = b"hello") -> bytes:
    client.sendto(data, relay)
    return await receive(client)


async def eventually(what: str, check: Callable[[], bool]) -> None:
    for _ in range(100 * _DEADLINE_S):
        if check():
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"{what} did not come about in {_DEADLINE_S} s")


@contextlib.asynccontextmanager
async def echo(name: bytes) -> AsyncIterator[socket.socket]:
    """Answers with its name, the number of the client's port, and what the client says."""
    sock = bound()

    def answer() -> None:
        data, client = sock.recvfrom(100)
        sock.sendto(b"%s %d %s" % (name, client[1], data), client)

    loop = asyncio.get_running_loop()
    loop.add_reader(sock.fileno(), answer)
    try:
        yield sock
    finally:
        loop.remove_reader(sock.fileno())
        sock.close()


@contextlib.asynccontextmanager
async def relay_to(
    *endpoints: Address, sessions: int = 8, idle_s: float = 60.0
) -> AsyncIterator[tuple[DatagramRelay, Address]]:
    """A relay that chooses the endpoints in turn, and its address."""
    sock, chosen = bound(), list(endpoints)

    def choose() -> Address | None:
        chosen.append(chosen.pop(0)) if chosen else None
        return chosen[-1] if chosen else None

    relay = DatagramRelay(sock, choose, sessions=sessions, idle_s=idle_s)
    address = sock.getsockname()
    try:
        yield relay, address
    finally:
        relay.close()


async def test_a_client_keeps_its_endpoint_and_its_port() -> None:
    async with echo(b"a") as a, echo(b"b") as b, relay_to(a.getsockname(), b.getsockname()) as (_, address):
        with bound() as one, bound() as two:
            first = [await ask(one, address), await ask(two, address)]
            assert [w[:1] for w in first] == [b"a", b"b"]
            assert [await ask(one, address), await ask(two, address)] == first


async def test_the_session_that_is_idle_longest_gives_way() -> None:
    async with echo(b"a") as a, relay_to(a.getsockname(), sessions=2) as (relay, address):
        with bound() as one, bound() as two, bound() as three:
            first, second = await ask(one, address), await ask(two, address)
            assert await ask(one, address) == first
            await ask(three, address)
            assert len(relay) == 2
            assert await ask(one, address) == first
            assert await ask(two, address) != second


async def test_idle_sessions_end() -> None:
    async with echo(b"a") as a, relay_to(a.getsockname(), idle_s=0.05) as (relay, address):
        with bound() as one:
            await ask(one, address)
            assert len(relay) == 1
            await eventually("the end of the session", lambda: len(relay) == 0)
            await ask(one, address)


async def test_a_refused_client_gets_another_endpoint() -> None:
    gone = bound()
    refusing = gone.getsockname()
    gone.close()
    async with echo(b"a") as a, relay_to(refusing, a.getsockname()) as (relay, address):
        with bound() as one:
            one.sendto(b"lost", address)
            received = asyncio.ensure_future(receive(one))
            while not received.done():
                one.sendto(b"again", address)
                await asyncio.wait({received}, timeout=0.02)
            assert received.result().startswith(b"a ")
            assert len(relay) == 1


async def test_without_an_endpoint_datagrams_are_lost() -> None:
    asked = asyncio.Event()

    def choose() -> Address | None:
        asked.set()
        return None

    sock = bound()
    address, relay = sock.getsockname(), DatagramRelay(sock, choose)
    try:
        with bound() as one:
            one.sendto(b"hello", address)
            await asyncio.wait_for(asked.wait(), _DEADLINE_S)
        assert len(relay) == 0
    finally:
        relay.close()
