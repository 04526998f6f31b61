"""The load client: it counts what the server answered, in fortio's words."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from sailcloth.local import images

from .programs import Start

FORTIO = [sys.executable, "-I", "-S", str(images.programs() / "fortio.py")]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*FORTIO, *arguments], capture_output=True, text=True, timeout=30, check=False)


def test_calls_are_counted_by_code(start: Start) -> None:
    server = start("httpbin.py")
    done = run(
        "load", "-c", "3", "-qps", "0", "-n", "20", "-loglevel", "Warning", f"http://127.0.0.1:{server.port}/get"
    )
    assert done.returncode == 0, done.stderr
    assert "Code 200 : 20 (100.0 %)\n" in done.stdout
    assert re.search(r"^All done 20 calls \(plus 0 warmup\) [0-9.]+ ms avg, [0-9.]+ qps$", done.stdout, re.MULTILINE)
    assert "Sockets used: 3 (for perfect keepalive, would be 3)" in done.stdout


def test_failures_and_a_dead_server_are_counted(start: Start) -> None:
    server = start("httpbin.py")
    url = f"http://127.0.0.1:{server.port}/status/503"
    assert "Code 503 : 4 (100.0 %)" in run("load", "-c=2", "-qps=0", "-n=4", "-quiet", url).stdout
    assert server.stop() == 0
    done = run("load", "-c", "1", "-qps", "0", "-n", "2", "-timeout", "1s", url)
    assert "Code  -1 : 2 (100.0 %)" in done.stdout
    assert "refused" in done.stderr


def test_headers_and_rate(start: Start) -> None:
    server = start("httpbin.py")
    url = f"http://127.0.0.1:{server.port}/headers"
    done = run("load", "-c", "1", "-qps", "20", "-t", "500ms", "-H", "X-One: 1", "-H", "Host: shop.example", url)
    count = re.search(r"All done (\d+) calls", done.stdout)
    assert count is not None
    assert 1 <= int(count[1]) <= 11
    shown = run("curl", "-H", "X-One: 1", "-H", "Host: shop.example", url)
    assert '"X-One": ["1"]' in shown.stdout
    assert "shop.example" in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("load",), "need a url"),
        (("load", "-x", "http://a"), "not defined: -x"),
        (("load", "-n", "many", "http://a"), "invalid value 'many'"),
        (("load", "-t", "5 years", "http://a"), "not a duration"),
        (("load", "https://a"), "only http://"),
        (("dance",), "usage: fortio"),
    ],
)
def test_wrong_arguments_are_told(arguments: tuple[str, ...], text: str) -> None:
    done = run(*arguments)
    assert done.returncode == 1
    assert text in done.stderr
