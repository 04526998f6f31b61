"""Proxies' configuration: whose it is, which rows a user sees, what each was generated from, and that no secret is in it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sailcloth.console import proxy_config
from sailcloth.console.proxy_config import REDACTED

from .cluster import DUMP
from .test_server import Web, bearer, get, lab, web

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
