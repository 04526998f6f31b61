"""The small programs, and what all of them promise: quick to start, connections kept, requests finished before the end."""

from __future__ import annotations

import http.client
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from sailcloth.local import images

from .programs import Start, free_port, wait_for_line

SERVERS = (
    "bookinfo_details.py",
    "bookinfo_productpage.py",
    "bookinfo_ratings.py",
    "bookinfo_reviews.py",
    "helloworld.py",
    "httpbin.py",
    "ok_page.py",
    "sock_shop_carts.py",
    "sock_shop_catalogue.py",
    "sock_shop_orders.py",
    "sock_shop_payment.py",
    "sock_shop_queue_master.py",
    "sock_shop_shipping.py",
    "sock_shop_user.py",
)


def test_helloworld(start: Start) -> None:
    program = start("helloworld.py", SERVICE_VERSION="v2")
    assert program.ask("/hello").text == "Hello version: v2, instance: pod-0\n"
    assert program.ask("/health").status == 200
    assert program.ask("/other").status == 404


def test_tcp_echo_on_all_its_ports() -> None:
    ports = [free_port() for _ in range(2)]
    argv = [sys.executable, "-I", "-S", str(images.programs() / "tcp_echo.py"), ",".join(map(str, ports)), "one"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        try:
            wait_for_line(process, b"listening")
            for port in ports:
                with socket.create_connection(("127.0.0.1", port), timeout=5) as link, link.makefile("rwb") as lines:
                    for word in (b"hello\n", b"world\n"):
                        lines.write(word)
                        lines.flush()
                        assert lines.readline() == b"one " + word
        finally:
            process.terminate()
        assert process.wait(timeout=5) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_idle_ends_on_a_signal(number: signal.Signals) -> None:
    argv = [sys.executable, "-I", "-S", str(images.programs() / "idle.py"), "ignored"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        try:
            wait_for_line(process, b"idle")
            process.send_signal(number)
            assert process.wait(timeout=5) == 0
        finally:
            process.kill()


@pytest.mark.parametrize("name", SERVERS)
def test_connections_are_kept(start: Start, name: str) -> None:
    program = start(name)
    link = http.client.HTTPConnection("127.0.0.1", program.port, timeout=5)
    try:
        link.connect()
        first = link.sock
        for _ in range(3):
            link.request("GET", "/health")
            got = link.getresponse()
            assert got.status == 200
            got.read()
            assert link.sock is first
    finally:
        link.close()


def test_requests_under_way_are_finished(start: Start) -> None:
    program = start("httpbin.py")
    for _ in range(250):  # what came before must not count
        program.ask("/health")
    link = http.client.HTTPConnection("127.0.0.1", program.port, timeout=10)
    answers: list[tuple[int, str | None]] = []

    def slow() -> None:
        got = link.getresponse()
        answers.append((got.status, got.headers["connection"]))
        got.read()

    # Two requests on one connection: once the first is answered, its thread is known to read the second.
    link.request("GET", "/delay/0")
    link.getresponse().read()
    link.request("GET", "/delay/1")
    waiting = threading.Thread(target=slow)
    waiting.start()
    wait_until_read(program.port)
    assert program.stop() == 0
    waiting.join(timeout=10)
    link.close()
    assert answers == [(200, "close")]


def wait_until_read(port: int) -> None:
    """Return once the kernel holds no unread byte for a connection to `port`."""
    deadline = time.monotonic() + 5
    wanted = f":{port:04X}"
    while True:
        with open("/proc/net/tcp") as table:
            rows = [line.split() for line in table][1:]
        unread = [r for r in rows if r[1].endswith(wanted) and r[3] == "01" and r[4].split(":")[1] != "00000000"]
        if not unread:
            return
        assert time.monotonic() < deadline, f"waited 5 s for the program to read its request: {unread}"


@pytest.mark.parametrize("name", SERVERS)
def test_nothing_under_way_ends_at_once(start: Start, name: str) -> None:
    assert start(name).stop() == 0


def test_broken_framing_is_refused(start: Start) -> None:
    program = start("bookinfo_ratings.py")
    with socket.create_connection(("127.0.0.1", program.port), timeout=5) as link:
        link.sendall(b"POST /ratings/1 HTTP/1.1\r\nhost: h\r\ncontent-length: -1\r\n\r\n")
        got = b""
        while part := link.recv(4096):
            got += part
    assert got.startswith(b"HTTP/1.1 400 ")
    assert b"connection: close" in got
