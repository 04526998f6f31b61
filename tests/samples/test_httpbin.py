"""httpbin: the answers that walk-throughs and tests read."""

from __future__ import annotations

import socket

import pytest

from .programs import Start


def test_get_describes_the_request(start: Start) -> None:
    got = start("httpbin.py").ask("/get?a=1&a=2&b=", x_test="yes", x_forwarded_for="10.0.0.9, 10.0.0.1")
    assert got.status == 200
    assert got.headers["content-type"] == "application/json"
    assert got.json["args"] == {"a": ["1", "2"], "b": [""]}
    assert got.json["headers"]["X-Test"] == ["yes"]
    assert got.json["origin"] == "10.0.0.9"
    assert got.json["url"].endswith("/get?a=1&a=2&b=")


def test_bodies(start: Start) -> None:
    program = start("httpbin.py")
    assert program.ask("/post", "POST", b'{"k": 1}', content_type="application/json").json["json"] == {"k": 1}
    form = program.ask("/anything/x", "PUT", b"k=1", content_type="application/x-www-form-urlencoded").json
    assert (form["method"], form["form"]) == ("PUT", {"k": ["1"]})
    assert program.ask("/post").status == 405


def test_chunked_body_leaves_the_connection_in_step(start: Start) -> None:
    program = start("httpbin.py")
    wire = (
        b"POST /post HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nt: 1\r\n\r\n"
        b"GET /uuid HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", program.port), timeout=10) as link:
        link.sendall(wire)
        got = b""
        while part := link.recv(65536):
            got += part
    assert got.count(b"HTTP/1.1 200 OK") == 2
    assert b'"data": "hello world"' in got
    assert b'"uuid"' in got


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/status/200", 200),
        ("/status/204", 204),
        ("/status/418", 418),
        ("/status/503", 503),
        ("/status/101", 400),
        ("/status/x", 400),
        ("/delay/x", 400),
        ("/delay/nan", 400),
        ("/bytes/x", 400),
        ("/redirect/0", 400),
        ("/nothing", 404),
        ("/basic-auth/u/p", 401),
        ("/", 200),
    ],
)
def test_status(start: Start, target: str, status: int) -> None:
    assert start("httpbin.py").ask(target).status == status


def test_small_pages(start: Start) -> None:
    program = start("httpbin.py")
    assert program.ask("/user-agent", user_agent="me").json == {"user-agent": "me"}
    assert program.ask("/ip").json == {"origin": "127.0.0.1"}
    assert list(program.ask("/headers").json) == ["headers"]
    assert len(program.ask("/bytes/33").body) == 33
    assert program.ask("/base64/aGVsbG8=").text == "hello"
    assert program.ask("/basic-auth/u/p", authorization="Basic dTpw").json["user"] == "u"
    assert program.ask("/redirect/2").headers["location"] == "/redirect/1"
    assert program.ask("/delay/50ms").status == 200


def test_response_headers_and_cookies(start: Start) -> None:
    program = start("httpbin.py")
    assert program.ask("/response-headers?x-a=1").headers["x-a"] == "1"
    assert program.ask("/response-headers?x-a=1%0d%0ax-b:2").status == 400
    assert program.ask("/cookies", cookie="a=1; b=2").json == {"cookies": {"a": "1", "b": "2"}}
    assert program.ask("/cookies/set?a=1&b=2").headers.get_all("set-cookie") == ["a=1; Path=/", "b=2; Path=/"]


def test_head_has_no_body(start: Start) -> None:
    got = start("httpbin.py").ask("/get", "HEAD")
    assert (got.status, got.body) == (200, b"")
    assert int(got.headers["content-length"]) > 0


def test_requests_are_logged(start: Start) -> None:
    program = start("httpbin.py")
    program.ask("/status/202", user_agent="curl/8")
    assert program.process.stdout is not None
    assert b'"GET /status/202 HTTP/1.1" 202 0 "-" "curl/8"' in program.process.stdout.readline()
