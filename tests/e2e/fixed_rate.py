"""Requests at a fixed rate whatever the answers, each on a connection of its own: whoever waits makes nobody else wait."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import dataclass

from .bookinfo import Cluster

PATHS = ("/productpage", "/api/v1/products/0/reviews", "/api/v1/products/0", "/api/v1/products/0/ratings")
_APOLOGIES = (b"unavailable", b"Sorry", b"error fetching")  # of a page whose own requests failed
_LIMIT_S = 30.0


@dataclass(frozen=True)
class Request:
    """One request, with the times of `time.monotonic`."""

    path: str
    began: float
    ended: float
    failed: str  # how; empty if it was answered


class FixedRate:
    """Sends requests as long as the block runs."""

    def __init__(self, cluster: Cluster, per_second: float = 50) -> None:
        self._cluster, self._pause = cluster, 1 / per_second
        self.requests: list[Request] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._send()))

    def __enter__(self) -> FixedRate:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def failed(self) -> list[Request]:
        return [r for r in self.requests if r.failed]

    def until(self, count: int, seconds: float = 60) -> None:
        """Wait until `count` more requests have ended."""
        wanted = len(self.requests) + count
        self._cluster.eventually(lambda: len(self.requests) >= wanted, seconds)

    async def _send(self) -> None:
        pending: set[asyncio.Task[None]] = set()
        due, number = time.monotonic(), 0
        while not self._stop.is_set():
            task = asyncio.create_task(self._one(PATHS[number % len(PATHS)]))
            pending.add(task)
            task.add_done_callback(pending.discard)
            number, due = number + 1, due + self._pause
            await asyncio.sleep(max(0.0, due - time.monotonic()))
        if pending:
            await asyncio.wait(pending)

    async def _one(self, path: str) -> None:
        began, failed = time.monotonic(), ""
        try:
            async with asyncio.timeout(_LIMIT_S):
                failed = await self._ask(path)
        except (OSError, EOFError, TimeoutError) as error:
            failed = repr(error)
        self.requests.append(Request(path, began, time.monotonic(), failed))

    async def _ask(self, path: str) -> str:
        """Why the request failed; empty if it was answered."""
        host, port = self._cluster.gateway
        reader, writer = await asyncio.open_connection(host, port)
        try:
            writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode())
            answer = await reader.read()
        finally:
            writer.close()
        head, _, body = answer.partition(b"\r\n\r\n")
        line = head.partition(b"\r\n")[0].decode()
        if not line.startswith("HTTP/1.1 200") or any(word in body for word in _APOLOGIES):
            return f"{line or 'no answer'} {body[:100]!r}"
        return ""
