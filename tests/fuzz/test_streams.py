"""Commands in pods and port-forward, by SPDY and by websocket, through a real HTTP server: what a client sends ends its connection at
worst, takes no more memory than is allowed, and the server goes on."""

from __future__ import annotations

import asyncio
import contextlib
import os
import struct
import zlib
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from sailcloth.lib import spdy
from sailcloth.local.apiserver.http import remote_command, spdy_upgrade
from sailcloth.local.apiserver.http.pod_streams import _PortForward
from sailcloth.local.apiserver.http.remote_command import Channels, terminal_size

from . import JSON, TIMES, fuzzed, mutated

PACKER = spdy.compressor()
OPENING = b"".join(
    spdy.opening(stream, {"streamtype": kind, "port": "80", "requestid": "0"}, PACKER)
    for stream, kind in ((1, "error"), (3, "data"), (5, "stdin"), (7, "stdout"), (9, "resize"))
)
VALID = (
    OPENING
    + spdy.data_frame(5, b"hello")
    + spdy.data_frame(9, b'{"Width":80,"Height":24}')
    + spdy.data_frame(5, b"", True)
)


def control(kind: int, flags: int, body: bytes) -> bytes:
    return struct.pack(">HHI", 0x8003, kind, flags << 24 | len(body)) + body


FRAMES = st.one_of(
    st.builds(control, st.integers(0, 12), st.integers(0, 255), st.binary(max_size=40)),
    st.builds(spdy.data_frame, st.integers(0, 12), st.binary(max_size=40), st.booleans()),
    st.binary(max_size=20),
    st.just(OPENING),
)
SENT = st.one_of(mutated(VALID), st.lists(FRAMES, max_size=8).map(b"".join), st.just(VALID))


async def _nothing(_: bytes) -> None: ...


@fuzzed
@given(SENT)
def test_frames_of_spdy(data: bytes) -> None:
    async def feed() -> None:
        inboxes: list[spdy.Inbox] = []
        session = spdy.Session(_nothing, lambda _id, _headers, inbox: inboxes.append(inbox))
        with contextlib.suppress(spdy.ProtocolError):
            for at in range(0, len(data), 7):
                await session.feed(data[at : at + 7])
        session.close()
        for inbox in inboxes:
            while await inbox.get() is not None:
                pass

    asyncio.run(asyncio.wait_for(feed(), 10))


def test_headers_that_unpack_to_more_than_is_allowed_are_refused() -> None:
    packer = zlib.compressobj(zdict=spdy.dictionary())
    bomb = packer.compress(bytes(100 << 20)) + packer.flush(zlib.Z_SYNC_FLUSH)
    session = spdy.Session(_nothing, lambda *_: None)
    with pytest.raises(spdy.ProtocolError, match="more than 65536 bytes"):
        asyncio.run(session.feed(control(1, 0, struct.pack(">IIH", 1, 0, 0) + bomb)))


@pytest.mark.parametrize("ends", [True, False])
def test_as_many_streams_as_are_ended(ends: bool) -> None:
    async def feed() -> int:
        session, packer, count = spdy.Session(_nothing, lambda *_: None), spdy.compressor(), 0
        with contextlib.suppress(spdy.ProtocolError):
            for stream in range(1, 4001, 2):
                await session.feed(spdy.opening(stream, {"streamtype": "data"}, packer))
                if ends:
                    await session.feed(spdy.data_frame(stream, b"", True))
                count += 1
        return count

    assert asyncio.run(feed()) == (2000 if ends else 1000)


async def test_what_nobody_takes_waits_with_the_client() -> None:
    inboxes: list[spdy.Inbox] = []
    session = spdy.Session(_nothing, lambda _id, _headers, inbox: inboxes.append(inbox))
    await session.feed(spdy.opening(1, {}, spdy.compressor()))
    part, taken = bytes(1 << 18), 0

    async def send() -> None:
        for _ in range(40):
            await session.feed(spdy.data_frame(1, part))
        await session.feed(spdy.data_frame(1, b"", True))

    sending = asyncio.create_task(send())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not sending.done()
    assert inboxes[0]._held <= 5 * len(part)
    async with asyncio.timeout(10):
        while (data := await inboxes[0].get()) is not None:
            taken += len(data)
        await sending
    assert taken == 40 * len(part)


@fuzzed
@given(st.one_of(st.binary(max_size=40), JSON.map(lambda v: repr(v).encode("utf-8", "surrogatepass")), st.sampled_from([b'{"Width":1e999}', b'{"Height":70000}', b'{"Width":null}', b"[" * 100_000])))  # fmt: skip
def test_sizes_of_terminals(data: bytes) -> None:
    size = terminal_size(data)
    assert size is None or all(0 <= n < 65536 for n in size)
    if size is not None:
        struct.pack("HH", *size)


class Echo(remote_command.Command):
    """Gives back what it gets."""

    def __init__(self) -> None:
        super().__init__("", "", "", None, True, True)

    async def serve(self, channels: Channels) -> None:
        with contextlib.suppress(ConnectionResetError):
            async for channel, data in channels.receive():
                if channel == 0 and data:
                    await channels.send(1, data)
                if channel == 4 and data:
                    terminal_size(data)
            await channels.send(3, b"{}")
        await channels.close()


async def _exec(request: web.Request) -> web.StreamResponse:
    return await remote_command.serve(request, Echo(), True, True, False)


async def _forward(request: web.Request) -> web.StreamResponse:
    connection = spdy_upgrade.upgrade(request, "portforward.k8s.io")
    forward = _PortForward("/nowhere/node.sock", "uid", connection.write)
    try:
        with contextlib.suppress(spdy.ProtocolError, ConnectionResetError):
            await connection.pump(forward.session.feed)
    finally:
        forward.close()
        connection.close()
    return web.Response()


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[int]:
    app = web.Application()
    app.router.add_get("/exec", _exec)
    app.router.add_get("/forward", _forward)
    runner = web.AppRunner(app, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


HEADS = {
    "exec by SPDY": b"GET /exec HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n",
    "port-forward by SPDY": b"GET /forward HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n",
    "exec by websocket": (
        b"GET /exec HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: v5.channel.k8s.io\r\n\r\n"
    ),
}


def websocket_frame(opcode: int, final: bool, body: bytes, masked: bool, length: int | None = None) -> bytes:
    told = len(body) if length is None else length
    head = bytes([(0x80 if final else 0) | opcode])
    head += (
        bytes([(0x80 if masked else 0) | told])
        if told < 126
        else bytes([0x80 * masked | 127]) + struct.pack(">Q", told)
    )
    mask = os.urandom(4) if masked else b""
    return head + mask + (bytes(b ^ mask[i % 4] for i, b in enumerate(body)) if masked else body)


WEBSOCKET = st.lists(
    st.one_of(
        st.builds(
            websocket_frame,
            st.integers(0, 15),
            st.booleans(),
            st.one_of(
                st.binary(max_size=30), st.sampled_from([b"\x00hello", b"\x04{", b"\xff\x00", b"\xff", b"\x09x"])
            ),
            st.booleans(),
            st.one_of(st.none(), st.sampled_from([0, 125, 1 << 31, (1 << 63) - 1, 1 << 63])),
        ),
        st.binary(max_size=12),
    ),
    max_size=6,
).map(b"".join)


@pytest.mark.parametrize("name", HEADS)
def test_connections(name: str) -> None:
    examples: list[bytes] = []

    @fuzzed
    @given(WEBSOCKET if "websocket" in name else SENT)
    def collect(data: bytes) -> None:
        examples.append(data)

    collect()

    async def ask() -> None:
        failures: list[object] = []
        before = asyncio.all_tasks()
        asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
        async with serving() as port:
            for data in examples:
                await asyncio.wait_for(_send(port, HEADS[name], data), 20)
                assert not failures, (failures, data)
        for _ in range(100):
            if left := {t for t in asyncio.all_tasks() - before if not t.done()}:
                await asyncio.sleep(0.01)
        assert not left

    asyncio.run(asyncio.wait_for(ask(), 100 * TIMES))


async def _send(port: int, head: bytes, data: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with contextlib.suppress(ConnectionError):
        writer.write(head)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        writer.write(data)
        await writer.drain()
        writer.write_eof()
        while await reader.read(65536):
            pass
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
