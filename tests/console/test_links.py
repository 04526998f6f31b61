"""Short links: who may make them, where they may lead, and that they outlive a restart of the console."""

from __future__ import annotations

import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from sailcloth.console import links
from sailcloth.console.answers import BadQuery, Missing
from sailcloth.console.links import Links

VIEW = "/graph?namespaces=shop&at=1796053310"


@pytest_asyncio.fixture
async def served(tmp_path: Path) -> AsyncIterator[TestClient[web.Request, web.Application]]:
    app = web.Application(middlewares=[_errors])
    app.add_routes(Links(tmp_path / "links.json").routes())
    async with TestClient(TestServer(app)) as client:
        yield client


@web.middleware
async def _errors(request: web.Request, handler: object) -> web.StreamResponse:
    try:
        return await handler(request)  # type: ignore[no-any-return, operator]
    except (BadQuery, Missing) as error:
        return web.Response(status=400 if isinstance(error, BadQuery) else 404, text=str(error))


async def short(client: TestClient[web.Request, web.Application], path: str) -> str:
    async with client.post("/api/links", json={"path": path}) as answer:
        assert answer.status == 200, await answer.text()
        name: str = (await answer.json())["path"]
        return name


async def leads_to(client: TestClient[web.Request, web.Application], name: str) -> str:
    async with client.get(name, allow_redirects=False) as answer:
        return answer.headers.get("Location", "")


async def test_a_short_link_leads_to_its_view_also_after_a_restart(
    served: TestClient[web.Request, web.Application], tmp_path: Path
) -> None:
    name = await short(served, VIEW)
    assert len(name) <= 11
    assert await short(served, VIEW) == name  # one name for one view
    assert await short(served, "/mesh") != name
    assert await leads_to(served, name) == VIEW
    assert stat.S_IMODE((tmp_path / "links.json").stat().st_mode) == 0o600
    app = web.Application()
    app.add_routes(Links(tmp_path / "links.json").routes())
    async with TestClient(TestServer(app)) as restarted:
        assert await leads_to(restarted, name) == VIEW


@pytest.mark.parametrize(
    "path",
    [
        "https://elsewhere.example/",
        "//elsewhere.example/",
        "/\\elsewhere.example",
        "graph",
        "/graph\r\nSet-Cookie: a=b",
        "/api/logout",
        "/l/again",
        "/graph?token=secret",
        "/?a=1&%74oken=secret",
        "/" + "a" * 4096,
    ],
)
async def test_a_short_link_leads_only_into_the_console(
    served: TestClient[web.Request, web.Application], path: str
) -> None:
    async with served.post("/api/links", json={"path": path}) as answer:
        text = await answer.text()
        assert (answer.status, text.partition(":")[0]) == (400, "path")
        assert "secret" not in text


async def test_the_link_not_used_for_the_longest_time_goes_first(
    served: TestClient[web.Request, web.Application], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(links, "_MOST", 2)
    first, second = await short(served, "/1"), await short(served, "/2")
    assert await leads_to(served, first) == "/1"
    third = await short(served, "/3")
    assert [await leads_to(served, name) for name in (first, second, third)] == ["/1", "", "/3"]
    async with served.get(second) as answer:
        assert (answer.status, "short link" in await answer.text()) == (404, True)


def test_a_damaged_file_costs_the_links_only(tmp_path: Path) -> None:
    file = tmp_path / "links.json"
    file.write_text("[[")
    assert len(Links(file).routes()) == 2
