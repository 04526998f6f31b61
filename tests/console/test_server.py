"""The console's server: login, sessions, rights, other sites' pages, bad parameters, sources that do not answer, files of the page."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import pytest_asyncio
from aiohttp.test_utils import TestClient, TestServer
from yarl import URL

from sailcloth.analysis.traffic_graph import Graph
from sailcloth.console import openapi
from sailcloth.console.access import Access
from sailcloth.console.server import COOKIE, Console
from sailcloth.console.sources import Sync, Unavailable

from .cluster import DUMP, EVENTS, LISTS, PEER_AUTHENTICATION, REFUSED, TRACES, TRAFFIC, VIRTUAL_SERVICE

Object = dict[str, Any]
Web = TestClient[Any, Any]


class NoLog:
    """The answer for the log of a container that has not started."""

    status = 400

    async def read(self) -> bytes:
        return b'{"kind": "Status", "reason": "BadRequest", "message": "waiting"}'


class ApiServer:
    """Answers reviews: tokens by user; rights by user and namespace, of which the empty one stands for all."""

    def __init__(self) -> None:
        self.users = {"admin-token": "admin", "shop-token": "shopkeeper"}
        self.rights = {("admin", ""), ("shopkeeper", "shop")}
        self.refused: set[str] = set()  # resources that nobody may read
        self.viewed: set[str] = set()  # those that viewers may get, who otherwise only list
        self.calls = 0

    async def list(self, resource: Any, namespace: str) -> tuple[list[Object], str]:
        return [e for e in EVENTS if e["metadata"]["namespace"] == namespace], ""

    @contextlib.asynccontextmanager
    async def request(self, method: str, path: str, **_: Any) -> AsyncIterator[Any]:
        yield NoLog()

    async def call(self, method: str, path: str, body: Object) -> bytes:
        self.calls += 1
        spec = body["spec"]
        if path.endswith("tokenreviews"):
            name = self.users.get(spec["token"])
            return orjson.dumps({"status": {"authenticated": name is not None, "user": {"username": name}}})
        attributes = spec["resourceAttributes"]
        what = "/".join(filter(None, (attributes["resource"], attributes.get("subresource"))))
        allowed = (spec["user"], attributes["namespace"]) in self.rights and what not in self.refused
        allowed = allowed and (attributes["verb"] == "list" or spec["user"] == "admin" or what in self.viewed)
        return orjson.dumps({"status": {"allowed": allowed}})


class FakeCluster:
    version = 1
    problems: tuple[str, ...] = ()

    def __init__(self, client: Any = None) -> None:
        self.client = client

    def lists(self) -> dict[str, list[Object]]:
        return LISTS

    async def options(self) -> str:
        return "accessLogFile: /dev/stdout\n"

    recent_options = options

    def config(self) -> list[Object]:
        return [VIRTUAL_SERVICE, REFUSED, PEER_AUTHENTICATION]


class FakeMetrics:
    def __init__(self) -> None:
        self.graphs: list[Graph | Unavailable] = [TRAFFIC]
        self.asked: list[tuple[str, float | None]] = []
        self.ranges: list[str] = []
        self.queries: list[str] = []

    async def graph(self, window: str, at: float | None = None) -> Graph:
        self.asked.append((window, at))
        current = self.graphs.pop(0) if len(self.graphs) > 1 else self.graphs[0]
        if isinstance(current, Unavailable):
            raise current
        return current

    async def known(self, at: float | None = None) -> Graph:
        return TRAFFIC

    async def query(self, expression: str, at: float | None = None) -> list[Any]:
        self.queries.append(expression)
        return [({"__name__": "python_gc_collections_total"}, 1.0)]

    async def range(self, expression: str, times: Any) -> list[Any]:
        self.ranges.append(expression)
        return [({}, [(times.start, 1.0), (times.end, 2.0)])]


class FakeTracing:
    def __init__(self) -> None:
        self.asked: list[tuple[str, float, float, int, bool]] = []

    async def find(self, *asked: Any) -> list[Object]:
        self.asked.append(asked)
        return TRACES

    async def trace(self, identifier: str) -> Object | None:
        return next((trace for trace in TRACES if trace["traceID"] == identifier), None)


class FakePlane:
    async def last_change(self, kind: str, namespace: str, name: str) -> Object | None:
        answers = [{"proxy": "web-v1-abc-1.shop", "type": "RDS", "ms": 3.5, "complete": True, "error": ""}]
        return {"received": 1000.0, "computedMs": 1.5, "answers": answers, "waiting": []} if name == "cart" else None

    sync = Sync(
        frozenset({"web-v1-abc-1.shop", "ledger-v1-abc-1.bank"}),
        frozenset({"ledger-v1-abc-1.bank"}),
        "1.30.0",
        [
            {
                "name": "web-v1-abc-1.shop",
                "version": "1.30.0",
                "types": {"CDS": "SYNCED", "LDS": "STALE"},
                "errors": {},
                "connectedAt": "2026-11-30T08:00:00Z",
            }
        ],
    )

    async def config_dump(self, proxy: str) -> Object:
        return {**DUMP, "proxy": proxy}


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Lab:
    def __init__(self, page: Path | None) -> None:
        self.api, self.metrics, self.clock = ApiServer(), FakeMetrics(), Clock()
        self.tracing = FakeTracing()
        access = Access(self.api, "local-secret", self.clock)  # type: ignore[arg-type]
        self.console = Console(FakeCluster(self.api), self.metrics, self.tracing, FakePlane(), access, page)  # type: ignore[arg-type]


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    page = tmp_path / "page"
    (page / "assets").mkdir(parents=True)
    (page / "index.html").write_text("<title>Console</title>")
    (page / "assets" / "app-1.js").write_text("1")
    (tmp_path / "secret.txt").write_text("secret")
    return Lab(page)


@pytest_asyncio.fixture
async def web(lab: Lab) -> AsyncIterator[Web]:
    async with TestClient(TestServer(lab.console.application())) as client:
        yield client


QUERIES = {
    "/api/config/object": "?kind=VirtualService&namespace=shop&name=cart",
    "/api/config/schema": "?kind=VirtualService",
    "/api/config/use": "?namespace=shop&name=cart",
    "/api/forms/object": "?kind=PeerAuthentication&namespace=shop&name=default",
    "/api/forms/traffic": "?namespace=shop&service=cart",
}


OF_ENVOYS = ("/api/proxy-config/difference", "/api/proxy-config/logging")  # see test_proxy_config


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def get(web: Web, path: str, token: str = "admin-token") -> Any:
    async with web.get(path, headers=bearer(token)) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.json()


async def test_nobody_gets_an_answer_without_a_token(web: Web, lab: Lab) -> None:
    paths = [path for path, *_ in openapi.PATHS if path != "/api/login/methods"]
    paths += ["/api/graph/events", "/api/logs/events"]
    for headers in (
        {},
        bearer("wrong"),
        bearer(""),
        bearer("\udcff"),
        bearer("é"),
        {"Cookie": f"{COOKIE}=wrong"},
        {"Authorization": "Basic eA=="},
    ):
        for path in paths:
            async with web.get(path, headers=headers) as answer:
                body = await answer.json()
                assert answer.status == 401
                assert body["fix"]
                assert "wrong" not in json.dumps(body)
    assert not lab.metrics.asked


async def test_the_url_of_the_cluster_logs_in_and_loses_its_token(web: Web) -> None:
    async with web.get("/?token=local-secret", allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (303, "/")
        cookie = answer.headers["Set-Cookie"]
    assert "local-secret" not in cookie
    assert all(flag in cookie for flag in ("HttpOnly", "SameSite=Strict", "Path=/"))
    async with web.get("/api/session") as answer:
        assert (await answer.json())["user"] == "system:serviceaccount:istio-system:kiali"
    async with web.post("/api/logout") as answer:
        assert answer.status == 204
    async with web.get("/api/session", headers={"Cookie": cookie.partition(";")[0]}) as answer:
        assert answer.status == 401  # the session has ended, whatever the browser keeps


async def test_login_leads_to_no_other_site(web: Web) -> None:
    elsewhere = URL(f"http://{web.host}:{web.port}//evil.example/%0d?token=local-secret", encoded=True)
    async with web.session.get(elsewhere, allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (303, "/evil.example/%0d")


async def test_login_with_a_kubernetes_token(web: Web) -> None:
    async with web.post("/api/login", json={"token": "shop-token"}) as answer:
        assert (answer.status, (await answer.json())["user"]) == (200, "shopkeeper")
    async with web.get("/api/namespaces") as answer:
        assert [n["name"] for n in await answer.json()] == ["shop"]
    async with web.post("/api/login", json={"token": "wrong"}) as answer:
        assert answer.status == 401
    for body in (
        "x",
        "[]",
        '{"token": ""}',
        '{"token": {}}',
        '{"token": "\\ud800"}',
        json.dumps({"token": "x" * 20_000}),
    ):
        async with web.post("/api/login", data=body) as answer:
            assert answer.status in (400, 401)


async def test_pages_of_other_sites_can_neither_log_in_nor_out(web: Web) -> None:
    async with web.get("/?token=local-secret"):
        pass
    for headers in (
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "http://evil.example"},
    ):
        for path in ("/api/login", "/api/logout"):
            async with web.post(path, json={"token": "shop-token"}, headers=headers) as answer:
                assert answer.status == 401
    async with web.get("/api/session") as answer:
        assert answer.status == 200


async def test_a_session_ends_with_time(web: Web, lab: Lab) -> None:
    async with web.get("/?token=local-secret"):
        pass
    lab.clock.now += 8 * 3600 - 1
    async with web.get("/api/session") as answer:
        assert answer.status == 200
    lab.clock.now += 2
    async with web.get("/api/session") as answer:
        assert answer.status == 401


async def test_rights_are_asked_again_after_half_a_minute(web: Web, lab: Lab) -> None:
    assert {n["name"] for n in await get(web, "/api/namespaces", "shop-token")} == {"shop"}
    calls = lab.api.calls
    await get(web, "/api/namespaces", "shop-token")
    assert lab.api.calls == calls
    lab.api.rights = {("shopkeeper", "bank")}
    lab.clock.now += 31
    assert {n["name"] for n in await get(web, "/api/namespaces", "shop-token")} == {"bank"}


async def test_answers_hold_only_what_the_user_may_read(web: Web) -> None:
    for path in ("graph", "overview", "namespaces", "apps", "workloads", "services", "config"):
        for query in ("", "?namespaces=bank", "?namespaces=bank,shop"):
            text = json.dumps(await get(web, f"/api/{path}{query}", "shop-token"))
            assert "ledger" not in text
            assert "istio-system" not in text
    assert "ledger" in json.dumps(await get(web, "/api/overview"))


@pytest.mark.parametrize(
    "query",
    [
        "window=5",
        "window=-5m",
        "window=1y",
        "window=31d",
        "window=٥m",
        "at=x",
        "at=nan",
        "at=inf",
        "at=-1",
        "type=pods",
        "services=yes",
        "idle=1",
    ],
)
async def test_a_bad_parameter_is_named(web: Web, query: str) -> None:
    async with web.get(f"/api/graph?{query}", headers=bearer("admin-token")) as answer:
        assert answer.status == 400
        assert (await answer.json())["error"].startswith(query.partition("=")[0])


async def test_without_metrics_the_graph_says_so_and_the_rest_is_there(web: Web, lab: Lab) -> None:
    lab.metrics.graphs = [Unavailable("Prometheus does not answer")]
    graph = await get(web, "/api/graph?idle=true")
    assert graph["notes"] == ["Prometheus does not answer"]
    assert {n["name"] for n in graph["nodes"]} >= {"web", "cart", "ledger"}
    assert len(await get(web, "/api/workloads")) == 5


async def test_a_moment_of_the_past(web: Web, lab: Lab) -> None:
    graph = await get(web, "/api/graph?window=10m&at=123.5")
    assert (graph["at"], graph["window"], lab.metrics.asked) == (123.5, "10m", [("10m", 123.5)])


async def test_the_answers_follow_the_documented_types(web: Web, lab: Lab) -> None:
    import msgspec

    lab.api.rights.add(("admin", "shop"))
    for path, _, parameters, type_ in openapi.PATHS:
        if path in OF_ENVOYS:
            continue
        query = "&".join(f"{p['name']}={p['example']}" for p in parameters if "example" in p)
        msgspec.convert(await get(web, path + QUERIES.get(path, f"?{query}")), type_)
    document = await get(web, "/api/openapi.json", "")
    assert set(document["paths"]) >= {path for path, *_ in openapi.PATHS}


async def test_the_stream_sends_the_graph_and_then_changes(web: Web, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sailcloth.console.server._EVENTS_S", 0.01)
    lab.metrics.graphs = [TRAFFIC, Graph(TRAFFIC.edges[:1]), Graph(TRAFFIC.edges[:1])]
    async with web.get("/api/graph/events?type=workload&services=false", headers=bearer("admin-token")) as answer:
        assert answer.content_type == "text/event-stream"
        events = []
        while len(events) < 2:
            name = (await answer.content.readline()).decode().removeprefix("event: ").strip()
            data = (await answer.content.readline()).removeprefix(b"data: ")
            await answer.content.readline()
            events.append((name, orjson.loads(data)))
    assert [name for name, _ in events] == ["graph", "delta"]
    assert (events[1][1]["since"], events[1][1]["number"]) == (1, 2)
    assert len(events[1][1]["removedEdges"]) == 2


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/", 200),
        ("/graph/anything", 200),  # a route of the page
        ("/assets/app-1.js", 200),
        ("/assets/none.js", 404),
        ("/../secret.txt", 404),
        ("/%2e%2e/secret.txt", 404),
        ("/assets/..%2f..%2fsecret.txt", 404),
        ("/api/none", 401),
    ],
)
async def test_files(web: Web, path: str, status: int) -> None:
    async with web.get(URL(path, encoded=True)) as answer:
        assert answer.status == status
        assert (await answer.text()).strip() != "secret"
        policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'self'")
        assert "unsafe-eval" not in policy
        if path.startswith("/assets/app"):
            assert "immutable" in answer.headers["Cache-Control"]


async def test_without_a_page_the_api_answers(tmp_path: Path) -> None:
    lab = Lab(None)
    async with TestClient(TestServer(lab.console.application())) as web:
        await get(web, "/api/graph")
        async with web.get("/") as answer:
            assert answer.status == 404


async def test_details_hold_only_what_the_user_may_read(web: Web, lab: Lab) -> None:
    cart = await get(web, "/api/details?kind=workload&namespace=shop&name=cart-v1", "shop-token")
    assert [e["name"] for e in cart["events"]] == ["cart-v1-abc", "cart-v1-abc-1"]
    assert "ledger" not in json.dumps(cart)
    for query in ("?kind=workload&namespace=bank&name=ledger-v1", "/namespace?name=bank", "/namespace?name=none"):
        async with web.get(f"/api/details{query}", headers=bearer("shop-token")) as answer:
            assert answer.status == 404
            assert (await answer.json())["fix"]
    async with web.get("/api/details?kind=pod&namespace=shop&name=x", headers=bearer("shop-token")) as answer:
        assert answer.status == 400
    shop = await get(web, "/api/details/namespace?name=shop", "shop-token")
    assert {w["name"] for w in shop["workloads"]} == {"web-v1", "cart-v1", "lonely-v1"}
    assert len(shop["events"]) == 3


async def test_without_the_right_to_events_there_is_a_note(web: Web, lab: Lab) -> None:
    lab.api.refused = {"events"}
    cart = await get(web, "/api/details?kind=workload&namespace=shop&name=cart-v1", "shop-token")
    assert cart["events"] == []
    assert "you may not list the events of namespace shop" in cart["notes"][0]


async def test_charts_add_up_what_the_user_may_not_see(web: Web, lab: Lab) -> None:
    path = "/api/series?kind=workload&namespace=shop&name=cart-v1&direction=outbound&by=workload"
    shown = await get(web, path, "shop-token")
    requests = next(c for c in shown["charts"] if c["name"] == "requests")
    assert [line["label"] for line in requests["lines"]] == ["unknown", "inaccessible"]
    assert all('_namespace=~"|shop|unknown"' in e or '_namespace!~"|shop|unknown"' in e for e in lab.metrics.ranges)
    lab.metrics.ranges.clear()
    await get(web, path)
    assert not any("unknown" in e for e in lab.metrics.ranges)
    base = path.partition("&direction")[0]
    for wrong in ("by=pods", "direction=up", "reporter=me", "quantile=p1"):
        async with web.get(f"{base}&{wrong}", headers=bearer("admin-token")) as answer:
            assert (answer.status, (await answer.json())["error"].partition(":")[0]) == (400, wrong.partition("=")[0])
    async with web.get(path.replace("workload&", "service&", 1), headers=bearer("admin-token")) as answer:
        assert (answer.status, "sends no requests" in (await answer.json())["error"]) == (400, True)


async def test_short_links_need_a_login_to_be_made_only(web: Web) -> None:
    async with web.post("/api/links", json={"path": "/graph"}) as answer:
        assert answer.status == 401
    async with web.post("/api/links", json={"path": "/graph"}, headers=bearer("shop-token")) as answer:
        name = (await answer.json())["path"]
    async with web.get(name, allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (303, "/graph")
    async with web.get("/l/none") as answer:
        assert answer.status == 404
