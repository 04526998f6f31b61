"""Work queues: each key once at a time, as often as needed, and again after a failure; in virtual time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from sailcloth.lib.work_queue import Backoff, WorkQueue
from sailcloth.testing.clock import VirtualClock

Reconcile = Callable[[str], Awaitable[None]]


@contextlib.asynccontextmanager
async def running(queue: WorkQueue[str]) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(queue.run())
    try:
        yield task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await task


class Done:
    """Notes when each key had its turn."""

    def __init__(self, clock: VirtualClock, fails: int = 0, takes: float = 0.0) -> None:
        self.clock, self.fails, self.takes = clock, fails, takes
        self.turns: list[tuple[float, str]] = []
        self.at_once = self.most_at_once = 0

    async def __call__(self, key: str) -> None:
        self.turns.append((self.clock.time(), key))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            if self.takes:
                await self.clock.wait(asyncio.Event(), self.clock.time() + self.takes)
            if self.fails:
                self.fails -= 1
                raise OSError("not now")
        finally:
            self.at_once -= 1


async def test_a_key_that_is_added_several_times_before_its_turn_is_done_once() -> None:
    clock = VirtualClock()
    done = Done(clock)
    queue = WorkQueue(done, name="test", delay=1.0, clock=clock)
    async with running(queue):
        for key in ("a", "b", "a"):
            queue.add(key)
        await clock.advance(0.9)
        assert not done.turns
        await clock.advance(0.2)
    assert done.turns == [(1.0, "a"), (1.0, "b")]


async def test_a_key_that_changes_while_it_is_reconciled_gets_another_turn_and_never_two_at_once() -> None:
    clock = VirtualClock()
    done = Done(clock, takes=5.0)
    queue = WorkQueue(done, name="test", workers=3, clock=clock)
    async with running(queue):
        queue.add("a")
        await clock.advance(1.0)
        queue.add("a")
        await clock.advance(20.0)
    assert done.turns == [(0.0, "a"), (5.0, "a")]
    assert done.most_at_once == 1


async def test_several_workers_reconcile_several_keys_at_a_time() -> None:
    clock = VirtualClock()
    done = Done(clock, takes=1.0)
    queue = WorkQueue(done, name="test", workers=2, clock=clock)
    async with running(queue):
        queue.add_all(["a", "b", "c"])
        await clock.advance(10.0)
    assert [at for at, _ in done.turns] == [0.0, 0.0, 1.0]
    assert done.most_at_once == 2


async def test_a_failure_is_tried_again_after_pauses_that_double_and_forgotten_after_a_success() -> None:
    clock = VirtualClock()
    done = Done(clock, fails=4)
    queue = WorkQueue(done, name="test", backoff=Backoff(1.0, 4.0), clock=clock)
    async with running(queue):
        queue.add("a")
        await clock.advance(30.0)
        assert [at for at, _ in done.turns] == [0.0, 1.0, 3.0, 7.0, 11.0]
        done.fails = 1
        queue.add("a")
        await clock.advance(30.0)
    assert [at for at, _ in done.turns[5:]] == [30.0, 31.0]


async def test_a_change_does_not_wait_for_the_pause_after_a_failure() -> None:
    clock = VirtualClock()
    done = Done(clock, fails=1)
    queue = WorkQueue(done, name="test", backoff=Backoff(10.0), clock=clock)
    async with running(queue):
        queue.add("a")
        await clock.advance(1.0)
        queue.add("a")
        await clock.advance(1.0)
        assert [at for at, _ in done.turns] == [0.0, 1.0]
        await clock.advance(30.0)
    assert len(done.turns) == 2, "the pause ended with the success"


async def test_a_discarded_key_has_no_turn() -> None:
    clock = VirtualClock()
    done = Done(clock)
    queue = WorkQueue(done, name="test", delay=1.0, clock=clock)
    async with running(queue):
        queue.add("a")
        queue.add("b")
        queue.discard("a")
        assert len(queue) == 1
        await clock.advance(5.0)
    assert done.turns == [(1.0, "b")]


async def test_an_error_that_nobody_expects_ends_the_queue() -> None:
    async def breaks(key: str) -> None:
        raise KeyError(key)

    queue = WorkQueue(breaks, name="test")
    queue.add("a")
    with pytest.raises(KeyError):
        await asyncio.wait_for(queue.run(), 5)


async def test_keys_that_are_not_admitted_wait() -> None:
    clock = VirtualClock()
    done = Done(clock)
    queue = WorkQueue(done, name="test", clock=clock)
    admitted = {"a"}
    queue.admits = admitted.__contains__
    async with running(queue):
        queue.add_all(("a", "b", "c"))
        await clock.advance(1.0)
        queue.discard("c")
        admitted |= {"b", "c"}
        await clock.advance(1.0)
        assert [key for _, key in done.turns] == ["a"]
        queue.readmit()
        await clock.advance(1.0)
    assert [key for _, key in done.turns] == ["a", "b"]
