"""A queue of keys to reconcile, with a growing delay for those that fail."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from sailcloth.local.apiserver.errors import StatusError
from sailcloth.local.apiserver.storage import StorageError

log = logging.getLogger(__name__)


class WorkQueue:
    """Keys to reconcile, each at most once in the queue; failures come back with a growing delay."""

    def __init__(self, name: str, reconcile: Any) -> None:
        self.name, self._reconcile = name, reconcile
        self._keys: dict[tuple[str, str], None] = {}
        self._wake = asyncio.Event()
        self._failures: dict[tuple[str, str], int] = {}

    def add(self, key: tuple[str, str]) -> None:
        self._keys[key] = None
        self._wake.set()

    async def run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._keys:
                key = next(iter(self._keys))
                del self._keys[key]
                try:
                    requeue_after = await self._reconcile(*key)
                    self._failures.pop(key, None)
                    if requeue_after:
                        asyncio.get_running_loop().call_later(requeue_after, self.add, key)
                except (StatusError, StorageError) as error:
                    count = self._failures[key] = self._failures.get(key, 0) + 1
                    delay = min(0.05 * 2**count, 30.0)
                    log.log(logging.WARNING if count > 3 else logging.DEBUG, "%s %s/%s: %s", self.name, *key, error)
                    asyncio.get_running_loop().call_later(delay, self.add, key)
                except Exception:
                    log.exception("%s %s/%s", self.name, *key)
