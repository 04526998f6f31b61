"""Counting in Redis: a real one where it is installed, else the sample program that stands in for it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator

import pytest
from envoy.service.ratelimit.v3 import rls_pb2

import sailcloth_samples
from sailcloth.analysis import manifests, offline
from sailcloth.controlplane import rate_counts
from sailcloth.controlplane.rate_counts import RedisStore
from sailcloth.controlplane.rate_limits import RateLimitService
from sailcloth.mesh import mesh_config

REAL = shutil.which("redis-server")
MANIFEST = """
apiVersion: sailcloth.io/v1alpha1
kind: RateLimit
metadata: {name: shared, namespace: default}
spec: {http: [{limit: {requests: 2, per: 1m}, scope: GLOBAL}]}
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


@contextlib.contextmanager
def serving(port: int) -> Iterator[None]:
    own = [sys.executable, str(sailcloth_samples.ROOT / "programs" / "redis_server.py"), str(port)]
    real = [str(REAL), "--port", str(port), "--save", "", "--bind", "127.0.0.1"]
    with subprocess.Popen(real if REAL else own, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            end = time.monotonic() + 20
            while True:
                with contextlib.suppress(OSError):
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                assert process.poll() is None, f"the server ended with {process.returncode}"
                assert time.monotonic() < end, "the server does not listen"
                time.sleep(0.01)
            yield
        finally:
            process.terminate()
            process.wait(10)


@contextlib.asynccontextmanager
async def store(port: int) -> AsyncIterator[RedisStore]:
    made = RedisStore(f"redis://127.0.0.1:{port}")
    try:
        yield made
    finally:
        await made.close()


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    number = free_port()
    with serving(number):
        yield number


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that is busy with other tests is no store that does not answer."""
    monkeypatch.setattr(rate_counts, "_TIMEOUT_S", 5.0)


async def test_a_window_ends_after_its_period(port: int) -> None:
    async with store(port) as redis:
        found = [await redis.take(("window",), 2, 0.3) for _ in range(3)]
        assert [f and (f.allowed, f.remaining) for f in found] == [(True, 1), (True, 0), (False, 0)]
        assert found[0] is not None
        assert 0 < found[0].seconds <= 0.3
        assert (await redis.take(("window", "other"), 2, 0.3)) is not None
        async with asyncio.timeout(5):
            while not ((again := await redis.take(("window",), 2, 0.3)) and again.allowed):  # noqa: ASYNC110
                await asyncio.sleep(0.01)


async def test_two_control_planes_count_together_and_nothing_is_counted_twice(port: int) -> None:
    async with store(port) as one, store(port) as other:
        asked = [s.take(("together",), 25, 60.0) for _ in range(20) for s in (one, other)]
        found = await asyncio.gather(*asked)
    assert all(found)
    assert sum(f.allowed for f in found if f) == 25
    assert (one.failures, other.failures) == (0, 0)


async def test_counts_outlive_the_process_that_made_them(port: int) -> None:
    async with store(port) as before:
        assert await before.take(("kept",), 1, 60.0)
    async with store(port) as after:
        found = await after.take(("kept",), 1, 60.0)
    assert found
    assert not found.allowed


async def test_while_the_store_is_away_nobody_is_refused_and_it_is_counted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(rate_counts, "_RETRY_AFTER_S", 0.05)
    caplog.set_level(logging.INFO, "sailcloth.controlplane.rate_counts")
    number = free_port()
    async with store(number) as redis:
        assert [await redis.take(("away",), 1, 60.0) for _ in range(5)] == [None] * 5
        assert redis.failures == 5
        assert [r.levelname for r in caplog.records] == ["WARNING"]
        with serving(number):
            async with asyncio.timeout(10):
                while not await redis.take(("away",), 9, 60.0):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        assert [r.levelname for r in caplog.records] == ["WARNING", "INFO"]


async def test_a_store_that_is_slow_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_counts, "_TIMEOUT_S", 0.05)
    taken: list[asyncio.StreamWriter] = []
    silent = await asyncio.start_server(lambda _, writer: taken.append(writer), "127.0.0.1", 0)
    async with store(silent.sockets[0].getsockname()[1]) as redis:
        begin = time.monotonic()
        assert [await redis.take(("slow",), 1, 60.0) for _ in range(50)] == [None] * 50
        assert time.monotonic() - begin < 2, "only the first one waited"
    silent.close()
    for writer in taken:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def test_a_late_answer_is_not_taken_for_that_to_the_next_question(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_counts, "_TIMEOUT_S", 0.1)
    monkeypatch.setattr(rate_counts, "_RETRY_AFTER_S", 0.0)
    connections: list[asyncio.StreamWriter] = []

    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        with contextlib.suppress(OSError):
            while await reader.read(4096):
                await asyncio.sleep(0.15)
                writer.write(b"+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n*3\r\n+OK\r\n:1\r\n:1000\r\n")

    server = await asyncio.start_server(late, "127.0.0.1", 0)
    async with store(server.sockets[0].getsockname()[1]) as redis:
        for _ in range(3):
            assert await redis.take(("late",), 1, 60.0) is None
            await asyncio.sleep(0.1)
    assert len(connections) == 3
    server.close()
    for writer in connections:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def test_a_burst_is_counted_in_few_round_trips(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    async with store(port) as redis:
        trips = []
        together = redis._count_batch

        async def counted(batch: list[rate_counts._PendingCount]) -> list[tuple[int, int]]:
            trips.append(len(batch))
            return await together(batch)

        monkeypatch.setattr(redis, "_count_batch", counted)
        found = await asyncio.gather(*(redis.take(("burst",), 300, 60.0) for _ in range(600)))
        assert sum(f.allowed for f in found if f) == 300
        assert len(trips) <= 4, trips


async def test_the_service_counts_where_the_mesh_says_and_follows_a_change(port: int) -> None:
    async def nobody(_: dict[str, str]) -> None:
        return None

    mesh = offline.mesh_of(manifests.load([MANIFEST])[0])
    service = RateLimitService(mesh.graph, nobody)
    request = rls_pb2.RateLimitRequest(domain="sailcloth", hits_addend=1)
    request.descriptors.add().entries.add(key="rule", value="default/shared/0")
    code = rls_pb2.RateLimitResponse

    async def asked(times: int) -> list[int]:
        return [(await service.answer(request)).overall_code for _ in range(times)]

    assert await asked(3) == [code.OK, code.OK, code.OVER_LIMIT]
    mesh.configure(mesh_config.parse(f"globalRateLimitStore: redis://127.0.0.1:{port}"))
    assert await asked(3) == [code.OK, code.OK, code.OVER_LIMIT]
    mesh.configure(mesh_config.parse(f"globalRateLimitStore: redis://127.0.0.1:{free_port()}"))
    assert await asked(3) == [code.OK] * 3
    assert service.failures == 3
    mesh.configure(mesh_config.parse(""))
    assert await asked(3) == [code.OK, code.OK, code.OVER_LIMIT]
    assert service.failures == 3
    await service.close()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("redis.default:6379", "use redis://HOST:PORT"),
        ("http://redis:6379", "use redis://HOST:PORT"),
        ("redis://:secret@redis:6379", "the Secret global-rate-limit-store"),
    ],
)
def test_a_store_that_is_none_is_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        mesh_config.parse(f"globalRateLimitStore: {text}")
