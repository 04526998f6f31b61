"""Sends what is scraped to a store that speaks Prometheus' remote write. Our store is the queue: what cannot be sent waits in it.

A receiver that does not answer is tried again, for as long as samples are kept as they were scraped (an hour); what it refuses is left
out. Must not delay scrapes: it yields after each target.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from . import remote_write
from .metrics.store import Store

log = logging.getLogger(__name__)

Post = Callable[[bytes], Awaitable[int]]
"""Send a body; gives the HTTP status. Raises OSError or TimeoutError."""
_BACKOFF_S = (1.0, 60.0)
_RETRIED = frozenset((429, *range(500, 600)))


class Forwarder:
    """One receiver. interval_s: between two rounds; labels are sent with each, so that short ones cost more."""

    def __init__(self, store: Store, post: Post, now_ms: int, interval_s: float = 15.0) -> None:
        self.store, self.interval_s = store, interval_s
        self.sent = self.refused = self.failures = 0  # samples, samples, requests
        self._post, self._since = post, now_ms
        self._done: dict[str, int] = {}  # ms of the newest sample sent, by target

    async def run(self) -> None:
        """Send until cancelled."""
        delay = _BACKOFF_S[0]
        while True:
            if await self.round():
                delay = _BACKOFF_S[0]
                await asyncio.sleep(self.interval_s)
            else:
                await asyncio.sleep(delay)
                delay = min(2 * delay, _BACKOFF_S[1])

    async def round(self) -> bool:
        """Send what is new; False if the receiver should be tried again."""
        for target in list(self.store.targets.values()):
            newest, done = target.last_ms, self._done.get(target.name, self._since)
            series = list(remote_write.unsent(self.store, target, done)) if newest > done else []
            count = sum(len(samples) for _, samples in series)
            if count:
                try:
                    status = await self._post(remote_write.encode(series))
                except (OSError, TimeoutError) as error:
                    return self._failed(str(error) or type(error).__name__)
                if status == 404:
                    return self._failed("status 404; Prometheus takes them with --web.enable-remote-write-receiver")
                if status in _RETRIED:
                    return self._failed(f"status {status}")
                if status >= 400:
                    log.warning("%d samples of %s were refused with status %d", count, target.name, status)
                    self.refused += count
                else:
                    self.sent += count
            self._done[target.name] = newest
            await asyncio.sleep(0)
        self._done = {t.name: self._done[t.name] for t in self.store.targets.values() if t.name in self._done}
        return True

    def _failed(self, why: str) -> bool:
        self.failures += 1
        log.log(logging.INFO if self.failures == 1 else logging.DEBUG, "remote write: %s; trying again", why)
        return False
