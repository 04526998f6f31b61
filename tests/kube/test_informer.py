"""An informer against a server that does what the network does to it: ends watches, forgets revisions, falls silent."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import pytest
from aiohttp import web

from sailcloth.kube import informer
from sailcloth.kube.client import Client
from sailcloth.kube.config import Endpoint
from sailcloth.kube.informer import Informer
from sailcloth.kube.resources import CONFIGMAPS

DEADLINE_S = 10


def obj(name: str, version: int) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "n", "resourceVersion": str(version)}}


class Api:
    """Lists what `items` holds; each watch is one of `watches`: its events, and whether it then ends."""

    def __init__(self) -> None:
        self.items: list[dict[str, Any]] = []
        self.version = 1
        self.watches: list[tuple[list[dict[str, Any]], bool]] = []
        self.asked: list[str] = []  # the revisions from which was watched
        self.lists = 0
        self.breaks = False  # a watch that ends breaks off, as with a server that was killed
        self.meanwhile: Callable[[], None] = lambda: None  # happens when a watch begins

    async def serve(self, request: web.Request) -> web.StreamResponse:
        if request.query.get("watch") != "true":
            self.lists += 1
            return web.json_response({"metadata": {"resourceVersion": str(self.version)}, "items": self.items})
        self.asked.append(request.query["resourceVersion"])
        self.meanwhile()
        events, ends = self.watches.pop(0) if self.watches else ([], False)
        answer = web.StreamResponse()
        await answer.prepare(request)
        for event in events:
            await answer.write(json.dumps(event).encode() + b"\n")
        if ends and self.breaks and request.transport is not None:
            request.transport.abort()
        if not ends:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
        return answer


@pytest.fixture
async def api() -> AsyncIterator[tuple[Api, Client]]:
    made, app = Api(), web.Application()
    app.router.add_route("*", "/{tail:.*}", made.serve)
    runner = web.AppRunner(app, shutdown_timeout=0, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    async with Client(Endpoint(f"http://127.0.0.1:{port}", None)) as client:
        yield made, client
    await runner.cleanup()


@contextlib.asynccontextmanager
async def watching(client: Client) -> AsyncIterator[list[tuple[str, str]]]:
    """What an informer reports, (kind, name), while it runs."""
    seen: list[tuple[str, str]] = []
    made = Informer(client, CONFIGMAPS, msgspec.json.decode)
    task = asyncio.create_task(made.run(lambda kind, _, ident: seen.append((kind, ident[1]))))
    try:
        yield seen
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(check: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not check():  # noqa: ASYNC110  conditions of several kinds
            await asyncio.sleep(0.01)


async def test_a_watch_that_ends_goes_on_from_where_it_was(api: tuple[Api, Client]) -> None:
    server, client = api
    server.items = [obj("a", 1)]
    server.watches = [
        ([{"type": "MODIFIED", "object": obj("a", 2)}, {"type": "BOOKMARK", "object": obj("", 7)}], True),
        ([{"type": "ADDED", "object": obj("b", 8)}, {"type": "DELETED", "object": obj("a", 9)}], False),
    ]
    async with watching(client) as seen:
        await until(lambda: len(seen) == 4)
    assert seen == [("ADDED", "a"), ("MODIFIED", "a"), ("ADDED", "b"), ("DELETED", "a")]
    assert server.asked == ["1", "7"]
    assert server.lists == 1


async def test_a_watch_that_breaks_off_repeats_nothing(api: tuple[Api, Client]) -> None:
    """A deletion that is reported again would take away what was created since."""
    made, client = api
    made.breaks = True
    made.watches = [
        (
            [
                {"type": "ADDED", "object": obj("a", 2)},
                {"type": "DELETED", "object": obj("a", 3)},
                {"type": "ADDED", "object": obj("a", 4)},
            ],
            True,
        ),
        ([], True),
    ]
    async with watching(client) as events:
        await until(lambda: len(made.asked) == 3)
        assert events == [("ADDED", "a"), ("DELETED", "a"), ("ADDED", "a")]
    assert made.asked == ["1", "4", "4"]


async def test_a_forgotten_revision_is_listed_anew_and_what_is_gone_is_told(api: tuple[Api, Client]) -> None:
    server, client = api
    server.items = [obj("a", 1), obj("b", 1)]
    gone = {"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired"}}
    server.watches = [([gone], True)]

    def change() -> None:
        server.items, server.version = [obj("b", 1), obj("c", 5)], 5

    server.meanwhile = change
    async with watching(client) as seen:
        await until(lambda: len(seen) == 4)
    assert seen == [("ADDED", "a"), ("ADDED", "b"), ("ADDED", "c"), ("DELETED", "a")]


async def test_a_server_that_fell_silent_is_asked_again(
    api: tuple[Api, Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(informer, "_SILENT_S", 0.1)
    server, client = api
    server.watches = [([], False), ([{"type": "ADDED", "object": obj("late", 3)}], False)]
    async with watching(client) as seen:
        await until(lambda: bool(seen))
    assert server.asked[:2] == ["1", "1"]


async def test_a_server_that_ends_each_watch_at_once_is_not_flooded(api: tuple[Api, Client]) -> None:
    server, client = api
    server.watches = [([], True)] * 1000
    async with watching(client):
        await until(lambda: len(server.asked) > 2)
        before, began = len(server.asked), asyncio.get_running_loop().time()
        await until(lambda: len(server.asked) > before + 3)
        took = asyncio.get_running_loop().time() - began
    assert took >= 3 * informer._PAUSE_S
