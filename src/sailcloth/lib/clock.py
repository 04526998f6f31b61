"""An injectable clock, so that tests run in virtual time."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Protocol


class Clock(Protocol):
    """A monotonic clock in seconds."""

    def time(self) -> float:
        """Now, in seconds since an arbitrary start."""

    async def wait(self, event: asyncio.Event, until: float | None) -> None:
        """Return when the event is set, or at `until` (None: never) if that is earlier."""


class MonotonicClock:
    """The machine's clock."""

    def time(self) -> float:
        return time.monotonic()

    async def wait(self, event: asyncio.Event, until: float | None) -> None:
        if until is None:
            await event.wait()
            return
        with contextlib.suppress(TimeoutError):  # not `wait_for`, which may swallow a cancellation (Python 3.11)
            async with asyncio.timeout(max(0.0, until - self.time())):
                await event.wait()


MONOTONIC = MonotonicClock()
