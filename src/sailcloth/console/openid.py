"""Login by OpenID Connect: the code flow with PKCE. What it ends with is a token like any other, which the API server reviews.

The API server has to accept the issuer's tokens (`--oidc-issuer-url`), so its review is what checks signature, audience and expiry;
here is checked that the answer belongs to the browser that asked. Must not decide who a user is.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

import aiohttp
import orjson

from .access import Refused

CALLBACK = "/api/openid/callback"
_LASTS_S = 600.0  # how long a login may take
_LOGINS = 1000  # that may be under way
_TIMEOUT = aiohttp.ClientTimeout(total=15)
_MAX_ANSWER = 256 << 10  # bytes


@dataclass(frozen=True)
class Settings:
    """`url`: the console's own, as browsers see it. `secret`: empty for a public client."""

    issuer: str
    client: str
    url: str
    secret: str = ""
    scopes: str = "openid email groups"


@dataclass(frozen=True)
class _Login:
    verifier: str
    nonce: str
    until: float


class OpenId:
    """now: seconds since the epoch."""

    def __init__(
        self, session: aiohttp.ClientSession, settings: Settings, now: Callable[[], float] = time.time
    ) -> None:
        """Raises ValueError for URLs that are not HTTPS; loopback needs none."""
        for url in (settings.issuer, settings.url):
            _require_secure(url)
        self._session, self._settings, self._now = session, settings, now
        self._logins: OrderedDict[str, _Login] = OrderedDict()

    async def start(self) -> tuple[str, str]:
        """(URL of the issuer to send the browser to, state that it has to bring back). Raises Refused."""
        found = await self._discover()
        state, verifier, nonce = (secrets.token_urlsafe(32) for _ in range(3))
        self._logins[state] = _Login(verifier, nonce, self._now() + _LASTS_S)
        while len(self._logins) > _LOGINS:
            self._logins.popitem(last=False)
        query = {
            "response_type": "code",
            "client_id": self._settings.client,
            "redirect_uri": self._settings.url.rstrip("/") + CALLBACK,
            "scope": self._settings.scopes,
            "state": state,
            "nonce": nonce,
            "code_challenge": _base64(hashlib.sha256(verifier.encode()).digest()),
            "code_challenge_method": "S256",
        }
        separator = "&" if "?" in found["authorization_endpoint"] else "?"
        return f"{found['authorization_endpoint']}{separator}{urlencode(query)}", state

    async def finish(self, query: Mapping[str, str], state: str) -> str:
        """The identity token for the issuer's answer. state: what this browser was given. Raises Refused."""
        login = self._logins.pop(query.get("state", ""), None)
        if login is None or login.until < self._now() or not hmac.compare_digest(query.get("state", ""), state):
            raise Refused("this login was not begun here, or it took too long; begin again")
        if "code" not in query:
            raise Refused(f"the issuer refused: {query.get('error_description') or query.get('error') or 'no code'}")
        found = await self._discover()
        form = {
            "grant_type": "authorization_code",
            "code": query["code"],
            "redirect_uri": self._settings.url.rstrip("/") + CALLBACK,
            "client_id": self._settings.client,
            "code_verifier": login.verifier,
            **({"client_secret": self._settings.secret} if self._settings.secret else {}),
        }
        token = (await self._ask("POST", found["token_endpoint"], form)).get("id_token")
        if not isinstance(token, str) or not hmac.compare_digest(_nonce(token), login.nonce):
            raise Refused("the issuer's token does not belong to this login")
        return token

    async def _discover(self) -> dict[str, str]:
        """The issuer's endpoints."""
        issuer = self._settings.issuer.rstrip("/")
        found = await self._ask("GET", f"{issuer}/.well-known/openid-configuration")
        endpoints = {n: found.get(n) for n in ("authorization_endpoint", "token_endpoint")}
        if str(found.get("issuer", "")).rstrip("/") != issuer or not all(
            isinstance(u, str) for u in endpoints.values()
        ):
            raise Refused(f"{issuer} describes another issuer, or no endpoints")
        try:
            for url in endpoints.values():
                _require_secure(str(url))
        except ValueError as error:
            raise Refused(str(error)) from None
        return {name: str(url) for name, url in endpoints.items()}

    async def _ask(self, method: str, url: str, form: Mapping[str, str] | None = None) -> dict[str, Any]:
        try:
            async with self._session.request(method, url, data=form, timeout=_TIMEOUT, allow_redirects=False) as answer:
                body = orjson.loads(await answer.content.read(_MAX_ANSWER))
        except (aiohttp.ClientError, TimeoutError, OSError, orjson.JSONDecodeError) as error:
            raise Refused(f"the issuer does not answer at {urlsplit(url).netloc}: {type(error).__name__}") from None
        if answer.status != 200 or not isinstance(body, dict):
            said = body.get("error") if isinstance(body, dict) else ""
            raise Refused(f"the issuer answers {answer.status}: {str(said)[:200]}")
        return body


def _require_secure(url: str) -> None:
    parts = urlsplit(url)
    loopback = parts.hostname in ("localhost", "::1") or (parts.hostname or "").startswith("127.")
    if parts.scheme != "https" and not (parts.scheme == "http" and loopback):
        raise ValueError(f"{url!r}: OpenID Connect needs https")


def _nonce(token: str) -> str:
    """The claim `nonce` of a token whose signature is checked later; empty without one."""
    try:
        claims = token.split(".")[1]
        return str(orjson.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4))).get("nonce", ""))
    except (IndexError, ValueError, AttributeError):
        return ""


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
