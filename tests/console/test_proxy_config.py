"""Proxies' configuration: whose it is, which rows a user sees, what each was generated from, and that no secret is in it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from aiohttp.test_utils import TestClient, TestServer

from sailcloth.console import envoy_admin, proxy_config
from sailcloth.console.access import Access
from sailcloth.console.proxy_config import REDACTED
from sailcloth.console.server import Console
from sailcloth.kube import ApiError

from .cluster import DUMP
from .test_server import ApiServer, FakeCluster, FakeMetrics, FakePlane, FakeTracing, Web, bearer, get, lab, web

__all__ = ["lab", "web"]  # fixtures

WEB = "namespace=shop&pod=web-v1-abc-1"


async def test_rows_name_what_they_were_generated_from(web: Web) -> None:
    shown = await get(web, f"/api/proxy-config?{WEB}")
    assert shown["sync"] == {"CDS": "SYNCED", "LDS": "STALE"}
    tables = {t["part"]: t for t in shown["tables"]}
    assert list(tables) == ["cluster", "listener", "route", "endpoint"]
    origins = {
        r["cells"][1]: r["origin"] and (r["origin"]["kind"], r["origin"]["name"]) for r in tables["route"]["rows"]
    }
    assert origins["cart.shop.svc.cluster.local:80"] == ("VirtualService", "cart")
    assert origins["ledger.bank.svc.cluster.local:80"] is None
    cluster = tables["cluster"]["rows"][0]
    assert (cluster["cells"][:3], cluster["origin"]["kind"]) == (
        ["cart.shop.svc.cluster.local", "80", "v1"],
        "DestinationRule",
    )
    assert shown["whole"]


async def test_rows_about_other_namespaces_are_hidden(web: Web) -> None:
    shown = await get(web, f"/api/proxy-config?{WEB}", "shop-token")
    text = json.dumps(shown)
    assert "ledger" not in text
    assert "spy" not in text
    assert {t["part"]: (len(t["rows"]), t["hidden"]) for t in shown["tables"] if t["hidden"]} == {
        "cluster": (1, 1),
        "route": (1, 2),
    }
    assert not shown["whole"]


async def test_the_whole_json_is_for_those_who_may_read_all(web: Web) -> None:
    assert (await get(web, f"/api/proxy-config/json?{WEB}"))["proxy"] == "web-v1-abc-1.shop"
    async with web.get(f"/api/proxy-config/json?{WEB}", headers=bearer("shop-token")) as answer:
        assert answer.status == 403


@pytest.mark.parametrize("path", ["proxy-config", "proxy-config/json"])
@pytest.mark.parametrize(
    ("query", "status", "words"),
    [
        ("namespace=shop&pod=nothing", 404, "no pod nothing"),
        ("namespace=shop&pod=cart-v1-abc-1", 404, "no proxy of pod cart-v1-abc-1 is connected"),
        ("namespace=bank&pod=ledger-v1-abc-1", 404, "no namespace bank, or you may not read it"),
        ("namespace=shop", 400, "pod"),
        ("namespace=shop&pod=web-v1-abc-1.shop%26x", 404, "no pod"),
    ],
)
async def test_what_is_not_there(web: Web, path: str, query: str, status: int, words: str) -> None:
    async with web.get(f"/api/{path}?{query}", headers=bearer("shop-token")) as answer:
        assert answer.status == status
        assert words in (await answer.json())["error"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"private_key": {"inline_bytes": "x"}}, {"private_key": REDACTED}),
        ({"a": [{"clientSecret": "x", "b": 1}]}, {"a": [{"clientSecret": REDACTED, "b": 1}]}),
        ({"key": "Authorization", "value": "Basic x"}, {"key": "Authorization", "value": REDACTED}),
        ({"key": "x-team", "value": "shop"}, {"key": "x-team", "value": "shop"}),
        ({"password": {"inline_string": "x"}}, {"password": REDACTED}),
        ({"token_bucket": {"max_tokens": 3}}, {"token_bucket": {"max_tokens": 3}}),
        ({"tls_certificate_sds_secret_configs": [{"name": "default"}]}, None),
    ],
)
def test_secrets_are_taken_out(value: dict[str, Any], expected: dict[str, Any] | None) -> None:
    assert proxy_config.redacted(value) == (value if expected is None else expected)


def test_nothing_else_changes() -> None:
    assert proxy_config.redacted(DUMP) == DUMP


class Envoy:
    """An API server's port-forward to an Envoy; remembers who asked for which page."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str]] = []
        self.refusal: Exception | None = None

    @contextlib.asynccontextmanager
    async def __call__(self, token: str) -> AsyncIterator[str]:
        yield token

    async def page(self, token: str, pod: str, namespace: str, path: str, method: str = "GET") -> str:
        self.asked.append((token, f"{pod}.{namespace}", f"{method} {path}"))
        if self.refusal is not None:
            raise self.refusal
        if path == "/config_dump":
            return json.dumps(DUMP).replace('"EDS"', '"STATIC"')
        return "active loggers:\n  admin: warning\n  http: debug\n"


@pytest.fixture
def envoy(monkeypatch: pytest.MonkeyPatch) -> Envoy:
    envoy = Envoy()
    monkeypatch.setattr(envoy_admin.envoy_admin, "page", envoy.page)
    return envoy


@pytest_asyncio.fixture
async def editable(envoy: Envoy) -> AsyncIterator[Web]:
    api = ApiServer()
    parts: Any = (FakeCluster(api), FakeMetrics(), FakeTracing(), FakePlane(), Access(api))  # type: ignore[arg-type]
    console = Console(*parts, act_as=envoy)  # type: ignore[arg-type]
    async with TestClient(TestServer(console.application())) as client:
        yield client


async def test_what_an_envoy_has_is_compared_with_the_users_own_rights(editable: Web, envoy: Envoy) -> None:
    parts = {one["part"]: one["lines"] for one in await get(editable, f"/api/proxy-config/difference?{WEB}")}
    assert envoy.asked == [("admin-token", "web-v1-abc-1.shop", "GET /config_dump")]
    changed = [line.replace(" ", "") for line in parts["cluster"][2:] if line[0] in "+-"]
    assert changed == ['-"type":"EDS"', '+"type":"STATIC"'] * 2
    assert parts["listener"] == parts["route"] == []
    async with editable.get(f"/api/proxy-config/difference?{WEB}", headers=bearer("shop-token")) as answer:
        assert answer.status == 403  # it names other namespaces


async def test_log_levels_are_read_and_set(editable: Web, envoy: Envoy) -> None:
    assert await get(editable, f"/api/proxy-config/logging?{WEB}") == {"levels": {"admin": "warning", "http": "debug"}}
    pod = {"namespace": "shop", "pod": "web-v1-abc-1"}
    for change, status in (
        ({"level": "info"}, 200),
        ({"level": "debug", "logger": "http"}, 200),
        ({"level": "loud"}, 400),
        ({"level": "info", "logger": "a&level=off"}, 400),
        ({"level": "info", "pod": "nothing"}, 404),
    ):
        async with editable.post(
            "/api/proxy-config/logging", json={**pod, **change}, headers=bearer("shop-token")
        ) as answer:
            assert answer.status == status, change
    assert [path for *_, path in envoy.asked] == [
        "POST /logging", "POST /logging?level=info", "POST /logging?paths=http:debug",
    ]  # fmt: skip


async def test_who_may_not_forward_ports_is_told_the_right(editable: Web, envoy: Envoy) -> None:
    envoy.refusal = ApiError(403, "Forbidden", "no")
    async with editable.get(f"/api/proxy-config/logging?{WEB}", headers=bearer("shop-token")) as answer:
        assert answer.status == 403
        assert "--subresource=portforward -n shop" in (await answer.json())["fix"]
    envoy.refusal = OSError("refused")
    async with editable.get(f"/api/proxy-config/logging?{WEB}", headers=bearer("shop-token")) as answer:
        assert answer.status == 503


async def test_a_console_for_viewing_opens_no_tunnel(web: Web, envoy: Envoy) -> None:
    for page in ("difference", "logging"):
        async with web.get(f"/api/proxy-config/{page}?{WEB}", headers=bearer("admin-token")) as answer:
            assert answer.status == 403
    assert envoy.asked == []
