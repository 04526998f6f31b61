"""Scrapes the pages of pods into the store, each at its own moment of the interval.

Pods come from an informer, pages from a function: nothing here knows where a cluster runs. A page that fails, is too large or does not parse
ends its series (`up` is 0) and nobody else's.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from sailcloth.kube import Client, Informer
from sailcloth.kube.resources import PODS

from . import exposition
from .metrics.store import NewRow, OutOfOrder, Store, Target
from .targets import Pod, ScrapeTarget, labelled, target

log = logging.getLogger(__name__)

Get = Callable[[str, float, int], Awaitable[bytes]]
"""The body of a page: (URL, seconds, most bytes). Raises OSError, TimeoutError or ValueError."""
_AT_ONCE = 16
_MAX_SAMPLES = 50_000  # of one page
_FAILURES = (OSError, TimeoutError, ValueError)


@dataclass(eq=False)
class _Scrape:
    """A target that is scraped, and how that went last."""

    of: ScrapeTarget
    into: Target
    task: asyncio.Task[None] | None = None
    error: str = ""
    at: float = 0.0  # time.time()
    duration_s: float = 0.0
    own: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.own = dict(self.of.labels)


class Scraper:
    """Follows pods and scrapes them. interval_s: between two scrapes of a target, and the longest that one may take."""

    def __init__(
        self,
        store: Store,
        metadata: exposition.Metadata,
        get: Get,
        interval_s: float = 5.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.store, self.metadata, self.interval_s = store, metadata, interval_s
        self._get, self._clock = get, clock
        self._scrapes: dict[tuple[str, str], _Scrape] = {}  # by namespace and name of the pod
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self.failures = self.out_of_order = 0
        self.pods: dict[str, str] = {}  # NAMESPACE/NAME by address; of an address that nobody has, who had it last

    async def run(self, client: Client) -> None:
        """Scrape what the informer of pods reports, until cancelled."""
        informer = Informer(client, PODS, msgspec.json.Decoder(Pod).decode)
        try:
            await informer.run(lambda kind, pod, key: self.change(key, None if kind == "DELETED" else pod))
        finally:
            for scrape in self._scrapes.values():
                if scrape.task is not None:
                    scrape.task.cancel()

    def change(self, key: tuple[str, str], pod: Pod | None) -> None:
        """Follow a pod that came, changed or went."""
        if pod is not None and pod.status.podIP and pod.status.phase == "Running" and not pod.spec.host_network:
            self.pods[pod.status.podIP] = "/".join(key)
        wanted = target(pod) if pod is not None else None
        current = self._scrapes.get(key)
        if current is not None and current.of == wanted:
            return
        if current is not None:
            del self._scrapes[key]
            if current.task is not None:
                current.task.cancel()
            self._append(current, [], [], [])  # its series end
        if wanted is not None:
            into = self.store.target(wanted.name)
            into.rows = {}  # the same lines may now be other series
            started = self._scrapes[key] = _Scrape(wanted, into)
            started.task = asyncio.create_task(self._repeat(started), name=f"scrape {wanted.url}")

    def targets(self) -> list[dict[str, Any]]:
        """The targets as the HTTP API shows them."""
        return [self._shown(s) for s in sorted(self._scrapes.values(), key=lambda s: s.of.name)]

    def _shown(self, scrape: _Scrape) -> dict[str, Any]:
        return {
            "discoveredLabels": {"__address__": scrape.own["instance"], "job": scrape.own["job"]},
            "labels": scrape.own,
            "scrapePool": scrape.own["job"],
            "scrapeUrl": scrape.of.url,
            "globalUrl": scrape.of.url,
            "lastError": scrape.error,
            "lastScrape": dt.datetime.fromtimestamp(scrape.at, dt.UTC).isoformat().replace("+00:00", "Z"),
            "lastScrapeDuration": scrape.duration_s,
            "health": "unknown" if not scrape.at else "down" if scrape.error else "up",
            "scrapeInterval": f"{self.interval_s:g}s",
            "scrapeTimeout": f"{self.interval_s:g}s",
        }

    async def _repeat(self, scrape: _Scrape) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() + self.interval_s * random.random()  # targets are spread over the interval
        while True:
            await asyncio.sleep(due - loop.time())
            async with self._slots:
                await self.scrape(scrape)
            due += self.interval_s
            if due < loop.time():  # late: leave out what was missed
                due += self.interval_s * ((loop.time() - due) // self.interval_s + 1)

    async def scrape(self, scrape: _Scrape) -> None:
        """Read one page and take its samples."""
        scrape.at = self._clock()
        begin = time.perf_counter()
        page, error = exposition.Page(), ""
        try:
            body = await self._get(scrape.of.url, self.interval_s, exposition.MAX_BYTES)
            page = exposition.parse(body, scrape.into.rows, self.metadata)
            if len(page.rows) + len(page.new) > _MAX_SAMPLES:
                page, error = exposition.Page(), f"more than {_MAX_SAMPLES} samples"
        except _FAILURES as failure:
            error = str(failure) or type(failure).__name__
        scrape.duration_s = time.perf_counter() - begin
        if error:
            self.failures += 1
            level = logging.DEBUG if scrape.error else logging.INFO
            log.log(level, "%s: %s", scrape.of.url, error)
        scrape.error = error
        rows, values = page.rows, page.values
        new = [NewRow(n.key, labelled(scrape.own, n.labels), n.value) for n in page.new]
        about = {
            "up": 0.0 if error else 1.0,
            "scrape_duration_seconds": scrape.duration_s,
            "scrape_samples_scraped": float(len(page.rows) + len(page.new)),
        }
        for name, value in about.items():
            key = hash("\x00" + name)  # no line of a page begins so
            row = scrape.into.rows.get(key)
            if row is None:
                new.append(NewRow(key, {**scrape.own, "__name__": name}, value))
            else:
                rows.append(row)
                values.append(value)
        self._append(scrape, rows, values, new)

    def _append(self, scrape: _Scrape, rows: list[int], values: list[float], new: list[NewRow]) -> None:
        at = scrape.at if rows or new else self._clock()
        try:
            self.store.append(scrape.into, round(at * 1000), rows, values, new)
        except OutOfOrder as error:
            level = logging.DEBUG if self.out_of_order else logging.WARNING
            self.out_of_order += 1
            log.log(level, "the clock went back: %s", error)
