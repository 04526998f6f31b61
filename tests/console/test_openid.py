"""Login by OpenID Connect, with an issuer of the test's own."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from sailcloth.console.access import Access
from sailcloth.console.openid import OpenId, Settings
from sailcloth.console.server import Console

from .test_server import ApiServer, Clock, FakeCluster, FakeMetrics, FakePlane, FakeTracing

Object = dict[str, Any]
Web = TestClient[Any, Any]


def token(**claims: Any) -> str:
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    return f"e30.{body}.c2ln"


class Issuer:
    """Answers discovery and the exchange of a code; checks PKCE as an issuer does."""

    def __init__(self) -> None:
        self.url, self.challenge, self.nonce, self.forms = "", "", "", []  # type: ignore[var-annotated]
        self.claims: Object = {}
        self.issuer = ""

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/.well-known/openid-configuration", self._discovery)
        app.router.add_post("/token", self._token)
        return app

    async def _discovery(self, _: web.Request) -> web.Response:
        return web.json_response(
            {
                "issuer": self.issuer or self.url,
                "authorization_endpoint": f"{self.url}/auth",
                "token_endpoint": f"{self.url}/token",
            }
        )

    async def _token(self, request: web.Request) -> web.Response:
        form = dict(await request.post())
        self.forms.append(form)
        digest = hashlib.sha256(str(form["code_verifier"]).encode()).digest()
        if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != self.challenge or form["code"] != "good":
            return web.json_response({"error": "invalid_grant"}, status=400)
        return web.json_response({"id_token": token(**{"nonce": self.nonce, "exp": 9e9, **self.claims})})


class Lab:
    def __init__(self) -> None:
        self.issuer, self.api, self.clock = Issuer(), ApiServer(), Clock()


@pytest.fixture
def lab() -> Lab:
    return Lab()


@pytest_asyncio.fixture
async def web_(lab: Lab) -> AsyncIterator[Web]:
    async with TestServer(lab.issuer.application()) as issuer, aiohttp.ClientSession() as session:
        lab.issuer.url = str(issuer.make_url("")).rstrip("/")
        settings = Settings(lab.issuer.url, "console", "http://127.0.0.1:20001", "hush")
        access = Access(lab.api, "", lab.clock)  # type: ignore[arg-type]
        parts: Any = (FakeCluster(), FakeMetrics(), FakeTracing(), FakePlane(), access)
        console = Console(*parts, login=OpenId(session, settings, lab.clock))
        async with TestClient(TestServer(console.application())) as client:
            yield client


async def begin(web_: Web, lab: Lab) -> str:
    """The state that the issuer was given."""
    async with web_.get("/api/openid/login", allow_redirects=False) as answer:
        assert answer.status == 302
        query = {k: v[0] for k, v in parse_qs(urlsplit(answer.headers["Location"]).query).items()}
        assert answer.cookies["sailcloth-login"]["samesite"] == "Lax"
        assert answer.cookies["sailcloth-login"]["httponly"]
    assert (query["client_id"], query["response_type"], query["code_challenge_method"]) == ("console", "code", "S256")
    assert query["redirect_uri"] == "http://127.0.0.1:20001/api/openid/callback"
    lab.issuer.challenge, lab.issuer.nonce = query["code_challenge"], query["nonce"]
    lab.api.users[token(nonce=query["nonce"], exp=9e9)] = "admin"
    return query["state"]


async def finish(web_: Web, query: str) -> tuple[int, str]:
    async with web_.get(f"/api/openid/callback?{query}", allow_redirects=False) as answer:
        return answer.status, await answer.text()


async def test_a_user_of_the_issuer_is_logged_in(web_: Web, lab: Lab) -> None:
    async with web_.get("/api/login/methods") as answer:
        assert await answer.json() == {"openid": True}
    state = await begin(web_, lab)
    status, _ = await finish(web_, f"code=good&state={state}")
    assert status == 303
    assert lab.issuer.forms[0]["client_secret"] == "hush"
    async with web_.get("/api/session") as answer:
        assert (await answer.json())["user"] == "admin"
    assert (await finish(web_, f"code=good&state={state}"))[0] == 401  # once only


async def test_a_login_of_another_browser_is_refused(web_: Web, lab: Lab) -> None:
    state = await begin(web_, lab)
    web_.session.cookie_jar.clear()
    assert (await finish(web_, f"code=good&state={state}"))[0] == 401
    assert lab.issuer.forms == []


@pytest.mark.parametrize(
    ("query", "claims", "text"),
    [
        ("code=bad&state={}", {}, "invalid_grant"),
        ("error=access_denied&state={}", {}, "the issuer refused: access_denied"),
        ("code=good&state=other", {}, "not begun here"),
        ("code=good&state={}", {"nonce": "other"}, "does not belong to this login"),
        ("code=good&state={}", {"aud": "someone"}, "does not accept this token"),
    ],
)
async def test_what_does_not_fit_is_refused_with_a_reason(
    web_: Web, lab: Lab, query: str, claims: Object, text: str
) -> None:
    state = await begin(web_, lab)
    lab.issuer.claims = claims
    status, body = await finish(web_, query.format(state))
    assert (status, text in body) == (401, True), body
    async with web_.get("/api/session") as answer:
        assert answer.status == 401


async def test_a_login_ends(web_: Web, lab: Lab) -> None:
    state = await begin(web_, lab)
    lab.clock.now += 601
    assert (await finish(web_, f"code=good&state={state}"))[0] == 401


async def test_an_issuer_that_describes_another_is_refused(web_: Web, lab: Lab) -> None:
    lab.issuer.issuer = "https://evil.example.com"
    async with web_.get("/api/openid/login", allow_redirects=False) as answer:
        assert answer.status == 401
        assert "another issuer" in await answer.text()


async def test_plain_http_is_for_loopback_only() -> None:
    async with aiohttp.ClientSession() as session:
        with pytest.raises(ValueError, match="needs https"):
            OpenId(session, Settings("http://login.example.com", "a", "https://console.example.com"))
