"""A clock for tests that advances only on request."""

from __future__ import annotations

import asyncio


class VirtualClock:
    """Implements `lib.clock.Clock`; starts at 0 s. `advance` wakes waiting tasks in the order of their deadlines."""

    def __init__(self) -> None:
        self._now = 0.0
        self._sleepers: list[tuple[float, asyncio.Event]] = []

    def time(self) -> float:
        return self._now

    async def wait(self, event: asyncio.Event, until: float | None) -> None:
        reached = asyncio.Event()
        if until is not None:
            if until <= self._now:
                return
            self._sleepers.append((until, reached))
        waits = [asyncio.ensure_future(event.wait()), asyncio.ensure_future(reached.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waits:
                each.cancel()
            self._sleepers = [s for s in self._sleepers if s[1] is not reached]

    async def advance(self, seconds: float) -> None:
        """Advance the time, and run all tasks whose deadlines it passes."""
        end = self._now + seconds
        await self.settle()
        while due := [s for s in self._sleepers if s[0] <= end]:
            self._now = min(at for at, _ in due)
            for at, reached in due:
                if at <= self._now:
                    reached.set()
            await self.settle()
        self._now = end
        await self.settle()

    async def settle(self) -> None:
        """Run all tasks until they wait. Tasks must wait only for this clock and for each other."""
        for _ in range(50):
            await asyncio.sleep(0)
