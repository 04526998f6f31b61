"""Time limits for work whose event loop may be late.

On a starved machine a loop pauses for seconds. What arrived meanwhile must not count as too late.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")
_SLICES = 10  # of a limit; one that took twice its time does not count
_MOST = 10 * _SLICES  # slices, counted or not


async def within(limit_s: float, work: Awaitable[T]) -> T:
    """The result of some work. Raises TimeoutError after `limit_s` seconds of a responsive event loop, and after ten times as many
    slices of the limit in any case."""
    loop, slice_s = asyncio.get_running_loop(), limit_s / _SLICES
    task = asyncio.ensure_future(work)
    counted = 0
    try:
        for _ in range(_MOST):
            begin = loop.time()
            done, _pending = await asyncio.wait({task}, timeout=slice_s)
            if done:
                return task.result()
            counted += loop.time() - begin < 2 * slice_s
            if counted == _SLICES:
                break
        raise TimeoutError
    finally:
        task.cancel()
