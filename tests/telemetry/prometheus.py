"""A real Prometheus with given samples."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from sailcloth.telemetry import remote_write

from .dataset import Scraped, samples

PROGRAM = shutil.which("prometheus")


class Prometheus:
    """A running server."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"

    def get(self, path: str, **query: Any) -> tuple[int, Any]:
        """(status, body) of a request; POST, since queries are long."""
        return self.fetch(path, urllib.parse.urlencode(query, doseq=True).encode())

    def fetch(self, path: str, data: bytes | None = None) -> tuple[int, Any]:
        """(status, body) of a page."""
        try:
            with urllib.request.urlopen(f"{self.url}{path}", data, timeout=60) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read() or b"{}")

    def write(self, targets: list[Scraped]) -> None:
        """Send all samples in order of time."""
        for _, group in groupby(samples(targets), key=lambda s: s[0] // 20_000):
            series: dict[str, tuple[dict[str, str], list[tuple[int, float]]]] = {}
            for time_ms, labels, value in group:
                series.setdefault(str(labels), (labels, []))[1].append((time_ms, value))
            assert self.post(remote_write.encode(series.values())) == 204

    def post(self, body: bytes) -> int:
        """Send a remote write."""
        headers = {
            "Content-Encoding": "snappy",
            "Content-Type": "application/x-protobuf",
            "X-Prometheus-Remote-Write-Version": "0.1.0",
        }
        request = urllib.request.Request(f"{self.url}/api/v1/write", body, headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return int(answer.status)


@contextlib.contextmanager
def running(folder: Path, config: str = "global: {scrape_interval: 1h}\n") -> Iterator[Prometheus]:
    """A server whose data are in a folder."""
    assert PROGRAM is not None
    (folder / "prometheus.yml").write_text(config)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        PROGRAM,
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--storage.tsdb.retention.time=100y",
        "--web.enable-remote-write-receiver",
    ]
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            deadline = time.monotonic() + 30
            while True:
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=5).close()
                    break
                except OSError as error:
                    if isinstance(error, urllib.error.HTTPError):
                        error.close()
                    if time.monotonic() > deadline or process.poll() is not None:
                        raise AssertionError(f"Prometheus is not ready: {(folder / 'log').read_text()}") from None
                    time.sleep(0.05)
            yield Prometheus(port)
        finally:
            process.kill()
            process.wait()
