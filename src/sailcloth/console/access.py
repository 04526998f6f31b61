"""Who asks, and which namespaces they may see: by Kubernetes tokens, reviewed by the API server.

A session keeps a user's name and groups, not the token; it ends with the token, after eight hours, or with the process. A namespace that
a user may not read does not exist for them. Must not decide anything that the API server decides.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeVar

import orjson

from sailcloth.kube import Client

K = TypeVar("K")
V = TypeVar("V")
_SESSION_S = 8 * 3600.0
_ACCESS_S = 30.0  # how long an answer about a user's rights is used
_SESSIONS = 1000
_TOKENS = 256  # reviews of bearer tokens that are remembered
_MAX_TOKEN = 16 << 10  # bytes
_AUTHENTICATION = "/apis/authentication.k8s.io/v1/tokenreviews"
_AUTHORIZATION = "/apis/authorization.k8s.io/v1/subjectaccessreviews"


class Refused(Exception):
    """A token that is not valid. The text has nothing of it."""


@dataclass(frozen=True)
class User:
    """`ends`: when its token does, in seconds since the epoch."""

    name: str
    groups: tuple[str, ...]
    ends: float


@dataclass
class _Rights:
    """`namespaces`: whether a user may read each; the empty name stands for all."""

    until: float
    namespaces: dict[str, bool] = field(default_factory=dict)


_LOCAL = User(
    "system:serviceaccount:istio-system:kiali",
    ("system:serviceaccounts", "system:serviceaccounts:istio-system", "system:authenticated"),
    float("inf"),
)


class Access:
    """Sessions, and answers of the API server that are used for a while. local_token: logs in as the account `kiali`. now: seconds
    since the epoch."""

    def __init__(self, client: Client, local_token: str = "", now: Callable[[], float] = time.time) -> None:
        self._client, self._now = client, now
        self._local = _digest(local_token) if local_token else b""
        self._sessions: OrderedDict[bytes, User] = OrderedDict()
        self._reviews: OrderedDict[bytes, User] = OrderedDict()
        self._rights: OrderedDict[tuple[str, tuple[str, ...]], _Rights] = OrderedDict()

    async def login(self, token: str) -> tuple[str, User]:
        """(identifier of a new session, its user). Raises Refused, ApiError, OSError."""
        user = await self._review(token)
        user = User(user.name, user.groups, min(user.ends, self._now() + _SESSION_S))
        session = secrets.token_urlsafe(32)
        _keep(self._sessions, _digest(session), user, _SESSIONS)
        return session, user

    def logout(self, session: str) -> None:
        """End a session."""
        self._sessions.pop(_digest(session), None)

    def of_session(self, session: str) -> User | None:
        """The user of a session; None if it has ended."""
        user = self._sessions.get(_digest(session))
        return user if user is not None and user.ends > self._now() else None

    async def of_token(self, token: str) -> User:
        """The user of a bearer token. Raises Refused, ApiError, OSError."""
        digest = _digest(token)
        user = self._reviews.get(digest)
        if user is None or user.ends <= self._now():
            user = await self._review(token)
            user = User(user.name, user.groups, min(user.ends, self._now() + _ACCESS_S))
            _keep(self._reviews, digest, user, _TOKENS)
        return user

    async def _review(self, token: str) -> User:
        if not token or len(token) > _MAX_TOKEN or not token.isascii() or not token.isprintable():
            raise Refused("give a Kubernetes token, such as that of: kubectl -n istio-system create token kiali")
        if hmac.compare_digest(_digest(token), self._local):
            return _LOCAL
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}}
        status = orjson.loads(await self._client.call("POST", _AUTHENTICATION, review)).get("status") or {}
        if not status.get("authenticated"):
            raise Refused("the API server does not accept this token; it may have expired")
        user = status.get("user") or {}
        return User(str(user.get("username", "")), tuple(user.get("groups") or ()), _expiry(token))

    async def readable(self, user: User, namespaces: Iterable[str]) -> list[str]:
        """Those of the namespaces whose pods a user may list. Raises ApiError, OSError."""
        names, now = list(namespaces), self._now()
        identity = (user.name, user.groups)
        rights = self._rights.get(identity)
        if rights is None or rights.until < now:
            rights = _Rights(now + _ACCESS_S)
            rights.namespaces[""] = await self._may_list(user, "")
            _keep(self._rights, identity, rights, _SESSIONS)
        if rights.namespaces[""]:
            return names
        for name in names:
            if name not in rights.namespaces:
                rights.namespaces[name] = await self._may_list(user, name)
        return [name for name in names if rights.namespaces[name]]

    async def _may_list(self, user: User, namespace: str) -> bool:
        spec = {
            "user": user.name,
            "groups": list(user.groups),
            "resourceAttributes": {"verb": "list", "resource": "pods", "namespace": namespace},
        }
        review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
        status = orjson.loads(await self._client.call("POST", _AUTHORIZATION, review)).get("status") or {}
        return bool(status.get("allowed"))


def _keep(into: OrderedDict[K, V], key: K, value: V, most: int) -> None:
    into[key] = value
    into.move_to_end(key)
    while len(into) > most:
        into.popitem(last=False)


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode(errors="surrogatepass")).digest()


def _expiry(token: str) -> float:
    """When a JSON Web Token that the API server has accepted ends; infinity without an expiry."""
    try:
        claims = token.split(".")[1]
        return float(orjson.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["exp"])
    except (IndexError, KeyError, TypeError, ValueError):
        return float("inf")
