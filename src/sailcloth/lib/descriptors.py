"""Waiting for file descriptors that no transport of the event loop owns. Must not read, write or close them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


async def readable(descriptor: int) -> None:
    """Wait until something can be read, or the other end has closed it. It must stay open meanwhile."""
    loop = asyncio.get_running_loop()
    await _called(lambda done: loop.add_reader(descriptor, done), lambda: loop.remove_reader(descriptor))


async def writable(descriptor: int) -> None:
    """Wait until something can be written. It must stay open meanwhile."""
    loop = asyncio.get_running_loop()
    await _called(lambda done: loop.add_writer(descriptor, done), lambda: loop.remove_writer(descriptor))


async def _called(add: Callable[[Callable[[], None]], object], remove: Callable[[], object]) -> None:
    called = asyncio.Event()
    add(called.set)
    try:
        await called.wait()
    finally:
        remove()
