"""Servers in place of our own: requests are answered as they answer, and spans and credentials go where they should."""

from __future__ import annotations

import base64
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from yarl import URL

from sailcloth.local import egress
from sailcloth.telemetry.api import Api, Info
from sailcloth.telemetry.exposition import Metadata
from sailcloth.telemetry.metrics.store import Store
from sailcloth.telemetry.traces import forwarding, otlp, zipkin
from sailcloth.telemetry.traces.forwarding import SpanForwarder
from sailcloth.telemetry.upstreams import Upstreams

from ..authorities import DAY, PEM, Authority, key_pem

SPAN = zipkin.read(
    json.dumps(
        [
            {
                "traceId": "463ac35c9f6413ad48485a3953bb6124",
                "id": "0000000000000002",
                "parentId": "0000000000000001",
                "name": "reviews:9080/*",
                "kind": "SERVER",
                "timestamp": 1_900_000_000_000_000,
                "duration": 1000,
                "localEndpoint": {"serviceName": "reviews.default"},
                "tags": {"http.status_code": "200"},
            }
        ]
    ).encode()
)


async def echo(request: web.Request) -> web.StreamResponse:
    if request.path == "/half":
        response = web.StreamResponse(headers={"Content-Length": "100"})
        await response.prepare(request)
        await response.write(b"half")
        assert request.transport is not None
        request.transport.abort()
        return response
    if request.path == "/moved":
        raise web.HTTPFound("http://elsewhere.example/")
    wanted = ("Authorization", "X-Given", "Connection", "Host")
    body: dict[str, Any] = {name: request.headers[name] for name in wanted if name in request.headers}
    return web.json_response({**body, "path": request.raw_path, "body": await request.text()}, status=418)


@pytest.fixture
async def server() -> AsyncIterator[TestServer]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", echo)
    async with TestServer(app) as made:
        yield made


@contextlib.asynccontextmanager
async def standing_in(url: str, sockets: Mapping[str, str] | None = None) -> AsyncIterator[TestClient[Any, Any]]:
    """A client of the metrics API, which another server answers."""
    upstreams = Upstreams(sockets or {})
    app = Api(Store(), Metadata(), Info()).application(upstreams.handler(url))
    async with TestClient(TestServer(app)) as client:
        yield client
    await upstreams.close()


async def test_requests_are_answered_as_the_server_does(server: TestServer) -> None:
    url = f"http://127.0.0.1:{server.port}"
    async with standing_in(url) as client:
        path = "/api/v1/query?query=sum%28up%29&x=%2F"
        headers = {"Authorization": "Bearer a", "X-Given": "b"}
        answer = await client.post(URL(path, encoded=True), data="c", headers=headers)
        assert answer.status == 418
        expected = {**headers, "Host": f"127.0.0.1:{server.port}", "path": path, "body": "c"}
        assert await answer.json() == expected
        assert (await client.get("/moved", allow_redirects=False)).status == 302


async def test_half_an_answer_does_not_look_whole(server: TestServer) -> None:
    async with standing_in(f"http://127.0.0.1:{server.port}") as client:
        with pytest.raises(aiohttp.ClientError):
            await (await client.get("/half")).read()


async def test_a_server_that_is_away_is_a_bad_gateway(server: TestServer) -> None:
    url = f"http://ann:secret@127.0.0.1:{server.port}"
    await server.close()
    async with standing_in(url) as client:
        answer = await client.get("/api/v1/query")
        text = await answer.text()
    assert (answer.status, "does not answer" in text, "secret" in text) == (502, True, False)
    upstreams = Upstreams({})
    with pytest.raises(OSError, match=r"127\.0\.0\.1") as error:
        await upstreams.post(url, b"", {})
    assert "secret" not in str(error.value)
    await upstreams.close()


async def test_credentials_of_the_url_take_the_place_of_the_callers(server: TestServer) -> None:
    async with standing_in(f"http://ann:secret@127.0.0.1:{server.port}") as client:
        answer = await client.get("/", headers={"Authorization": "Bearer a"})
        assert (await answer.json())["Authorization"] == "Basic " + base64.b64encode(b"ann:secret").decode()


async def test_a_socket_leads_to_the_server(server: TestServer, tmp_path: Path) -> None:
    assert server.port is not None
    path = tmp_path / "to.sock"
    relay = await egress.serve_to(path, "127.0.0.1", server.port, False)
    async with standing_in("http://prometheus.example:9090", {"http://prometheus.example:9090": str(path)}) as client:
        assert (await (await client.get("/a")).json())["Host"] == "prometheus.example:9090"
    relay.close()
    await relay.wait_closed()


@pytest.mark.parametrize("trusted", [True, False])
async def test_the_relay_verifies_who_it_speaks_tls_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trusted: bool
) -> None:
    ca, key = Authority("theirs"), ec.generate_private_key(ec.SECP256R1())
    certificate = Authority._made(ca, x509.Name([]), key, False, [x509.DNSName("localhost")], (-DAY, DAY))
    (tmp_path / "server.pem").write_bytes(certificate.public_bytes(PEM) + key_pem(key))
    (tmp_path / "roots.pem").write_bytes((ca if trusted else Authority("another")).pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "roots.pem"))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "server.pem")
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", echo)
    path, origin = tmp_path / "to.sock", "https://localhost:9090"
    made = TestServer(app, scheme="https", host="localhost")
    await made.start_server(ssl=context)
    async with made:
        assert made.port is not None
        relay = await egress.serve_to(path, "localhost", made.port, True)
        async with standing_in(origin, {origin: str(path)}) as client:
            answer = await client.get("/a")
            assert answer.status == (418 if trusted else 502)
        relay.close()
        await relay.wait_closed()


@pytest.mark.parametrize(
    ("given", "endpoint", "beside"),
    [
        ("http://a:9411", "http://a:9411/api/v2/spans", "http://a:9411/api/v2/spans"),
        ("http://a:4318", "http://a:4318/v1/traces", "http://a:4318/v1/traces"),
        ("http://a:16686/", "http://a:16686/v1/traces", "http://a:4318/v1/traces"),
        ("http://a:16686/jaeger", "http://a:16686/jaeger", "http://a:4318/v1/traces"),
    ],
)
def test_where_a_system_takes_spans(given: str, endpoint: str, beside: str) -> None:
    assert (forwarding.endpoint(given), forwarding.endpoint_beside(given)) == (endpoint, beside)


class Receiver:
    """Answers with given outcomes, then with 202; keeps what it has accepted."""

    def __init__(self, *outcomes: int | Exception) -> None:
        self.outcomes, self.accepted = list(outcomes), list[tuple[bytes, str]]()

    async def post(self, _: str, body: bytes, headers: Mapping[str, str]) -> int:
        outcome = self.outcomes.pop(0) if self.outcomes else 202
        if isinstance(outcome, Exception):
            raise outcome
        if outcome < 300:
            self.accepted.append((body, headers["Content-Type"]))
        return outcome


async def test_spans_go_in_the_receivers_protocol() -> None:
    message = json.dumps(zipkin.write(SPAN)).encode()
    for url, read in (("http://a/api/v2/spans", zipkin.read), ("http://a/v1/traces", otlp.read_json)):
        receiver = Receiver()
        forwarder = SpanForwarder(url, receiver.post)
        forwarder.take("/api/v2/spans", "application/json", message, SPAN)
        assert await forwarder.send()
        ((body, kind),) = receiver.accepted
        assert (read(body), kind) == (SPAN, "application/json")
    forwarder.take("/v1/traces", "application/x-protobuf", b"as it came", SPAN)
    assert await forwarder.send()
    assert receiver.accepted[-1] == (b"as it came", "application/x-protobuf")


async def test_a_receiver_that_fails_gets_spans_later_in_order() -> None:
    receiver = Receiver(OSError("refused"), TimeoutError(), 503, 429, 400)
    forwarder = SpanForwarder("http://a/v1/traces", receiver.post)
    for number in range(3):
        forwarder.take("/v1/traces", "application/json", b"%d" % number, SPAN)
    assert [await forwarder.send() for _ in range(7)] == [False] * 4 + [True] * 3
    assert [body for body, _ in receiver.accepted] == [b"1", b"2"]  # the first was refused for good
    assert (forwarder.failures, forwarder.dropped) == (4, 1)


async def test_what_waits_is_bounded() -> None:
    receiver = Receiver()
    forwarder = SpanForwarder("http://a/v1/traces", receiver.post)
    for _ in range(20):
        forwarder.take("/v1/traces", "application/json", bytes(1 << 20), SPAN)
    assert forwarder.dropped == 4
    assert [await forwarder.send() for _ in range(16)] == [True] * 16
    assert len(receiver.accepted) == 16
