"""A load client with fortio's `load` command, and a small part of its `server`, `curl` and `version`; no gRPC, no web page.

    fortio load [-c 4] [-qps 8] [-n 0] [-t 5s] [-H 'K: V'] [-timeout 3s] [-X METHOD] [-payload TEXT] [-keepalive=true]
                [-allow-initial-errors] [-quiet] [-loglevel LEVEL] URL

`-c` connections, each with one request at a time; `-qps 0` as fast as it goes; `-n` requests in all, instead of the time `-t`;
`-t 0` until a signal.
The summary is worded like fortio's, as walk-throughs read it: one line per code, one at the end. A connection that the other
side closes, or that answered a failure, is replaced, as by fortio.
"""

from __future__ import annotations

import http.client
import os
import re
import signal
import sys
import threading
import time
import urllib.parse
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from web import Request, Response, serve

_TIMES = 100_000  # of the last requests
VERSION = "1.69.0"
FLAGS = {"-quiet", "-allow-initial-errors", "-stdclient", "-keepalive", "-nocatchup", "-uniform", "-jitter", "-k", "-4", "-6", "-a"}  # fmt: skip
VALUED = {"-c", "-qps", "-n", "-t", "-H", "-timeout", "-loglevel", "-logger-level", "-X", "-payload", "-p", "-r", "-labels", "-json", "-http-port", "-grpc-port", "-user"}  # fmt: skip
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


class Usage(Exception):
    """What is wrong with the arguments."""


def seconds(text: str) -> float:
    """A duration such as `300ms` or `1m30s`. Raises Usage."""
    parts = re.findall(r"([0-9.]+)(ns|us|µs|ms|s|m|h)", text)
    if not parts or "".join(n + u for n, u in parts) != text:
        if text == "0":
            return 0.0
        raise Usage(f"not a duration: {text}")
    return sum(float(n) * _UNITS[u] for n, u in parts)


@dataclass
class Options:
    url: str = ""
    connections: int = 4
    qps: float = 8.0
    calls: int = 0
    limit_s: float = 5.0
    timeout_s: float = 3.0
    method: str = ""
    payload: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    flags: set[str] = field(default_factory=set)


def parse(arguments: list[str]) -> Options:
    """Raises Usage."""
    out, rest = Options(), list(arguments)
    while rest and rest[0].startswith("-"):
        name, equals, value = rest.pop(0).partition("=")
        name = "-" + name.lstrip("-")
        if name in FLAGS:
            if value != "false":
                out.flags.add(name)
            elif name == "-keepalive":
                out.flags.add("-nokeepalive")
            continue
        if name not in VALUED:
            raise Usage(f"flag provided but not defined: {name}")
        if not equals:
            if not rest:
                raise Usage(f"flag needs an argument: {name}")
            value = rest.pop(0)
        try:
            if name == "-c":
                out.connections = max(1, int(value))
            elif name == "-qps":
                out.qps = 0.0 if value == "max" else max(0.0, float(value))
            elif name == "-n":
                out.calls = int(value)
        except ValueError:
            raise Usage(f"invalid value {value!r} for flag {name}") from None
        if name == "-t":
            out.limit_s = seconds(value)
        elif name == "-timeout":
            out.timeout_s = seconds(value)
        elif name == "-H":
            key, _, text = value.partition(":")
            out.headers[key.strip()] = text.strip()
        elif name == "-X":
            out.method = value
        elif name == "-payload":
            out.payload = value.encode()
        elif name == "-user":
            import base64

            out.headers["Authorization"] = "Basic " + base64.b64encode(value.encode()).decode()
    if len(rest) != 1:
        raise Usage("need a url")
    out.url = rest[0] if "://" in rest[0] else "http://" + rest[0]
    if not out.url.startswith("http://"):
        raise Usage(f"only http:// urls, not {out.url}")
    return out


class Load:
    """One run. `codes` counts answers by status; -1 stands for none."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.codes: Counter[int] = Counter()
        self.times: deque[float] = deque(maxlen=_TIMES)
        self.sizes = 0
        self.sockets = 0
        self.stop = threading.Event()
        self._lock = threading.Lock()

    def run(self) -> float:
        """Seconds it took."""
        each, more = divmod(self.options.calls, self.options.connections)
        begin = time.monotonic()
        workers = [
            threading.Thread(target=self._work, args=(begin, each + (n < more), n))
            for n in range(self.options.connections)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return time.monotonic() - begin

    def _work(self, begin: float, calls: int, number: int) -> None:
        options = self.options
        parts = urllib.parse.urlsplit(options.url)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        step = options.connections / options.qps if options.qps else 0.0
        headers = {"User-Agent": f"fortio.org/fortio-{VERSION}", **options.headers}
        host = headers.pop("Host", headers.pop("host", ""))
        if host:
            headers["Host"] = host
        link: http.client.HTTPConnection | None = None
        done = 0
        while not self.stop.is_set():
            now = time.monotonic() - begin
            if done >= calls if options.calls else 0 < options.limit_s <= now:
                break
            if step and (wait := done * step - now) > 0 and self.stop.wait(wait):
                break
            at = time.monotonic()
            if link is None:
                link = http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=options.timeout_s)
                with self._lock:
                    self.sockets += 1
            code, size, keep = -1, 0, False
            try:
                method = options.method or ("POST" if options.payload else "GET")
                link.request(method, path, options.payload or None, headers)
                answer = link.getresponse()
                size, code = len(answer.read()), answer.status
                keep = not answer.will_close and 200 <= code < 400 and "-nokeepalive" not in options.flags
            except (OSError, http.client.HTTPException) as error:
                if "-quiet" not in options.flags:
                    print(f"[{number}] {error!r}", file=sys.stderr, flush=True)
            if not keep:
                link.close()
                link = None
            done += 1
            with self._lock:
                self.codes[code] += 1
                self.times.append(time.monotonic() - at)
                self.sizes += size
        if link is not None:
            link.close()


def percentile(times: list[float], wanted: float) -> float:
    return times[min(len(times) - 1, int(len(times) * wanted / 100))] if times else 0.0


def summary(load: Load, took: float) -> str:
    """What fortio prints at the end, in its words where programs read them."""
    options, times = load.options, sorted(load.times)
    count, total = sum(load.codes.values()), sum(times)
    average = total / len(times) if count else 0.0
    spread = (sum((t - average) ** 2 for t in times) / len(times)) ** 0.5 if count else 0.0
    rate = count / took if took else 0.0
    lines = [f"Ended after {took * 1000:.6f}ms : {count} calls. qps={rate:.5g}"]
    if count:
        lines.append(
            f"Aggregated Function Time : count {count} avg {average:.8g} +/- {spread:.4g} min {times[0]:.9g} max {times[-1]:.9g} sum {total:.9g}"
        )
        lines += [f"# target {p:g}% {percentile(times, p):.6g}" for p in (50, 75, 90, 99, 99.9)]
    lines.append(f"Sockets used: {load.sockets} (for perfect keepalive, would be {options.connections})")
    lines += [f"Code {c:3d} : {n} ({100 * n / count:.1f} %)" for c, n in sorted(load.codes.items())]
    if count:
        lines.append(f"Response Body/Total Sizes : count {count} avg {load.sizes / count:.8g}")
    lines.append(f"All done {count} calls (plus 0 warmup) {average * 1000:.3f} ms avg, {rate:.1f} qps")
    return "\n".join(lines)


def measure(arguments: list[str]) -> int:
    options = parse(arguments)
    load = Load(options)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: load.stop.set())
    if "-quiet" not in options.flags:
        how = f"at {options.qps:g} queries per second" if options.qps else "at max speed"
        limit = f"for {options.limit_s:g}s" if options.limit_s else "until interrupted"
        much = f"for {options.calls} calls" if options.calls else limit
        print(f"Fortio {VERSION} running {how}, {options.connections} connections, {much}: {options.url}", flush=True)
    print(summary(load, load.run()), flush=True)
    return 0


def curl(arguments: list[str]) -> int:
    options = parse(arguments)
    parts = urllib.parse.urlsplit(options.url)
    link = http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=options.timeout_s)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        link.request(options.method or "GET", path, options.payload or None, options.headers)
        answer = link.getresponse()
        body = answer.read()
    except (OSError, http.client.HTTPException) as error:
        print(f"cannot fetch {options.url}: {error}", file=sys.stderr)
        return 1
    finally:
        link.close()
    head = [f"HTTP/1.1 {answer.status} {answer.reason}", *(f"{k}: {v}" for k, v in answer.getheaders()), "", ""]
    print("\r\n".join(head), end="", flush=True)
    sys.stdout.buffer.write(body)
    sys.stdout.flush()
    return 0 if answer.status < 400 else 1


def echo(request: Request) -> Response:
    """The server answers what it was sent, after `delay`, with `status`, as asked by the query."""
    form = {k: v[-1] for k, v in urllib.parse.parse_qs(request.query).items()}
    try:
        time.sleep(min(seconds(form.get("delay", "0")), 60.0))
        status = int(form.get("status", "200"))
    except (Usage, ValueError) as error:
        return Response(str(error), 400)
    if request.path.startswith("/debug"):
        lines = [f"{request.method} {request.target} HTTP/1.1", *(f"{k}: {v}" for k, v in request.headers.items())]
        return Response("\n".join([*lines, "", ""]).encode() + request.body, status)
    return Response(request.body, status)


def server(arguments: list[str]) -> int:
    """HTTP echo on 8080; 8079, fortio's gRPC port, only accepts."""
    import socketserver

    class Closing(socketserver.BaseRequestHandler):
        pass

    port = next((a.rpartition("=")[2] for a in arguments if a.startswith(("-http-port=", "--http-port="))), "8080")
    with socketserver.ThreadingTCPServer(("0.0.0.0", 8079 if port == "8080" else 0), Closing) as other:
        other.daemon_threads = True
        threading.Thread(target=other.serve_forever, daemon=True).start()
        serve(echo, int(port.rpartition(":")[2]))
        other.shutdown()
    return 0


COMMANDS: dict[str, Any] = {"load": measure, "curl": curl, "server": server}


def main() -> int:
    command, *rest = sys.argv[1:] or [""]
    if command == "version":
        print(VERSION)
        return 0
    if command not in COMMANDS:
        print(f"usage: fortio {'|'.join([*COMMANDS, 'version'])} [flags] [URL]", file=sys.stderr)
        return 1
    try:
        return int(COMMANDS[command](rest))
    except Usage as error:
        print(f"fortio {command}: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
