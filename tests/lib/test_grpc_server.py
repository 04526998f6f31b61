"""The gRPC server with clients of gRPC's own library, and against clients that break the rules."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import itertools
import shutil
import ssl
import struct
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from sailcloth.ca.authority import Authority
from sailcloth.lib import http2
from sailcloth.lib.grpc_server import Abort, Call, GrpcServer, Status

UNARY, ECHO, SLOW, FLOOD = "/t.Test/Unary", "/t.Test/Echo", "/t.Test/Slow", "/t.Test/Flood"


@pytest.fixture(autouse=True)
async def deadline() -> AsyncIterator[None]:
    async with asyncio.timeout(30):
        yield


class Echo:
    """Returns every message; `closed_calls` counts the calls that are over."""

    closed_calls = 0

    def __init__(self, call: Call) -> None:
        self.call = call

    def message(self, body: bytes) -> None:
        if body == b"fail":
            raise ValueError("a bug")
        self.call.send(body)

    def client_ended(self) -> None:
        self.call.finish()

    def sent(self) -> None: ...

    def closed(self) -> None:
        Echo.closed_calls += 1


class Flood(Echo):
    """Sends a hundred messages of the size that is asked for, and waits whenever the client does not take them."""

    most_waiting = 0

    def message(self, body: bytes) -> None:
        self.body, self.left = bytes(int(body)), 100
        self.sent()

    def sent(self) -> None:
        while self.left and not self.call.blocked:
            self.call.send(self.body)
            self.left -= 1
        Flood.most_waiting = max(Flood.most_waiting, len(self.call._stream.queue))


async def unary(body: bytes, call: Call) -> bytes:
    if body == b"refuse":
        raise Abort(Status.PERMISSION_DENIED, "not for you: 100 % ü")
    if body == b"fail":
        raise ValueError("a bug")
    return body + call.metadata.get("x-name", "").encode()


async def slow(_body: bytes, _call: Call) -> bytes:
    await asyncio.sleep(60)
    return b""


@contextlib.asynccontextmanager
async def serving(context: ssl.SSLContext | None = None) -> AsyncIterator[tuple[GrpcServer, int]]:
    server = GrpcServer({UNARY: unary, SLOW: slow}, {ECHO: Echo, FLOOD: Flood})
    listening = await asyncio.get_running_loop().create_server(server.protocol, "127.0.0.1", 0, ssl=context)
    try:
        yield server, int(listening.sockets[0].getsockname()[1])
    finally:
        listening.close()
        await server.close()


@contextlib.asynccontextmanager
async def channel(**options: int) -> AsyncIterator[grpc.aio.Channel]:
    settings = [(f"grpc.{name}", value) for name, value in options.items()]
    async with serving() as (_, port), grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=settings) as made:
        yield made


async def test_unary_calls() -> None:
    async with channel() as to:
        call = to.unary_unary(UNARY)
        assert await call(b"hello ", metadata=(("x-name", "world"),)) == b"hello world"
        assert await call(b"") == b""
        for body, code, text in (
            (b"refuse", grpc.StatusCode.PERMISSION_DENIED, "not for you: 100 % ü"),
            (b"fail", grpc.StatusCode.INTERNAL, "internal error"),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await call(body)
            assert (error.value.code(), error.value.details()) == (code, text)
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await to.unary_unary("/t.Test/Nothing")(b"")
        assert error.value.code() is grpc.StatusCode.UNIMPLEMENTED
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await to.unary_unary(SLOW)(b"", timeout=0.2)
        assert error.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


@pytest.mark.parametrize("size", [0, 1, 16_379, 16_380, 70_000, 3_000_000])
async def test_messages_of_any_size_come_back(size: int) -> None:
    async with channel(max_receive_message_length=-1, max_send_message_length=-1) as to:
        call = to.stream_stream(ECHO)()
        for number in range(3):
            body = bytes([number]) * size
            await call.write(body)
            assert await call.read() == body
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        assert await call.code() is grpc.StatusCode.OK


async def test_a_slow_client_makes_its_own_stream_wait_only() -> None:
    async with channel() as to:
        flood = to.stream_stream(FLOOD)()
        await flood.write(b"1000000")
        first = await flood.read()
        echo = to.stream_stream(ECHO)()
        await echo.write(b"still here")
        assert await echo.read() == b"still here"
        assert len(first) == 1_000_000
        assert Flood.most_waiting <= 3
        for _ in range(99):
            assert len(await flood.read()) == 1_000_000


async def test_many_streams_on_one_connection() -> None:
    async with channel() as to:
        calls = [to.stream_stream(ECHO)() for _ in range(1_500)]
        for number, call in enumerate(calls):
            await call.write(str(number).encode())
        assert [await call.read() for call in calls] == [str(number).encode() for number in range(len(calls))]
        for call in calls:
            call.cancel()


async def test_a_cancelled_call_is_closed_once_and_a_failing_one_alone() -> None:
    Echo.closed_calls = 0
    async with channel() as to:
        cancelled, failing, other = (to.stream_stream(ECHO)() for _ in range(3))
        for call in (cancelled, failing, other):
            await call.write(b"x")
            assert await call.read() == b"x"
        cancelled.cancel()
        await failing.write(b"fail")
        assert await failing.code() is grpc.StatusCode.INTERNAL
        await other.write(b"y")
        assert await other.read() == b"y"
        assert Echo.closed_calls == 2
    assert Echo.closed_calls == 3


async def test_over_tls_with_alpn() -> None:
    authority = Authority.create()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["h2"])
    pair = b"".join(authority.server(["localhost"], dt.timedelta(hours=1)))
    await asyncio.to_thread(_load, context, pair)
    credentials = grpc.ssl_channel_credentials(authority.certificate_pem)
    async with serving(context) as (_, port), grpc.aio.secure_channel(f"localhost:{port}", credentials) as to:
        assert await to.unary_unary(UNARY)(b"secret") == b"secret"


def _load(context: ssl.SSLContext, pair: bytes) -> None:
    import tempfile

    with tempfile.NamedTemporaryFile() as file:
        file.write(pair)
        file.flush()
        context.load_cert_chain(file.name)


async def test_the_end_of_the_server_ends_its_calls() -> None:
    async with serving() as (server, port), grpc.aio.insecure_channel(f"127.0.0.1:{port}") as to:
        call = to.stream_stream(ECHO)()
        await call.write(b"x")
        await call.read()
        await server.close()
        assert await call.code() is grpc.StatusCode.UNAVAILABLE
        assert not server.connections


async def exchange(port: int, sent: bytes) -> bytes:
    """What a server answers to some bytes until it closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    try:
        return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


BEGIN = http2.PREFACE + frame(4, 0, 0, b"")


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", http2.PROTOCOL_ERROR),
        (BEGIN + frame(6, 0, 0, b"pingpong") * 3_000, http2.ENHANCE_YOUR_CALM),
        (BEGIN + frame(4, 0, 0, b"") * 3_000, http2.ENHANCE_YOUR_CALM),
        (BEGIN + frame(1, 0, 1, b"") + frame(9, 0, 1, b"x" * 16_000) * 8, http2.ENHANCE_YOUR_CALM),
        (BEGIN + frame(1, 4, 1, b"\xff\xff\xff\xff\xff"), http2.COMPRESSION_ERROR),
        (BEGIN + frame(0, 0, 1, b"x" * 16_385), http2.FRAME_SIZE_ERROR),
    ],
)
async def test_a_client_that_breaks_the_rules_is_told_and_cut_off(sent: bytes, code: int) -> None:
    async with serving() as (_, port):
        answer = await exchange(port, sent)
        assert struct.pack(">I", code) in answer
        assert b"\x07\0\0\0\0\0" in answer  # GOAWAY, on stream 0


async def test_requests_that_are_taken_back_at_once_are_not_free() -> None:
    """The rapid reset: each costs a request, and the client waits for none."""
    block = b"\x83\x86" + b"\x04" + bytes([len(ECHO)]) + ECHO.encode() + b"\x0f\x10\x10application/grpc"
    sent = BEGIN
    for number in range(1, 8_001, 2):
        sent += frame(1, 4, number, block) + frame(3, 0, number, struct.pack(">I", http2.CANCEL))
    async with serving() as (server, port):
        assert struct.pack(">I", http2.ENHANCE_YOUR_CALM) in await exchange(port, sent)
        while server.connections:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_a_message_larger_than_the_limit_ends_its_call(caplog: pytest.LogCaptureFixture) -> None:
    async with channel(max_send_message_length=-1) as to:
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await to.unary_unary(UNARY)(bytes((16 << 20) + 1))
        assert error.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert await to.unary_unary(UNARY)(b"next") == b"next"


async def test_http2_as_a_conformance_suite_reads_it(tmp_path: Path) -> None:
    go = shutil.which("go")
    if go is None:
        pytest.skip("go is not installed")
    folder = Path(__file__).parent / "h2spec"
    build = await asyncio.create_subprocess_exec(
        go, "build", "-o", str(tmp_path / "h2spec"), "github.com/summerwind/h2spec/cmd/h2spec",
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await build.communicate()
    if build.returncode:
        pytest.skip(f"h2spec cannot be built: {said.decode()[-200:]}")
    async with serving() as (_, port):
        run = await asyncio.create_subprocess_exec(
            str(tmp_path / "h2spec"), "-h", "127.0.0.1", "-p", str(port), "-o", "5", stdout=subprocess.PIPE
        )
        said, _ = await run.communicate()
    assert run.returncode == 0, said.decode()[-3000:]


async def test_a_client_that_comes_while_it_closes_is_cut_off() -> None:
    server = GrpcServer({UNARY: unary})
    listening = await asyncio.get_running_loop().create_server(server.protocol, "127.0.0.1", 0)
    port = int(listening.sockets[0].getsockname()[1])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    closing = asyncio.create_task(server.close(0.05))
    late_reader, late_writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        await closing
        assert not server.connections
        with contextlib.suppress(ConnectionResetError):
            assert await late_reader.read() == b""
        await reader.read()
    finally:
        listening.close()
        for each in (writer, late_writer):
            each.close()
            with contextlib.suppress(OSError):
                await each.wait_closed()


async def test_clients_are_sent_elsewhere_one_after_the_other() -> None:
    server = GrpcServer({UNARY: unary})
    listening = await asyncio.get_running_loop().create_server(server.protocol, "127.0.0.1", 0)
    port = int(listening.sockets[0].getsockname()[1])
    clients = [await asyncio.open_connection("127.0.0.1", port) for _ in range(5)]
    while len(server.connections) < len(clients):  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    ended: list[float] = []

    async def until_end(reader: asyncio.StreamReader) -> None:
        await reader.read()
        ended.append(asyncio.get_running_loop().time())

    waiting = [asyncio.create_task(until_end(reader)) for reader, _ in clients]
    try:
        async with asyncio.timeout(10):
            await server.close(over_s=0.5)
            await asyncio.gather(*waiting)
        pauses = [later - earlier for earlier, later in itertools.pairwise(ended)]
        assert min(pauses) >= 0.05, "a tenth of a second apart"
    finally:
        listening.close()
        for _, writer in clients:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
