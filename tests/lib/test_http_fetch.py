"""Documents from addresses that users wrote: over real sockets of loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from sailcloth.lib.http_fetch import FetchError, fetch, is_blocked, networks

OTHER = networks(["127.0.0.2/32"])  # blocked in these tests; 127.0.0.1 is not


@pytest.fixture
async def server() -> AsyncIterator[str]:
    """Answers at 127.0.0.1 and 127.0.0.2, on one port."""

    async def document(_: web.Request) -> web.Response:
        return web.Response(text="document")

    async def away(request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": request.query["to"]})

    async def large(_: web.Request) -> web.Response:
        return web.Response(body=b"x" * ((1 << 20) + 1))

    async def slow(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(30)
        return web.Response()

    app = web.Application()
    app.add_routes([web.get(f"/{f.__name__}", f) for f in (document, away, large, slow)])
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    first = web.TCPSite(runner, "127.0.0.1", 0)
    await first.start()
    port = runner.addresses[0][1]
    await web.TCPSite(runner, "127.0.0.2", port).start()
    yield f":{port}"
    await runner.cleanup()


async def test_it_follows_a_redirect(server: str) -> None:
    assert await fetch(f"http://127.0.0.1{server}/away?to=/document", 5, OTHER) == b"document"


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.2{}/document",
        "http://[::ffff:127.0.0.2]{}/document",
        "http://2130706434{}/document",  # the same address as one number
        "http://127.0.0.1{}/away?to=http://127.0.0.2{}/document",
        "http://rebound.example{}/document",
        "http://127.0.0.1{}/away?to=http://rebound.example{}/document",
    ],
)
async def test_a_blocked_address_gets_no_connection(server: str, url: str) -> None:
    with pytest.raises(FetchError, match=r"blocked|canonical"):
        await fetch(url.replace("{}", server), 5, OTHER, {"rebound.example": "127.0.0.2"}.get)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/nothing", "status 404"),
        ("/large", "more than 1 MiB"),
        ("/slow", "no answer within 0.5 s"),
        ("/away?to=/away%3Fto=/away%253Fto=/away%25253Fto=/document", "more than 3 redirects"),
        ("/away?to=file:///etc/passwd", "redirects from"),
        ("/away?to=//[", "Invalid"),
    ],
)
async def test_it_says_why_there_is_no_document(server: str, path: str, reason: str) -> None:
    with pytest.raises(FetchError, match=reason):
        await fetch(f"http://127.0.0.1{server}{path}", 0.5)


async def test_credentials_are_neither_sent_nor_told(server: str) -> None:
    assert await fetch(f"http://me:secret@127.0.0.1{server}/document", 5) == b"document"
    with pytest.raises(FetchError) as raised:
        await fetch(f"http://me:secret@127.0.0.1{server}/nothing", 5)
    assert "secret" not in str(raised.value)


async def test_a_port_where_nobody_listens() -> None:
    with pytest.raises(FetchError, match=r"(?i)connect"):
        await fetch("http://127.0.0.1:1/", 5)


def test_an_address_in_its_other_form_is_blocked_too() -> None:
    assert is_blocked("::ffff:169.254.169.254", networks(["169.254.0.0/16"]))
    assert is_blocked("fe80::1%eth0", networks(["fe80::/10"]))
    assert not is_blocked("10.0.0.1", networks(["169.254.0.0/16", "::1/128"]))
