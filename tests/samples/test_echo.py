"""Istio's echo with its client, the Gateway API's echo, the authorizer, and WebSockets: what their readers parse."""

from __future__ import annotations

import http.client
import json
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest

from sailcloth.local import images

from .programs import Program, Start, free_port, wait_for_line

ECHO = [sys.executable, "-I", str(images.programs() / "istio_echo.py")]
Run = Callable[..., None]


@pytest.fixture
def run() -> Iterator[Run]:
    """run("program.py", arguments…, ENV=…) starts a program that says that it listens; it must end on SIGTERM."""
    started: list[subprocess.Popen[bytes]] = []

    def one(name: str, *arguments: str, **env: str) -> None:
        argv = [sys.executable, "-I", str(images.programs() / name), *arguments]
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, env={"HOSTNAME": "pod-0", **env})
        started.append(process)
        wait_for_line(process, b"listening")

    yield one
    for process in started:
        with process:
            process.send_signal(signal.SIGTERM)
            try:
                assert process.wait(timeout=10) == 0
            finally:
                process.kill()


def client(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*ECHO, "client", *arguments], capture_output=True, text=True, timeout=30, check=False)


def values(text: str, key: str) -> list[str]:
    return re.findall(rf"^\[\d+(?: body)?\] {key}=(.*)$", text, re.MULTILINE)


def echo(run: Run, *more: str) -> dict[str, int]:
    ports = {name: free_port() for name in ("port", "grpc", "tcp", "udp", "metrics")}
    run("istio_echo.py", "server", *(f"--{k}={v}" for k, v in ports.items()), "--version", "v1", *more)
    return ports


def test_the_client_prints_what_the_server_was_asked(run: Run) -> None:
    port = echo(run)["port"]
    done = client(
        f"http://127.0.0.1:{port}/some/path?x=1", "--method=POST", "-H", "X-One:1", "--msg", "hi", "--count=3"
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.strip().split("\n\n")) >= 3
    assert values(done.stdout, "StatusCode") == ["200"] * 3
    assert values(done.stdout, "Hostname") == ["pod-0"] * 3
    assert values(done.stdout, "URL") == ["/some/path?x=1"] * 3
    assert values(done.stdout, "Host") == [f"127.0.0.1:{port}"] * 3
    assert values(done.stdout, "Method") == ["POST"] * 3
    assert values(done.stdout, "Proto") == ["HTTP/1.1"] * 3
    assert values(done.stdout, "Echo") == ["hi"] * 3
    # The client and the server tell it under different names.
    assert values(done.stdout, "RequestHeader").count("X-One:1") == 3
    assert values(done.stdout, "Header").count("X-One:1") == 3
    assert done.stdout.endswith("All requests succeeded\n")


def test_values_of_one_header_keep_their_order(run: Run) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", echo(run)["port"], timeout=10)
    connection.putrequest("GET", "/")
    for name, value in (("X-One", "b"), ("A", "c"), ("X-One", "a")):
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse().read().decode()
    connection.close()
    assert re.findall("RequestHeader=(X-One.*|A:.*)", answer) == ["A:c", "X-One:b", "X-One:a"]


def test_the_client_asks_all_protocols(run: Run) -> None:
    ports = echo(run)
    for scheme, port in (("grpc", "grpc"), ("tcp", "tcp"), ("udp", "udp"), ("ws", "port")):
        done = client(f"{scheme}://127.0.0.1:{ports[port]}", "--msg", "hello", "-H", "x-two:2")
        assert done.returncode == 0, (scheme, done.stdout, done.stderr)
        assert values(done.stdout, "StatusCode") == ["200"], scheme
        assert values(done.stdout, "ServicePort") == [str(ports[port])], scheme
        assert values(done.stdout, "Echo") == ["hello"], scheme


def test_a_server_that_speaks_first_and_one_with_tls(run: Run) -> None:
    first, secure = free_port(), free_port()
    echo(
        run,
        f"--tcp={first}",
        f"--server-first={first}",
        f"--port={secure}",
        f"--tls={secure}",
        "--crt=/none",
        "--key=/none",
    )
    assert values(client(f"tcp://127.0.0.1:{first}", "--server-first").stdout, "StatusCode") == ["200"]
    told = client(f"https://127.0.0.1:{secure}", "--server-name=echo.example", "-k").stdout
    assert values(told, "Sni") == ["echo.example"]


def test_the_client_says_what_fails() -> None:
    done = client(f"http://127.0.0.1:{free_port()}", "--count=2")
    assert done.returncode == 1
    assert len(values(done.stdout, "Error")) == 2


def test_status_and_headers_on_demand(run: Run) -> None:
    done = client(f"http://127.0.0.1:{echo(run)['port']}/?codes=503&headers=X-A:b")
    assert values(done.stdout, "StatusCode") == ["503"]
    assert "X-A:b" in values(done.stdout, "ResponseHeader")


def gateway_echo(run: Run, **env: str) -> Program:
    port = free_port()
    names = {"POD_NAME": "pod-0", "NAMESPACE": "ns", "SERVICE_NAME": "svc", "INGRESS_NAME": "gw"}
    run("gateway_echo.py", HTTP_PORT=str(port), TCP_PORT=str(port), UDP_PORT=str(port), **names, **env)
    return Program(None, port)  # type: ignore[arg-type]


def test_gateway_echo_tells_requests(run: Run) -> None:
    program = gateway_echo(run)
    got = program.ask("/a//b?c=d", "PUT", b"x", X_One="1", X_Echo_Set_Header="X-Two:2,x-three: 3")
    assert got.headers["content-type"] == "application/json"
    assert got.headers["x-content-type-options"] == "nosniff"
    assert (got.headers["X-Two"], got.headers["x-three"]) == ("2", "3")
    told = got.json
    assert (told["path"], told["method"], told["proto"]) == ("/a//b?c=d", "PUT", "HTTP/1.1")
    assert told["headers"]["X-One"] == ["1"]
    assert [told[k] for k in ("namespace", "ingress", "service", "pod")] == ["ns", "gw", "svc", "pod-0"]
    assert program.ask("/health").text == "OK"
    assert [program.ask(f"/status/{code}").status for code in ("404", "503", "abc")] == [404, 503, 400]
    assert program.ask("/?delay=forever").status == 400


def test_gateway_echo_fails_as_often_as_asked(run: Run) -> None:
    program = gateway_echo(run)
    path = "/retry/x?uuid=1&succeedAfter=2&responseCode=503"
    assert [program.ask(path).status for _ in range(3)] == [503, 503, 200]
    with pytest.raises(ConnectionResetError):
        program.ask("/retry/x?uuid=2&succeedAfter=1")
    assert program.ask("/retry/x?uuid=2&succeedAfter=1").status == 200


def test_gateway_echo_over_tcp_and_udp(run: Run) -> None:
    tcp = gateway_echo(run, TCP_ECHO_SERVER="1")
    with socket.create_connection(("127.0.0.1", tcp.port), timeout=5) as link, link.makefile("rwb") as lines:
        assert lines.readline() == b"Gateway API Test TCP Server\n"
        lines.write(b"PING\nIS_TLS\nTEST\n")
        lines.flush()
        assert [lines.readline() for _ in range(2)] == [b"PONG\n", b"false\n"]
        assert json.loads(lines.readline())["pod"] == "pod-0"
    udp = gateway_echo(run, UDP_ECHO_SERVER="1")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as packets:
        packets.settimeout(5)
        packets.sendto(b"hello", ("127.0.0.1", udp.port))
        told = json.loads(packets.recv(4096))
    assert (told["request"], told["namespace"]) == ("hello", "ns")


def test_gateway_echo_over_grpc(run: Run) -> None:
    program = gateway_echo(run, GRPC_ECHO_SERVER="1")
    service = "gateway_api_conformance.echo_basic.grpcecho.GrpcEcho"
    with grpc.insecure_channel(f"127.0.0.1:{program.port}", options=[("grpc.enable_http_proxy", 0)]) as channel:
        answer = channel.unary_unary(f"/{service}/EchoTwo")(b"", timeout=10, metadata=[("x-one", "1")])
        with pytest.raises(grpc.RpcError) as refused:
            channel.unary_unary(f"/{service}/EchoThree")(b"", timeout=10)
    for word in (f"/{service}/EchoTwo", "x-one", f"127.0.0.1:{program.port}", "svc", "pod-0"):
        assert word.encode() in answer
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED  # type: ignore[attr-defined]


def test_authorizer(run: Run) -> None:
    from envoy.service.auth.v3 import external_auth_pb2 as auth

    plain, rpc = free_port(), free_port()
    run("ext_authz.py", str(plain), str(rpc))
    program = Program(None, plain)  # type: ignore[arg-type]
    denied = program.ask("/x")
    assert (denied.status, denied.headers["x-ext-authz-check-result"]) == (403, "denied")
    assert "denied by ext_authz" in denied.text
    allowed = program.ask("/x", x_ext_authz="allow")
    assert (allowed.status, allowed.headers["x-ext-authz-check-result"]) == (200, "allowed")
    account = 'By=spiffe://c/ns/b/sa/b;Hash=0;Subject="";URI=spiffe://c/ns/a/sa/a'
    assert program.ask("/x", x_forwarded_client_cert=account).status == 200
    asked: Any = auth.CheckRequest()
    with grpc.insecure_channel(f"127.0.0.1:{rpc}", options=[("grpc.enable_http_proxy", 0)]) as channel:
        check = channel.unary_unary(
            "/envoy.service.auth.v3.Authorization/Check",
            request_serializer=auth.CheckRequest.SerializeToString,
            response_deserializer=auth.CheckResponse.FromString,
        )
        assert check(asked, timeout=10).denied_response.status.code == 403
        asked.attributes.request.http.headers["x-ext-authz"] = "allow"
        assert check(asked, timeout=10).HasField("ok_response")


def frame(data: bytes, opcode: int = 1) -> bytes:
    return bytes((0x80 | opcode, 0x80 | len(data), 1, 2, 3, 4)) + bytes(
        b ^ (1, 2, 3, 4)[i % 4] for i, b in enumerate(data)
    )


def handshake(link: socket.socket, path: str) -> Any:
    """RFC 6455, section 1.3."""
    fields = "upgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ=="
    link.sendall(f"GET {path} HTTP/1.1\r\nhost: h\r\n{fields}\r\n\r\n".encode())
    lines = link.makefile("rb")
    head = b"".join(iter(lines.readline, b"\r\n"))
    assert head.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
    assert b"sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in head
    return lines


def test_websocket_frames_come_back(run: Run) -> None:
    with socket.create_connection(("127.0.0.1", gateway_echo(run).port), timeout=5) as link:
        lines = handshake(link, "/ws")
        link.sendall(frame(b"hello") + frame(b"?", 9) + frame(b"\x00\x01", 2))
        assert lines.read(7) == b"\x81\x05hello"
        assert lines.read(3) == b"\x8a\x01?"
        assert lines.read(4) == b"\x82\x02\x00\x01"
        link.sendall(frame(b"\x03\xe8", 8))
        assert lines.read() == b"\x88\x02\x03\xe8"
        lines.close()


def test_watchers_of_the_table_hear_of_changes(start: Start) -> None:
    program = start("websocket_table.py")
    assert "WebSocket" in program.ask("/").text
    assert program.ask("/ws").status == 400
    with socket.create_connection(("127.0.0.1", program.port), timeout=5) as link:
        lines = handshake(link, "/ws")
        link.sendall(frame(b"ping", 9))
        assert lines.read(6) == b"\x8a\x04ping"  # it listens by now
        assert program.ask("/api?id=1&value=hello").json == {"id": "1", "value": "hello"}
        head = lines.read(2)
        assert json.loads(lines.read(head[1])) == {"id": "1", "value": "hello"}
        lines.close()
        begin = time.monotonic()
        assert program.stop() == 0  # an open WebSocket does not hold up the end
        assert time.monotonic() - begin < 5
