"""Watchers as far as the API server can tell: many TLS connections whose events are counted, and of some the delay taken.

A process of its own, so that what it costs to receive is not taken from those who write. It is told by one JSON object on
standard input what to watch; a line on standard output says that every watch has begun, and after each empty line on standard
input another one says what has come since the last.
"""

from __future__ import annotations

import asyncio
import json
import re
import ssl
import sys
import time
from typing import Any

STAMP = re.compile(rb'"stamp":"(\d+\.\d+)"')
SAMPLED = 10  # one watcher of so many measures


class Watch(asyncio.Protocol):
    """One watch: the request goes out, and whatever comes is counted."""

    def __init__(self, request: bytes, sampled: bool) -> None:
        self._request, self._sampled = request, sampled
        self.begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.events = 0
        self.closed = False
        self.delays: list[float] = []
        self._rest = b""

    def connection_made(self, transport: Any) -> None:
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if not self.begun.done():
            head, _, data = data.partition(b"\r\n\r\n")
            if b" 200 " not in head.partition(b"\r\n")[0]:
                self.begun.set_exception(OSError(head.decode()))
            else:
                self.begun.set_result(None)
        self.events += data.count(b'{"type":"')
        if self._sampled:
            now, text = time.monotonic(), self._rest + data
            end = 0
            for found in STAMP.finditer(text):
                self.delays.append(now - float(found[1]))
                end = found.end()
            self._rest = text[max(end, len(text) - 64) :]

    def connection_lost(self, _: Exception | None) -> None:
        self.closed = True


async def main() -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    told = json.loads(await reader.readline())
    context = ssl.create_default_context(cadata=told["authority"])
    context.load_cert_chain(told["certificate"])
    watches = []
    for number, path in enumerate(told["paths"]):
        request = f"GET {path} HTTP/1.1\r\nHost: {told['host']}\r\n\r\n".encode()
        _, watch = await loop.create_connection(
            lambda request=request, number=number: Watch(request, number % SAMPLED == 0),  # type: ignore[misc]
            told["host"],
            told["port"],
            ssl=context,
        )
        watches.append(watch)
        await watch.begun
    print(json.dumps({"watches": len(watches)}), flush=True)
    while await reader.readline():
        delays = [d for w in watches for d in w.delays]
        out = {"events": sum(w.events for w in watches), "closed": sum(w.closed for w in watches), "delays": delays}
        print(json.dumps(out), flush=True)
        for watch in watches:
            watch.events, watch.delays = 0, []


if __name__ == "__main__":
    asyncio.run(main())
