"""A limit counts the time in which the event loop ran."""

from __future__ import annotations

import asyncio
import socket
import time

import pytest

from sailcloth.lib.time_limit import within


async def test_work_in_time_has_its_result_and_its_error() -> None:
    assert await within(5, asyncio.sleep(0, "done")) == "done"

    async def fails() -> None:
        raise ConnectionRefusedError

    with pytest.raises(ConnectionRefusedError):
        await within(5, fails())


async def test_work_that_takes_longer_is_cancelled() -> None:
    task = asyncio.ensure_future(asyncio.Event().wait())
    begin = time.monotonic()
    with pytest.raises(TimeoutError):
        await within(0.1, task)
    assert time.monotonic() - begin >= 0.1
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("after", range(10))
async def test_an_answer_that_came_while_the_loop_was_late_counts(after: int) -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        reader, writer = await asyncio.open_connection(sock=ours)

        def pause() -> None:
            theirs.sendall(b"answer")
            time.sleep(0.3)  # the loop stands still, for longer than the whole limit

        asyncio.get_running_loop().call_later(0.01 * after, pause)
        assert await within(0.1, reader.read(6)) == b"answer"
        writer.close()


async def test_a_loop_that_is_always_late_ends_the_work_all_the_same() -> None:
    async def busy() -> None:
        while True:
            time.sleep(0.005)  # noqa: ASYNC251  the lateness is what is tested
            await asyncio.sleep(0)

    work = asyncio.create_task(busy())
    with pytest.raises(TimeoutError):
        await within(0.01, asyncio.Event().wait())
    work.cancel()
