"""Debug pages over HTTP: none without a token, and of other namespaces none."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from sailcloth.analysis import manifests, offline
from sailcloth.controlplane import debug, log_scopes
from sailcloth.controlplane.change_log import ChangeLog
from sailcloth.controlplane.connected_proxies import ConnectedProxies
from sailcloth.controlplane.debug_pages import DebugPages
from sailcloth.xds.cache import ResponseCache
from sailcloth.xds.server import Connection
from sailcloth.xds.stream import Stream

OBJECTS = "".join(
    f"---\napiVersion: v1\nkind: Service\nmetadata: {{name: web, namespace: {namespace}}}\nspec: {{ports: [{{port: 80}}]}}\n"
    for namespace in ("shop", "other")
)
OBJECTS += "---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: nobody, namespace: shop}\nspec: {}\n"
OBJECTS += "---\napiVersion: v1\nkind: Secret\nmetadata: {name: key, namespace: shop}\ndata: {key: c2VjcmV0}\n"
OF_A_PROXY = ("config_dump", "ecdsz", "edsz", "instancesz", "ndsz", "sidecarz")
OF_A_NAMESPACE = ("adsz", "changez", "connections", "endpointShardz", "endpointz", "list", "registryz", "syncz")
OF_THE_MESH = ("authorizationz", "cachez", "caz", "clusterz", "configz", "inject", "krtz", "mcsz", "mesh", "networkz")
OF_THE_MESH += ("push_status", "pushcontext", "resourcesz", "telemetryz")
PAGES = (*(f"{page}?proxyID=app.shop" for page in OF_A_PROXY), *OF_A_NAMESPACE, *OF_THE_MESH)
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
    app.add_routes(debug.routes(DebugPages(proxies, ChangeLog(), "istiod"), scope))
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
        *((page, "shop", 403) for page in (*OF_THE_MESH, "force_disconnect?proxyID=app.shop", "adsz?push=true")),
        *((page, "shop", 200) for page in OF_A_NAMESPACE),
        *((f"{page}?proxyID=app.shop", "shop", 200) for page in OF_A_PROXY),
        *((f"{page}?proxyID=app.shop", "other", 403) for page in OF_A_PROXY),
        ("config_dump?proxyID=app.nowhere", "other", 403),
        ("config_dump?proxyID=app.nowhere", "istio-system", 404),
        ("config_dump?proxyID=shop/app", "shop", 200),
        ("config_dump?proxyID=sidecar~1.1.1.1~app.shop~x", "shop", 200),
        ("changez?limit=x", "shop", 400),
        ("secretz", "istio-system", 404),
    ],
)
async def test_others_see_their_own(get: Get, page: str, token: str, expected: int) -> None:
    assert (await get(page, token))[0] == expected


@pytest.mark.parametrize("page", ["adsz", "connections", "endpointz", "registryz", "syncz"])
async def test_lists_have_what_is_of_the_callers_namespace(get: Get, page: str) -> None:
    status, text = await get(page, "shop")
    assert status == 200
    assert "shop" in text
    assert "other" not in text
    assert "other" in (await get(page, "istio-system"))[1]


async def test_the_list_has_every_page(get: Get) -> None:
    listed = json.loads((await get("list", "shop"))[1])
    assert {f"/debug/{page.partition('?')[0]}" for page in PAGES} | {"/debug/force_disconnect"} == set(listed)


@pytest.mark.parametrize(
    ("page", "fields"),
    [
        (
            "syncz",
            {"proxy", "cluster_id", "istio_version", "cluster_sent", "cluster_acked", "route_sent", "route_acked"},
        ),
        ("registryz", {"hostname", "ports", "Attributes", "clusterVIPs", "Resolution", "MeshExternal", "creationTime"}),
        ("configz", {"kind", "apiVersion", "metadata", "spec"}),
        ("clusterz", {"id", "secretName", "syncStatus"}),
    ],
)
async def test_rows_have_istios_fields(get: Get, page: str, fields: set[str]) -> None:
    rows = json.loads((await get(page, "istio-system"))[1])
    assert rows
    assert all(fields <= set(row) for row in rows)


async def test_no_page_shows_a_kubernetes_object(get: Get) -> None:
    assert {row["kind"] for row in json.loads((await get("configz", "istio-system"))[1])} == {"AuthorizationPolicy"}
    policies = json.loads((await get("authorizationz", "istio-system"))[1])["authorization_policies"]
    assert policies["namespace_to_policies"]["shop"][0]["name"] == "nobody"
    assert policies["root_namespace"] == "istio-system"


@pytest.mark.parametrize(("token", "expected"), [("", 401), ("shop", 403), ("istio-system", 200)])
async def test_log_scopes_are_the_installations(get: Get, token: str, expected: int) -> None:
    assert (await get("../scopej/", token))[0] == expected


def test_log_scopes() -> None:
    log = logging.getLogger("sailcloth.ca")
    try:
        log_scopes.set_level("ca", "debug")
        assert log.level == logging.DEBUG
        assert log_scopes.scope("ca")["output_level"] == "debug"
        with pytest.raises(ValueError, match="unknown level 'loud'; use none, fatal"):
            log_scopes.set_level("ca", "loud")
        with pytest.raises(LookupError, match="unknown scope 'sea'; known are ads"):
            log_scopes.set_level("sea", "info")
    finally:
        log.setLevel(logging.NOTSET)
