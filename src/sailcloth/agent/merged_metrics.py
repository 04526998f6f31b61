"""One page of metrics for a pod: Envoy's with Istio's names, the application's, and the agent's own.

Asks all of them when the page is asked for, and keeps nothing. What one of them cannot give is left out and counted.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from sailcloth.lib import http1
from sailcloth.lib.time_limit import within

from .bootstrap import ADMIN_PORT
from .istio_metrics import StandardMetrics
from .netns import socket_in

log = logging.getLogger(__name__)

ANNOTATIONS = "ISTIO_PROMETHEUS_ANNOTATIONS"
_ENVOY_S, _APPLICATION_S = 5.0, 8.0  # Prometheus itself waits for ten by default
_MAX_BYTES = 64 << 20  # of an application's page
_MAX_TARGETS = 16
_ENVOY = "/stats/prometheus?usedonly"  # what has never counted is left out


@dataclass(frozen=True)
class Target:
    """A page of the application's metrics."""

    port: int
    path: str = "/metrics"


def targets(text: str) -> tuple[Target, ...]:
    """The application's pages from what the injector wrote: a JSON object with scrape, port, path, and targets (PORT[/PATH],…)."""
    try:
        given = json.loads(text or "{}")
    except (ValueError, RecursionError):
        log.warning("%s is not understood: the application's metrics are not merged", ANNOTATIONS)
        return ()
    if not isinstance(given, dict) or given.get("scrape") != "true":
        return ()
    several = [one.strip() for one in str(given.get("targets") or "").split(",") if one.strip()]
    wanted = several or [f"{given.get('port') or 80}{given.get('path') or '/metrics'}"]
    found = []
    for one in wanted[:_MAX_TARGETS]:
        port, slash, path = one.lstrip(":").partition("/")
        if port.isdigit() and 0 < int(port) < 65536:
            found.append(Target(int(port), slash + path if slash else "/metrics"))
    return tuple(found)


class MergedMetrics:
    """The metrics of one pod. `agent` gives the agent's own in Prometheus' text format."""

    def __init__(
        self, netns_fd: int, standard: StandardMetrics, application: tuple[Target, ...], agent: Callable[[], str] = str
    ) -> None:
        self._netns_fd, self._standard, self._application, self._agent = netns_fd, standard, application, agent
        self._failed: Counter[str] = Counter()
        self._scrapes = 0

    async def envoy(self) -> bytes:
        """Envoy's own metrics. Raises OSError if it does not answer."""
        page = await within(_ENVOY_S, self._fetch(ADMIN_PORT, _ENVOY))
        return self._standard.rewrite(page)

    def agent_page(self) -> bytes:
        """The agent's."""
        failures = "".join(f'istio_agent_scrape_failures_total{{type="{k}"}} {n}\n' for k, n in self._failed.items())
        counted = f"# TYPE istio_agent_scrapes_total counter\nistio_agent_scrapes_total {self._scrapes}\n"
        head = "# TYPE istio_agent_scrape_failures_total counter\n" if failures else ""
        return (self._agent() + counted + head + failures).encode()

    async def page(self) -> bytes:
        """All of them."""
        self._scrapes += 1
        parts = await asyncio.gather(self._part("envoy", self.envoy()), *(self._of(t) for t in self._application))
        return b"".join((*parts, self.agent_page()))

    async def _of(self, target: Target) -> bytes:
        return await self._part("application", within(_APPLICATION_S, self._fetch(target.port, target.path)))

    async def _part(self, kind: str, page: Awaitable[bytes]) -> bytes:
        try:
            text = await page
        except (TimeoutError, OSError, EOFError) as error:
            self._failed[kind] += 1
            log.debug("no metrics of the %s: %s", kind, error)
            return b""
        lines = text.removesuffix(b"# EOF\n")  # OpenMetrics ends with it
        return lines if lines.endswith(b"\n") or not lines else lines + b"\n"

    async def _fetch(self, port: int, path: str) -> bytes:
        sock = await socket_in(self._netns_fd, "127.0.0.1", port)
        reader, writer = await asyncio.open_connection(sock=sock)
        try:
            writer.write(http1.request("GET", path))
            return http1.body(await _bounded(reader))
        finally:
            writer.close()


async def _bounded(reader: asyncio.StreamReader) -> bytes:
    """What is read until the end. Raises OSError if it is too much."""
    parts, size = [], 0
    while data := await reader.read(1 << 16):
        parts.append(data)
        size += len(data)
        if size > _MAX_BYTES:
            raise OSError(f"the page is longer than {_MAX_BYTES >> 20} MiB")
    return b"".join(parts)
