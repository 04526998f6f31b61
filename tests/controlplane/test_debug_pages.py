"""Debug pages over HTTP: none without a token, and of other namespaces none."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from sailcloth.analysis import manifests, offline
from sailcloth.controlplane import debug
from sailcloth.controlplane.change_log import ChangeLog
from sailcloth.controlplane.connected_proxies import ConnectedProxies
from sailcloth.xds.cache import ResponseCache
from sailcloth.xds.server import Connection
from sailcloth.xds.stream import Stream

OBJECTS = "".join(
    f"---\napiVersion: v1\nkind: Service\nmetadata: {{name: web, namespace: {namespace}}}\nspec: {{ports: [{{port: 80}}]}}\n"
    for namespace in ("shop", "other")
)
PAGES = ("caz", "changez", "syncz", "config_dump?proxyID=app.shop", "registryz", "ndsz?proxyID=app.shop")
Get = Callable[[str, str], Awaitable[tuple[int, str]]]


async def scope(request: web.Request) -> str:
    """The token is the namespace that it is for."""
    namespace = request.headers.get("Authorization", "")
    if not namespace:
        raise PermissionError("no service-account token was sent")
    return "*" if namespace == "istio-system" else namespace


@pytest.fixture
async def get() -> AsyncIterator[Get]:
    """(status, text) of a page for a token."""
    objects, _ = manifests.load([OBJECTS])
    proxies = ConnectedProxies(offline.mesh_of(objects))
    for namespace in ("shop", "other"):
        proxies.join(Connection(Stream(ResponseCache()), namespace), offline.describe({"namespace": namespace}))
    app = web.Application()
    app.add_routes(debug.routes(proxies, ChangeLog(), "istiod", scope, lambda: {"issuer": None}))
    async with TestClient(TestServer(app)) as client:

        async def page(path: str, token: str) -> tuple[int, str]:
            async with client.get(f"/debug/{path}", headers={"Authorization": token} if token else {}) as answer:
                return answer.status, await answer.text()

        yield page


@pytest.mark.parametrize("page", PAGES)
async def test_without_a_token_there_is_no_page(get: Get, page: str) -> None:
    status, text = await get(page, "")
    assert status == 401
    assert "no service-account token was sent" in text


@pytest.mark.parametrize("page", PAGES)
async def test_the_installations_namespace_sees_all(get: Get, page: str) -> None:
    assert (await get(page, "istio-system"))[0] == 200


@pytest.mark.parametrize(
    ("page", "token", "expected"),
    [
        ("caz", "shop", 403),
        ("config_dump?proxyID=app.shop", "shop", 200),
        ("config_dump?proxyID=app.shop", "other", 403),
        ("config_dump?proxyID=app.nowhere", "other", 403),
        ("ndsz?proxyID=app.shop", "other", 403),
        ("ndsz?proxyID=app.shop", "shop", 200),
    ],
)
async def test_others_see_their_own(get: Get, page: str, token: str, expected: int) -> None:
    assert (await get(page, token))[0] == expected


@pytest.mark.parametrize("page", ["syncz", "registryz"])
async def test_lists_have_what_is_of_the_callers_namespace(get: Get, page: str) -> None:
    status, text = await get(page, "shop")
    assert status == 200
    assert "shop" in text
    assert "other" not in text
    assert "other" in (await get(page, "istio-system"))[1]
