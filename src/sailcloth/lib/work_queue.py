"""A work queue of keys to reconcile, as in Kubernetes controllers, and the only retry policy of the project.

A key that is added several times before its turn is reconciled once. A key that is added while it is being reconciled is
reconciled again afterwards. A key that fails is retried with exponential back-off. Must not know what keys stand for.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
from collections.abc import Awaitable, Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from .clock import MONOTONIC, Clock

log = logging.getLogger(__name__)

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential back-off in seconds: `first` after the first failure, doubled after each further one, at most `longest`."""

    first: float = 0.2
    longest: float = 10.0

    def after(self, failures: int) -> float:
        """The pause in seconds after this number of consecutive failures (1 or more)."""
        return min(self.longest, self.first * 2.0 ** min(failures - 1, 30))


class WorkQueue(Generic[K]):
    """`add` names a key whose state may have changed; `run` calls `reconcile` for it until cancelled.

    reconcile: makes the actual state match the desired state at the time of the call. Errors of the types in `retry` are logged
        and retried. Any other error ends `run`.
    name: what is reconciled, for the log.
    delay: seconds between `add` and the key's turn, to coalesce changes.
    workers: the number of concurrent reconciliations.
    """

    def __init__(
        self,
        reconcile: Callable[[K], Awaitable[None]],
        *,
        name: str,
        retry: tuple[type[Exception], ...] = (OSError,),
        delay: float = 0.0,
        workers: int = 1,
        backoff: Backoff = Backoff(),
        clock: Clock = MONOTONIC,
    ) -> None:
        self._reconcile, self._name, self._retry = reconcile, name, retry
        self._delay, self._workers, self._backoff, self._clock = delay, workers, backoff, clock
        self._heap: list[tuple[float, int, K]] = []
        self._due: dict[K, float] = {}  # due times of the queued keys; other entries of the heap are outdated
        self._order = itertools.count()
        self._busy: set[K] = set()
        self._changed: dict[
            K, float
        ] = {}  # keys that were added while they were being reconciled, and when they are due
        self._failures: dict[K, int] = {}
        self._wake = asyncio.Event()
        self.admits: Callable[[K], bool] = lambda _: True
        """Whether a key may be reconciled now; one that may not is kept for `readmit`."""
        self._kept: set[K] = set()

    def __len__(self) -> int:
        """The number of queued keys."""
        return len(self._due)

    def add(self, key: K, after: float | None = None) -> None:
        """Reconcile a key after `after` seconds (default: the queue's delay), or earlier if it is due earlier already."""
        due = self._clock.time() + (self._delay if after is None else after)
        if key in self._busy:
            self._changed[key] = min(due, self._changed.get(key, due))
        elif key not in self._due or due < self._due[key]:
            self._due[key] = due
            heapq.heappush(self._heap, (due, next(self._order), key))
            self._wake.set()

    def add_all(self, keys: Iterable[K]) -> None:
        """Reconcile several keys."""
        for key in keys:
            self.add(key)

    def readmit(self) -> None:
        """Add the keys that were not admitted: now they may be."""
        kept, self._kept = self._kept, set()
        self.add_all(kept)

    def discard(self, key: K) -> None:
        """Remove a key from the queue."""
        self._kept.discard(key)
        for mapping in (self._due, self._changed, self._failures):
            mapping.pop(key, None)

    async def run(self) -> None:
        """Reconcile until cancelled."""
        workers = [asyncio.ensure_future(self._work()) for _ in range(self._workers)]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()

    async def _work(self) -> None:
        while True:
            key = await self._take()
            if not self.admits(key):
                self._busy.discard(key)
                self._kept.add(key)
                continue
            try:
                await self._reconcile(key)
            except self._retry as error:
                failures = self._failures[key] = self._failures.get(key, 0) + 1
                pause = self._backoff.after(failures)
                level = logging.INFO if failures == 1 else logging.DEBUG
                log.log(level, "%s of %s failed, next try in %.1f s: %s", self._name, key, pause, error)
                self._changed.setdefault(key, self._clock.time() + pause)
            except asyncio.CancelledError:  # another `run` may follow
                self._busy.discard(key)
                self.add(key)
                raise
            else:
                self._failures.pop(key, None)
            finally:
                self._busy.discard(key)
            if (due := self._changed.pop(key, None)) is not None:
                self.add(key, max(0.0, due - self._clock.time()))

    async def _take(self) -> K:
        while True:
            self._wake.clear()
            while self._heap and self._due.get(self._heap[0][2]) != self._heap[0][0]:
                heapq.heappop(self._heap)  # outdated: done, discarded, or due earlier
            deadline = self._heap[0][0] if self._heap else None
            if deadline is not None and deadline <= self._clock.time():
                _, _, key = heapq.heappop(self._heap)
                del self._due[key]
                self._busy.add(key)
                return key
            await self._clock.wait(self._wake, deadline)
