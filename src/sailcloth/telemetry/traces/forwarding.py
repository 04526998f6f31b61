"""Forwards spans to another tracing system, in the protocol that it takes. A bounded queue holds messages until they are sent."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence

import orjson
from yarl import URL

from . import otlp, zipkin
from .model import Span

log = logging.getLogger(__name__)

Post = Callable[[str, bytes, Mapping[str, str]], Awaitable[int]]
"""Send a body with headers to a URL; gives the HTTP status. Raises OSError or TimeoutError."""
_MAX_BYTES = 16 << 20
_BACKOFF_S = (0.5, 30.0)
_OTLP, _ZIPKIN = "/v1/traces", "/api/v2/spans"


def endpoint(url: str) -> str:
    """Where a system takes spans: a URL with a path is it; port 9411 is Zipkin's, any other OTLP's over HTTP."""
    parsed = URL(url)
    if parsed.path.strip("/"):
        return url
    return str(parsed.with_path(_ZIPKIN if parsed.port == 9411 else _OTLP))


def endpoint_beside(url: str) -> str:
    """Where the system with a query API at a URL takes spans, if nobody says: Zipkin's at the same port, others' at 4318."""
    return endpoint(url if URL(url).port == 9411 else str(URL(url).with_port(4318).with_path("")))


class SpanForwarder:
    """One receiver. url: its endpoint."""

    def __init__(self, url: str, post: Post) -> None:
        self._url, self._zipkin, self._post = url, URL(url).path.endswith(_ZIPKIN), post
        self._queue: deque[tuple[bytes, str]] = deque()
        self._bytes, self._came = 0, asyncio.Event()
        self.dropped = self.failures = 0  # messages, requests

    def take(self, path: str, content_type: str, body: bytes, spans: Sequence[Span]) -> None:
        """Queue a message that came to a path; what does not fit displaces the oldest."""
        if path.endswith(_ZIPKIN) != self._zipkin:
            content_type = "application/json"
            body = orjson.dumps(zipkin.write(spans) if self._zipkin else otlp.message(spans))
        self._queue.append((body, content_type))
        self._bytes += len(body)
        while self._bytes > _MAX_BYTES:
            self._bytes -= len(self._queue.popleft()[0])
            self.dropped += 1
        self._came.set()

    async def run(self) -> None:
        """Send until cancelled."""
        delay = _BACKOFF_S[0]
        while True:
            if not self._queue:
                self._came.clear()
                await self._came.wait()
            if await self.send():
                delay = _BACKOFF_S[0]
            else:
                await asyncio.sleep(delay)
                delay = min(2 * delay, _BACKOFF_S[1])

    async def send(self) -> bool:
        """Send the oldest message; False if the receiver should be retried."""
        body, content_type = self._queue.popleft()
        self._bytes -= len(body)
        try:
            status = await self._post(self._url, body, {"Content-Type": content_type})
            why = f"status {status}" if status == 429 or status >= 500 else ""
        except (OSError, TimeoutError) as error:
            status, why = 0, str(error) or type(error).__name__
        if not why:
            if status >= 400:
                self.dropped += 1
                log.log(logging.WARNING if self.dropped == 1 else logging.DEBUG, "spans: status %d", status)
            return True
        self._queue.appendleft((body, content_type))
        self._bytes += len(body)
        self.failures += 1
        log.log(logging.INFO if self.failures == 1 else logging.DEBUG, "spans: %s; will retry", why)
        return False
