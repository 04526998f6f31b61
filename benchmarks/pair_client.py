"""The load of `pair`: one process, reused for every contestant, told what to do by lines of JSON on its standard input.

The orders: `connect` opens connections and warms them, `spaced` sends at a fixed rate with evenly spaced arrivals and times
each request from the moment it was due (a late client counts against the contestant, never for it), `closed` keeps one request
open on every connection. `get` fetches one page. Under load, any answer but 200
with the whole body ends the process: there is no number with errors in it.

Requests are fixed bytes and answers are not parsed beyond their length, so that the client is not what is measured; it reports
its own CPU time with every answer.
"""

from __future__ import annotations

import gc
import http.client
import json
import select
import socket
import sys
import time
from collections import deque
from typing import Any

from sailcloth.lib import namespaces as ns

_PR_SET_TIMERSLACK = 29
BODY, PATIENCE_S = 1024, 10


class Connection:
    """One kept connection; `done` tells whether the answer under way is whole."""

    def __init__(self, address: tuple[str, int], request: bytes) -> None:
        self.socket = socket.create_connection(address, timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.request = request
        self.due = 0.0
        self._left = -1
        self._head = b""

    def fileno(self) -> int:
        return self.socket.fileno()

    def send(self) -> None:
        self.socket.sendall(self.request)

    def done(self) -> bool:
        data = self.socket.recv(65536)
        if not data:
            raise ConnectionError("connection closed by the contestant")
        if self._left >= 0:
            self._left -= len(data)
        else:
            data = self._head + data
            end = data.find(b"\r\n\r\n")
            if end < 0:
                self._head = data
                return False
            if not data.startswith(b"HTTP/1.1 200"):
                raise ConnectionError(f"refused: {data[:300]!r}")
            self._head = b""
            self._left = end + 4 + BODY - len(data)
        if self._left:
            return False
        self._left = -1
        return True


class Client:
    """The connections to one contestant."""

    def __init__(self, address: str, port: int, host: str, connections: int) -> None:
        request = f"GET /a HTTP/1.1\r\nhost: {host}\r\nuser-agent: bench\r\naccept: */*\r\n\r\n".encode()
        self.all = [Connection((address, port), request) for _ in range(connections)]

    def close(self) -> None:
        for each in self.all:
            each.socket.close()

    def spaced(self, rate: float, count: int) -> list[float]:
        """Latencies in ms of `count` requests, one each 1/rate seconds, from when each was due."""
        free, late = deque(self.all), deque[float]()
        took: list[float] = []
        clock = time.perf_counter
        sent, begin, step = 0, clock() + 0.01, 1 / rate
        while len(took) < count:
            now = clock()
            while sent < count and begin + sent * step <= now:
                late.append(begin + sent * step)
                sent += 1
            while late and free:
                each = free.popleft()
                each.due = late.popleft()
                each.send()
            pause = begin + sent * step - clock() if sent < count else PATIENCE_S
            ready = select.select(self.all, (), (), max(0.0, pause))[0]
            if not ready and (sent == count or (late and clock() - late[0] > PATIENCE_S)):
                raise TimeoutError(f"no answer within {PATIENCE_S} s")
            for each in ready:
                if each.done():
                    took.append((clock() - each.due) * 1e3)
                    free.append(each)
        return took

    def closed(self, seconds: float, limit: int = 1 << 62) -> tuple[int, float]:
        """(answers, seconds) with one request always open on each connection."""
        poll = select.epoll()
        by_fd = {}
        for each in self.all:
            poll.register(each, select.EPOLLIN)
            by_fd[each.fileno()] = each
            each.send()
        begin = time.perf_counter()
        end, done, still = begin + seconds, 0, len(self.all)
        now = begin
        while still:
            ready = poll.poll(PATIENCE_S)
            if not ready:
                raise TimeoutError(f"no answer within {PATIENCE_S} s")
            now = time.perf_counter()
            more = now < end and done < limit
            for fd, _ in ready:
                each = by_fd[fd]
                if each.done():
                    done += 1
                    if more:
                        each.send()
                    else:
                        still -= 1
        poll.close()
        return done, now - begin


def quantile(ordered: list[float], q: float) -> float:
    """The value below which a share q of the ordered values lies (nearest rank)."""
    return ordered[min(len(ordered) - 1, max(0, int(q * len(ordered) + 0.5) - 1))]


def obey(client: Client | None, order: dict[str, Any]) -> tuple[Client | None, dict[str, Any]]:
    """Carry out one order."""
    begin = time.process_time()
    out: dict[str, Any] = {}
    if order["do"] == "connect":
        client = Client(order["address"], order["port"], order["host"], order["connections"])
        client.closed(60, order["warm"])
    elif order["do"] == "spaced":
        assert client
        took = sorted(client.spaced(order["rate"], order["count"]))
        out = {"requests": len(took), **{f"p{q}": quantile(took, q / 100) for q in (50, 90, 99)}}
    elif order["do"] == "closed":
        assert client
        done, seconds = client.closed(order["seconds"])
        out = {"requests": done, "rps": done / seconds}
    elif order["do"] == "close":
        assert client
        client.close()
        client = None
    elif order["do"] == "get":
        out = {"text": _get(order["address"], order["port"], order["path"], order["host"])}
    return client, {**out, "cpu_s": time.process_time() - begin}


def _get(address: str, port: int, path: str, host: str) -> str:
    """The body of a 200 for one path; empty for anything else."""
    made = http.client.HTTPConnection(address, port, timeout=10)
    try:
        made.request("GET", path, headers={"host": host})
        answer = made.getresponse()
        return answer.read().decode() if answer.status == 200 else ""
    except OSError:
        return ""
    finally:
        made.close()


def main() -> None:
    gc.disable()
    ns.prctl(_PR_SET_TIMERSLACK, 1)
    client: Client | None = None
    for line in sys.stdin:
        client, answer = obey(client, json.loads(line))
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
