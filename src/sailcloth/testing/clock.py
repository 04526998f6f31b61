"""A clock whose time passes only when a test says so."""

from __future__ import annotations

import asyncio


class VirtualClock:
    """Starts at 0. Whoever waits on it goes on when `advance` reaches the moment, in the order of the moments."""

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
        """Let time pass, and everybody run who waits for a moment in it."""
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
        """Let every task run until all of them wait. Tasks must wait for nothing but this clock and each other."""
        for _ in range(50):
            await asyncio.sleep(0)
