"""Probes against servers of all kinds. The pod's address is 127.0.0.2 here, as one that is not 127.0.0.1; the servers do not end
by themselves."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from sailcloth.agent import probes
from sailcloth.agent.istio_metrics import StandardMetrics, Workload
from sailcloth.agent.merged_metrics import MergedMetrics
from sailcloth.agent.netns import PodSockets
from sailcloth.agent.status import StatusServer
from sailcloth.ca.authority import Authority

ADDRESS = "127.0.0.2"
HERE = -1  # this process's own network namespace
Answer = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def server(answer: Answer, host: str = ADDRESS, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A server that reads one head and answers: its port. Connections stay open until the end."""
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await answer(await reader.readuntil(b"\r\n\r\n"), writer)
            await writer.drain()
        await ended.wait()
        writer.close()

    made = await asyncio.start_server(serve, host, 0, ssl=tls)
    try:
        yield int(made.sockets[0].getsockname()[1])
    finally:
        ended.set()
        made.close()
        await made.wait_closed()


def saying(text: str) -> Answer:
    async def answer(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(text.encode())

    return answer


async def endless(_: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        writer.write(b"x" * 4096)
        await writer.drain()


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (saying("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"), 200),  # the connection stays open
        (saying("HTTP/1.1 204 No Content\r\n\r\n"), 204),
        (saying("HTTP/1.0 503\r\n\r\n"), 503),
        (
            saying("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"),
            200,
        ),
        (endless, 200),
        (saying("HTTP/1.1 302 Found\r\nLocation: http://elsewhere.example/\r\n\r\n"), 302),
        (saying("220 mail.example ESMTP\r\n\r\n"), 0),
        (saying("HTTP/1.1 200 OK\r\nX: " + "x" * 100_000 + "\r\n\r\n"), 0),
    ],
)
async def test_the_head_of_an_answer_suffices(answer: Answer, status: int) -> None:
    async with asyncio.timeout(5), server(answer) as port:
        assert await probes.http_status(HERE, ADDRESS, port, {"path": "/healthz"}) == status


async def test_redirects_within_the_host_are_followed() -> None:
    async def answer(head: bytes, writer: asyncio.StreamWriter) -> None:
        path, host = head.split(b" ")[1], head.partition(b"Host: ")[2].partition(b"\r")[0]
        location = {b"/a": b"/b", b"/b": b"//%s/c" % host}.get(path)
        found = b"HTTP/1.1 302 Found\r\nLocation: %s\r\n\r\n"
        writer.write(found % location if location else b"HTTP/1.1 500 No\r\n\r\n")

    async with asyncio.timeout(5), server(answer) as port:
        assert await probes.http_status(HERE, ADDRESS, port, {"path": "/a"}) == 500
    async with asyncio.timeout(5), server(saying("HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n")) as port:
        with pytest.raises(OSError, match="10 redirects"):
            await probes.http_status(HERE, ADDRESS, port, {})


async def test_the_request_is_what_the_probe_says() -> None:
    heads: list[str] = []

    async def answer(head: bytes, writer: asyncio.StreamWriter) -> None:
        heads.append(head.decode())
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")

    async with asyncio.timeout(5), server(answer) as port:
        headers = [
            {"name": "Host", "value": "shop.example"},
            {"name": "X-A", "value": "1"},
            {"name": "X-A", "value": "2"},
        ]
        await probes.http_status(HERE, ADDRESS, port, {"path": "ready?deep=1", "httpHeaders": headers})
        await probes.http_status(HERE, ADDRESS, port, {"httpHeaders": [{"name": "User-Agent", "value": ""}]})
        await probes.http_status(HERE, "192.0.2.1", port, {"host": ADDRESS})
    assert heads[0].startswith("GET /ready?deep=1 HTTP/1.1\r\n")
    assert "Host: shop.example\r\nX-A: 1\r\nX-A: 2\r\n" in heads[0]
    assert heads[0].count("Host:") == 1
    assert "User-Agent: kube-probe/" in heads[0]
    assert heads[1].startswith("GET / HTTP/1.1\r\n")
    assert "User-Agent" not in heads[1]
    assert f"Host: {ADDRESS}:{port}\r\n" in heads[2]


async def test_a_probe_of_the_pod_comes_from_where_nothing_is_captured() -> None:
    """The rules of the pod redirect what an agent of the proxy's user sends to the pod's own address, but not from 127.0.0.6."""
    clients: list[str] = []

    async def answer(_: bytes, writer: asyncio.StreamWriter) -> None:
        clients.append(writer.get_extra_info("peername")[0])
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")

    async with asyncio.timeout(5), server(answer) as port:
        await probes.http_status(HERE, ADDRESS, port, {})
        await probes.http_status(HERE, "192.0.2.1", port, {"host": ADDRESS})
    assert clients == ["127.0.0.6", "127.0.0.1"]


async def test_a_certificate_is_not_verified(tmp_path: Path) -> None:
    pair = tmp_path / "pair.pem"
    pair.write_bytes(b"".join(Authority.create().server(["nobody"], dt.timedelta(hours=1))))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair)
    async with asyncio.timeout(5), server(saying("HTTP/1.1 200 OK\r\n\r\n"), tls=context) as port:
        assert await probes.http_status(HERE, ADDRESS, port, {"scheme": "HTTPS"}) == 200
        with pytest.raises((OSError, EOFError)):
            async with asyncio.timeout(1):
                await probes.http_status(HERE, ADDRESS, port, {})


async def test_a_server_on_127_0_0_1_only_does_not_pass() -> None:
    async with asyncio.timeout(5), server(saying("HTTP/1.1 200 OK\r\n\r\n"), "127.0.0.1") as port:
        with pytest.raises(ConnectionRefusedError):
            await probes.http_status(HERE, ADDRESS, port, {})
        with pytest.raises(ConnectionRefusedError):
            await probes.tcp(HERE, ADDRESS, port, {})
        await probes.tcp(HERE, ADDRESS, port, {"host": "127.0.0.1"})


@contextlib.asynccontextmanager
async def health(state: int) -> AsyncIterator[int]:
    class Health(grpc.GenericRpcHandler):  # type: ignore[misc]
        def service(self, _: Any) -> Any:
            async def answer(_request: bytes, _context: Any) -> bytes:
                return bytes([8, state])

            return grpc.unary_unary_rpc_method_handler(answer)

    made = grpc.aio.server(handlers=(Health(),))
    port = made.add_insecure_port(f"{ADDRESS}:0")
    await made.start()
    try:
        yield port
    finally:
        await made.stop(None)


async def status_page(probers: str, path: str) -> int:
    """The status of a page of the agent for a pod with these rewritten probes."""
    variable = {"name": "ISTIO_KUBE_APP_PROBERS", "value": probers}
    pod = {"metadata": {}, "spec": {"containers": [{"name": "istio-proxy", "env": [variable]}]}}
    code, _ = await StatusServer(PodSockets(HERE), ADDRESS, pod)._page(path)
    return code


async def test_the_agent_judges_rewritten_probes_as_the_kubelet_does() -> None:
    path = "/app-health/app/readyz"
    async with asyncio.timeout(20), server(endless) as http, health(1) as well, health(2) as ill:
        for probe, status in (
            (f'{{"httpGet": {{"port": {http}}}}}', 200),
            (f'{{"tcpSocket": {{"port": {http}}}}}', 200),
            (f'{{"grpc": {{"port": {well}}}}}', 200),
            (f'{{"grpc": {{"port": {ill}}}}}', 503),
            (f'{{"grpc": {{"port": {http}}}}}', 503),  # no gRPC there
            ('{"httpGet": {"port": 1}}', 503),
        ):
            assert await status_page(f'{{"{path}": {probe}}}', path) == status, probe
        assert await status_page("{}", path) == 404


@pytest.mark.parametrize("text", ["", "[]", '{"/app-health/app/readyz": 1}', "[" * 100_000, "\ud800"])
async def test_a_variable_that_is_not_the_injectors_serves_no_probe(text: str) -> None:
    assert await status_page(text, "/app-health/app/readyz") == 404


@pytest.mark.parametrize(
    ("source", "destination", "status"),
    [
        ("127.0.0.1", "127.0.0.1", 200),
        (ADDRESS, ADDRESS, 200),
        ("127.0.0.3", ADDRESS, 403),
        ("127.0.0.6", ADDRESS, 403),  # Envoy's address for what comes from outside
    ],
)
async def test_metrics_may_be_for_the_pod_only(source: str, destination: str, status: int) -> None:
    pages = MergedMetrics(HERE, StandardMetrics(Workload()), ())
    agent = StatusServer(PodSockets(HERE), ADDRESS, {"spec": {}}, pages, local_only=True)
    async with asyncio.timeout(20), await asyncio.start_server(agent._answer, "0.0.0.0", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection(destination, port, local_addr=(source, 0))
        writer.write(b"GET /metrics HTTP/1.1\r\n\r\n")
        assert int((await reader.read()).split(b" ")[1]) == status
        writer.close()
